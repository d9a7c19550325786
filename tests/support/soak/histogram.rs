//! Durations by the million, with percentiles that are right to an eighth.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts of durations; each bucket is an eighth of a power of two nanoseconds wide.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: Vec<AtomicU64>,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            max: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    pub(super) fn note(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
        self.max.fetch_max(nanos, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets
            .iter()
            .map(|bucket| bucket.load(Ordering::Relaxed))
            .sum()
    }

    /// The duration that the given share does not exceed, rounded up to the end of its bucket.
    pub(super) fn at(&self, share: f64) -> Duration {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut below = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            below += bucket.load(Ordering::Relaxed);
            if below >= wanted {
                return Duration::from_nanos(end(index).min(self.max.load(Ordering::Relaxed)));
            }
        }
        self.max()
    }

    pub(super) fn max(&self) -> Duration {
        Duration::from_nanos(self.max.load(Ordering::Relaxed))
    }
}

/// Below eight, each number has a bucket of its own; from there on the highest bit and the three bits after it count.
fn bucket(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let power = u64::from(nanos.ilog2());
    let step = (nanos >> (power - STEPS_BITS)) - STEPS;
    ((power - STEPS_BITS + 1) * STEPS + step) as usize
}

/// The first number beyond the bucket, less one.
fn end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let power = bucket / STEPS - 1;
    let next = STEPS + bucket % STEPS + 1;
    (u128::from(next) << power).min(u128::from(u64::MAX)) as u64 - 1
}

const STEPS_BITS: u64 = 3;
const STEPS: u64 = 1 << STEPS_BITS;
const BUCKETS: usize = ((64 - STEPS_BITS + 1) * STEPS) as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_lies_in_a_bucket_that_ends_at_most_an_eighth_above_it() {
        for power in 0..64 {
            for offset in [0_u64, 1, 3, 1_000, 123_456_789] {
                let nanos = (1_u64 << power).saturating_add(offset);
                let end = end(bucket(nanos));
                assert!(end >= nanos && end - nanos <= nanos / 8 + 1, "{nanos}: {end}");
            }
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn percentiles_are_those_of_the_numbers() {
        let histogram = Histogram::default();
        for millis in 1..=1_000 {
            histogram.note(Duration::from_millis(millis));
        }
        for (share, expected) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let found = histogram.at(share).as_secs_f64() * 1_000.0;
            assert!((expected..=expected * 1.13).contains(&found), "{share}: {found}");
        }
        assert_eq!(histogram.count(), 1_000);
        assert_eq!(Histogram::default().at(0.5), Duration::ZERO);
    }
}
