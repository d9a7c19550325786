//! System A: what must happen once happens once, across processes and restarts.
//!
//! * A **candle** is claimed, processed, and confirmed: nobody processes it again for an hour. A process that dies with a
//!   candle in its hands leaves the claim to its lease; then another takes the candle up.
//! * A **signal** is published once a day: [`mark_published`](Dedup::mark_published) stores its id, atomically.
//!
//! Without Redis both hold in this process. With it they hold in the fleet, for as long as Redis answers; while it does
//! not, this process still never repeats itself, says that others may repeat it, counts how often
//! ([`unguarded`](Dedup::unguarded)), and goes on.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use cache_core::time::{hours, seconds};
use cache_core::{Cache, Claim, ClaimAttempt, EntryOptions, Error};

use crate::candles::{Symbol, Timeframe};

/// A candle, as its sources name it: their clocks differ a little.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandleId {
    /// What is traded.
    pub symbol: Symbol,
    /// How long it lasts.
    pub timeframe: Timeframe,
    /// When it begins, in seconds since 1970.
    pub time: u64,
}

/// For how long what holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DedupConfig {
    /// A beginning that is off by up to this is the same candle's. Default: 60 s; `CANDLE_CHECK_WINDOW`, in seconds.
    pub window: Duration,
    /// How long a process may work on a candle before it counts as dead. Default: 30 s; `CANDLE_LEASE`.
    pub lease: Duration,
    /// How long a processed candle is remembered. Default: 1 h; `CANDLE_TTL`.
    pub candle_ttl: Duration,
    /// How long a published signal is remembered. Default: 24 h; `SIGNAL_TTL`.
    pub signal_ttl: Duration,
}

/// What became of a candle that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processed<T> {
    /// The effect happened, here and now.
    Now(T),
    /// It had happened before.
    Before,
    /// Another process is at it; should it have died, the candle is free after this time.
    Elsewhere(Duration),
}

/// Remembers what was processed and published.
#[derive(Debug)]
pub struct Dedup {
    fleet: Cache,
    /// What this process did, whatever becomes of Redis.
    here: Cache,
    config: DedupConfig,
    unguarded: AtomicU64,
}

impl Dedup {
    /// In a namespace of `cache`, whose values are read, set, removed and cleared through [`cache`](Self::cache).
    ///
    /// # Errors
    ///
    /// None, unless a name in this file is wrong.
    pub fn new(cache: &Cache, config: DedupConfig) -> Result<Self, Error> {
        Ok(Self {
            fleet: cache.namespace("dedup")?,
            here: Cache::builder("dedup-here").build()?,
            config,
            unguarded: AtomicU64::new(0),
        })
    }

    /// Runs `effect` unless the candle was processed before, or is under way.
    ///
    /// # Errors
    ///
    /// The effect's, after which the candle may be offered again at once.
    ///
    /// # Cancellation
    ///
    /// Dropped during the effect, nobody knows whether it happened: the candle is free when its lease ends.
    pub async fn process<T, E>(
        &self,
        candle: &CandleId,
        effect: impl Future<Output = Result<T, E>>,
    ) -> Result<Processed<T>, E>
    where
        E: From<Error>,
    {
        let claims = match self.claim(candle).await? {
            Ok(claims) => claims,
            Err(remaining) if remaining > self.config.lease => return Ok(Processed::Before),
            Err(remaining) => return Ok(Processed::Elsewhere(remaining)),
        };
        match effect.await {
            Ok(done) => {
                for claim in claims {
                    if !claim.confirm(self.config.candle_ttl).await {
                        self.warn(candle, "its claim had ended before it was confirmed");
                    }
                }
                Ok(Processed::Now(done))
            }
            Err(error) => {
                for claim in claims {
                    claim.release().await;
                }
                Err(error)
            }
        }
    }

    /// The claims of this process and of the fleet, or how long somebody else's lasts.
    async fn claim(&self, candle: &CandleId) -> Result<Result<Vec<Claim>, Duration>, Error> {
        let key = candle.key(self.config.window)?;
        let own = match self.here.try_claim(&key, self.config.lease).await? {
            ClaimAttempt::Claimed(claim) => claim,
            ClaimAttempt::Refused { remaining } => return Ok(Err(remaining)),
        };
        match self.fleet.try_claim(&key, self.config.lease).await {
            Ok(ClaimAttempt::Claimed(claim)) => Ok(Ok(vec![own, claim])),
            Ok(ClaimAttempt::Refused { remaining }) => {
                own.release().await;
                Ok(Err(remaining))
            }
            Err(error) if error.is_unavailable() => {
                self.warn(candle, "Redis is away, so other processes may process it as well");
                Ok(Ok(vec![own]))
            }
            Err(error) => Err(error),
        }
    }

    /// Notes that the signal of a candle is published under this id. Whether it was the first: then publish it.
    pub async fn mark_published(&self, candle: &CandleId, signal_id: &str) -> Result<bool, Error> {
        let key = candle.signal_key(self.config.window)?;
        let options = EntryOptions::ttl(self.config.signal_ttl).jitter(0.0);
        let mark = |before: Option<String>| before.unwrap_or_else(|| signal_id.to_owned());
        match self.fleet.update(&key, options.clone(), mark).await {
            Ok(published) => Ok(*published == signal_id),
            Err(error) if error.is_unavailable() => {
                self.warn(
                    candle,
                    "Redis is away, so other processes may publish its signal as well",
                );
                if let Some(published) = self.fleet.get::<String>(&key).await {
                    return Ok(*published == signal_id);
                }
                Ok(self
                    .fleet
                    .set(&key, signal_id.to_owned(), options)
                    .await?
                    .is_stored())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a signal of this candle is published.
    pub async fn was_published(&self, candle: &CandleId) -> Result<bool, Error> {
        Ok(self.get_signal_id(candle).await?.is_some())
    }

    /// The id under which the signal of this candle is published.
    pub async fn get_signal_id(&self, candle: &CandleId) -> Result<Option<String>, Error> {
        let key = candle.signal_key(self.config.window)?;
        Ok(self.fleet.get::<String>(&key).await.map(|id| id.into_inner()))
    }

    /// How many effects were not guarded against repetition by other processes.
    pub fn unguarded(&self) -> u64 {
        self.unguarded.load(Ordering::Relaxed)
    }

    /// The namespace, for values of your own: `get`, `set`, `remove`, `contains`, `clear`.
    pub fn cache(&self) -> &Cache {
        &self.fleet
    }

    fn warn(&self, candle: &CandleId, why: &str) {
        self.unguarded.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(symbol = %candle.symbol, time = candle.time, "not guarded against repetition: {why}");
    }
}

static PROCESS_WIDE: RwLock<Option<Arc<Dedup>>> = RwLock::new(None);

/// Makes `dedup` what [`process_once`] uses in this process.
pub fn initialise(dedup: Arc<Dedup>) {
    *PROCESS_WIDE.write().unwrap_or_else(PoisonError::into_inner) = Some(dedup);
}

/// Ends that: from now on everything is processed.
pub fn close() {
    *PROCESS_WIDE.write().unwrap_or_else(PoisonError::into_inner) = None;
}

/// For callers that know nothing of deduplication: with one [initialised](initialise) it is [`Dedup::process`], without
/// one the effect simply happens, as it always did.
///
/// # Errors
///
/// The effect's.
pub async fn process_once<T, E>(
    candle: &CandleId,
    effect: impl Future<Output = Result<T, E>>,
) -> Result<Processed<T>, E>
where
    E: From<Error>,
{
    let process_wide = PROCESS_WIDE
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    match process_wide {
        Some(dedup) => dedup.process(candle, effect).await,
        None => effect.await.map(Processed::Now),
    }
}

impl CandleId {
    fn key(&self, window: Duration) -> Result<cache_core::CacheKey, Error> {
        Ok(cache_core::CacheKey::build(
            "candle",
            (&self.symbol, self.timeframe, self.beginning(window)),
        )?)
    }

    fn signal_key(&self, window: Duration) -> Result<cache_core::CacheKey, Error> {
        Ok(cache_core::CacheKey::build(
            "signal",
            (&self.symbol, self.beginning(window)),
        )?)
    }

    /// When the candle begins in truth: candles begin at whole hours and days, and clocks are off by the window at most.
    fn beginning(&self, window: Duration) -> u64 {
        let length = self.timeframe.seconds();
        let nearest = (self.time + length / 2) / length * length;
        if nearest.abs_diff(self.time) <= window.as_secs() {
            nearest
        } else {
            self.time
        }
    }
}

impl Default for DedupConfig {
    fn default() -> Self {
        Self {
            window: seconds(60),
            lease: seconds(30),
            candle_ttl: hours(1),
            signal_ttl: hours(24),
        }
    }
}

impl DedupConfig {
    /// What the environment says, and the defaults for the rest.
    ///
    /// # Errors
    ///
    /// Names the variable that is no number of seconds.
    pub fn from_environment() -> Result<Self, Error> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The same from any source.
    ///
    /// # Errors
    ///
    /// As for [`from_environment`](Self::from_environment).
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let read = |name: &str, default: Duration, least: u64| match variable(name)
            .filter(|text| !text.is_empty())
        {
            None => Ok(default),
            Some(text) => match text.parse() {
                Ok(number) if number >= least => Ok(seconds(number)),
                _ => Err(Error::invalid(format!(
                    "`{name}` is `{text}`; give a whole number of seconds, at least {least}"
                ))),
            },
        };
        let default = Self::default();
        Ok(Self {
            window: read("CANDLE_CHECK_WINDOW", default.window, 0)?,
            lease: read("CANDLE_LEASE", default.lease, 1)?,
            candle_ttl: read("CANDLE_TTL", default.candle_ttl, 1)?,
            signal_ttl: read("SIGNAL_TTL", default.signal_ttl, 1)?,
        })
    }
}
