//! What became of calls, while all was well and during faults.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::histogram::Histogram;
use crate::clock::Stopwatch;

/// Shared by everybody who calls.
#[derive(Debug, Default)]
pub struct Tally {
    failed: AtomicU64,
    foreign: AtomicU64,
    disturbed: AtomicBool,
    pub(super) calm: Histogram,
    pub(super) faulty: Histogram,
}

/// A call that has begun.
#[derive(Debug)]
pub struct Call<'a> {
    tally: &'a Tally,
    began: Stopwatch,
    disturbed: bool,
}

impl Tally {
    /// A fault begins or ends: calls that begin or end in between are counted apart.
    pub fn disturb(&self, disturbed: bool) {
        self.disturbed.store(disturbed, Ordering::Relaxed);
    }

    /// A call begins.
    pub fn begin(&self) -> Call<'_> {
        Call {
            tally: self,
            began: Stopwatch::start(),
            disturbed: self.disturbed.load(Ordering::Relaxed),
        }
    }

    /// Calls that have ended.
    pub fn calls(&self) -> u64 {
        self.calm.count() + self.faulty.count()
    }

    /// How long the slowest call took.
    pub fn slowest(&self) -> std::time::Duration {
        self.calm.max().max(self.faulty.max())
    }

    /// Calls that ended with an error.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Calls that got somebody else's value.
    pub fn foreign(&self) -> u64 {
        self.foreign.load(Ordering::Relaxed)
    }
}

impl Call<'_> {
    /// It ended with a value, the right one or not.
    pub fn answered(self, right: bool) {
        self.tally.foreign.fetch_add(u64::from(!right), Ordering::Relaxed);
        self.end();
    }

    /// It ended with an error.
    pub fn failed(self) {
        self.tally.failed.fetch_add(1, Ordering::Relaxed);
        self.end();
    }

    fn end(self) {
        let disturbed = self.disturbed || self.tally.disturbed.load(Ordering::Relaxed);
        let histogram = if disturbed {
            &self.tally.faulty
        } else {
            &self.tally.calm
        };
        histogram.note(self.began.elapsed());
    }
}
