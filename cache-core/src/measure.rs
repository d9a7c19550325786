//! Always-on measures beyond the striped counters: how long things took, and what happened by kind.
//!
//! For steps that cost microseconds anyway, a load or a question to the shared tier; never for a hit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::shared::{Fault, FaultKind, GapReason};
use crate::sync::Arc;

/// How long something took: how often it took at most so long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// One per bound, and one for what is beyond the last.
    counts: [u64; BUCKETS],
    sum: Duration,
}

impl Distribution {
    /// How often it happened.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long it took altogether.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// The bounds, each with how often it took at most so long; what took longer is only in [`count`](Self::count).
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let mut below = 0;
        BOUNDS.iter().zip(&self.counts).map(move |(bound, count)| {
            below += count;
            (Duration::from_micros(*bound), below)
        })
    }

    /// An upper bound of what this share of them took, from 0 to 1; `None` if there were none, or if it is beyond the
    /// last bound.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let all = self.count();
        let rank = (share.clamp(0.0, 1.0) * all as f64).ceil().max(1.0) as u64;
        self.buckets()
            .find(|(_, below)| all > 0 && *below >= rank)
            .map(|(bound, _)| bound)
    }
}

impl Serialize for Distribution {
    /// Count, sum and quantiles in seconds; the buckets are for machines that ask for them by name.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown {
            count: u64,
            sum_seconds: f64,
            p50_seconds: Option<f64>,
            p99_seconds: Option<f64>,
        }
        let quantile = |share| self.quantile(share).map(|bound| bound.as_secs_f64());
        Shown {
            count: self.count(),
            sum_seconds: self.sum.as_secs_f64(),
            p50_seconds: quantile(0.5),
            p99_seconds: quantile(0.99),
        }
        .serialize(serializer)
    }
}

/// The measuring behind a [`Distribution`].
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    counts: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

impl Histogram {
    pub(crate) fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Distribution {
        Distribution {
            counts: std::array::from_fn(|bucket| self.counts[bucket].load(Ordering::Relaxed)),
            sum: Duration::from_micros(self.micros.load(Ordering::Relaxed)),
        }
    }
}

/// Counters of one metric by the values of one label, all of which are known beforehand.
#[derive(Debug)]
pub struct CounterFamily {
    name: &'static str,
    label: &'static str,
    counts: Box<[(&'static str, AtomicU64)]>,
}

impl CounterFamily {
    pub(crate) fn new(name: &'static str, label: &'static str, values: &[&'static str]) -> Self {
        let counts = values.iter().map(|value| (*value, AtomicU64::new(0))).collect();
        Self { name, label, counts }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Counts one for the label's value at this place of the list; a place beyond it counts nothing.
    pub fn count(&self, place: usize) {
        if let Some((_, count)) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self) -> FamilyReading {
        let read = |(value, count): &(&'static str, AtomicU64)| (*value, count.load(Ordering::Relaxed));
        FamilyReading {
            name: self.name,
            label: self.label,
            counts: self.counts.iter().map(read).collect(),
        }
    }
}

/// A reading of a [`CounterFamily`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FamilyReading {
    /// The metric.
    pub name: &'static str,
    /// Its label.
    pub label: &'static str,
    #[serde(serialize_with = "crate::stats::as_map")]
    /// The values of the label, with how often each was counted.
    pub counts: Vec<(&'static str, u64)>,
}

/// What a cache measured about the shared tier.
#[derive(Debug)]
pub(crate) struct SharedTally {
    cache: Arc<str>,
    pub(crate) took: Histogram,
    pub(crate) faults: CounterFamily,
    pub(crate) gaps: CounterFamily,
    pub(crate) unreadable: CounterFamily,
}

impl SharedTally {
    pub(crate) fn new(cache: &str) -> Self {
        let faults = FaultKind::ALL.map(FaultKind::as_str);
        let gaps = GapReason::ALL.map(GapReason::as_str);
        Self {
            cache: cache.into(),
            took: Histogram::default(),
            faults: CounterFamily::new("cache_shared_errors_total", "kind", &faults),
            gaps: CounterFamily::new("cache_log_gaps_total", "reason", &gaps),
            unreadable: CounterFamily::new("cache_decode_errors_total", "reason", &Unreadable::ALL),
        }
    }

    /// A question was asked, and answered or not. What was refused at once took no time that tells anything.
    pub(crate) fn asked(&self, took: Duration, fault: Option<&Fault>) {
        if let Some(fault) = fault {
            self.faults.count(fault.kind() as usize);
            if matches!(
                fault.kind(),
                FaultKind::BreakerOpen | FaultKind::Overload | FaultKind::Closed
            ) {
                return;
            }
        }
        self.took.record(took);
        crate::telemetry::told("cache_shared_seconds", &self.cache, took);
    }
}

/// What was wrong with a stored value: few words, since nobody acts on more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Not an entry.
    Foreign,
    /// Cut, changed, or contradicting itself.
    Damaged,
    /// Of another format or schema.
    Version,
    /// Not signed, or for another key.
    Signature,
    /// In a codec or compression that this build has not.
    Codec,
    /// Above a limit.
    TooLarge,
    /// The envelope is right, and the value in it is none of this type.
    Value,
}

impl Unreadable {
    const ALL: [&str; 7] = [
        "foreign",
        "damaged",
        "version",
        "signature",
        "codec",
        "too_large",
        "value",
    ];
}

/// In microseconds: a local hit of Redis up to the longest load.
const BOUNDS: [u64; BUCKETS - 1] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

const BUCKETS: usize = 19;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_exactly_a_bound_is_within_it() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 60_000_000, 60_000_001] {
            histogram.record(Duration::from_micros(micros));
        }
        let read = histogram.read();
        let buckets: Vec<u64> = read.buckets().map(|(_, below)| below).collect();
        assert_eq!((buckets[0], buckets[1], buckets[17], read.count()), (2, 3, 4, 5));
        assert_eq!(read.sum(), Duration::from_micros(120_000_202));
    }

    #[test]
    fn quantiles_are_bounds_and_there_is_none_of_nothing() {
        let histogram = Histogram::default();
        assert_eq!(histogram.read().quantile(0.5), None);
        for _ in 0..99 {
            histogram.record(Duration::from_millis(1));
        }
        histogram.record(Duration::from_secs(90));
        let read = histogram.read();
        assert_eq!(read.quantile(0.0), Some(Duration::from_millis(1)));
        assert_eq!(read.quantile(0.99), Some(Duration::from_millis(1)));
        assert_eq!(read.quantile(1.0), None);
    }

    #[test]
    fn kinds_are_listed_at_the_places_where_they_are_counted() {
        assert!(
            FaultKind::ALL
                .iter()
                .enumerate()
                .all(|(place, kind)| *kind as usize == place)
        );
        assert!(
            GapReason::ALL
                .iter()
                .enumerate()
                .all(|(place, reason)| *reason as usize == place)
        );
    }

    #[test]
    fn a_family_counts_the_values_it_knows() {
        let family = CounterFamily::new("n", "l", &["a", "b"]);
        family.count(1);
        family.count(1);
        family.count(2);
        assert_eq!(family.read().counts, [("a", 0), ("b", 2)]);
    }
}
