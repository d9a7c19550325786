//! What a cached function does when its load fails, panics, hangs or waits for itself.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use cache_core::testing::ManualClock;
use cache_core::{Cache, Error, ErrorKind, OutcomeKind, cached};
use tokio::sync::{Barrier, Notify};

/// Not `Clone`, and cannot tell about the cache.
#[derive(Debug, PartialEq)]
struct Plain(usize);

#[derive(Clone, Debug, PartialEq)]
struct Shared(usize);

/// Not `Clone`, and tells about the cache.
#[derive(Debug)]
enum Telling {
    Own(usize),
    Cache(Error),
}

impl From<Error> for Telling {
    fn from(error: Error) -> Self {
        Self::Cache(error)
    }
}

/// What a test lets its functions do, and how often they did it.
#[derive(Clone)]
struct World(Arc<Inner>);

struct Inner {
    cache: Cache,
    runs: AtomicUsize,
    gate: Notify,
}

impl World {
    fn new() -> Self {
        Self::with(Cache::builder("world").build().unwrap())
    }

    fn with(cache: Cache) -> Self {
        let inner = Inner {
            cache,
            runs: AtomicUsize::new(0),
            gate: Notify::new(),
        };
        Self(Arc::new(inner))
    }

    fn run(&self) -> usize {
        self.0.runs.fetch_add(1, SeqCst) + 1
    }

    fn runs(&self) -> usize {
        self.0.runs.load(SeqCst)
    }
}

#[cached(cache = world.0.cache, skip(world))]
async fn shared(world: World, id: u64) -> Result<u64, Shared> {
    let run = world.run();
    tokio::time::sleep(Duration::from_millis(10)).await;
    if id == 0 { Err(Shared(run)) } else { Ok(id) }
}

#[cached(cache = world.0.cache, skip(world))]
async fn plain(world: World, id: u64) -> Result<u64, Plain> {
    let run = world.run();
    tokio::time::sleep(Duration::from_millis(10)).await;
    if id == 0 { Err(Plain(run)) } else { Ok(id) }
}

#[cached(cache = world.0.cache, skip(world))]
async fn plain_borrowed(world: &World, id: u64) -> Result<u64, Plain> {
    let run = world.run();
    tokio::time::sleep(Duration::from_millis(10)).await;
    if id == 0 { Err(Plain(run)) } else { Ok(id) }
}

#[cached(cache = world.0.cache, skip(world), hard_timeout = "5s", error_ttl = "1m")]
async fn telling(world: World, id: u64) -> Result<u64, Telling> {
    let run = world.run();
    match id {
        0 => Err(Telling::Own(run)),
        1 => std::future::pending().await,
        2 => panic!("id {id}"),
        _ => Ok(id),
    }
}

#[cached(cache = world.0.cache, skip(world))]
async fn hangs(world: World, id: u64) -> u64 {
    world.run();
    world.0.gate.notified().await;
    id
}

#[cached(cache = world.0.cache, skip(world))]
async fn panics(world: World, id: u64) -> u64 {
    world.run();
    tokio::time::sleep(Duration::from_millis(10)).await;
    panic!("id {id}")
}

#[cached(cache = world.0.cache, skip(world))]
fn asks_itself(world: World, id: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if world.run() == 1 {
            asks_itself(world, id).await + 1
        } else {
            id
        }
    })
}

#[cached(cache = world.0.cache, skip(world))]
fn asks_another(world: World, id: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if world.run() == 1 {
            asks_back(world, id).await + 1
        } else {
            id
        }
    })
}

#[cached(cache = world.0.cache, skip(world))]
fn asks_back(world: World, id: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move { asks_another(world, id).await + 10 })
}

#[cached(cache = world.0.cache, skip(world))]
fn asks_itself_and_is_told(
    world: World,
    id: u64,
) -> Pin<Box<dyn Future<Output = Result<u64, Telling>> + Send>> {
    Box::pin(async move { asks_itself_and_is_told(world, id).await })
}

/// Starts `n` calls that meet before they ask.
async fn together<T: Send + 'static, F>(n: usize, call: impl Fn() -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(n));
    let calls: Vec<_> = (0..n)
        .map(|_| {
            let (barrier, call) = (barrier.clone(), call());
            tokio::spawn(async move {
                barrier.wait().await;
                call.await
            })
        })
        .collect();
    let mut results = Vec::new();
    for call in calls {
        results.push(call.await.unwrap());
    }
    results
}

#[tokio::test(start_paused = true)]
async fn an_error_that_is_clone_reaches_all_who_waited_for_one_load() {
    let world = World::new();
    let results = together(50, || shared(world.clone(), 0)).await;
    assert!(
        results.iter().all(|result| *result == Err(Shared(1))),
        "{results:?}"
    );
    assert_eq!(world.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_is_not_clone_goes_to_its_caller_and_the_others_load_one_at_a_time() {
    let world = World::new();
    let results = together(5, || plain(world.clone(), 0)).await;
    let mut runs: Vec<_> = results.into_iter().map(|result| result.unwrap_err().0).collect();
    runs.sort_unstable();
    assert_eq!(runs, [1, 2, 3, 4, 5], "every caller has an error of its own");
    let world_of_tasks = world.clone();
    let results = together(5, move || {
        let world = world_of_tasks.clone();
        async move { plain_borrowed(&world, 0).await }
    })
    .await;
    assert!(results.iter().all(Result::is_err));
    assert_eq!(plain(world.clone(), 7).await, Ok(7), "an error is not kept");
}

#[tokio::test(start_paused = true)]
async fn an_error_that_can_tell_gets_timeouts_panics_and_recorded_failures() {
    let world = World::new();
    let timeout = telling(world.clone(), 1).await.unwrap_err();
    assert!(
        matches!(&timeout, Telling::Cache(error) if error.is_timeout()),
        "{timeout:?}"
    );
    let panic = telling(world.clone(), 2).await.unwrap_err();
    assert!(
        matches!(&panic, Telling::Cache(error) if error.is_panic() && error.to_string().contains("id 2"))
    );
    let own = telling(world.clone(), 0).await.unwrap_err();
    assert!(matches!(own, Telling::Own(3)));
    let recorded = telling(world.clone(), 0).await.unwrap_err();
    assert!(
        matches!(&recorded, Telling::Cache(error) if error.kind() == ErrorKind::RecordedFailure),
        "{recorded:?}"
    );
    assert_eq!(world.runs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_function_that_cannot_tell_runs_on_alone_after_the_longest_load() {
    let world = World::with(
        Cache::builder("short")
            .max_load(Duration::from_secs(1))
            .build()
            .unwrap(),
    );
    let call = tokio::spawn(hangs::outcome(world.clone(), 7));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.runs(), 1, "it was not started again");
    world.0.gate.notify_waiters();
    let (value, outcome) = call.await.unwrap();
    assert_eq!((value, outcome.kind), (7, OutcomeKind::Loaded));
    let kept = hangs::peek(world.clone(), 7).await.unwrap();
    assert!(kept.is_none(), "what took too long is not stored");
}

#[tokio::test(start_paused = true)]
async fn a_panic_resumes_in_every_caller_and_leaves_nothing_behind() {
    let world = World::new();
    let calls = || {
        let call = AssertUnwindSafe(panics(world.clone(), 7));
        async move {
            tokio::spawn(call.0)
                .await
                .unwrap_err()
                .into_panic()
                .downcast::<String>()
                .unwrap()
        }
    };
    let messages = together(3, calls).await;
    assert!(
        messages.iter().all(|message| message.contains("id 7")),
        "{messages:?}"
    );
    assert_eq!(world.runs(), 1);
    assert_eq!(world.0.cache.loads_in_flight(), 0);
}

#[tokio::test]
async fn recursion_on_the_same_key_runs_without_the_cache() {
    let world = World::new();
    assert_eq!(asks_itself(world.clone(), 7).await, 8);
    assert_eq!(asks_itself(world.clone(), 7).await, 8, "the outer result is kept");
    let world = World::new();
    assert_eq!(asks_another(world.clone(), 7).await, 18);
    assert_eq!(world.0.cache.loads_in_flight(), 0);
    let told = asks_itself_and_is_told(world, 7).await.unwrap_err();
    assert!(matches!(told, Telling::Cache(error) if error.is_reentrant()));
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_no_owned_load_with_it() {
    let world = World::new();
    let call = tokio::spawn(hangs(world.clone(), 7));
    while world.runs() == 0 {
        tokio::task::yield_now().await;
    }
    call.abort();
    let waiter = tokio::spawn(hangs(world.clone(), 7));
    while world.0.cache.stats().waiters == 0 {
        tokio::task::yield_now().await;
    }
    world.0.gate.notify_waiters();
    assert_eq!(waiter.await.unwrap(), 7);
    assert_eq!(world.runs(), 1);
}

#[cached(cache = world.0.cache, skip(world), ttl = "1m", stale = "1h", jitter = 0.0)]
async fn falls_back(world: World, id: u64) -> Result<u64, Shared> {
    let run = world.run();
    if run == 1 { Ok(id) } else { Err(Shared(run)) }
}

#[tokio::test]
async fn a_stale_value_stands_in_for_an_error() {
    let clock = ManualClock::new();
    let world = World::with(Cache::builder("stale").clock(clock.clone()).build().unwrap());
    assert_eq!(falls_back(world.clone(), 7).await, Ok(7));
    clock.advance(Duration::from_secs(61));
    let (value, outcome) = falls_back::outcome(world.clone(), 7).await.unwrap();
    assert_eq!(value, 7);
    assert!(outcome.is_stale());
    clock.advance(Duration::from_secs(3_700));
    assert_eq!(falls_back(world.clone(), 7).await, Err(Shared(3)));
}
