//! What the tests of the engine share: caches under a clock that stands, and an origin that answers when it is told to.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use cache_core::testing::ManualClock;
use cache_core::time::TokioClock;
use cache_core::{Cache, CacheBuilder, CacheKey, EntryOptions, LoadContext};
use tokio::sync::Semaphore;

/// The loader's own error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) &'static str);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Broken {}

pub(crate) type Answer<T = u32> = Result<T, Broken>;

/// What a loader returns.
pub(crate) type Load<T> = Pin<Box<dyn Future<Output = Answer<T>> + Send>>;

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn key(n: impl cache_core::key::KeyParts) -> CacheKey {
    CacheKey::build("item", n).unwrap()
}

/// A cache without jitter; TTLs end when the clock is moved.
pub(crate) fn cache() -> (Cache, ManualClock) {
    cache_with(|builder| builder)
}

pub(crate) fn cache_with(settings: impl FnOnce(CacheBuilder) -> CacheBuilder) -> (Cache, ManualClock) {
    let clock = ManualClock::new();
    let builder = Cache::builder("test")
        .clock(clock.clone())
        .defaults(EntryOptions::new().jitter(0.0));
    (settings(builder).build().unwrap(), clock)
}

/// A cache without jitter whose TTLs and timers follow the paused time of the runtime.
pub(crate) fn timed_cache(settings: impl FnOnce(CacheBuilder) -> CacheBuilder) -> Cache {
    let builder = Cache::builder("test")
        .clock(TokioClock)
        .defaults(EntryOptions::new().jitter(0.0));
    settings(builder).build().unwrap()
}

/// Fresh for a second, stale for a minute.
pub(crate) fn second_then_stale() -> EntryOptions {
    EntryOptions::ttl(ms(1_000)).stale_for(Duration::from_secs(60))
}

/// An origin whose loads are counted, and wait until they are let through.
#[derive(Clone)]
pub(crate) struct Origin(Arc<Inner>);

struct Inner {
    begun: AtomicUsize,
    ended: AtomicUsize,
    started: Semaphore,
    gate: Semaphore,
}

impl Origin {
    /// Loads wait.
    pub(crate) fn closed() -> Self {
        Self(Arc::new(Inner {
            begun: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            started: Semaphore::new(0),
            gate: Semaphore::new(0),
        }))
    }

    /// Loads do not wait.
    pub(crate) fn open() -> Self {
        let origin = Self::closed();
        origin.release();
        origin
    }

    /// All loads go on, those to come too.
    pub(crate) fn release(&self) {
        self.let_through(1_000_000);
    }

    pub(crate) fn let_through(&self, loads: usize) {
        self.0.gate.add_permits(loads);
    }

    /// How many loads began.
    pub(crate) fn loads(&self) -> usize {
        self.0.begun.load(Ordering::SeqCst)
    }

    /// How many loads ended by themselves.
    pub(crate) fn ended(&self) -> usize {
        self.0.ended.load(Ordering::SeqCst)
    }

    /// Waits until so many more loads have begun.
    pub(crate) async fn begun(&self, loads: u32) {
        self.0.started.acquire_many(loads).await.unwrap().forget();
    }

    /// One load.
    pub(crate) async fn answer<T>(&self, answer: Answer<T>) -> Answer<T> {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        self.0.started.add_permits(1);
        self.0.gate.acquire().await.unwrap().forget();
        self.0.ended.fetch_add(1, Ordering::SeqCst);
        answer
    }

    /// A loader that gives this answer.
    pub(crate) fn gives<T, U>(
        &self,
        answer: Answer<T>,
    ) -> impl FnOnce(LoadContext<U>) -> Load<T> + Send + 'static
    where
        T: Send + 'static,
        U: 'static,
    {
        let origin = self.clone();
        move |_| Box::pin(async move { origin.answer(answer).await })
    }
}

/// Waits until no load is in flight, letting the tasks of this runtime run.
pub(crate) async fn settle(cache: &Cache) {
    for _ in 0..10_000 {
        if cache.loads_in_flight() == 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{} loads are still in flight", cache.loads_in_flight());
}

/// Lets the other tasks of this runtime run until they wait.
pub(crate) async fn others_run() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Polls once.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Runs a future without any runtime.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        std::thread::park();
    }
}
