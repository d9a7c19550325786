//! The numbers of [`stats`](crate::stats), told to whatever recorder the application installed (feature `metrics`).
//!
//! A hit pays for no recorder: the counters are always on, and a task of the cache passes them on once a second, from
//! the first load to [`close`](crate::Cache::close). [`Cache::publish_metrics`](crate::Cache::publish_metrics) does it at
//! once, for a scrape. Histograms are told event by event.
//!
//! What there is stands in [`METRICS`](crate::stats::METRICS) and, as a table, in `docs/metrics.md`.

use std::time::Duration;

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

    /// A loader ran for so long.
    pub(crate) fn load_took(&self, took: Duration) {
        self.load_times.record(took);
        told("cache_load_seconds", &self.name, took);
    }
}

/// Tells a duration to the recorder, if there is one.
pub(crate) fn told(name: &'static str, cache: &str, took: Duration) {
    #[cfg(feature = "metrics")]
    metrics::histogram!(name, "cache" => cache.to_owned()).record(took);
    #[cfg(not(feature = "metrics"))]
    let _ = (name, cache, took);
}

#[cfg(feature = "metrics")]
mod recorder {
    use std::sync::Once;

    use metrics::{Label, Unit};

    use crate::samples::{METRICS, MetricKind, SampleValue};
    use crate::stats::Stats;

    pub(super) fn publish(cache: &str, stats: &Stats) {
        static DESCRIBED: Once = Once::new();
        DESCRIBED.call_once(describe);
        for sample in stats.samples() {
            let mut labels = vec![Label::new("cache", cache.to_owned())];
            let own = sample.labels.iter();
            labels.extend(own.map(|(name, value)| Label::from_static_parts(name, value)));
            match sample.value {
                SampleValue::Count(count) => metrics::counter!(sample.name, labels).absolute(count),
                // What is not known yet is not told.
                SampleValue::Level(level) if level.is_nan() => {}
                SampleValue::Level(level) => metrics::gauge!(sample.name, labels).set(level),
                // Told event by event, as the facade has it.
                SampleValue::Times(_) => {}
            }
        }
    }

    fn describe() {
        for metric in METRICS {
            match metric.kind {
                MetricKind::Counter => metrics::describe_counter!(metric.name, metric.help),
                MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
                MetricKind::Histogram => {
                    metrics::describe_histogram!(metric.name, Unit::Seconds, metric.help);
                }
            }
        }
    }
}
