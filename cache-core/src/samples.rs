//! Every metric by its name: one list, from which the recorder, Prometheus text and dashboards are fed.
//!
//! The names are [`METRICS`]; `docs/metrics.md` has them as a table. Labels come from closed lists, never from keys, so
//! the number of series is fixed per cache.

use std::time::Duration;

use crate::measure::Distribution;
use crate::stats::{SharedStats, Stats};

/// A metric: its name and meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// As recorders and Prometheus know it.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: MetricKind,
    /// Its labels beside `cache`.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How long things took, in seconds.
    Histogram,
}

impl MetricKind {
    /// The kind in one word, as Prometheus has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One series of a metric with its value now.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// The metric.
    pub name: &'static str,
    /// Its labels beside `cache`.
    pub labels: Vec<(&'static str, &'static str)>,
    /// The value.
    pub value: SampleValue,
}

/// The value of a [`Sample`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SampleValue {
    /// Of a counter.
    Count(u64),
    /// Of a gauge.
    Level(f64),
    /// Of a histogram.
    Times(Box<Distribution>),
}

macro_rules! metrics {
    ($($name:ident $kind:ident [$($label:literal),*] $help:literal;)+) => {
        /// Every metric of a cache. Those of `cache_shared_` and below, up to `cache_recovery_`, are there only with a shared tier.
        pub const METRICS: &[Metric] = &[$(Metric {
            name: stringify!($name),
            kind: MetricKind::$kind,
            labels: &[$($label),*],
            help: $help,
        },)+];
    };
}

metrics! {
    cache_hits_total Counter ["tier", "kind"] "Calls that a tier answered without a load.";
    cache_misses_total Counter ["reason"] "Calls that no tier could answer.";
    cache_miss_answers_total Counter ["kind"] "What came of the calls that no tier could answer.";
    cache_loads_total Counter ["result"] "Runs of loaders.";
    cache_load_seconds Histogram [] "How long loaders ran.";
    cache_loads_running Gauge [] "Loaders that run now.";
    cache_load_waiters Gauge [] "Callers that wait for loads now.";
    cache_calls_timed_out_total Counter [] "Calls that waited until their hard timeout.";
    cache_stale_on_error_total Counter [] "Stale values served because a load failed or was slow.";
    cache_refreshes_total Counter ["result"] "Refreshes that were due ahead of expiry.";
    cache_stores_total Counter ["result"] "Values to be stored.";
    cache_invalidations_total Counter ["by"] "Invalidations, by key or by tag, prefix, pattern or namespace.";
    cache_evictions_total Counter ["cause"] "Entries dropped from the in-process tier.";
    cache_ttls_clamped_total Counter [] "TTLs that were cut to the maximum.";
    cache_reentrant_total Counter [] "Calls that would have waited for themselves.";
    cache_entries Gauge [] "Entries in the in-process tier.";
    cache_weight Gauge [] "Their weight: bytes if the tier is bounded by bytes, else their number.";
    cache_capacity Gauge [] "The bound of that weight.";
    cache_shared_seconds Histogram [] "How long operations on the shared tier took.";
    cache_shared_errors_total Counter ["kind"] "Operations on the shared tier that gave no answer.";
    cache_degraded_total Counter [] "Steps that were done without the shared tier.";
    cache_decode_errors_total Counter ["reason"] "Stored values that could not be read.";
    cache_locks_total Counter ["result"] "Locks of loads, over all nodes.";
    cache_breaker_state Gauge ["state"] "1 for the state of the shared tier's breakers, the worst of them.";
    cache_breaker_openings_total Counter [] "Times that a server failed so often that it was asked no more.";
    cache_servers Gauge ["state"] "Servers of the shared tier, by whether a connection stands.";
    cache_reconnects_total Counter ["reason"] "Connections made in place of one that had ended.";
    cache_log_heard Gauge [] "1 while invalidations by other nodes are heard.";
    cache_log_lag_seconds Gauge [] "Time since it was last confirmed that all of them had been heard.";
    cache_log_gaps_total Counter ["reason"] "Times that some may have been missed, and everything here was forgotten.";
    cache_notices_total Counter [] "Invalidations by any node that were applied.";
    cache_pending_invalidations Gauge [] "Invalidations that the shared tier has yet to acknowledge.";
    cache_recovered_total Counter [] "Those that were delivered after all.";
    cache_recovery_overflows_total Counter [] "Times that too many were pending and became one of everything.";
    cache_warmer_runs_total Counter ["result"] "Runs of warmers.";
    cache_warmed_total Counter ["result"] "Keys that warming went through.";
    cache_http_requests_total Counter ["outcome"] "HTTP requests, by what the cache did with them.";
}

impl Stats {
    /// Every series with its value: the numbers that a metrics recorder is told.
    pub fn samples(&self) -> Vec<Sample> {
        let mut list = List(Vec::with_capacity(96));
        self.calls(&mut list);
        self.work(&mut list);
        list.level("cache_entries", self.entries as f64);
        list.level("cache_weight", self.weight as f64);
        list.level("cache_capacity", self.capacity as f64);
        if let Some(shared) = &self.shared {
            self.shared_counts(&mut list);
            shared.samples(&mut list);
        }
        for family in &self.families {
            for (value, count) in &family.counts {
                list.push(
                    family.name,
                    vec![(family.label, value)],
                    SampleValue::Count(*count),
                );
            }
        }
        list.0
    }

    fn calls(&self, list: &mut List) {
        let c = &self.counters;
        for (tier, kind, count) in [
            ("memory", "fresh", c.memory_hits_fresh),
            ("memory", "stale", c.memory_hits_stale),
            ("memory", "negative", c.memory_hits_negative),
            ("shared", "fresh", c.shared_hits_fresh),
            ("shared", "stale", c.shared_hits_stale),
            ("shared", "negative", c.shared_hits_negative),
        ] {
            let labels = vec![("tier", tier), ("kind", kind)];
            list.push("cache_hits_total", labels, SampleValue::Count(count));
        }
        list.counts(
            "cache_misses_total",
            "reason",
            &[
                ("absent", c.misses_absent),
                ("expired", c.misses_expired),
                ("invalidated", c.misses_invalidated),
                ("other_type", c.misses_other_type),
                ("unconfirmed", c.misses_unconfirmed),
                ("by_request", c.misses_by_request),
            ],
        );
        list.counts(
            "cache_miss_answers_total",
            "kind",
            &[
                ("loaded", c.loaded),
                ("joined", c.joined),
                ("stale_for_failed_load", c.stale_for_failed_loads),
                ("stale_for_slow_load", c.stale_for_slow_loads),
                ("fallback", c.fallbacks),
                ("nothing", c.lookups_missed),
                ("failure", c.failures),
                ("abandoned", c.abandoned),
            ],
        );
        list.count("cache_calls_timed_out_total", c.calls_timed_out);
        list.count("cache_stale_on_error_total", c.stale_on_error());
        list.count("cache_reentrant_total", c.reentrant);
    }

    fn work(&self, list: &mut List) {
        let c = &self.counters;
        list.counts(
            "cache_loads_total",
            "result",
            &[
                ("started", c.loads_started),
                ("ok", c.loads_ok),
                ("error", c.loads_failed),
                ("panic", c.loads_panicked),
                ("timeout", c.loads_timed_out),
                ("dropped", c.loads_dropped),
            ],
        );
        list.times("cache_load_seconds", &self.load_times);
        list.level("cache_loads_running", self.loads_running as f64);
        list.level("cache_load_waiters", self.waiters as f64);
        list.counts(
            "cache_refreshes_total",
            "result",
            &[("started", c.refreshes), ("dropped", c.refreshes_dropped)],
        );
        list.counts(
            "cache_stores_total",
            "result",
            &[("stored", c.stores), ("refused", c.stores_refused)],
        );
        list.counts(
            "cache_invalidations_total",
            "by",
            &[("key", c.invalidations), ("group", c.group_invalidations)],
        );
        list.counts(
            "cache_evictions_total",
            "cause",
            &[
                ("space", self.evictions),
                ("expired", c.dropped_expired),
                ("invalidated", c.dropped_invalidated),
            ],
        );
        list.count("cache_ttls_clamped_total", c.ttls_clamped);
        list.counts(
            "cache_warmer_runs_total",
            "result",
            &[
                ("done", c.warmers_done),
                ("failed", c.warmers_failed),
                ("elsewhere", c.warmers_elsewhere),
            ],
        );
        list.counts(
            "cache_warmed_total",
            "result",
            &[
                ("loaded", c.warmed_loaded),
                ("skipped", c.warmed_skipped),
                ("failed", c.warmed_failed),
            ],
        );
    }

    fn shared_counts(&self, list: &mut List) {
        let c = &self.counters;
        list.count("cache_degraded_total", c.degraded);
        list.counts(
            "cache_locks_total",
            "result",
            &[
                ("taken", c.leases_taken),
                ("waited", c.lease_waits),
                ("lost", c.leases_lost),
                ("without", c.loads_without_lease),
            ],
        );
        list.count("cache_notices_total", c.notices);
        list.count("cache_recovered_total", c.recovered);
        list.count("cache_recovery_overflows_total", c.recovery_overflows);
    }
}

impl SharedStats {
    fn samples(&self, list: &mut List) {
        list.times("cache_shared_seconds", &self.operation_times);
        list.counts("cache_shared_errors_total", "kind", &self.errors);
        for state in BREAKER_STATES {
            let is = if self.breaker == state { 1.0 } else { 0.0 };
            list.push(
                "cache_breaker_state",
                vec![("state", state)],
                SampleValue::Level(is),
            );
        }
        list.count("cache_breaker_openings_total", self.breaker_openings);
        for (state, servers) in [
            ("connected", self.servers_connected),
            (
                "disconnected",
                self.servers.saturating_sub(self.servers_connected),
            ),
        ] {
            list.push(
                "cache_servers",
                vec![("state", state)],
                SampleValue::Level(servers as f64),
            );
        }
        list.counts("cache_reconnects_total", "reason", &self.reconnects);
        list.counts("cache_decode_errors_total", "reason", &self.decode_errors);
        list.level("cache_log_heard", if self.log_heard { 1.0 } else { 0.0 });
        list.level(
            "cache_log_lag_seconds",
            self.log_lag.map_or(f64::NAN, |lag: Duration| lag.as_secs_f64()),
        );
        list.counts("cache_log_gaps_total", "reason", &self.log_gaps);
        list.level("cache_pending_invalidations", self.pending_invalidations as f64);
    }
}

struct List(Vec<Sample>);

impl List {
    fn push(&mut self, name: &'static str, labels: Vec<(&'static str, &'static str)>, value: SampleValue) {
        self.0.push(Sample { name, labels, value });
    }

    fn count(&mut self, name: &'static str, count: u64) {
        self.push(name, Vec::new(), SampleValue::Count(count));
    }

    fn level(&mut self, name: &'static str, level: f64) {
        self.push(name, Vec::new(), SampleValue::Level(level));
    }

    fn times(&mut self, name: &'static str, times: &Distribution) {
        self.push(name, Vec::new(), SampleValue::Times(Box::new(times.clone())));
    }

    fn counts(&mut self, name: &'static str, label: &'static str, counts: &[(&'static str, u64)]) {
        for (value, count) in counts {
            self.push(name, vec![(label, value)], SampleValue::Count(*count));
        }
    }
}

/// The states of a breaker, in one word each, by how much they refuse.
pub(crate) const BREAKER_STATES: [&str; 4] = ["closed", "half_open", "open", "forced_open"];
