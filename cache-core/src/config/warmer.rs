//! When and how hard to warm; what to warm is code.

use std::time::Duration;

use super::check::Problem;
use super::scalar;
use crate::cache::warm::Schedule;
use crate::time::{minutes, seconds};

/// The settings of a [`Warmer`](crate::warm::Warmer) that the application [adds](super::Caches::add_warmer) under the same
/// name. They win over what the code says.
///
/// ```toml
/// [warmers.top-symbols]
/// cache = "market"
/// every = "5m"
/// concurrency = 5
/// ```
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct WarmerConfig {
    /// The name of the cache to warm.
    pub cache: String,
    /// `false`: runs neither at start nor at an interval, only on demand. Default: `true`.
    #[serde(default, with = "scalar::flag", skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Runs when it is added, which delays nothing. Default: `true`.
    #[serde(default, with = "scalar::flag", skip_serializing_if = "Option::is_none")]
    pub at_start: Option<bool>,
    /// Runs again at this interval. Default: not again.
    #[serde(default, with = "scalar::span", skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// How many loads run at once. Default: 5, few beside live traffic.
    #[serde(default, with = "scalar::count", skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u64>,
    /// At most so many keys per second. Default: unlimited.
    #[serde(default, with = "scalar::ratio", skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// A run ends after this at the latest. Default: `"5m"`.
    #[serde(default, with = "scalar::span", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Runs on each node instead of one after another: see [`Warmer::each_node`](crate::warm::Warmer::each_node).
    /// Default: `false`.
    #[serde(default, with = "scalar::flag", skip_serializing_if = "Option::is_none")]
    pub each_node: Option<bool>,
}

impl WarmerConfig {
    pub(super) fn schedule(&self) -> Schedule {
        Schedule {
            enabled: self.enabled,
            at_start: self.at_start,
            every: self.every,
            concurrency: self
                .concurrency
                .map(|loads| usize::try_from(loads).unwrap_or(usize::MAX)),
            rate: self.rate,
            timeout: self.timeout,
            each_node: self.each_node,
        }
    }

    pub(super) fn check<'a>(&self, caches: impl Iterator<Item = &'a String> + Clone) -> Result<(), Problem> {
        if !caches.clone().any(|name| *name == self.cache) {
            return Err(Problem::new(
                "cache",
                &self.cache,
                super::cache::known("cache", caches),
            ));
        }
        if self.concurrency == Some(0) {
            return Err(Problem::new("concurrency", 0, "allow at least one load"));
        }
        if let Some(rate) = self.rate
            && !(rate > 0.0 && rate <= 1_000_000.0)
        {
            let remedy = "loads per second are above 0 and at most a million; leave it out for no limit";
            return Err(Problem::new("rate", rate, remedy));
        }
        self.check_times()
    }

    fn check_times(&self) -> Result<(), Problem> {
        let shown = super::units::show_duration;
        let timeout = self.timeout.unwrap_or(minutes(5));
        if timeout.is_zero() {
            return Err(Problem::new(
                "timeout",
                "0s",
                "it would end before it began; give it some time",
            ));
        }
        match self.every {
            Some(every) if every < seconds(1) => {
                Err(Problem::new("every", shown(every), "it must be at least \"1s\""))
            }
            Some(every) if self.timeout.is_some_and(|timeout| timeout > every) => Err(Problem::new(
                "timeout",
                shown(timeout),
                format!(
                    "a run would outlast the interval, `every` ({}); lower it, or raise that",
                    shown(every)
                ),
            )),
            _ => Ok(()),
        }
    }
}
