//! What each option and each companion does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use cache_core::testing::ManualClock;
use cache_core::{Cache, OutcomeKind, Stored, cached};
use serde::{Deserialize, Serialize};

#[derive(Clone)]
struct World {
    cache: Cache,
    clock: ManualClock,
    runs: Arc<AtomicUsize>,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::new();
        Self {
            cache: Cache::builder("options").clock(clock.clone()).build().unwrap(),
            clock,
            runs: Arc::default(),
        }
    }

    fn run(&self) -> usize {
        self.runs.fetch_add(1, SeqCst) + 1
    }

    fn runs(&self) -> usize {
        self.runs.load(SeqCst)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    customer: u64,
    open: bool,
}

#[cached(cache = world.cache, skip(world), if = id > 0)]
async fn used_if(world: &World, id: u64) -> usize {
    let _ = id;
    world.run()
}

#[cached(cache = world.cache, skip(world), if = |id| id.is_multiple_of(2))]
async fn used_if_closure(world: &World, id: u64) -> usize {
    let _ = id;
    world.run()
}

#[cached(cache = world.cache, skip(world), store_if = |order| !order.open)]
async fn stored_if(world: &World, id: u64) -> Order {
    world.run();
    Order {
        id,
        customer: 1,
        open: id == 0,
    }
}

#[cached(
    cache = world.cache,
    skip(world),
    jitter = 0.0,
    ttl = |order| Duration::from_secs(if order.open { 1 } else { 60 }),
    tags = ["customer:{result.customer}", "order:{id}"]
)]
async fn order(world: World, id: u64) -> Result<Order, std::fmt::Error> {
    world.run();
    Ok(Order {
        id,
        customer: id * 10,
        open: id == 0,
    })
}

#[cached(cache = world.cache, skip(world), ttl = "1m", negative_ttl = "5s", jitter = 0.0)]
async fn maybe(world: &World, id: u64) -> Option<usize> {
    let run = world.run();
    (id > 0).then_some(run)
}

#[cached(cache = world.cache, skip(world), ttl = "1m", stale = "1h", background, jitter = 0.0)]
async fn behind(world: World, id: u64) -> usize {
    let _ = id;
    world.run()
}

#[cached(cache = world.cache, skip(world), ttl = "1m")]
async fn named(world: &World, name: &str) -> usize {
    let _ = name;
    world.run()
}

tokio::task_local! {
    static TENANT: u64;
}

#[cached(cache = world.cache, skip(world), propagate(TENANT))]
async fn of_a_tenant(world: World, tenant: u64) -> u64 {
    world.run();
    let _ = tenant;
    TENANT.try_with(|tenant| *tenant).unwrap_or(0)
}

#[tokio::test]
async fn a_condition_decides_whether_the_cache_is_used() {
    let world = World::new();
    assert_eq!((used_if(&world, 1).await, used_if(&world, 1).await), (1, 1));
    assert_eq!((used_if(&world, 0).await, used_if(&world, 0).await), (2, 3));
    assert_eq!(
        (used_if_closure(&world, 1).await, used_if_closure(&world, 1).await),
        (4, 5)
    );
    assert_eq!(
        (used_if_closure(&world, 2).await, used_if_closure(&world, 2).await),
        (6, 6)
    );
    let (_, outcome) = used_if::outcome(&world, 0).await;
    assert_eq!(outcome.reason, Some(cache_core::MissReason::Bypassed));
}

#[tokio::test]
async fn the_value_decides_whether_how_long_and_under_which_tags_it_is_stored() {
    let world = World::new();
    stored_if(&world, 0).await;
    assert!(stored_if::peek(&world, 0).await.unwrap().is_none());
    stored_if(&world, 1).await;
    assert!(stored_if::peek(&world, 1).await.unwrap().is_some());

    order(world.clone(), 0).await.unwrap();
    order(world.clone(), 7).await.unwrap();
    world.clock.advance(Duration::from_secs(2));
    assert!(order::peek(world.clone(), 0).await.unwrap().is_none());
    assert!(order::peek(world.clone(), 7).await.unwrap().is_some());
    world.cache.invalidate_tag("customer:70").await.unwrap();
    assert!(order::peek(world.clone(), 7).await.unwrap().is_none());
    order(world.clone(), 7).await.unwrap();
    world.cache.invalidate_tag("order:7").await.unwrap();
    assert!(order::peek(world.clone(), 7).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_missing_is_kept_for_its_own_time() {
    let world = World::new();
    assert_eq!((maybe(&world, 0).await, maybe(&world, 0).await), (None, None));
    assert_eq!(world.runs(), 1);
    let (value, outcome) = maybe::outcome(&world, 0).await;
    assert_eq!((value, outcome.kind), (None, OutcomeKind::Negative));
    world.clock.advance(Duration::from_secs(6));
    maybe(&world, 0).await;
    assert_eq!(world.runs(), 2);
    assert_eq!(maybe::set(&world, 0, Some(9)).await.unwrap(), Stored::Yes);
    assert_eq!(maybe(&world, 0).await, Some(9));
    let _ = maybe::set(&world, 0, None).await.unwrap();
    assert_eq!((maybe(&world, 0).await, world.runs()), (None, 2));
}

#[tokio::test]
async fn a_stale_value_is_answered_at_once_while_a_load_runs_behind_it() {
    let world = World::new();
    assert_eq!(behind(world.clone(), 7).await, 1);
    world.clock.advance(Duration::from_secs(61));
    let (value, outcome) = behind::outcome(world.clone(), 7).await;
    assert_eq!(value, 1);
    assert!(outcome.is_stale(), "{outcome}");
    while behind::peek(world.clone(), 7).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(behind(world.clone(), 7).await, 2);
}

#[tokio::test]
async fn the_companions_read_write_and_remove_the_same_entry() {
    let world = World::new();
    let id = 3;
    assert!(behind::peek(world.clone(), id).await.unwrap().is_none());
    assert_eq!(behind(world.clone(), id).await, 1);
    assert_eq!(
        behind::peek(world.clone(), id).await.unwrap().as_deref(),
        Some(&1)
    );
    assert_eq!(behind::uncached(world.clone(), id).await, 2);
    assert_eq!(behind(world.clone(), id).await, 1);
    assert_eq!(behind::refresh(world.clone(), id).await, 3);
    assert_eq!(behind(world.clone(), id).await, 3);
    assert_eq!(behind::set(world.clone(), id, 40).await.unwrap(), Stored::Yes);
    let (value, outcome) = behind::outcome(world.clone(), id).await;
    assert_eq!((value, outcome.kind), (40, OutcomeKind::Fresh));
    behind::invalidate(world.clone(), id).await.unwrap();
    assert_eq!(behind(world.clone(), id).await, 4);
    behind(world.clone(), 5).await;
    behind::invalidate_all(world.clone()).await.unwrap();
    assert_eq!(
        (behind(world.clone(), id).await, behind(world.clone(), 5).await),
        (6, 7)
    );
    let key = behind::key(id).unwrap();
    assert_eq!(world.cache.get::<usize>(&key).await.as_deref(), Some(&6));
}

/// Like any future, companions do nothing until they are awaited.
#[tokio::test]
async fn companions_act_when_they_are_awaited() {
    let world = World::new();
    drop(named::set(&world, "Ada", 6));
    let (stored, peeked) = (named::set(&world, "Ada", 7), named::peek(&world, "Ada"));
    let removed = named::invalidate(&world, "Ada");
    assert!(named::peek(&world, "Ada").await.unwrap().is_none());
    assert_eq!(stored.await.unwrap(), Stored::Yes);
    assert_eq!(peeked.await.unwrap().as_deref(), Some(&7));
    drop(removed);
    assert_eq!(named(&world, "Ada").await, 7);
}

#[tokio::test]
async fn task_locals_travel_with_a_load_that_runs_elsewhere() {
    let world = World::new();
    assert_eq!(TENANT.scope(5, of_a_tenant(world.clone(), 5)).await, 5);
    assert_eq!(
        of_a_tenant(world.clone(), 6).await,
        0,
        "there was none to take along"
    );
}

mod one {
    #[cache_core::cached(prefix = "contested")]
    pub(super) async fn quote(id: u64) -> u64 {
        id
    }
}

mod other {
    #[cache_core::cached(prefix = "contested")]
    pub(super) async fn rate(id: u64) -> u64 {
        id * 2
    }
}

mod third {
    #[cache_core::cached(key = "contested:{id}")]
    pub(super) async fn told(id: u64) -> Result<u64, cache_core::Error> {
        Ok(id)
    }
}

#[tokio::test]
async fn a_function_whose_keys_are_anothers_runs_without_the_cache_or_tells() {
    assert_eq!(one::quote(3).await, 3);
    assert_eq!(other::rate(3).await, 6, "not the other's value");
    let told = third::told(3).await.unwrap_err().to_string();
    assert!(
        told.contains("one::quote") && told.contains("third::told") && told.contains("options.rs:"),
        "{told}"
    );
    assert!(other::rate::key(3).unwrap_err().is_invalid());
}

#[tokio::test]
async fn a_key_or_a_tag_that_cannot_be_made_is_no_failure() {
    #[derive(Clone)]
    struct Broken;

    impl Serialize for Broken {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("broken"))
        }
    }

    #[cached(companions = false)]
    async fn keyed(broken: Broken) -> u64 {
        let _ = broken;
        7
    }

    #[cached(companions = false, tags = ["{text}"])]
    async fn tagged(text: String) -> usize {
        text.len()
    }

    assert_eq!(keyed(Broken).await, 7);
    assert_eq!(tagged(String::new()).await, 0, "a tag cannot be empty");
}
