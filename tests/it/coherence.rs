//! Two tiers and several nodes, one step at a time: what is kept, believed, asked again and delivered.

use cache_core::shared::FaultKind;
use cache_core::testing::{Operation, ScriptedStore};
use cache_core::time::{Clock, SystemClock, Timestamp, hours, minutes, seconds};
use cache_core::{Cache, EntryOptions, ErrorKind, Redis, Stored, TagSet, Tier};
use support::{RedisServer, hears};

use crate::engine::{Broken, Origin, key, ms, others_run, poll_once};
use crate::test_kit::{fleet, hearing};

fn tagged() -> EntryOptions {
    EntryOptions::ttl(minutes(5))
        .jitter(0.0)
        .tags(TagSet::new(["t"]).unwrap())
}

async fn value(cache: &Cache, n: u32) -> Option<u32> {
    cache.get::<u32>(&key(n)).await.map(|value| *value)
}

fn in_memory(cache: &Cache, n: u32) -> Option<u32> {
    cache.get_in_process::<u32>(key(n).as_key()).map(|value| *value)
}

/// A clock that is set differently.
#[derive(Debug)]
struct Apart;

impl Clock for Apart {
    fn now(&self) -> Timestamp {
        SystemClock.now() + minutes(15)
    }

    fn wall(&self) -> std::time::SystemTime {
        SystemClock.wall() - minutes(15)
    }
}

/// B0.1
#[tokio::test(flavor = "multi_thread")]
async fn nodes_whose_clocks_differ_agree_on_what_is_fresh() {
    let redis = RedisServer::start();
    let builder = || Cache::builder("fleet").redis(Redis::from_url(&redis.url()).unwrap());
    let nodes = [
        builder().build().unwrap(),
        builder().clock(Apart).build().unwrap(),
    ];
    for node in &nodes {
        hears(node).await;
    }
    for (n, (one, other)) in [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])]
        .into_iter()
        .enumerate()
    {
        let n = n as u32;
        let options = || EntryOptions::ttl(minutes(1)).jitter(0.0);
        assert_eq!(one.set(&key(n), n, options()).await.unwrap(), Stored::Yes);
        assert_eq!(value(other, n).await, Some(n));
        let left = other.remaining_ttl(&key(n)).await.unwrap();
        assert!(left <= minutes(1) && left > seconds(50), "{left:?}");
        redis.command(&["PEXPIRE", &format!("fleet:item:{n}"), "1"]);
        other.remove(&key(n)).await.unwrap();
        assert_eq!((value(one, n).await, value(other, n).await), (None, None));
    }
}

/// B0.2, B2.3
#[tokio::test(flavor = "multi_thread")]
async fn versions_outlive_their_values_for_as_long_as_a_load_may_last() {
    let redis = RedisServer::start();
    let cache = Cache::builder("fleet")
        .redis(Redis::from_url(&redis.url()).unwrap())
        .build()
        .unwrap();
    assert!(cache.set(&key(1), 1_u32, ms(20)).await.unwrap().is_stored());
    assert!(cache.set(&key(2), 1_u32, hours(1)).await.unwrap().is_stored());
    cache.remove(&key(3)).await.unwrap();
    let left = |n: u32| {
        let key = format!("fleet:item:{n}");
        redis.command(&["PTTL", &key]).integer().unwrap()
    };
    for (n, expected) in [(1, 70_000), (2, 3_600_000), (3, 70_000)] {
        let left = left(n);
        assert!((expected * 8 / 10..=expected).contains(&left), "{n}: {left}");
    }
    support::wait_until(seconds(5), "the value is over", async || {
        value(&cache, 1).await.is_none()
    })
    .await;
    assert!(left(1) > 60_000, "its version is not");
}

/// B1.8, B9.6
#[tokio::test]
async fn an_answer_to_a_question_from_before_a_change_is_not_kept() {
    let store = ScriptedStore::new(SystemClock);
    let (caches, _) = fleet(&[&store]).await;
    let cache = &caches[0];
    for how in ["set", "remove", "tag"] {
        assert!(cache.set(&key(1), 1_u32, tagged()).await.unwrap().is_stored());
        // Not in memory any more, so that it is asked for.
        store.lose_notices();
        store.heard().await;
        let item = key(1);
        let gate = store.hold(Operation::Read);
        let mut reads = Box::pin(cache.get::<u32>(&item));
        assert!(poll_once(&mut reads).is_pending());
        match how {
            "set" => assert!(cache.set(&item, 2_u32, tagged()).await.unwrap().is_stored()),
            "remove" => cache.remove(&item).await.unwrap(),
            _ => cache.invalidate_tag("t").await.unwrap(),
        }
        gate.open();
        let read = reads.await.map(|value| *value);
        let expected = (how == "set").then_some(2);
        assert!(read.is_none() || read == expected, "{how}: {read:?}");
        assert_eq!(in_memory(cache, 1), expected, "{how}");
        assert_eq!(value(cache, 1).await, expected, "{how}");
    }
}

/// B9.6: memory is cleared before the change is sent, and a fill meanwhile is undone when it is acknowledged.
#[tokio::test]
async fn memory_is_cleared_before_a_change_is_sent_and_after_it_is_acknowledged() {
    let store = ScriptedStore::new(SystemClock);
    let (caches, _) = fleet(&[&store]).await;
    let cache = &caches[0];
    assert!(cache.set(&key(1), 1_u32, tagged()).await.unwrap().is_stored());
    assert_eq!(in_memory(cache, 1), Some(1));
    let gate = store.hold(Operation::Mutate);
    let item = key(1);
    let mut removes = IntoFuture::into_future(cache.remove(&item));
    assert!(poll_once(&mut removes).is_pending());
    assert_eq!(in_memory(cache, 1), None, "before it was sent");
    assert_eq!(value(cache, 1).await, Some(1), "what the store still has");
    gate.open();
    removes.await.unwrap();
    assert_eq!((in_memory(cache, 1), value(cache, 1).await), (None, None));
}

/// B2.4
#[tokio::test]
async fn a_copy_ends_with_its_original() {
    let (_, clock) = fleet(&[]).await;
    let store = ScriptedStore::new(clock.clone());
    let (one, two) = (hearing(&store, &clock).await, hearing(&store, &clock).await);
    let options = EntryOptions::ttl(seconds(10)).stale_for(minutes(5)).jitter(0.0);
    assert!(one.set(&key(1), 1_u32, options).await.unwrap().is_stored());
    clock.advance(seconds(9));
    for _ in 0..2 {
        let copy = two.get::<u32>(&key(1)).await.unwrap();
        assert!(!copy.outcome().is_stale());
        assert!(two.remaining_ttl(&key(1)).await.unwrap() <= seconds(1));
    }
    clock.advance(seconds(1));
    assert_eq!((value(&one, 1).await, value(&two, 1).await), (None, None));
}

/// B8.7, B8.8
#[tokio::test]
async fn a_holders_end_costs_each_waiting_node_one_question() {
    let store = ScriptedStore::new(SystemClock);
    let handles = [store.clone(), store.node(), store.node(), store.node()];
    let (caches, _) = fleet(&handles.iter().collect::<Vec<_>>()).await;
    let origin = Origin::closed();
    let call = |cache: &Cache| {
        let (cache, load) = (cache.clone(), origin.gives(Ok(7_u32)));
        tokio::spawn(async move {
            cache
                .get_or_load(&key(1), minutes(5), load)
                .await
                .map(|value| *value)
        })
    };
    let mut calls = vec![call(&caches[0])];
    origin.begun(1).await;
    for cache in &caches[1..] {
        calls.extend((0..50).map(|_| call(cache)));
    }
    support::wait_until(seconds(5), "three nodes wait", async || {
        caches[1..]
            .iter()
            .all(|cache| cache.stats().counters.lease_waits >= 2)
    })
    .await;
    handles.iter().for_each(ScriptedStore::forget_asked);
    origin.release();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), 7);
    }
    for waiter in &handles[1..] {
        let questions = waiter.count(Operation::Read) + waiter.count(Operation::Lease);
        // The one that the end has caused, and a poll that came at the same time.
        assert!((1..=2).contains(&questions), "{:?}", waiter.asked());
    }
    assert_eq!(origin.loads(), 1);
}

/// B10.3
#[tokio::test]
async fn an_entry_that_is_newer_than_the_view_of_its_tag_is_looked_at_again_before_it_is_refused() {
    let store = ScriptedStore::new(SystemClock);
    let slow = store.node();
    let (caches, _) = fleet(&[&store, &slow]).await;
    let (one, two) = (&caches[0], &caches[1]);
    assert!(one.set(&key(1), 1_u32, tagged()).await.unwrap().is_stored());
    assert_eq!(value(two, 1).await, Some(1), "two knows the tag's version");
    slow.hold_log();
    one.invalidate_tag("t").await.unwrap();
    assert!(one.set(&key(2), 2_u32, tagged()).await.unwrap().is_stored());
    slow.forget_asked();
    assert_eq!(value(two, 2).await, Some(2), "its own view was the old one");
    assert_eq!(slow.count(Operation::Marks), 1);
    assert_eq!(value(one, 1).await, None);
    slow.release_log();
}

/// B10.4, B11.5
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_whose_tag_or_namespace_has_lost_its_version_is_a_miss_and_stays_one() {
    let redis = RedisServer::start();
    let open = || {
        Cache::builder("fleet")
            .redis(Redis::from_url(&redis.url()).unwrap())
            .build()
            .unwrap()
    };
    for (n, lost) in ["tag", "namespace"].into_iter().enumerate() {
        let n = n as u32;
        assert!(open().set(&key(n), n, tagged()).await.unwrap().is_stored());
        assert_eq!(value(&open(), n).await, Some(n));
        let mark = match lost {
            "tag" => "{fleet}:m:t:fleet:t",
            _ => "{fleet}:m:n:fleet",
        };
        assert_eq!(redis.command(&["DEL", mark]).integer(), Some(1), "{lost}");
        assert_eq!(value(&open(), n).await, None, "{lost}");
        assert_eq!(value(&open(), n).await, None, "{lost}: nothing comes back");
    }
}

/// B13.4, B13.5
#[tokio::test]
async fn a_pending_invalidation_waits_for_days_and_one_that_cannot_be_sent_holds_up_no_other() {
    let (_, clock) = fleet(&[]).await;
    let store = ScriptedStore::new(clock.clone());
    let (one, two) = (
        hearing(&store, &clock).await,
        hearing(&store.node(), &clock).await,
    );
    let lasting = || EntryOptions::ttl(hours(24 * 30)).jitter(0.0);
    for n in 0..5 {
        assert!(two.set(&key(n), n, lasting()).await.unwrap().is_stored());
        assert_eq!(value(&one, n).await, Some(n));
    }
    store.go_away();
    for n in 0..5 {
        let refused = one.remove(&key(n)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidationUncertain);
    }
    clock.advance(hours(24 * 20));
    store.come_back();
    store.fail_next(Operation::Mutate, 1, FaultKind::Invalid);
    assert_eq!(one.flush_pending(seconds(5)).await, 0);
    store.heard().await;
    let mut left = 0;
    for n in 0..5 {
        left += usize::from(value(&two, n).await.is_some());
    }
    assert_eq!(left, 1, "the poisoned one alone");
}

/// B13.6
#[tokio::test]
async fn what_is_pending_dies_with_its_node_and_lifetimes_are_the_bound() {
    let (_, clock) = fleet(&[]).await;
    let store = ScriptedStore::new(clock.clone());
    let (one, two) = (
        hearing(&store.node(), &clock).await,
        hearing(&store, &clock).await,
    );
    assert!(
        two.set(&key(1), 1_u32, EntryOptions::ttl(minutes(5)).jitter(0.0))
            .await
            .unwrap()
            .is_stored()
    );
    store.fail_next(Operation::Mutate, 1, FaultKind::Connect);
    let crashes = hearing(&store, &clock).await;
    let refused = crashes.remove(&key(1)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidationUncertain);
    drop(crashes);
    others_run().await;
    assert_eq!(value(&one, 1).await, Some(1), "nobody told");
    clock.advance(minutes(5));
    assert_eq!((value(&one, 1).await, value(&two, 1).await), (None, None));
}

/// B5.6: what another node has refreshed is adopted.
#[tokio::test]
async fn a_refresh_looks_into_the_shared_tier_before_it_loads() {
    let (_, clock) = fleet(&[]).await;
    let store = ScriptedStore::new(clock.clone());
    let slow = store.node();
    let (one, two) = (hearing(&store, &clock).await, hearing(&slow, &clock).await);
    let options = || {
        EntryOptions::ttl(seconds(100))
            .jitter(0.0)
            .eager(cache_core::Eager::After(0.5))
    };
    assert!(one.set(&key(1), 1_u32, options()).await.unwrap().is_stored());
    assert_eq!(value(&two, 1).await, Some(1));
    clock.advance(seconds(60));
    slow.hold_log();
    assert!(one.set(&key(1), 2_u32, options()).await.unwrap().is_stored());
    let origin = Origin::open();
    let read = async || {
        *two.get_or_load(&key(1), options(), origin.gives(Ok::<u32, Broken>(3)))
            .await
            .unwrap()
    };
    assert_eq!(read().await, 1, "the hit that starts it does not wait");
    support::wait_until(seconds(5), "it is adopted", async || read().await == 2).await;
    assert_eq!(origin.loads(), 0);
    assert_eq!(
        two.get::<u32>(&key(1)).await.unwrap().outcome().tier,
        Some(Tier::Memory)
    );
    slow.release_log();
}
