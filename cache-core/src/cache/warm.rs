//! Warming: loads ahead of traffic, a few at a time, without pushing out what traffic has brought in.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::cache::{Cache, CacheValue};
use crate::error::LoadError;
use crate::key::CacheKey;
use crate::loaded::Loaded;
use crate::options::EntryOptions;
use crate::outcome::OutcomeKind;
use crate::sync::Arc;

impl Cache {
    /// Loads the values of `keys` ahead of traffic; those that are fresh in a tier are skipped.
    ///
    /// Each key takes the way of [`get_or_load`](Self::get_or_load), so two nodes that warm one list load each key
    /// once, callers that come meanwhile join, and a shared tier that is away costs what it costs a call. New entries
    /// come into memory as the first to be evicted, and warming stops before memory is full: it never pushes out what
    /// traffic has brought in, unless it is told to go on ([`beyond_memory`](Warming::beyond_memory)).
    ///
    /// ```
    /// use cache_core::{Cache, CacheKey, time::minutes};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::builder("shop").build()?;
    /// let keys = (0..100_u32).map(|id| CacheKey::build("price", id)).collect::<Result<Vec<_>, _>>()?;
    /// let load = |key: CacheKey| async move { Ok::<_, std::io::Error>(key.text().len()) };
    /// let report = cache.warm(keys, minutes(5), load).concurrency(8).per_second(1_000).await;
    /// assert_eq!((report.loaded, report.failed, report.left), (100, 0, 0));
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancellation
    ///
    /// Dropping it starts no further load; those under way go on and are stored.
    pub fn warm<T, E, I, F, Fut>(
        &self,
        keys: I,
        options: impl Into<EntryOptions>,
        loader: F,
    ) -> Warming<I::IntoIter, Loader<T, E>>
    where
        T: CacheValue,
        E: Send + Sync + 'static,
        I: IntoIterator<Item = CacheKey>,
        F: Fn(CacheKey) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        Warming {
            cache: self.clone(),
            keys: keys.into_iter(),
            options: options.into(),
            loader: Arc::new(move |key| Box::pin(loader(key))),
            concurrency: 4,
            pause: Duration::ZERO,
            beyond_memory: false,
            progress: None,
        }
    }
}

/// A loader of many keys, without its type.
type Loader<T, E> = Arc<dyn Fn(CacheKey) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send>> + Send + Sync>;

/// Who hears how far it is.
type Progress = Box<dyn FnMut(&WarmReport) + Send>;

/// A warming that begins when it is awaited; see [`Cache::warm`].
#[must_use = "it begins when it is awaited"]
pub struct Warming<I, L> {
    cache: Cache,
    keys: I,
    options: EntryOptions,
    loader: L,
    concurrency: usize,
    pause: Duration,
    beyond_memory: bool,
    progress: Option<Progress>,
}

/// What became of the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WarmReport {
    /// Loaded by this warming.
    pub loaded: u64,
    /// Fresh already, or loaded by somebody else meanwhile, another node included.
    pub skipped: u64,
    /// Not loaded: the loader failed, or took too long. A stale value may stand there.
    pub failed: u64,
    /// Not tried, because it stopped.
    pub left: u64,
    /// Why it stopped before the end of the list.
    pub stopped: Option<WarmStop>,
}

/// Why a warming stops before the end of its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WarmStop {
    /// More would push out what is in memory.
    MemoryFull,
    /// The cache is closing.
    Closing,
}

impl<I, L> Warming<I, L> {
    /// How many keys are under way at once. Default: 4, which an origin hardly notices; 0 counts as 1.
    pub fn concurrency(mut self, keys: usize) -> Self {
        self.concurrency = keys.max(1);
        self
    }

    /// How many keys are begun in a second at most, fresh ones included. Default: no limit; 0 counts as 1.
    pub fn per_second(mut self, keys: u32) -> Self {
        self.pause = Duration::from_secs(1) / keys.max(1);
        self
    }

    /// Goes on when memory is full: for a list that is to be in the shared tier. Default: stops.
    pub fn beyond_memory(mut self) -> Self {
        self.beyond_memory = true;
        self
    }

    /// Tells `progress` what has become of the keys so far, after each one.
    pub fn progress(mut self, progress: impl FnMut(&WarmReport) + Send + 'static) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Why nothing more should be begun.
    fn stop(&self) -> Option<WarmStop> {
        if self.cache.inner().tasks.is_closing() {
            Some(WarmStop::Closing)
        } else if !self.beyond_memory && !self.cache.inner().memory.has_room() {
            Some(WarmStop::MemoryFull)
        } else {
            None
        }
    }

    fn note(&mut self, report: &mut WarmReport, end: End) {
        match end {
            End::Loaded => report.loaded += 1,
            End::Skipped => report.skipped += 1,
            End::Failed => report.failed += 1,
        }
        if let Some(progress) = &mut self.progress {
            progress(report);
        }
    }
}

impl<T, E, I> Warming<I, Loader<T, E>>
where
    T: CacheValue,
    E: Send + Sync + 'static,
    I: Iterator<Item = CacheKey> + Send + 'static,
{
    async fn run(mut self) -> WarmReport {
        let mut report = WarmReport::default();
        let mut pace = Pace::of(self.pause);
        let mut under_way = JoinSet::new();
        let has_runtime = Handle::try_current().is_ok();
        while let Some(key) = self.keys.next() {
            if let Some(stop) = self.stop() {
                report.stopped = Some(stop);
                report.left = 1 + self.keys.by_ref().count() as u64;
                break;
            }
            pace.next().await;
            let one = warm_one(self.cache.clone(), key, self.options.clone(), self.loader.clone());
            if !has_runtime {
                let end = one.await;
                self.note(&mut report, end);
                continue;
            }
            under_way.spawn(one);
            while under_way.len() >= self.concurrency
                && let Some(end) = under_way.join_next().await
            {
                self.note(&mut report, end.unwrap_or(End::Failed));
            }
        }
        while let Some(end) = under_way.join_next().await {
            self.note(&mut report, end.unwrap_or(End::Failed));
        }
        report
    }
}

impl<T, E, I> IntoFuture for Warming<I, Loader<T, E>>
where
    T: CacheValue,
    E: Send + Sync + 'static,
    I: Iterator<Item = CacheKey> + Send + 'static,
{
    type Output = WarmReport;
    type IntoFuture = Pin<Box<dyn Future<Output = WarmReport> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

#[derive(Clone, Copy)]
enum End {
    Loaded,
    Skipped,
    Failed,
}

async fn warm_one<T, E>(cache: Cache, key: CacheKey, options: EntryOptions, loader: Loader<T, E>) -> End
where
    T: CacheValue,
    E: Send + Sync + 'static,
{
    let load = {
        let key = key.clone();
        move |_| loader(key)
    };
    let loaded: Result<Loaded<T>, LoadError<E>> = cache.get_or_load(&key, options, load).await;
    match loaded.map(|loaded| loaded.outcome().kind) {
        Ok(OutcomeKind::Loaded) => End::Loaded,
        Ok(OutcomeKind::Fresh | OutcomeKind::Shared | OutcomeKind::Negative) => End::Skipped,
        Ok(OutcomeKind::Stale(_) | OutcomeKind::Fallback) | Err(_) => End::Failed,
    }
}

/// Keeps a distance between keys; none without a runtime to keep the time.
struct Pace(Option<Interval>);

impl Pace {
    fn of(pause: Duration) -> Self {
        Self((!pause.is_zero() && Handle::try_current().is_ok()).then(|| {
            let mut ticks = interval(pause);
            // A slow origin is not made up for by a burst.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        }))
    }

    async fn next(&mut self) {
        if let Some(ticks) = &mut self.0 {
            ticks.tick().await;
        }
    }
}

impl<I, L> fmt::Debug for Warming<I, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Warming")
            .field("cache", &self.cache)
            .field("concurrency", &self.concurrency)
            .field("pause", &self.pause)
            .finish_non_exhaustive()
    }
}
