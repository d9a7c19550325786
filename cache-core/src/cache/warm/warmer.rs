//! [`Warmer`]: what is warmed, when, and how hard.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;

use crate::cache::{CacheValue, check_name};
use crate::error::Error;
use crate::key::CacheKey;
use crate::options::EntryOptions;
use crate::sync::Arc;
use crate::time::{minutes, seconds};

use super::drive::{Limits, Listed};
use super::outcome::{WarmerOutput, sealed::WarmerOutput as _};
use super::{WarmRun, ahead};

/// What a run does; why it failed, if it did.
pub(super) type Job =
    Arc<dyn Fn(WarmRun) -> Pin<Box<dyn Future<Output = Option<String>> + Send>> + Send + Sync>;

/// A warmer: a name, what to load, and when and how hard. [`Cache::add_warmer`](crate::Cache::add_warmer) starts it.
///
/// ```
/// use cache_core::warm::Warmer;
/// use cache_core::{Cache, CacheKey, time::minutes};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = Cache::builder("market").build()?;
/// let keys = ["GOOG", "AAPL"].map(|symbol| CacheKey::build("profile", symbol));
/// let load = |key: CacheKey| async move { Ok::<_, std::io::Error>(key.text().len()) };
/// let warmer = Warmer::keys("profiles", keys.into_iter().collect::<Result<Vec<_>, _>>()?, minutes(30), load);
/// let warmer = cache.add_warmer(warmer.every(minutes(25)).concurrency(2))?;
///
/// let run = warmer.settled().await.expect("it ran"); // nothing waits for it but this example
/// assert_eq!((run.report.loaded, run.report.failed), (2, 0));
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "it runs once it is added to a cache"]
pub struct Warmer {
    pub(super) name: String,
    pub(super) schedule: Schedule,
    beyond_memory: bool,
    pub(super) job: Job,
}

/// When and how hard; what is open is left to the configuration, and then to the defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Schedule {
    pub(crate) enabled: Option<bool>,
    pub(crate) at_start: Option<bool>,
    pub(crate) every: Option<Duration>,
    pub(crate) concurrency: Option<usize>,
    pub(crate) rate: Option<f64>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) each_node: Option<bool>,
}

impl Warmer {
    /// A warmer that runs `run`: a closure over the cache that it is [given](WarmRun::cache), which goes through whatever
    /// lists it finds, one after another.
    ///
    /// ```
    /// # use cache_core::{Cache, CacheKey, EntryOptions, time::minutes, warm::Warmer};
    /// # async fn most_wanted() -> Result<Vec<CacheKey>, std::io::Error> { Ok(Vec::new()) }
    /// # async fn load(key: CacheKey) -> Result<String, std::io::Error> { Ok(key.text().to_owned()) }
    /// let warmer = Warmer::new("most-wanted", |mut run| async move {
    ///     let keys = most_wanted().await?;
    ///     Ok::<_, std::io::Error>(run.keys(keys, minutes(5), load).await)
    /// });
    /// # let _ = warmer;
    /// ```
    ///
    /// A closure that captures a handle to the cache keeps it alive for ever: take the one of the run.
    pub fn new<F, Fut>(name: impl Into<String>, run: F) -> Self
    where
        F: Fn(WarmRun) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: WarmerOutput> + Send + 'static,
    {
        let job: Job = Arc::new(move |given| {
            let run = run(given);
            Box::pin(async move { run.await.error() })
        });
        Self {
            name: name.into(),
            schedule: Schedule::default(),
            beyond_memory: false,
            job,
        }
    }

    /// A warmer of a list of keys; see [`WarmRun::keys`].
    pub fn keys<T, E, F, Fut>(
        name: impl Into<String>,
        keys: impl Into<Vec<CacheKey>>,
        options: impl Into<EntryOptions>,
        loader: F,
    ) -> Self
    where
        T: CacheValue,
        E: Send + Sync + 'static,
        F: Fn(CacheKey) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let keys: Arc<[CacheKey]> = keys.into().into();
        let listed = move || {
            let keys = keys.clone();
            Listed((0..keys.len()).map(move |at| keys[at].clone()))
        };
        Self::stream(name, listed, options, loader)
    }

    /// A warmer of keys that arrive bit by bit: `keys` begins the stream anew for each run.
    pub fn stream<T, E, K, S, F, Fut>(
        name: impl Into<String>,
        keys: K,
        options: impl Into<EntryOptions>,
        loader: F,
    ) -> Self
    where
        T: CacheValue,
        E: Send + Sync + 'static,
        K: Fn() -> S + Send + Sync + 'static,
        S: Stream<Item = CacheKey> + Send + 'static,
        F: Fn(CacheKey) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let (options, loader) = (options.into(), Arc::new(loader));
        Self::new(name, move |mut run| {
            let (keys, options, loader) = (keys(), options.clone(), loader.clone());
            async move {
                run.load_all(keys, options, move |key| loader(key)).await;
                Ok::<_, Infallible>(())
            }
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it runs when it is added, beside whatever else is done then. Default: it does.
    pub fn at_start(mut self, runs: bool) -> Self {
        self.schedule.at_start = Some(runs);
        self
    }

    /// Runs again at this interval, from beginning to beginning; a run that takes longer delays the next. Each run also
    /// loads what would go stale before the next one, so that no call ever waits for it. Default: not again.
    pub fn every(mut self, interval: Duration) -> Self {
        self.schedule.every = Some(interval);
        self
    }

    /// How many loads run at once. Default: 5, few beside live traffic.
    pub fn concurrency(mut self, loads: usize) -> Self {
        self.schedule.concurrency = Some(loads);
        self
    }

    /// How many keys are begun in a second at most, fresh ones included. Default: no limit.
    pub fn per_second(mut self, keys: f64) -> Self {
        self.schedule.rate = Some(keys);
        self
    }

    /// A run ends after this at the latest; loads that it began go on and are stored. Default: 5 minutes.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.schedule.timeout = Some(limit);
        self
    }

    /// Runs by the schedule on each node, all at the same time: for what is to be in every node's memory at once. Each key
    /// is still loaded once.
    ///
    /// Default: the nodes of a fleet take turns. At start one goes through the list, and the next ones find in the shared
    /// tier what it loaded; at the interval one node runs, and the others leave it at that.
    pub fn each_node(mut self) -> Self {
        self.schedule.each_node = Some(true);
        self
    }

    /// Goes on when memory is full: for lists that are to be in the shared tier. Default: stops before it pushes out what
    /// traffic has brought in.
    pub fn beyond_memory(mut self) -> Self {
        self.beyond_memory = true;
        self
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        check_name("the warmer's name", &self.name)?;
        let refused = |field: &str, why: &str| {
            let name = &self.name;
            Err(Error::invalid(format!("`{field}` of the warmer `{name}` {why}")))
        };
        let schedule = &self.schedule;
        match schedule {
            Schedule {
                concurrency: Some(0), ..
            } => refused("concurrency", "is zero; allow at least one load"),
            Schedule { rate: Some(rate), .. } if !(*rate > 0.0 && *rate <= 1e6) => refused(
                "per_second",
                "must be above 0 and at most a million; leave it out for no limit",
            ),
            Schedule {
                every: Some(every), ..
            } if *every < seconds(1) => refused("every", "must be at least a second"),
            Schedule {
                timeout: Some(Duration::ZERO),
                ..
            } => refused("timeout", "is zero; give runs some time"),
            _ => Ok(()),
        }
    }

    pub(super) fn limits(&self) -> Limits {
        let gentle = Limits::gentle();
        Limits {
            concurrency: self.schedule.concurrency.unwrap_or(gentle.concurrency),
            pause: self
                .schedule
                .rate
                .map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate)),
            beyond_memory: self.beyond_memory,
        }
    }

    pub(super) fn horizon(&self) -> ahead::Horizon {
        ahead::Horizon(self.schedule.every.filter(|_| self.schedule.is_enabled()))
    }
}

impl Schedule {
    /// This, and where it is open, `other`.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            enabled: self.enabled.or(other.enabled),
            at_start: self.at_start.or(other.at_start),
            every: self.every.or(other.every),
            concurrency: self.concurrency.or(other.concurrency),
            rate: self.rate.or(other.rate),
            timeout: self.timeout.or(other.timeout),
            each_node: self.each_node.or(other.each_node),
        }
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or(true)
    }

    pub(super) fn runs_at_start(&self) -> bool {
        self.is_enabled() && self.at_start.unwrap_or(true)
    }

    pub(super) fn interval(&self) -> Option<Duration> {
        self.every.filter(|_| self.is_enabled())
    }

    pub(super) fn limit(&self) -> Duration {
        self.timeout.unwrap_or(minutes(5))
    }

    pub(super) fn is_for_each_node(&self) -> bool {
        self.each_node.unwrap_or(false)
    }
}

impl fmt::Debug for Warmer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Warmer")
            .field("name", &self.name)
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}
