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
use cache_core::{Cache, Claim, ClaimAttempt, Confirmation, Error};

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
    /// The signals that this process published, whatever becomes of Redis.
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
        let (key, lease) = (candle.key(self.config.window)?, self.config.lease);
        let claim = match self.fleet.try_claim(&key, lease).local_fallback().await? {
            ClaimAttempt::Claimed(claim) => claim,
            ClaimAttempt::Refused { remaining } if remaining > lease => {
                self.counted.count(BEFORE);
                return Ok(Processed::Before);
            }
            ClaimAttempt::Refused { remaining } => {
                self.counted.count(ELSEWHERE);
                return Ok(Processed::Elsewhere(remaining));
            }
        };
        let guarded = self.guards(&claim, candle, "process it");
        match effect.await {
            Ok(done) => {
                // A lease longer than it has to be: what lasts no longer than a lease counts as under way.
                let kept = claim.confirm(self.config.candle_ttl + lease).await;
                if guarded && kept != Confirmation::Kept {
                    self.warn(candle, "its claim had ended, or could not be confirmed", false);
                }
                self.counted.count(PROCESSED);
                Ok(Processed::Now(done))
            }
            Err(error) => {
                claim.release().await;
                self.counted.count(FAILED);
                Err(error)
            }
        }
    }

    /// How many effects were not guarded against repetition by other processes.
    pub fn unguarded(&self) -> u64 {
        self.unguarded.load(Ordering::Relaxed)
    }

    /// The namespace, for values of your own: `get`, `set`, `remove`, `contains`, `clear`.
    pub fn cache(&self) -> &Cache {
        &self.fleet
    }

    /// Whether the claim keeps other processes from repeating the effect; says so if it does not.
    fn guards(&self, claim: &Claim, candle: &CandleId, effect: &str) -> bool {
        let guards = claim.is_shared() || !self.fleet.is_shared();
        if guards {
            self.warned.store(false, Ordering::Relaxed);
        } else {
            let why = format!("Redis is away, so other processes may {effect} as well");
            self.warn(candle, &why, true);
        }
        guards
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
