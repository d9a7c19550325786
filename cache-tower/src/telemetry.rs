//! The outcome of each request, told to logs and metrics.
//!
//! Logs: one `tracing` event of level `DEBUG` per request. Metrics: the counter `cache_http_requests_total` with the
//! labels `cache` and `outcome` ([`OutcomeKind::as_str`]), never a key; counted with the cache's own numbers, in
//! [`Cache::stats`] and, with feature `metrics`, in the application's recorder.

use std::sync::Arc;

use cache_core::Cache;
use cache_core::stats::CounterFamily;

use crate::outcome::{CacheOutcome, OutcomeKind};
use crate::policy::status::ForwardCause;

/// The counters of all layers of one cache.
#[derive(Debug)]
pub(crate) struct Telemetry {
    requests: Arc<CounterFamily>,
}

impl Telemetry {
    pub(crate) fn new(cache: &Cache) -> Self {
        let outcomes = OutcomeKind::ALL.map(OutcomeKind::as_str);
        Self {
            requests: cache.counter_family("cache_http_requests_total", "outcome", &outcomes),
        }
    }

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
        // `ALL` has them in the order of their declaration.
        self.requests.count(outcome.kind as usize);
    }
}
