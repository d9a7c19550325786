//! All metrics as Prometheus text (format 0.0.4), from the caches' own statistics.
//!
//! Not from a recorder of the `metrics` facade: there is one per process, it is the application's, and it may be any. The
//! statistics are always there, and both are fed from one list of names ([`METRICS`]), so they cannot differ.

use std::fmt::Write;
use std::time::Duration;

use cache_core::stats::{Distribution, METRICS, Sample, SampleValue, Stats};

/// The metrics of caches with these names.
pub(super) fn text(caches: &[(&str, Stats)]) -> String {
    let samples: Vec<(&str, Vec<Sample>)> = caches
        .iter()
        .map(|(name, stats)| (*name, stats.samples()))
        .collect();
    let mut text = String::with_capacity(16 << 10);
    for metric in METRICS {
        let of_metric = |sample: &&Sample| sample.name == metric.name;
        if !samples
            .iter()
            .any(|(_, samples)| samples.iter().any(|sample| of_metric(&sample)))
        {
            continue;
        }
        head(&mut text, metric.name, metric.help, metric.kind.as_str());
        for (cache, samples) in &samples {
            samples
                .iter()
                .filter(of_metric)
                .for_each(|sample| series(&mut text, cache, sample));
        }
    }
    others(&mut text, &samples);
    text
}

/// What applications count under a cache's name.
fn others(text: &mut String, caches: &[(&str, Vec<Sample>)]) {
    let is_listed = |name: &str| METRICS.iter().any(|metric| metric.name == name);
    let mut names: Vec<&str> = Vec::new();
    for sample in caches.iter().flat_map(|(_, samples)| samples) {
        if !is_listed(sample.name) && !names.contains(&sample.name) {
            names.push(sample.name);
        }
    }
    for name in names {
        head(text, name, "Counted by the application.", "counter");
        for (cache, samples) in caches {
            let of_metric = samples.iter().filter(|sample| sample.name == name);
            of_metric.for_each(|sample| series(text, cache, sample));
        }
    }
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn series(text: &mut String, cache: &str, sample: &Sample) {
    let name = sample.name;
    let labels = labels(cache, &sample.labels);
    let _ = match &sample.value {
        SampleValue::Count(count) => writeln!(text, "{name}{{{labels}}} {count}"),
        // What is not known yet is not told.
        SampleValue::Level(level) if level.is_nan() => Ok(()),
        SampleValue::Level(level) => writeln!(text, "{name}{{{labels}}} {level}"),
        SampleValue::Times(times) => {
            histogram(text, name, &labels, times);
            Ok(())
        }
        _ => Ok(()),
    };
}

fn histogram(text: &mut String, name: &str, labels: &str, times: &Distribution) {
    for (bound, below) in times.buckets() {
        let bound = seconds(bound);
        let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
    }
    let (count, sum) = (times.count(), seconds(times.sum()));
    let _ = writeln!(
        text,
        "{name}_bucket{{{labels},le=\"+Inf\"}} {count}\n{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}"
    );
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

/// `cache="shop",kind="fresh"`; a cache's name has nothing to escape, and the rest are words of this crate, or an
/// application's own.
pub(super) fn labels(cache: &str, labels: &[(&str, &str)]) -> String {
    let mut text = format!("cache=\"{cache}\"");
    for (name, value) in labels {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let _ = write!(text, ",{name}=\"{value}\"");
    }
    text
}
