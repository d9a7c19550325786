//! A recorder of the `metrics` facade that passes everything on to an OpenTelemetry meter.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{CounterFn, GaugeFn, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

/// One instrument for each name, and one handle for each set of labels.
pub(crate) struct Bridge {
    meter: Meter,
    help: Kept<String, String>,
    counters: Kept<Key, Arc<Count>>,
    gauges: Kept<Key, Arc<Level>>,
    histograms: Kept<Key, Arc<Times>>,
}

impl Bridge {
    pub(crate) fn new(meter: Meter) -> Self {
        Self {
            meter,
            help: Kept::default(),
            counters: Kept::default(),
            gauges: Kept::default(),
            histograms: Kept::default(),
        }
    }

    fn describe(&self, name: &KeyName, help: &SharedString) {
        self.help.get(name.as_str().to_owned(), || help.to_string());
    }

    fn help(&self, key: &Key) -> String {
        self.help.get(key.name().to_owned(), String::new)
    }
}

impl Recorder for Bridge {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, &help);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, &help);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, &help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> metrics::Counter {
        metrics::Counter::from_arc(self.counters.get(key.clone(), || {
            let counter = self.meter.u64_counter(key.name().to_owned());
            Arc::new(Count {
                counter: counter.with_description(self.help(key)).build(),
                labels: labels(key),
                so_far: AtomicU64::new(0),
            })
        }))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::from_arc(self.gauges.get(key.clone(), || {
            let gauge = self.meter.f64_gauge(key.name().to_owned());
            Arc::new(Level {
                gauge: gauge.with_description(self.help(key)).build(),
                labels: labels(key),
                now: Mutex::new(0.0),
            })
        }))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::from_arc(self.histograms.get(key.clone(), || {
            let histogram = self.meter.f64_histogram(key.name().to_owned());
            Arc::new(Times {
                histogram: histogram
                    .with_description(self.help(key))
                    .with_unit("s")
                    .with_boundaries(SECONDS.to_vec())
                    .build(),
                labels: labels(key),
            })
        }))
    }
}

fn labels(key: &Key) -> Vec<KeyValue> {
    key.labels()
        .map(|label| KeyValue::new(label.key().to_owned(), label.value().to_owned()))
        .collect()
}

/// The facade says how much there is in all, or how much is added; an OpenTelemetry counter is told what is added.
struct Count {
    counter: opentelemetry::metrics::Counter<u64>,
    labels: Vec<KeyValue>,
    so_far: AtomicU64,
}

impl CounterFn for Count {
    fn increment(&self, more: u64) {
        self.so_far.fetch_add(more, Ordering::Relaxed);
        self.counter.add(more, &self.labels);
    }

    fn absolute(&self, all: u64) {
        let before = self.so_far.fetch_max(all, Ordering::Relaxed);
        // Zero too, so that a series is there before anything happens.
        self.counter.add(all.saturating_sub(before), &self.labels);
    }
}

struct Level {
    gauge: opentelemetry::metrics::Gauge<f64>,
    labels: Vec<KeyValue>,
    now: Mutex<f64>,
}

impl Level {
    fn change(&self, change: impl FnOnce(f64) -> f64) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = change(*now);
        self.gauge.record(*now, &self.labels);
    }
}

impl GaugeFn for Level {
    fn increment(&self, more: f64) {
        self.change(|now| now + more);
    }

    fn decrement(&self, less: f64) {
        self.change(|now| now - less);
    }

    fn set(&self, to: f64) {
        self.change(|_| to);
    }
}

struct Times {
    histogram: opentelemetry::metrics::Histogram<f64>,
    labels: Vec<KeyValue>,
}

impl HistogramFn for Times {
    fn record(&self, value: f64) {
        self.histogram.record(value, &self.labels);
    }
}

/// What was made once for each key.
struct Kept<K, V>(Mutex<HashMap<K, V>>);

impl<K: Eq + Hash, V: Clone> Kept<K, V> {
    fn get(&self, key: K, make: impl FnOnce() -> V) -> V {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry(key).or_insert_with(make).clone()
    }
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// The bounds of the cache's own histograms.
const SECONDS: [f64; 18] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0,
];
