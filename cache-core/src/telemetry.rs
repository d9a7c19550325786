//! The counters of [`stats`](crate::stats), told to whatever recorder the application installed (feature `metrics`).
//!
//! A hit pays for no recorder: the counters are always on, and a task of the cache passes them on once a second, from
//! the first load to [`close`](crate::Cache::close). [`Cache::publish_metrics`] does it at once, for a scrape.
//!
//! | metric | kind | labels beside `cache` |
//! |---|---|---|
//! | `cache_hits_total` | counter | `tier`: `memory`, `shared`; `kind`: `fresh`, `stale`, `negative` |
//! | `cache_misses_total` | counter | `reason`: `absent`, `expired`, `invalidated`, `other_type`, `unconfirmed`, `by_request` |
//! | `cache_miss_answers_total` | counter | `kind`: `loaded`, `joined`, `stale_for_failed_load`, `stale_for_slow_load`, `fallback`, `nothing`, `failure`, `abandoned` |
//! | `cache_loads_total` | counter | `result`: `started`, `ok`, `error`, `panic`, `timeout`, `dropped` |
//! | `cache_load_seconds` | histogram | |
//! | `cache_stale_on_error_total` | counter | stale values served because a load failed or was slow |
//! | `cache_refreshes_total` | counter | `result`: `started`, `dropped` |
//! | `cache_stores_total` | counter | `result`: `stored`, `refused` |
//! | `cache_invalidations_total` | counter | `by`: `key`, `group` |
//! | `cache_ttls_clamped_total`, `cache_reentrant_total`, `cache_evictions_total` | counter | |
//! | `cache_entries`, `cache_weight`, `cache_loads_running`, `cache_load_waiters` | gauge | |
//!
//! Labels come from closed lists, never from keys: the number of series is fixed per cache.

use std::time::Duration;

#[cfg(feature = "metrics")]
pub(crate) use recorder::load_took;

use crate::cache::Inner;

impl crate::Cache {
    /// Tells the installed metrics recorder everything that was counted so far. Without the feature `metrics` it does
    /// nothing.
    pub fn publish_metrics(&self) {
        self.inner().publish_metrics();
    }
}

impl Inner {
    pub(crate) fn publish_metrics(&self) {
        #[cfg(feature = "metrics")]
        recorder::publish(&self.name, &self.stats());
    }
}

/// Without a recorder, nothing is told.
#[cfg(not(feature = "metrics"))]
pub(crate) fn load_took(_: &str, _: Duration) {}

#[cfg(feature = "metrics")]
mod recorder {
    use super::Duration;
    use crate::stats::Stats;

    pub(crate) fn load_took(cache: &str, took: Duration) {
        metrics::histogram!("cache_load_seconds", "cache" => cache.to_owned()).record(took);
    }

    pub(crate) fn publish(cache: &str, stats: &Stats) {
        let count = |name: &'static str, value: u64| {
            metrics::counter!(name, "cache" => cache.to_owned()).absolute(value);
        };
        let count_as = |name: &'static str, label: &'static str, values: &[(&'static str, u64)]| {
            for (kind, value) in values {
                metrics::counter!(name, "cache" => cache.to_owned(), label => *kind).absolute(*value);
            }
        };
        let gauge = |name: &'static str, value: u64| {
            metrics::gauge!(name, "cache" => cache.to_owned()).set(value as f64);
        };
        let c = &stats.counters;
        let hits = |tier: &'static str, kinds: [(&'static str, u64); 3]| {
            for (kind, value) in kinds {
                let cache = cache.to_owned();
                metrics::counter!("cache_hits_total", "cache" => cache, "tier" => tier, "kind" => kind)
                    .absolute(value);
            }
        };
        let kinds = |fresh, stale, negative| [("fresh", fresh), ("stale", stale), ("negative", negative)];
        hits(
            "memory",
            kinds(c.memory_hits_fresh, c.memory_hits_stale, c.memory_hits_negative),
        );
        hits(
            "shared",
            kinds(c.shared_hits_fresh, c.shared_hits_stale, c.shared_hits_negative),
        );
        count_as(
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
        count_as(
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
        count_as(
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
        count("cache_stale_on_error_total", c.stale_on_error());
        count_as(
            "cache_refreshes_total",
            "result",
            &[("started", c.refreshes), ("dropped", c.refreshes_dropped)],
        );
        count_as(
            "cache_stores_total",
            "result",
            &[("stored", c.stores), ("refused", c.stores_refused)],
        );
        count_as(
            "cache_invalidations_total",
            "by",
            &[("key", c.invalidations), ("group", c.group_invalidations)],
        );
        count("cache_ttls_clamped_total", c.ttls_clamped);
        count("cache_reentrant_total", c.reentrant);
        count("cache_evictions_total", stats.evictions);
        gauge("cache_entries", stats.entries);
        gauge("cache_weight", stats.weight);
        gauge("cache_loads_running", stats.loads_running);
        gauge("cache_load_waiters", stats.waiters);
    }
}
