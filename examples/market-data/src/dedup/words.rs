//! What the deduplication of candles is told: candles, and for how long what holds.

use std::time::Duration;

use cache_core::time::{hours, seconds};
use cache_core::{CacheKey, Error};

use crate::candles::{Symbol, Timeframe};

/// A candle, as its sources name it: their clocks differ a little.
///
/// Candles begin at whole multiples of their timeframe; a beginning that is near one is taken for it. One that is near
/// none stands for itself, to the second.
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

impl CandleId {
    pub(super) fn key(&self, window: Duration) -> Result<CacheKey, Error> {
        Ok(CacheKey::build(
            "candle",
            (&self.symbol, self.timeframe, self.beginning(window)),
        )?)
    }

    pub(super) fn signal_key(&self, window: Duration) -> Result<CacheKey, Error> {
        Ok(CacheKey::build("signal", (&self.symbol, self.beginning(window)))?)
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
