//! The test kit as its users have it: fleets on a scripted store, faults on demand and by chance, and the observer.

use std::collections::HashMap;

use cache_core::observe::{End, Event, Observer};
use cache_core::shared::FaultKind;
use cache_core::testing::{ChaosStore, ManualClock, Operation, RecordingObserver, ScriptedStore};
use cache_core::time::{Clock as _, SystemClock, TokioClock, minutes, seconds};
use cache_core::{Cache, EntryOptions, ErrorKind, MissReason, OutcomeKind, TagSet, Tier};

use crate::engine::{Broken, Origin, key, ms, poll_once};

/// A fleet that hears its log.
pub(crate) async fn fleet(nodes: &[&ScriptedStore]) -> (Vec<Cache>, ManualClock) {
    let clock = ManualClock::new();
    let mut caches = Vec::new();
    for store in nodes {
        caches.push(hearing(store, &clock).await);
    }
    (caches, clock)
}

pub(crate) async fn hearing(store: &ScriptedStore, clock: &ManualClock) -> Cache {
    let cache = Cache::builder("kit")
        .clock(clock.clone())
        .shared((*store).clone())
        .defaults(EntryOptions::ttl(minutes(5)).jitter(0.0))
        .build()
        .unwrap();
    // The first call begins to hear the log, which forgets what was read before.
    let _ = cache.get::<u32>(&key("begin")).await;
    store.heard().await;
    cache
}

async fn load(cache: &Cache, n: u64, value: u32) -> (u32, OutcomeKind) {
    let load = move |_| async move { Ok::<_, Broken>(value) };
    let loaded = cache.get_or_load(&key(n), minutes(5), load).await.unwrap();
    (*loaded, loaded.outcome().kind)
}

#[tokio::test]
async fn nodes_on_one_store_load_once_and_hear_each_other() {
    let store = ScriptedStore::new(SystemClock);
    let (caches, _) = fleet(&[&store, &store]).await;
    let [one, two] = &caches[..] else { unreachable!() };
    assert_eq!(load(one, 1, 7).await, (7, OutcomeKind::Loaded));
    assert_eq!(load(two, 1, 8).await, (7, OutcomeKind::Fresh));
    assert_eq!(
        two.get::<u32>(&key(1)).await.unwrap().outcome().tier,
        Some(Tier::Memory)
    );
    one.remove(&key(1)).await.unwrap();
    store.heard().await;
    assert!(two.get_in_process::<u32>(key(1).as_key()).is_none());
    assert_eq!(load(two, 1, 9).await, (9, OutcomeKind::Loaded));
}

#[tokio::test]
async fn a_load_at_the_gate_is_waited_for_by_the_other_node() {
    let store = ScriptedStore::new(SystemClock);
    let (caches, _) = fleet(&[&store, &store]).await;
    let (one, two) = (caches[0].clone(), caches[1].clone());
    let origin = Origin::closed();
    let first = tokio::spawn({
        let (cache, load) = (one.clone(), origin.gives(Ok(7_u32)));
        async move {
            cache
                .get_or_load(&key(1), minutes(5), load)
                .await
                .map(|value| *value)
        }
    });
    origin.begun(1).await;
    assert!(store.is_leased("kit:item:1"));
    let second = tokio::spawn(async move { load(&two, 1, 8).await });
    store.heard().await;
    origin.release();
    assert_eq!(first.await.unwrap().unwrap(), 7);
    assert_eq!(second.await.unwrap().0, 7);
    assert_eq!(origin.loads(), 1);
    assert!(!store.is_leased("kit:item:1"));
}

#[tokio::test]
async fn a_store_that_is_away_fails_no_read_and_every_invalidation_is_delivered_when_it_is_back() {
    let store = ScriptedStore::new(SystemClock);
    let cut_off = store.node();
    let (caches, clock) = fleet(&[&store, &cut_off]).await;
    let (one, two) = (&caches[0], &caches[1]);
    load(one, 1, 7).await;
    load(two, 1, 0).await;
    cut_off.go_away();
    assert_eq!(load(two, 1, 8).await.0, 7, "what it has is good for the while");
    assert_eq!(load(two, 2, 8).await, (8, OutcomeKind::Loaded));
    let error = two.remove(&key(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidationUncertain);
    assert_eq!(load(one, 1, 9).await.0, 7, "one has not heard of it");
    assert_eq!(load(two, 1, 10).await.0, 10, "two knows what it invalidated");

    cut_off.come_back();
    clock.advance(seconds(2));
    support::wait_until(seconds(5), "the invalidation is delivered", async || {
        two.stats().counters.recovered > 0
    })
    .await;
    store.heard().await;
    assert!(one.get_in_process::<u32>(key(1).as_key()).is_none());
    assert_eq!(load(one, 1, 11).await, (11, OutcomeKind::Loaded));
}

/// B1.7
#[tokio::test(start_paused = true)]
async fn a_silent_store_costs_one_budget() {
    let store = ScriptedStore::new(TokioClock);
    let cache = Cache::builder("kit")
        .clock(TokioClock)
        .shared(store.clone())
        .build()
        .unwrap();
    store.go_silent();
    let began = TokioClock.now();
    assert_eq!(load(&cache, 1, 7).await.0, 7);
    assert!(TokioClock.now().since(began) <= ms(251));
    assert!(cache.stats().counters.degraded > 0);
}

#[tokio::test]
async fn what_happened_without_an_answer_is_told_apart_from_what_did_not() {
    let store = ScriptedStore::new(SystemClock);
    let (caches, _) = fleet(&[&store]).await;
    let cache = &caches[0];
    load(cache, 1, 7).await;
    let stands = || store.keys().contains(&"kit:item:2".to_owned());
    store.fail_next(Operation::Mutate, 1, FaultKind::Connect);
    assert!(cache.remove(&key(2)).await.unwrap_err().is_uncertain());
    assert!(!stands());
    store.lose_next_answers(Operation::Mutate, 1);
    assert!(cache.remove(&key(2)).await.unwrap_err().is_uncertain());
    assert!(stands(), "the tombstone is there although nobody heard so");
}

#[tokio::test]
async fn operations_wait_at_a_gate_as_many_as_it_lets_through() {
    let store = ScriptedStore::new(SystemClock);
    let (caches, _) = fleet(&[&store]).await;
    let cache = caches[0].clone();
    let (one, two) = (key(1), key(2));
    let gate = store.hold(Operation::Mutate);
    let mut first = Box::pin(cache.remove(&one).into_future());
    let mut second = Box::pin(cache.remove(&two).into_future());
    assert!(poll_once(&mut first).is_pending() && poll_once(&mut second).is_pending());
    gate.arrived(2).await;
    gate.let_through(1);
    first.await.unwrap();
    assert!(poll_once(&mut second).is_pending());
    gate.open();
    second.await.unwrap();
    assert_eq!(store.count(Operation::Mutate), 2);
    assert_eq!(store.asked().last().unwrap().keys, ["kit:item:2"]);
    store.forget_asked();
    assert!(store.asked().is_empty());
}

/// B12.3, B12.5
#[tokio::test]
async fn a_notice_on_its_way_hides_nothing_from_who_asks_the_store() {
    let store = ScriptedStore::new(SystemClock);
    let slow = store.node();
    let (caches, _) = fleet(&[&store, &slow]).await;
    let (one, two) = (&caches[0], &caches[1]);
    let tagged = || EntryOptions::ttl(minutes(5)).tags(TagSet::new(["t"]).unwrap());
    assert!(one.set(&key(1), 1_u32, tagged()).await.unwrap().is_stored());
    assert_eq!(*two.get::<u32>(&key(1)).await.unwrap(), 1);
    slow.hold_log();
    one.invalidate_tag("t").await.unwrap();
    store.heard().await;
    assert_eq!(*two.get::<u32>(&key(1)).await.unwrap(), 1, "it has not heard yet");
    slow.release_log();
    store.heard().await;
    assert!(two.get::<u32>(&key(1)).await.is_none());

    assert!(one.set(&key(2), 2_u32, tagged()).await.unwrap().is_stored());
    assert!(two.get::<u32>(&key(2)).await.is_some());
    slow.lose_notices();
    store.heard().await;
    assert!(
        two.get_in_process::<u32>(key(2).as_key()).is_none(),
        "it may have missed something"
    );
    store.flush();
    store.heard().await;
    assert!(one.get::<u32>(&key(2)).await.is_none() && two.get::<u32>(&key(2)).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn under_chaos_no_call_fails_and_no_node_reads_what_was_invalidated_here() {
    for seed in 0..6 {
        let store = ScriptedStore::new(SystemClock);
        let chaos = ChaosStore::around(store, seed)
            .failing(0.2)
            .losing_answers(0.1)
            .delaying(0.2, ms(0)..ms(2));
        let cache = Cache::builder("kit").shared(chaos).build().unwrap();
        let mut newest = HashMap::new();
        for n in 0..200_u32 {
            let id = u64::from(n % 5);
            if n % 7 == 0 {
                // Unacknowledged or not: from here on this node reads nothing older.
                let _ = cache.remove(&key(id)).await;
                newest.insert(id, n);
            }
            let (value, _) = load(&cache, id, n).await;
            let bound = newest.get(&id).copied().unwrap_or_default();
            assert!(value >= bound, "seed {seed}: {value} is from before {bound}");
        }
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_run() {
    let run = async |seed| {
        let clock = ManualClock::new();
        let chaos = ChaosStore::around(ScriptedStore::new(clock.clone()), seed).failing(0.3);
        let cache = Cache::builder("kit").clock(clock).shared(chaos).build().unwrap();
        for n in 0..50 {
            load(&cache, n, 1).await;
        }
        cache.stats().counters.degraded
    };
    let (first, again, other) = (run(1).await, run(1).await, run(2).await);
    assert_eq!(first, again);
    assert!(first > 0 && other > 0);
}

#[tokio::test]
async fn an_observer_hears_of_each_call_once_and_of_how_it_ended() {
    let (observer, clock) = (RecordingObserver::new(), ManualClock::new());
    let cache = Cache::builder("kit")
        .clock(clock.clone())
        .observer(observer.clone())
        .build()
        .unwrap();
    let part = cache.namespace("eu").unwrap();
    assert!(cache.get::<u32>(&key(1)).await.is_none());
    load(&cache, 1, 7).await;
    cache.get::<u32>(&key(1)).await.unwrap();
    load(&part, 1, 8).await;
    let failing = cache
        .get_or_load(&key(2), minutes(1), |_| async { Err::<u32, _>(Broken("down")) })
        .await;
    failing.unwrap_err();
    let (origin, three) = (Origin::closed(), key(3));
    let mut left = Box::pin(cache.get_or_load(&three, minutes(1), origin.gives(Ok(1_u32))));
    assert!(poll_once(&mut left).is_pending());
    drop(left);
    origin.release();

    let calls = observer.calls();
    let texts: Vec<String> = calls.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "kit:item:1 not_found reason=absent",
            "kit:item:1 loaded reason=absent age=0ns",
            "kit:item:1 fresh tier=memory age=0ns",
            "kit/eu:item:1 loaded reason=absent age=0ns",
            "kit:item:2 failed kind=loader_error reason=absent",
            "kit:item:3 abandoned reason=absent",
        ]
    );
    assert_eq!(calls.len() as u64, cache.stats().counters.calls());
    assert_eq!(observer.of(&key(2)), [End::Failed(None, MissReason::Absent)]);
    assert_eq!(observer.take().len(), 6);
    assert!(observer.calls().is_empty());
}

#[derive(Debug)]
struct Panics;

impl Observer for Panics {
    fn ended(&self, _: &Event<'_>) {
        panic!("on purpose");
    }
}

#[tokio::test]
async fn an_observer_that_panics_harms_no_call() {
    let cache = Cache::builder("kit").observer(Panics).build().unwrap();
    assert_eq!(load(&cache, 1, 7).await.0, 7);
    assert_eq!(load(&cache, 1, 8).await.0, 7);
    assert_eq!(cache.stats().counters.calls(), 2);
}
