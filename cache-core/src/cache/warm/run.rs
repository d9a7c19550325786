//! [`WarmRun`]: what a warmer's closure is given for one run.

use std::fmt;
use std::future::Future;

use futures_core::Stream;

use crate::cache::{Cache, CacheValue};
use crate::key::CacheKey;
use crate::options::EntryOptions;
use crate::sync::{Arc, Mutex, lock};

use super::drive::{Limits, Listed, drive};
use super::outcome::{Warmed, end_of};
use super::{Loader, WarmReport, ahead, warm_key};

/// One run of a [`Warmer`](super::Warmer): its cache, and ways through lists that keep to the warmer's concurrency and
/// rate, stay behind live traffic, and are counted in its report. Lists are gone through one after another.
pub struct WarmRun {
    cache: Cache,
    limits: Limits,
    ahead: ahead::Horizon,
    /// Of all lists of this run so far.
    report: Arc<Mutex<WarmReport>>,
}

impl WarmRun {
    pub(super) fn new(
        cache: Cache,
        limits: Limits,
        ahead: ahead::Horizon,
        report: Arc<Mutex<WarmReport>>,
    ) -> Self {
        Self {
            cache,
            limits,
            ahead,
            report,
        }
    }

    /// The cache that the warmer was added to.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Loads what is not fresh of `keys`, as [`Cache::warm`] does; and of a warmer that runs at an interval also what would
    /// go stale before the next run.
    pub async fn keys<T, E, I, F, Fut>(
        &mut self,
        keys: I,
        options: impl Into<EntryOptions>,
        loader: F,
    ) -> WarmReport
    where
        T: CacheValue,
        E: Send + Sync + 'static,
        I: IntoIterator<Item = CacheKey>,
        F: Fn(CacheKey) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        self.load_all(Listed(keys.into_iter()), options.into(), loader)
            .await
    }

    /// Goes through a list of anything: symbols, users, rows that were read already. `warm` makes the call that fills the
    /// cache, and what it returns tells whether that loaded.
    ///
    /// ```
    /// # use cache_core::{Cache, cached, warm::Warmer};
    /// #[cached(ttl = "5m")]
    /// async fn quote(symbol: String) -> Result<f64, String> {
    ///     Ok(symbol.len() as f64) // asks the exchange
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = Cache::builder("market").build()?;
    /// # Cache::install(cache.clone())?;
    /// let warmer = cache.add_warmer(Warmer::new("top-symbols", |mut run| async move {
    ///     run.each(["GOOG", "AAPL"], |symbol| quote::outcome(symbol.to_owned())).await
    /// }))?;
    /// assert_eq!(warmer.settled().await.expect("it ran").report.loaded, 2);
    /// # Ok(()) }
    /// ```
    pub async fn each<I, F, Fut>(&mut self, items: I, warm: F) -> WarmReport
    where
        I: IntoIterator,
        F: FnMut(I::Item) -> Fut,
        Fut: Future<Output: Warmed> + Send + 'static,
    {
        self.stream(Listed(items.into_iter()), warm).await
    }

    /// Like [`each`](Self::each), for what arrives bit by bit: pages of a query, lines of a file. The next item is asked for
    /// when there is room for it.
    pub async fn stream<S, F, Fut>(&mut self, items: S, mut warm: F) -> WarmReport
    where
        S: Stream,
        F: FnMut(S::Item) -> Fut,
        Fut: Future<Output: Warmed> + Send + 'static,
    {
        let one = |item| {
            let call = warm(item);
            async move { end_of(&call.await) }
        };
        let (before, total) = (*lock(&self.report), self.report.clone());
        let tell = |report: &WarmReport| *lock(&total) = before.and(report);
        let report = drive(&self.cache, self.limits, items, one, tell).await;
        *lock(&self.report) = before.and(&report);
        report
    }

    pub(super) async fn load_all<T, E, S, F, Fut>(
        &mut self,
        keys: S,
        options: EntryOptions,
        loader: F,
    ) -> WarmReport
    where
        T: CacheValue,
        E: Send + Sync + 'static,
        S: Stream<Item = CacheKey>,
        F: Fn(CacheKey) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let loader: Loader<T, E> = Arc::new(move |key| Box::pin(loader(key)));
        let (cache, horizon) = (self.cache.clone(), self.ahead);
        self.stream(keys, move |key| {
            warm_key(cache.clone(), key, options.clone(), horizon, loader.clone())
        })
        .await
    }
}

impl WarmReport {
    /// Both together; the later one tells why it stopped.
    fn and(&self, later: &Self) -> Self {
        Self {
            loaded: self.loaded + later.loaded,
            skipped: self.skipped + later.skipped,
            failed: self.failed + later.failed,
            left: self.left + later.left,
            expected: match (self.expected, later.expected) {
                (Some(before), Some(later)) => Some(before + later),
                (None, later) if self.tried() == 0 => later,
                _ => None,
            },
            stopped: later.stopped.or(self.stopped),
        }
    }

    /// How many keys were tried.
    pub fn tried(&self) -> u64 {
        self.loaded + self.skipped + self.failed
    }
}

impl fmt::Debug for WarmRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WarmRun")
            .field("cache", &self.cache)
            .field("limits", &self.limits)
            .field("report", &*lock(&self.report))
            .finish_non_exhaustive()
    }
}
