//! [`Window`]: how many calls there were lately, and how many of them failed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::time::Timestamp;

/// Ten slices of time, each one atomic word: counting takes no lock and allocates nothing.
#[derive(Debug)]
pub(super) struct Window {
    slice_nanos: u64,
    slices: [AtomicU64; SLICES as usize],
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) failures: u64,
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Self {
            slice_nanos: (nanos / SLICES).max(1),
            slices: Default::default(),
        }
    }

    pub(super) fn count(&self, now: Timestamp, failed: bool) {
        let number = self.number(now);
        let Some(slice) = self.slices.get((number % SLICES) as usize) else {
            return;
        };
        // The closure always gives a word, so the update always happens.
        let _ = slice.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            let mut slice = Slice::unpack(word);
            if slice.stamp != stamp(number) {
                slice = Slice {
                    stamp: stamp(number),
                    counts: Counts::default(),
                };
            }
            slice.counts.calls = (slice.counts.calls + 1).min(MAX_COUNT);
            slice.counts.failures = (slice.counts.failures + u64::from(failed)).min(MAX_COUNT);
            Some(slice.pack())
        });
    }

    /// Over the slice of `now`, which has only begun, and the nine before it.
    pub(super) fn totals(&self, now: Timestamp) -> Counts {
        let newest = self.number(now);
        let mut totals = Counts::default();
        for number in newest.saturating_sub(SLICES - 1)..=newest {
            let Some(slice) = self.slices.get((number % SLICES) as usize) else {
                continue;
            };
            let slice = Slice::unpack(slice.load(Ordering::Relaxed));
            if slice.stamp == stamp(number) {
                totals.calls += slice.counts.calls;
                totals.failures += slice.counts.failures;
            }
        }
        totals
    }

    pub(super) fn clear(&self) {
        for slice in &self.slices {
            slice.store(0, Ordering::Relaxed);
        }
    }

    fn number(&self, now: Timestamp) -> u64 {
        now.as_nanos() / self.slice_nanos
    }
}

/// A word: 20 bits to tell one round of slices from another, 22 for each count.
struct Slice {
    stamp: u64,
    counts: Counts,
}

impl Slice {
    fn pack(&self) -> u64 {
        self.stamp << (2 * COUNT_BITS) | self.counts.calls << COUNT_BITS | self.counts.failures
    }

    fn unpack(word: u64) -> Self {
        Self {
            stamp: word >> (2 * COUNT_BITS),
            counts: Counts {
                calls: word >> COUNT_BITS & MAX_COUNT,
                failures: word & MAX_COUNT,
            },
        }
    }
}

/// With slices of a second it comes round after 12 days; a word of zeros counts nothing, whatever its stamp.
fn stamp(number: u64) -> u64 {
    number & 0xF_FFFF
}

const SLICES: u64 = 10;
const COUNT_BITS: u32 = 22;
const MAX_COUNT: u64 = (1 << COUNT_BITS) - 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::seconds;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let window = Window::new(seconds(10));
        let start = Timestamp::ZERO + seconds(86_400);
        for second in 0..30 {
            window.count(start + seconds(second), second % 3 == 0);
        }
        let totals = window.totals(start + seconds(29));
        assert_eq!(
            totals,
            Counts {
                calls: 10,
                failures: 3
            }
        );
        assert_eq!(window.totals(start + seconds(38)).calls, 1);
        assert_eq!(window.totals(start + seconds(39)), Counts::default());
        window.clear();
        assert_eq!(window.totals(start + seconds(29)), Counts::default());
    }

    #[test]
    fn counts_stop_at_their_bound() {
        let full = Slice {
            stamp: 7,
            counts: Counts {
                calls: MAX_COUNT,
                failures: MAX_COUNT,
            },
        };
        let window = Window::new(seconds(10));
        let now = Timestamp::ZERO + seconds(7);
        window.slices[7].store(full.pack(), Ordering::Relaxed);
        window.count(now, true);
        let expected = Counts {
            calls: MAX_COUNT,
            failures: MAX_COUNT,
        };
        assert_eq!(window.totals(now), expected);
    }
}
