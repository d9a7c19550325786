//! The outcome of each request, told to logs and metrics.
//!
//! Logs: one `tracing` event of level `DEBUG` per request. Metrics (feature `metrics`): the counter
//! `cache_http_requests_total` with the labels `cache` and `outcome` ([`OutcomeKind::as_str`]); never a key. The
//! recorder must be installed before the first request.

use crate::outcome::CacheOutcome;
#[cfg(feature = "metrics")]
use crate::outcome::OutcomeKind;
use crate::policy::status::ForwardCause;

/// One layer's kept handles: a look-up by name and labels would cost more than the rest of a hit.
#[derive(Default)]
pub(crate) struct Telemetry {
    #[cfg(feature = "metrics")]
    counters: std::sync::OnceLock<[metrics::Counter; OutcomeKind::ALL.len()]>,
}

impl Telemetry {
    /// Counts and logs a request.
    pub(crate) fn record(&self, cache: &str, outcome: &CacheOutcome) {
        tracing::debug!(
            cache,
            outcome = outcome.kind.as_str(),
            forwarded = outcome.forwarded.map(ForwardCause::as_str),
            stored = outcome.stored,
            collapsed = outcome.collapsed,
            ttl = outcome.ttl,
            reason = outcome.detail,
            "request"
        );
        #[cfg(feature = "metrics")]
        if let Some(counter) = self.counters(cache).get(outcome.kind as usize) {
            counter.increment(1);
        }
    }

    #[cfg(feature = "metrics")]
    fn counters(&self, cache: &str) -> &[metrics::Counter] {
        self.counters.get_or_init(|| {
            OutcomeKind::ALL.map(|kind| {
                metrics::counter!(
                    "cache_http_requests_total",
                    "cache" => cache.to_owned(),
                    "outcome" => kind.as_str()
                )
            })
        })
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Telemetry")
    }
}
