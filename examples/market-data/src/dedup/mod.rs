//! System A: what must happen once happens once, across processes and restarts.
//!
//! * A **candle** is claimed, processed, and confirmed: nobody processes it again for an hour. A process that dies with a
//!   candle in its hands leaves the claim to its lease; then another takes the candle up.
//! * A **signal** is published once a day: [`mark_published`](Dedup::mark_published) stores its id, atomically.
//!
//! Without Redis both hold in this process. With it they hold in the fleet, for as long as Redis answers; while it does
//! not, this process still never repeats itself, says that others may repeat it, counts how often
//! ([`unguarded`](Dedup::unguarded)), and goes on.

mod process_wide;
mod signals;
mod words;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cache_core::stats::CounterFamily;
use cache_core::{Cache, Claim, ClaimAttempt, Error};

pub use process_wide::{close, initialise, process_once};
pub use words::{CandleId, DedupConfig};

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
    /// What this process did, whatever becomes of Redis; without Redis that is what the fleet did.
    here: Option<Cache>,
    config: DedupConfig,
    unguarded: AtomicU64,
    /// Whether that was said since Redis last answered.
    warned: AtomicBool,
    /// For operators: `market_data_candles_total{result=..}`.
    counted: Arc<CounterFamily>,
}

impl Dedup {
    /// In a namespace of `cache`, whose values are read, set, removed and cleared through [`cache`](Self::cache).
    ///
    /// # Errors
    ///
    /// None, unless a name in this file is wrong.
    pub fn new(cache: &Cache, config: DedupConfig) -> Result<Self, Error> {
        let here = cache.is_shared().then(|| Cache::builder("dedup-here").build());
        Ok(Self {
            fleet: cache.namespace("dedup")?,
            here: here.transpose()?,
            config,
            unguarded: AtomicU64::new(0),
            warned: AtomicBool::new(false),
            counted: cache.counter_family("market_data_candles_total", "result", &RESULTS),
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
            Err(remaining) if remaining > self.config.lease => {
                self.counted.count(BEFORE);
                return Ok(Processed::Before);
            }
            Err(remaining) => {
                self.counted.count(ELSEWHERE);
                return Ok(Processed::Elsewhere(remaining));
            }
        };
        match effect.await {
            Ok(done) => {
                // A lease longer than it has to be: what lasts no longer than a lease counts as under way.
                let remembered = self.config.candle_ttl + self.config.lease;
                for claim in claims {
                    if !claim.confirm(remembered).await {
                        self.warn(candle, "its claim had ended, or could not be confirmed", false);
                    }
                }
                self.counted.count(PROCESSED);
                Ok(Processed::Now(done))
            }
            Err(error) => {
                for claim in claims {
                    claim.release().await;
                }
                self.counted.count(FAILED);
                Err(error)
            }
        }
    }

    /// The claims of this process and of the fleet, or how long somebody else's lasts.
    async fn claim(&self, candle: &CandleId) -> Result<Result<Vec<Claim>, Duration>, Error> {
        let key = candle.key(self.config.window)?;
        let mut claims = Vec::new();
        for cache in self.here.iter().chain([&self.fleet]) {
            match cache.try_claim(&key, self.config.lease).await {
                Ok(ClaimAttempt::Claimed(claim)) => {
                    if claim.is_shared() {
                        self.warned.store(false, Ordering::Relaxed);
                    }
                    claims.push(claim);
                }
                Ok(ClaimAttempt::Refused { remaining }) => {
                    for own in claims {
                        // What another has done is remembered here as well, for when Redis is away.
                        match remaining > self.config.lease {
                            true => own.confirm(remaining).await,
                            false => own.release().await,
                        };
                    }
                    return Ok(Err(remaining));
                }
                Err(error) if error.is_unavailable() => {
                    self.warn(
                        candle,
                        "Redis is away, so other processes may process it as well",
                        true,
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Ok(claims))
    }

    /// How many effects were not guarded against repetition by other processes.
    pub fn unguarded(&self) -> u64 {
        self.unguarded.load(Ordering::Relaxed)
    }

    /// The namespace, for values of your own: `get`, `set`, `remove`, `contains`, `clear`.
    pub fn cache(&self) -> &Cache {
        &self.fleet
    }

    fn warn(&self, candle: &CandleId, why: &str, is_outage: bool) {
        self.unguarded.fetch_add(1, Ordering::Relaxed);
        self.counted.count(UNGUARDED);
        let (symbol, time) = (&candle.symbol, candle.time);
        // Once an outage; how many more there were is counted.
        if is_outage && self.warned.swap(true, Ordering::Relaxed) {
            tracing::debug!(%symbol, time, "not guarded against repetition: {why}");
        } else {
            tracing::warn!(%symbol, time, "not guarded against repetition: {why}");
        }
    }
}

/// What becomes of a candle that is offered; the last, that nothing kept other processes from repeating an effect.
const RESULTS: [&str; 5] = ["processed", "before", "elsewhere", "failed", "unguarded"];
const PROCESSED: usize = 0;
const BEFORE: usize = 1;
const ELSEWHERE: usize = 2;
const FAILED: usize = 3;
const UNGUARDED: usize = 4;
