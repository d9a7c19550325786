//! Claims, locks and updates while Redis is away.

use cache_core::{Claim, LockGuard};
use support::{Accepting, FaultProxy};

use super::*;

fn cut(proxy: &FaultProxy) {
    proxy.accept(Accepting::Refuse);
    proxy.close_all();
}

async fn cut_off() -> (RedisServer, FaultProxy, Cache) {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(redis.address());
    let cache = hearing_node(&redis.url_via(proxy.address()), |node| node).await;
    cut(&proxy);
    (redis, proxy, cache)
}

fn add_one(old: Option<u64>) -> u64 {
    old.unwrap_or(0) + 1
}

/// B16.2
#[tokio::test(flavor = "multi_thread")]
async fn without_redis_claims_locks_and_updates_are_refused() {
    let (_redis, _proxy, cache) = cut_off().await;
    let claim = cache.claim(&key(1), minutes(1)).await.unwrap_err();
    let lock = cache.try_lock("l", minutes(1)).await.unwrap_err();
    let waited = cache.lock("l", minutes(1), seconds(5)).await.unwrap_err();
    let updated = cache.update(&key(1), minutes(1), add_one).await.unwrap_err();
    for error in [claim, lock, waited, updated] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}

async fn claim_or_alone(cache: &Cache, item: u64) -> Option<Claim> {
    let item = key(item);
    cache.claim(&item, minutes(1)).local_fallback().await.unwrap()
}

async fn lock_or_alone(cache: &Cache) -> Option<LockGuard> {
    cache.try_lock("l", minutes(1)).local_fallback().await.unwrap()
}

/// B16.2
#[tokio::test(flavor = "multi_thread")]
async fn who_chose_so_claims_and_locks_on_this_node_alone_while_redis_is_away() {
    let (redis, proxy, a) = cut_off().await;
    let b = hearing_node(&redis.url(), |node| node).await;

    let claim = claim_or_alone(&a, 1).await.unwrap();
    assert!(!claim.is_shared());
    assert!(claim_or_alone(&a, 1).await.is_none());
    assert_eq!(claim.confirm(minutes(1)).await, Confirmation::KeptHere);
    assert!(claim_or_alone(&a, 1).await.is_none());
    assert!(
        b.claim(&key(1), minutes(1)).await.unwrap().is_some(),
        "other nodes are not excluded"
    );

    let lock = lock_or_alone(&a).await.unwrap();
    assert!(!lock.is_shared() && lock.is_held());
    assert!(lock.renew(minutes(1)).await);
    let elsewhere = b.try_lock("l", minutes(1)).await.unwrap().unwrap();
    assert!(
        lock.fencing_token() < elsewhere.fencing_token(),
        "who compares numbers refuses the lone holder"
    );
    let waits = tokio::spawn({
        let a = a.clone();
        async move { a.lock("l", minutes(1), seconds(30)).local_fallback().await }
    });
    assert!(lock.release().await);
    let next = waits.await.unwrap().unwrap();
    assert!(!next.is_shared(), "released to a waiter of this node");

    proxy.accept(Accepting::Relay);
    wait_until(seconds(10), "redis answers again", async || {
        a.try_lock("m", seconds(1)).await.is_ok()
    })
    .await;
    drop(next);
    assert!(lock_or_alone(&a).await.is_none(), "b holds it");
    assert!(elsewhere.release().await);
    let shared = lock_or_alone(&a).await.unwrap();
    assert!(shared.is_shared());
    assert!(b.try_lock("l", minutes(1)).await.unwrap().is_none());
}

/// B16.2: what was claimed in the fleet is not claimed again alone, and a caller that leaves holds nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_made_before_the_outage_holds_on_its_node_during_it() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(redis.address());
    let cache = hearing_node(&redis.url_via(proxy.address()), |node| node).await;
    let claim = claim_or_alone(&cache, 1).await.unwrap();
    assert!(claim.is_shared());
    let lock = lock_or_alone(&cache).await.unwrap();
    proxy.set(support::Fault::BlackHole);
    let item = key(2);
    let leaves = cache.claim(&item, minutes(1)).local_fallback();
    let _ = tokio::time::timeout(Duration::from_millis(50), leaves).await;
    cut(&proxy);
    assert_eq!(claim.confirm(minutes(1)).await, Confirmation::KeptHere);
    assert!(claim_or_alone(&cache, 1).await.is_none());
    assert!(claim_or_alone(&cache, 2).await.is_some());
    assert!(lock.renew(minutes(1)).await && !lock.is_shared() && lock.is_held());
}

/// B16.2: what another node has done is not done again alone either; what it has in its hands may be.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_fleet_said_is_done_is_not_claimed_during_an_outage() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(redis.address());
    let cache = hearing_node(&redis.url_via(proxy.address()), |node| node).await;
    let other = hearing_node(&redis.url(), |node| node).await;
    let done = claim_or_alone(&other, 1).await.unwrap();
    assert_eq!(done.confirm(hours(1)).await, Confirmation::Kept);
    let _under_way = claim_or_alone(&other, 2).await.unwrap();
    for item in [1, 2] {
        assert!(claim_or_alone(&cache, item).await.is_none());
    }
    cut(&proxy);
    assert!(claim_or_alone(&cache, 1).await.is_none(), "it is done");
    let alone = claim_or_alone(&cache, 2).await.unwrap();
    assert!(!alone.is_shared(), "its holder may have died");
}

/// B16.2, B13.3: updates of one node add up, and reach the fleet when Redis is back.
#[tokio::test(flavor = "multi_thread")]
async fn who_chose_so_updates_on_this_node_alone_while_redis_is_away() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(redis.address());
    let a = hearing_node(&redis.url_via(proxy.address()), |node| node).await;
    let b = hearing_node(&redis.url(), |node| node).await;
    let update = async |node: &Cache| {
        *node
            .update(&key(1), hours(1), add_one)
            .local_fallback()
            .await
            .unwrap()
    };
    assert_eq!(update(&a).await, 1);
    assert_eq!(update(&b).await, 2);
    wait_until(seconds(5), "a has it", async || {
        a.get::<u64>(&key(1)).await.as_deref() == Some(&2)
    })
    .await;
    cut(&proxy);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let a = a.clone();
        callers.spawn(async move {
            a.update(&key(1), hours(1), add_one)
                .local_fallback()
                .await
                .map(drop)
        });
    }
    callers.join_all().await.into_iter().for_each(Result::unwrap);
    assert_eq!(a.get::<u64>(&key(1)).await.as_deref(), Some(&22));
    assert_eq!(b.get::<u64>(&key(1)).await.as_deref(), Some(&2));
    proxy.accept(Accepting::Relay);
    wait_until(seconds(10), "b reads what a has counted", async || {
        b.get::<u64>(&key(1)).await.as_deref() == Some(&22)
    })
    .await;
    assert_eq!(update(&b).await, 23);
}
