//! What was asked and not answered may have happened: what may have been taken that way is given back, until it is.

use std::sync::Arc;

use cache_core::shared::FaultKind;
use cache_core::testing::{Operation, ScriptedStore};
use cache_core::time::{SystemClock, minutes, seconds};
use cache_core::{Cache, CacheKey, OutcomeKind};
use support::{Fault, FaultProxy, RedisServer, wait_until};

use crate::engine::{Broken, key, ms};
use support::soak::fleet::hearing_node;

fn node(store: &ScriptedStore) -> Cache {
    let builder = Cache::builder("fleet").clock(SystemClock);
    builder.shared(store.clone()).build().unwrap()
}

async fn load(cache: &Cache, key: &CacheKey) -> OutcomeKind {
    let load = |_| async { Ok::<_, Broken>(7_u32) };
    let loaded = cache.get_or_load(key, minutes(5), load).await.unwrap();
    loaded.outcome().kind
}

/// B8.14, on Redis: the lock is taken, and its caller has stopped to listen.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_whose_answer_comes_too_late_is_given_back() {
    let redis = Arc::new(RedisServer::start());
    let proxy = FaultProxy::start(redis.address());
    let cache = hearing_node(&redis.url_via(proxy.address()), |node| node).await;
    let is_locked = |redis: &RedisServer| redis.command(&["EXISTS", "{fleet:item:1}:l"]).integer() == Some(1);
    // What it knows of the prefix it need not ask for again.
    load(&cache, &key(2)).await;
    // The read is answered within the budget of 250 ms, and the question for the lease is not.
    proxy.set(Fault::DelayReplies(ms(150)));
    let server = redis.clone();
    let load = move |_| {
        let was_locked = is_locked(&server);
        async move { Ok::<_, Broken>(was_locked) }
    };
    let was_locked = cache.get_or_load(&key(1), minutes(5), load).await.unwrap();
    proxy.heal();
    assert!(*was_locked, "the question arrived");
    wait_until(seconds(5), "no lock is left", async || !is_locked(&redis)).await;
}

/// B8.14: the answer gets lost with the connection, and the first try to give back fails with it, too.
#[tokio::test]
async fn a_lease_that_was_taken_unheard_is_given_back_although_the_connection_is_gone() {
    let store = ScriptedStore::new(SystemClock);
    let (cut_off, other) = (store.node(), node(&store));
    let cache = node(&cut_off);
    cut_off.lose_next_answers(Operation::Lease, 1);
    cut_off.fail_next(Operation::Commit, 2, FaultKind::Disconnected);
    assert_eq!(load(&cache, &key(1)).await, OutcomeKind::Loaded);
    wait_until(seconds(5), "the lease is free", async || {
        !store.is_leased("fleet:item:1")
    })
    .await;
    assert_eq!(
        load(&other, &key(1)).await,
        OutcomeKind::Loaded,
        "nobody is waited for"
    );
}

/// B8.14
#[tokio::test]
async fn the_leases_of_a_batch_that_were_taken_unheard_are_given_back() {
    let store = ScriptedStore::new(SystemClock);
    let cache = node(&store);
    store.lose_next_answers(Operation::Lease, 1);
    store.fail_next(Operation::Commit, 1, FaultKind::Disconnected);
    let keys = [key(1), key(2)];
    let load = |missing: Vec<CacheKey>| async move {
        Ok::<_, Broken>(missing.into_iter().map(|key| (key, 7_u32)).collect())
    };
    let loaded = cache.get_or_load_many(&keys, minutes(5), load).await.unwrap();
    assert_eq!(loaded.len(), 2);
    for key in ["fleet:item:1", "fleet:item:2"] {
        wait_until(seconds(5), "the lease is free", async || !store.is_leased(key)).await;
    }
}

/// B8.14, B8.14, B16.1: a claim or a lock of which nobody heard keeps nobody out.
#[tokio::test]
async fn a_lock_that_was_taken_unheard_is_given_back_although_the_connection_is_gone() {
    let store = ScriptedStore::new(SystemClock);
    let cache = node(&store);
    store.lose_next_answers(Operation::Acquire, 1);
    store.fail_next(Operation::GiveBack, 2, FaultKind::Disconnected);
    cache.try_lock("job", minutes(1)).await.unwrap_err();
    let _lock = cache.lock("job", minutes(1), seconds(5)).await.unwrap();
}
