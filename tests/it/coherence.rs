//! Two tiers and several nodes, one step at a time: what is kept, believed, asked again and delivered.

use cache_core::shared::FaultKind;
use cache_core::testing::{ManualClock, Operation, ScriptedStore};
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
        assert_eq!(value(other, n).await, None);
        support::wait_until(seconds(5), "the other node hears it", async || {
            value(one, n).await.is_none()
        })
        .await;
    }
}

/// B0.1, B2.4: what Redis says about the end of an entry may shorten its life, and not prolong it.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_redis_keeps_for_a_century_ends_when_it_should_and_one_without_an_end_is_none() {
    let redis = RedisServer::start();
    let open = |clock: &ManualClock| {
        let builder = Cache::builder("fleet").redis(Redis::from_url(&redis.url()).unwrap());
        builder.clock(clock.clone()).build().unwrap()
    };
    let clock = ManualClock::new();
    let options = EntryOptions::ttl(minutes(1)).jitter(0.0);
    assert_eq!(
        open(&clock).set(&key(1), 1_u32, options).await.unwrap(),
        Stored::Yes
    );
    let century = (hours(24) * 36_500).as_millis().to_string();
    assert_eq!(
        redis.command(&["PEXPIRE", "fleet:item:1", &century]).integer(),
        Some(1)
    );
    let reader = open(&clock);
    assert_eq!(value(&reader, 1).await, Some(1));
    let left = reader.remaining_ttl(&key(1)).await.unwrap();
    assert!(left <= minutes(1), "{left:?}");
    assert_eq!(redis.command(&["PERSIST", "fleet:item:1"]).integer(), Some(1));
    assert_eq!(value(&open(&clock), 1).await, None);
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
    let clock = ManualClock::new();
    let store = ScriptedStore::new(clock.clone());
    let slow = store.node();
    let (one, two) = (&hearing(&store, &clock).await, &hearing(&slow, &clock).await);
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

/// B10.3: what is left of a life is told in whole milliseconds, so an entry seems older than it is, and its tag asked for
/// after it was written.
#[tokio::test]
async fn an_entry_that_is_newer_than_the_view_of_its_tag_by_less_than_a_millisecond_is_looked_at_again_too() {
    let micros = std::time::Duration::from_micros;
    for (before, since) in [(300, 300), (1, 1), (1, 900), (900, 1), (900, 900), (1, 1_999)] {
        let clock = ManualClock::new();
        let store = ScriptedStore::new(clock.clone());
        let slow = store.node();
        let (one, two) = (&hearing(&store, &clock).await, &hearing(&slow, &clock).await);
        assert!(one.set(&key(1), 1_u32, tagged()).await.unwrap().is_stored());
        assert_eq!(value(two, 1).await, Some(1), "two knows the tag's version");
        slow.hold_log();
        clock.advance(micros(before));
        one.invalidate_tag("t").await.unwrap();
        assert!(one.set(&key(2), 2_u32, tagged()).await.unwrap().is_stored());
        clock.advance(micros(since));
        slow.forget_asked();
        let found = value(two, 2).await;
        assert_eq!(
            (found, slow.count(Operation::Marks)),
            (Some(2), 1),
            "{before} µs, then {since} µs"
        );
        slow.release_log();
    }
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
    let origin = Origin::open();
    let read = async || {
        *two.get_or_load(&key(1), options(), origin.gives(Ok::<u32, Broken>(3)))
            .await
            .unwrap()
    };
    assert_eq!(read().await, 1);
    clock.advance(seconds(60));
    slow.hold_log();
    assert!(one.set(&key(1), 2_u32, options()).await.unwrap().is_stored());
    assert_eq!(read().await, 1, "the hit that starts it does not wait");
    support::wait_until(seconds(5), "it is adopted", async || read().await == 2).await;
    assert_eq!(origin.loads(), 0);
    assert_eq!(
        two.get::<u32>(&key(1)).await.unwrap().outcome().tier,
        Some(Tier::Memory)
    );
    slow.release_log();
}

/// B9.7, B13.1: until it is delivered, this node neither believes what it concerns nor stores there, whatever it has in
/// memory.
#[tokio::test]
async fn what_is_pending_is_neither_believed_nor_stored_over() {
    for how in ["remove", "tag", "prefix", "clear", "pattern", "set", "blind set"] {
        let store = ScriptedStore::new(SystemClock);
        let line = store.node();
        let (caches, clock) = fleet(&[&store, &line]).await;
        let (other, one) = (&caches[0], &caches[1]);
        let item = key(1);
        assert!(other.set(&item, 1_u32, tagged()).await.unwrap().is_stored());
        store.heard().await;
        if how != "blind set" {
            assert_eq!(value(one, 1).await, Some(1), "{how}");
        }
        for operation in [Operation::Mutate, Operation::MoveMarks, Operation::BeginPattern] {
            line.fail_next(operation, 1_000, FaultKind::Connect);
        }
        let invalidated = match how {
            "remove" => one.remove(&item).await,
            "tag" => one.invalidate_tag("t").await,
            "prefix" => one.remove_prefix("item").await,
            "clear" => one.clear().await,
            "pattern" => {
                let pattern = cache_core::KeyPattern::new("item").unwrap().part(1);
                one.remove_matching(pattern).await
            }
            _ => {
                let stored = one.set(&item, 2_u32, tagged()).await.unwrap();
                assert_eq!(stored, Stored::Locally, "{how}");
                assert_eq!(value(one, 1).await, Some(2), "{how}");
                Ok(())
            }
        };
        assert_eq!(invalidated.is_err(), !how.ends_with("set"), "{how}");
        line.lose_notices();
        store.heard().await;
        assert_eq!(in_memory(one, 1), None, "{how}");
        assert_eq!(value(one, 1).await, None, "{how}: what stands there is older");
        let origin = Origin::open();
        let load = one.get_or_load(&item, tagged(), origin.gives(Ok::<u32, Broken>(3)));
        assert_eq!(*load.await.unwrap(), 3, "{how}");
        let witness = hearing(&store.node(), &clock).await;
        assert_eq!(
            value(&witness, 1).await,
            Some(1),
            "{how}: nothing was stored there"
        );
    }
}

/// B13.2: what became one invalidation of everything reaches the other nodes as that.
#[tokio::test]
async fn too_many_pending_invalidations_clear_the_cache_for_everybody() {
    let store = ScriptedStore::new(SystemClock);
    let line = store.node();
    let (caches, _) = fleet(&[&store, &line]).await;
    let (other, one) = (&caches[0], &caches[1]);
    for n in [1, 20_000] {
        assert!(other.set(&key(n), n, tagged()).await.unwrap().is_stored());
    }
    line.go_away();
    for n in 0..=10_000_u32 {
        assert!(one.remove(&key(n)).await.is_err());
    }
    assert_eq!(one.stats().counters.recovery_overflows, 1);
    line.come_back();
    assert_eq!(one.flush_pending(seconds(5)).await, 0);
    store.heard().await;
    assert_eq!((value(other, 1).await, value(other, 20_000).await), (None, None));
}

/// B12.3
#[tokio::test]
async fn a_notice_drops_every_copy_but_the_one_that_it_tells_of_and_is_told_to_nobody() {
    let store = ScriptedStore::new(SystemClock);
    let line = store.node();
    let (caches, _) = fleet(&[&store, &line]).await;
    let (one, two) = (&caches[0], &caches[1]);
    assert!(one.set(&key(1), 1_u32, tagged()).await.unwrap().is_stored());
    store.heard().await;
    assert_eq!(in_memory(one, 1), Some(1), "its own notice");
    assert_eq!((value(two, 1).await, in_memory(two, 1)), (Some(1), Some(1)));
    line.hold_log();
    assert!(one.set(&key(1), 2_u32, tagged()).await.unwrap().is_stored());
    line.forget_asked();
    line.release_log();
    store.heard().await;
    assert_eq!((in_memory(one, 1), in_memory(two, 1)), (Some(2), None));
    assert_eq!(value(two, 1).await, Some(2));
    one.invalidate_tag("t").await.unwrap();
    store.heard().await;
    assert_eq!(in_memory(two, 1), None);
    for announces in [Operation::Mutate, Operation::MoveMarks] {
        assert_eq!(line.count(announces), 0, "{:?}", line.asked());
    }
    assert!(two.set(&key(1), 3_u32, tagged()).await.unwrap().is_stored());
    store.heard().await;
    assert_eq!(
        (in_memory(one, 1), in_memory(two, 1)),
        (None, Some(3)),
        "a later foreign one"
    );
}

/// B2.5, B13.8, B14.7: without the shared tier, values keep their end; when it is back, what each node loaded alone is
/// asked for again, and what was set is offered to all.
#[tokio::test]
async fn what_nodes_loaded_alone_they_agree_on_when_the_shared_tier_is_back() {
    let (_, clock) = fleet(&[]).await;
    let store = ScriptedStore::new(clock.clone());
    let lines = [store.node(), store.node()];
    let mut nodes = Vec::new();
    for line in &lines {
        nodes.push(hearing(line, &clock).await);
    }
    let (one, two) = (&nodes[0], &nodes[1]);
    let origin = Origin::open();
    let load = async |cache: &Cache, n: u32, gives: u32, ttl: std::time::Duration| {
        let options = EntryOptions::ttl(ttl).stale_for(hours(1)).jitter(0.0);
        let load = origin.gives(Ok::<u32, Broken>(gives));
        *cache.get_or_load(&key(n), options, load).await.unwrap()
    };
    assert!(one.set(&key(2), 20_u32, tagged()).await.unwrap().is_stored());
    assert_eq!(load(one, 3, 30, hours(1)).await, 30, "shared before the outage");
    lines.iter().for_each(ScriptedStore::go_away);
    assert_eq!(load(one, 4, 40, seconds(10)).await, 40);
    clock.advance(seconds(10));
    assert_eq!(
        load(one, 4, 41, seconds(10)).await,
        41,
        "it ended as it would have"
    );
    assert_eq!(load(one, 1, 10, hours(1)).await, 10);
    assert_eq!(load(two, 1, 11, hours(1)).await, 11);
    assert_eq!(one.set(&key(2), 21_u32, tagged()).await.unwrap(), Stored::Locally);
    // One whose load ends when all is well again.
    let slow = Origin::closed();
    let late = {
        let (cache, load) = (two.clone(), slow.gives(Ok::<u32, Broken>(50)));
        tokio::spawn(async move {
            cache
                .get_or_load(&key(5), hours(1), load)
                .await
                .map(|value| *value)
        })
    };
    slow.begun(1).await;
    lines.iter().for_each(ScriptedStore::come_back);
    support::wait_until(seconds(5), "both nodes give the same", async || {
        load(one, 1, 12, hours(1)).await == 12 && load(two, 1, 13, hours(1)).await == 12
    })
    .await;
    slow.release();
    assert_eq!(late.await.unwrap().unwrap(), 50);
    assert_eq!(load(one, 5, 51, hours(1)).await, 51);
    assert_eq!(load(two, 5, 52, hours(1)).await, 51, "it was loaded alone, too");
    let loads = origin.loads();
    assert_eq!(load(one, 3, 31, hours(1)).await, 30);
    assert_eq!(load(two, 3, 31, hours(1)).await, 30, "all nodes have that");
    assert_eq!(origin.loads(), loads);
    clock.advance(seconds(2));
    support::wait_until(seconds(5), "the value that was set is shared", async || {
        value(one, 2).await == Some(21) && value(two, 2).await == Some(21)
    })
    .await;
}
