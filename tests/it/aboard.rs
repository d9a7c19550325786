//! Loads that lie aboard their caller while they look into the shared tier: nobody notices but by the tasks that are not
//! started.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use cache_core::testing::{ManualClock, Operation, ScriptedStore};
use cache_core::time::{SystemClock, minutes, seconds};
use cache_core::{Cache, CacheKey, EntryOptions, ErrorKind, OutcomeKind, Tier};
use serde::{Deserialize, Serialize};
use support::RedisServer;
use support::soak::fleet::hearing_node;
use tokio::runtime::{Builder, Handle};

use crate::engine::{Answer, Origin, key, others_run, poll_once, settle};
use crate::test_kit::{fleet, hearing};

/// A node with nothing in memory, on a store that has `1` under the first key.
async fn node(store: &ScriptedStore) -> Cache {
    let clock = ManualClock::new();
    let (filler, cache) = (hearing(store, &clock).await, hearing(store, &clock).await);
    assert!(filler.set(&key(1), 1_u32, minutes(5)).await.unwrap().is_stored());
    // Its own tasks end with it.
    drop(filler);
    store.heard().await;
    others_run().await;
    store.forget_asked();
    cache
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

async fn get(cache: &Cache, n: u32, origin: &Origin) -> (u32, OutcomeKind, Option<Tier>) {
    let load = origin.gives(Ok(100 + n));
    let got = cache.get_or_load(&key(n), minutes(5), load).await.unwrap();
    (*got, got.outcome().kind, got.outcome().tier)
}

#[tokio::test]
async fn a_hit_in_the_shared_tier_starts_no_task_and_a_second_caller_does() {
    let store = ScriptedStore::new(SystemClock);
    let cache = node(&store).await;
    let (before, origin) = (tasks(), Origin::open());
    let gate = store.hold(Operation::Read);
    let mut first = Box::pin(get(&cache, 1, &origin));
    assert!(poll_once(&mut first).is_pending());
    assert_eq!(
        (tasks(), store.count(Operation::Read)),
        (before, 1),
        "it asks itself"
    );
    let mut second = Box::pin(get(&cache, 1, &origin));
    assert!(poll_once(&mut second).is_pending());
    assert_eq!((tasks(), cache.loads_in_flight()), (before + 1, 1));
    gate.open();
    let found = (1, OutcomeKind::Fresh, Some(Tier::Shared));
    assert_eq!(first.await, found);
    assert_eq!((second.await.0, store.count(Operation::Read)), (1, 1));
    settle(&cache).await;
    assert_eq!((tasks(), origin.loads()), (before, 0));
}

/// Counts how often it is woken.
#[derive(Default)]
struct Wakes(AtomicU64);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Waking oneself while one runs makes the runtime wake another of its threads.
#[tokio::test]
async fn a_load_that_lands_in_its_callers_hands_wakes_nobody_and_one_that_is_taken_wakes_its_caller() {
    for joined in [false, true] {
        let store = ScriptedStore::new(SystemClock);
        let (cache, origin) = (node(&store).await, Origin::open());
        let wakes = Arc::<Wakes>::default();
        let waker = Waker::from(wakes.clone());
        let mut context = Context::from_waker(&waker);
        let gate = store.hold(Operation::Read);
        let mut call = pin!(get(&cache, 1, &origin));
        assert!(call.as_mut().poll(&mut context).is_pending());
        let mut joins = Box::pin(get(&cache, 1, &origin));
        if joined {
            assert!(poll_once(&mut joins).is_pending());
            assert_eq!(
                wakes.0.load(Ordering::SeqCst),
                1,
                "it has to wait like the others"
            );
            assert!(call.as_mut().poll(&mut context).is_pending());
        }
        gate.open();
        let mut woken = wakes.0.load(Ordering::SeqCst);
        while call.as_mut().poll(&mut context).is_pending() {
            others_run().await;
            woken = wakes.0.load(Ordering::SeqCst);
        }
        assert_eq!(wakes.0.load(Ordering::SeqCst), woken, "{joined}");
    }
}

/// A future that is not polled any more, as in a `select!` that has turned to something else.
#[tokio::test]
async fn who_joins_a_caller_that_stalls_is_answered_as_if_it_did_not() {
    for stored in [true, false] {
        let store = ScriptedStore::new(SystemClock);
        let (cache, origin) = (node(&store).await, Origin::open());
        let n = if stored { 1 } else { 2 };
        let gate = store.hold(Operation::Read);
        let mut stalls = Box::pin(get(&cache, n, &origin));
        assert!(poll_once(&mut stalls).is_pending());
        gate.open();
        let value = if stored { 1 } else { 102 };
        assert_eq!(get(&cache, n, &origin).await.0, value);
        assert_eq!(stalls.await.0, value);
        assert_eq!(origin.loads(), usize::from(!stored));
        assert_eq!(store.count(Operation::Read), 1, "one look for both");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_a_caller_that_stalls_on_redis_is_answered() {
    let redis = RedisServer::start();
    let (filler, cache) = (
        hearing_node(&redis.url(), |node| node).await,
        hearing_node(&redis.url(), |node| node).await,
    );
    let origin = Origin::open();
    for n in 0..50 {
        let stored = n % 2 == 0;
        if stored {
            assert!(filler.set(&key(n), n, minutes(5)).await.unwrap().is_stored());
        }
        let mut stalls = Box::pin(get(&cache, n, &origin));
        let polled = poll_once(&mut stalls);
        let joined = tokio::spawn({
            let (cache, origin) = (cache.clone(), origin.clone());
            async move { get(&cache, n, &origin).await.0 }
        });
        let value = if stored { n } else { 100 + n };
        assert_eq!(joined.await.unwrap(), value);
        if polled.is_pending() {
            assert_eq!(stalls.await.0, value);
        }
    }
    assert_eq!(origin.loads(), 25);
}

/// What a loader finds out about where it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    runtime: String,
    task: Option<String>,
    /// Whether it sees what belongs to its caller's task.
    at_its_callers: bool,
}

tokio::task_local! {
    static CALLER: ();
}

impl Place {
    async fn here() -> Self {
        Self {
            runtime: Handle::current().id().to_string(),
            task: tokio::task::try_id().map(|id| id.to_string()),
            at_its_callers: CALLER.try_with(|()| ()).is_ok(),
        }
    }
}

async fn place(cache: &Cache, n: u32) -> Place {
    let load = |_| async { Answer::Ok(Place::here().await) };
    let got = cache.get_or_load(&key(n), minutes(5), load).await.unwrap();
    (*got).clone()
}

async fn places(cache: &Cache, range: std::ops::Range<u32>) -> Vec<Place> {
    let keys: Vec<_> = range.map(key).collect();
    let load = |keys: Vec<CacheKey>| async {
        let here = Place::here().await;
        Answer::Ok(HashMap::from_iter(
            keys.into_iter().map(|key| (key, here.clone())),
        ))
    };
    let got = cache.get_or_load_many(&keys, minutes(5), load).await.unwrap();
    got.into_iter().map(|place| (*place.unwrap()).clone()).collect()
}

#[tokio::test]
async fn no_loader_runs_in_its_callers_task() {
    let store = ScriptedStore::new(SystemClock);
    let cache = node(&store).await;
    let caller = async move {
        let (own, here) = (tokio::task::id().to_string(), Place::here().await);
        assert!(here.at_its_callers);
        let mut found = vec![place(&cache, 2).await];
        found.extend(places(&cache, 10..15).await);
        store.go_away();
        found.push(place(&cache, 3).await);
        found.extend(places(&cache, 20..22).await);
        for place in found {
            assert_eq!((&place.runtime, place.at_its_callers), (&here.runtime, false));
            assert!(place.task.is_some_and(|task| task != own));
        }
    };
    tokio::spawn(CALLER.scope((), caller)).await.unwrap();
}

/// B1.4: whoever takes it there, be it from another runtime, or from none.
#[test]
fn a_load_goes_ashore_on_the_runtime_of_its_own_caller() {
    let runtime = || Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let (home, elsewhere) = (runtime().unwrap(), runtime().unwrap());
    let store = ScriptedStore::new(SystemClock);
    let cache = home.block_on(node(&store));
    for (n, how) in [(2, "another"), (3, "none"), (4, "dropped")] {
        let gate = store.hold(Operation::Read);
        let mut stalls = Box::pin(place(&cache, n));
        home.block_on(async { assert!(poll_once(&mut stalls).is_pending()) });
        gate.open();
        let stalls = (how != "dropped").then_some(stalls);
        let joins = place(&cache, n);
        let got = match how {
            "none" => crate::engine::block_on(joins),
            _ => elsewhere.block_on(joins),
        };
        assert_eq!(got.runtime, home.handle().id().to_string(), "{how}");
        if let Some(stalls) = stalls {
            assert_eq!(home.block_on(stalls), got, "{how}");
        }
    }
}

/// B1.4
#[tokio::test]
async fn a_sole_caller_that_is_dropped_while_it_looks_leaves_a_load_that_goes_on() {
    let store = ScriptedStore::new(SystemClock);
    let (cache, origin) = (node(&store).await, Origin::open());
    for n in [1, 2] {
        let gate = store.hold(Operation::Read);
        let mut call = Box::pin(get(&cache, n, &origin));
        assert!(poll_once(&mut call).is_pending());
        drop(call);
        assert_eq!((cache.loads_in_flight(), cache.stats().waiters), (1, 0));
        gate.open();
        settle(&cache).await;
        let kept = cache.get_in_process::<u32>(key(n).as_key()).map(|value| *value);
        assert_eq!(kept, Some(if n == 1 { 1 } else { 102 }));
    }
    assert_eq!(origin.loads(), 1);
}

/// B1.4: the option.
#[tokio::test]
async fn a_load_that_is_to_stop_with_its_last_caller_stops_also_while_it_looks() {
    let store = ScriptedStore::new(SystemClock);
    let (cache, origin) = (node(&store).await, Origin::open());
    let gate = store.hold(Operation::Read);
    let options = EntryOptions::ttl(minutes(5)).abort_when_abandoned(true);
    let item = key(2);
    let mut call = Box::pin(cache.get_or_load(&item, options, origin.gives(Ok(7_u32))));
    assert!(poll_once(&mut call).is_pending());
    drop(call);
    settle(&cache).await;
    gate.open();
    others_run().await;
    assert_eq!(origin.loads(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callers_at_once_look_once_and_load_once() {
    let redis = RedisServer::start();
    let cache = hearing_node(&redis.url(), |node| node).await;
    for n in 0..5 {
        let origin = Origin::open();
        let calls: Vec<_> = (0..1_000)
            .map(|_| {
                let (cache, origin) = (cache.clone(), origin.clone());
                tokio::spawn(async move { get(&cache, n, &origin).await.0 })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap(), 100 + n);
        }
        assert_eq!(origin.loads(), 1);
    }
}

/// Callers that come, join, stall, go on and go away while their loads look: everybody who stays is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_that_come_and_go_while_a_load_looks_lose_nothing() {
    let redis = RedisServer::start();
    let (filler, cache) = (
        hearing_node(&redis.url(), |node| node).await,
        hearing_node(&redis.url(), |node| node).await,
    );
    let origin = Origin::open();
    for round in 0..100 {
        let stored = round % 2 == 0;
        if stored {
            assert!(
                filler
                    .set(&key(round), round, minutes(5))
                    .await
                    .unwrap()
                    .is_stored()
            );
        }
        let calls: Vec<_> = (0..8_u64)
            .map(|caller| {
                let (cache, origin) = (cache.clone(), origin.clone());
                tokio::spawn(async move {
                    let mut call = pin!(get(&cache, round, &origin));
                    for _ in 0..caller % 3 {
                        if let Poll::Ready(got) = poll_once(&mut call) {
                            return Some(got.0);
                        }
                        tokio::task::yield_now().await;
                    }
                    match caller % 2 {
                        0 => Some(call.await.0),
                        _ => None,
                    }
                })
            })
            .collect();
        let value = if stored { round } else { 100 + round };
        for call in calls {
            let got = call.await.unwrap();
            assert!(got.is_none_or(|got| got == value), "{got:?} in round {round}");
        }
        assert_eq!(get(&cache, round, &origin).await.0, value);
    }
    settle(&cache).await;
    assert_eq!(origin.loads(), 50);
}

/// B1.4, F87
#[tokio::test]
async fn a_cache_that_closes_waits_for_a_load_that_only_looked() {
    let store = ScriptedStore::new(SystemClock);
    let (cache, origin) = (node(&store).await, Origin::open());
    let gate = store.hold(Operation::Read);
    let mut stalls = Box::pin(get(&cache, 2, &origin));
    assert!(poll_once(&mut stalls).is_pending());
    let mut closes = Box::pin(cache.close(seconds(5)));
    assert!(poll_once(&mut closes).is_pending(), "it waits");
    gate.open();
    closes.await.unwrap();
    assert_eq!((origin.ended(), cache.loads_in_flight()), (1, 0));
    assert_eq!(stalls.await.0, 102);
}

/// F87: with its caller, or before it.
#[test]
fn a_runtime_may_be_dropped_while_a_load_looks() {
    let home = || Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let store = ScriptedStore::new(SystemClock);
    let cache = home().unwrap().block_on(node(&store));
    for its_own_task in [true, false] {
        let (home, origin, item) = (home().unwrap(), Origin::open(), key(2));
        let gate = store.hold(Operation::Read);
        let mut calls = None;
        if its_own_task {
            let (cache, origin) = (cache.clone(), origin.clone());
            home.spawn(async move { get(&cache, 2, &origin).await });
            home.block_on(gate.arrived(1));
        } else {
            let mut call = Box::pin(cache.get_or_load(&item, minutes(5), origin.gives(Ok(7_u32))));
            home.block_on(async { assert!(poll_once(&mut call).is_pending()) });
            calls = Some(call);
        }
        drop(home);
        gate.open();
        drop(calls);
        assert_eq!((cache.loads_in_flight(), cache.stats().waiters), (0, 0));
    }
}

/// A value whose decoding panics.
#[derive(Debug)]
struct Treacherous;

impl Serialize for Treacherous {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(1)
    }
}

impl<'de> Deserialize<'de> for Treacherous {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("the stored value is poison")
    }
}

/// B1.3
#[tokio::test]
async fn a_panic_while_a_value_is_decoded_ends_the_load_and_not_its_caller() {
    let store = ScriptedStore::new(SystemClock);
    let cache = node(&store).await;
    let load = |_| async { Answer::Ok(Treacherous) };
    let got = cache.get_or_load(&key(1), minutes(5), load).await;
    let error = got.map(|_| ()).unwrap_err();
    assert_eq!(
        error.cache().map(cache_core::Error::kind),
        Some(ErrorKind::LoadAborted)
    );
    assert_eq!((cache.loads_in_flight(), cache.stats().waiters), (0, 0));
}

/// B1.7
#[tokio::test]
async fn a_batch_that_finds_everything_starts_no_task_and_who_joins_one_key_takes_it_ashore() {
    let store = ScriptedStore::new(SystemClock);
    let (caches, _) = fleet(&[&store, &store]).await;
    let [filler, cache] = &caches[..] else {
        unreachable!()
    };
    let values = (0..10_u32).map(|n| (key(n), n));
    let _ = filler.set_many(values, minutes(5)).await.unwrap();
    store.heard().await;
    let before = tasks();
    let loads = Arc::new(AtomicU64::new(0));
    let keys: Vec<_> = (0..12_u32).map(key).collect();
    let batch = |range: std::ops::Range<usize>| {
        let (keys, loads) = (&keys[range], loads.clone());
        Box::pin(
            cache.get_or_load_many(keys, minutes(5), move |missing: Vec<CacheKey>| {
                loads.fetch_add(missing.len() as u64, Ordering::SeqCst);
                async { Answer::Ok(missing.into_iter().map(|key| (key, 100_u32)).collect()) }
            }),
        )
    };
    let gate = store.hold(Operation::Read);
    let mut found = batch(0..5);
    assert!(poll_once(&mut found).is_pending());
    assert_eq!(tasks(), before, "it asks itself");
    let mut stalls = batch(5..12);
    assert!(poll_once(&mut stalls).is_pending());
    let mut joins = batch(11..12);
    assert!(poll_once(&mut joins).is_pending());
    assert_eq!(tasks(), before + 1, "the whole batch");
    gate.open();
    assert_eq!(*joins.await.unwrap().remove(0).unwrap(), 100);
    assert_eq!(found.await.unwrap().len(), 5);
    let got: Vec<_> = stalls
        .await
        .unwrap()
        .into_iter()
        .map(|value| *value.unwrap())
        .collect();
    assert_eq!(got, [5, 6, 7, 8, 9, 100, 100]);
    settle(cache).await;
    assert_eq!((loads.load(Ordering::SeqCst), tasks()), (2, before));
}
