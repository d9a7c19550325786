//! Warming: loads ahead of traffic, a few at a time, without pushing out what traffic has brought in.
//!
//! One engine ([`drive`]) does it, for a list that is awaited ([`Cache::warm`]) and for [`Warmer`]s, which have a name, run
//! by themselves, and tell how it went.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;

use crate::cache::flights::Settled;
use crate::cache::load::certain;
use crate::cache::{Cache, CacheValue};
use crate::error::LoadError;
use crate::key::CacheKey;
use crate::loaded::Loaded;
use crate::options::EntryOptions;
use crate::outcome::{MissReason, Outcome, OutcomeKind, StaleReason};
use crate::sync::Arc;

mod ahead;
mod drive;
mod fleet;
mod outcome;
mod registry;
mod run;
mod warmer;

pub use outcome::{Warmed, WarmerOutput};
pub use registry::{WarmCause, WarmResult, WarmerHandle, WarmerRun, WarmerStatus};
pub use run::WarmRun;
pub use warmer::Warmer;

pub(crate) use registry::Warmers;
pub(crate) use warmer::Schedule;

use ahead::Horizon;
use drive::{Limits, Listed, drive};
use outcome::end_of;

impl Cache {
    /// Loads the values of `keys` ahead of traffic; those that are fresh in a tier are skipped.
    ///
    /// Each key takes the way of [`get_or_load`](Self::get_or_load), so two nodes that warm one list load each key
    /// once, callers that come meanwhile join, and a shared tier that is away costs what it costs a call. Warming
    /// stops before memory is full, so it never pushes out what traffic has brought in, unless it is told to go on
    /// ([`beyond_memory`](Warming::beyond_memory)).
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
            limits: Limits::gentle(),
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
    limits: Limits,
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
    /// Not tried, because it stopped; at least so many, if the list does not know its length.
    pub left: u64,
    /// How many there are at most, if the list knows.
    pub expected: Option<u64>,
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
    /// How many keys are under way at once. Default: 5, which an origin hardly notices; 0 counts as 1.
    pub fn concurrency(mut self, keys: usize) -> Self {
        self.limits.concurrency = keys.max(1);
        self
    }

    /// How many keys are begun in a second at most, fresh ones included. Default: no limit; 0 counts as 1.
    pub fn per_second(mut self, keys: u32) -> Self {
        self.limits.pause = Duration::from_secs(1) / keys.max(1);
        self
    }

    /// Goes on when memory is full: for a list that is to be in the shared tier. Default: stops.
    pub fn beyond_memory(mut self) -> Self {
        self.limits.beyond_memory = true;
        self
    }

    /// Tells `progress` what has become of the keys so far, after each one.
    pub fn progress(mut self, progress: impl FnMut(&WarmReport) + Send + 'static) -> Self {
        self.progress = Some(Box::new(progress));
        self
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
        let Self {
            cache,
            keys,
            options,
            loader,
            limits,
            progress,
        } = self;
        let mut tell = progress.unwrap_or_else(|| Box::new(|_| {}));
        Box::pin(async move {
            let one = |key| {
                let warm = warm_key(cache.clone(), key, options.clone(), Horizon::NONE, loader.clone());
                async move { end_of(&warm.await) }
            };
            drive(&cache, limits, Listed(keys), one, |report| tell(report)).await
        })
    }
}

/// Takes one key the way of [`Cache::get_or_load`]; a fresh value that would not last for `horizon` is loaded anew.
async fn warm_key<T, E>(
    cache: Cache,
    key: CacheKey,
    options: EntryOptions,
    horizon: Horizon,
    loader: Loader<T, E>,
) -> Result<Outcome, LoadError<E>>
where
    T: CacheValue,
    E: Send + Sync + 'static,
{
    let load = || {
        let (key, loader) = (key.clone(), loader.clone());
        move |_| loader(key)
    };
    let found: Loaded<T> = cache.get_or_load(&key, options.clone(), load()).await?;
    let outcome = found.outcome();
    let is_due =
        outcome.kind == OutcomeKind::Fresh && horizon.is_due(&found.entry().meta, cache.inner.clock.now());
    if !is_due {
        return Ok(outcome);
    }
    let renewed = cache
        .renew(&key, &options, found.entry(), certain::<T, E, _, _>(load()))
        .await?;
    Ok(match renewed {
        Some(Settled::Loaded(_)) => Outcome::load(OutcomeKind::Loaded, MissReason::Forced),
        Some(Settled::Failed(_) | Settled::Doubted(_)) => Outcome {
            kind: OutcomeKind::Stale(StaleReason::LoadFailed),
            ..outcome
        },
        Some(Settled::Found(..) | Settled::Slow(_)) | None => outcome,
    })
}

impl<I, L> fmt::Debug for Warming<I, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Warming")
            .field("cache", &self.cache)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
