//! Who may read which version, and by how much readers were behind.
//!
//! The value of a key is a version that only grows. A writer announces a version before it writes
//! ([`Oracle::intend`]) and records it once the write *and its invalidation* are acknowledged
//! ([`Oracle::acknowledge`]). A read that begins after that must not return an older one; when it does, its age
//! is how long the version it returned had been superseded. Time is an argument, for instance of one
//! [`Stopwatch`](crate::Stopwatch) per test.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What was written, and what the readers made of it. Shared by reference among tasks.
#[derive(Debug, Default)]
pub struct Oracle {
    keys: Mutex<HashMap<String, History>>,
    report: Mutex<Report>,
}

/// What one read returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing newer was acknowledged before the read began.
    Current,
    /// A newer version was acknowledged before the read began.
    Stale {
        /// The newest of those.
        newest: u64,
        /// For how long the returned version had been superseded when the read began.
        age: Duration,
    },
    /// Nobody has written that version under that key: it is somebody else's value.
    Foreign,
}

/// The sum of all reads.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// All reads.
    pub reads: u64,
    /// Reads that returned a superseded version.
    pub stale: u64,
    /// Reads that returned somebody else's value.
    pub foreign: u64,
    /// Reads that returned an older version than an earlier read of the same [`Reader`].
    pub backwards: u64,
    /// The greatest age of a stale read.
    pub max_age: Duration,
    /// Reads by age: `[i]` counts ages of at least `2^(i-1)` and less than `2^i` milliseconds, `[0]` all below one,
    /// current reads among them.
    histogram: [u64; BUCKETS],
}

#[derive(Debug, Default)]
struct History {
    intended: u64,
    /// Version and time of acknowledgement; both grow.
    acknowledged: Vec<(u64, Duration)>,
}

impl Oracle {
    /// Nothing written, nothing read.
    pub fn new() -> Self {
        Self::default()
    }

    /// A writer is about to write `version`: from now on readers may see it.
    pub fn intend(&self, key: &str, version: u64) {
        let mut keys = self.keys();
        let history = keys.entry(key.to_owned()).or_default();
        history.intended = history.intended.max(version);
    }

    /// The write of `version` and its invalidation are acknowledged: no read from now on may return less.
    pub fn acknowledge(&self, key: &str, version: u64, at: Duration) {
        let mut keys = self.keys();
        let history = keys.entry(key.to_owned()).or_default();
        history.intended = history.intended.max(version);
        // Of two writers the slower may be the older; what it says is known already.
        if history.newest().is_none_or(|newest| newest < version) {
            history.acknowledged.push((version, at));
        }
    }

    /// Judges a read that began at `began` and returned `version` (0: the key's value before all writes), and counts it.
    pub fn read(&self, key: &str, version: u64, began: Duration) -> Verdict {
        let verdict = self.judge(key, version, began);
        self.report_mut().add(verdict);
        verdict
    }

    /// Judges without counting.
    pub fn judge(&self, key: &str, version: u64, began: Duration) -> Verdict {
        match self.keys().get(key) {
            Some(history) => history.judge(version, began),
            None if version == 0 => Verdict::Current,
            None => Verdict::Foreign,
        }
    }

    /// A reader that also watches its own order.
    pub fn reader(&self) -> Reader<'_> {
        Reader {
            oracle: self,
            seen: HashMap::new(),
        }
    }

    /// The sum of all reads so far.
    pub fn report(&self) -> Report {
        self.report_mut().clone()
    }

    /// Fails when a read returned somebody else's value, or one superseded for longer than `bound`.
    ///
    /// # Panics
    /// When one did, or nobody has read at all; the message is the report.
    #[track_caller]
    pub fn assert_within(&self, bound: Duration) {
        let report = self.report();
        assert!(report.reads > 0, "nothing was read, so nothing is proven");
        assert!(report.foreign == 0, "somebody else's values were read: {report}");
        assert!(
            report.max_age <= bound,
            "values were superseded for more than {bound:?}: {report}"
        );
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<String, History>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report_mut(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader; its reads are counted in the oracle's report.
#[derive(Debug)]
pub struct Reader<'a> {
    oracle: &'a Oracle,
    seen: HashMap<String, u64>,
}

impl Reader<'_> {
    /// As [`Oracle::read`]; also counts a return to an older version than this reader has seen.
    pub fn read(&mut self, key: &str, version: u64, began: Duration) -> Verdict {
        let verdict = self.oracle.read(key, version, began);
        let seen = self.seen.entry(key.to_owned()).or_default();
        if version < *seen {
            self.oracle.report_mut().backwards += 1;
        }
        *seen = version.max(*seen);
        verdict
    }
}

impl History {
    fn judge(&self, version: u64, began: Duration) -> Verdict {
        if version > self.intended {
            return Verdict::Foreign;
        }
        let first_newer = self
            .acknowledged
            .partition_point(|(acknowledged, _)| *acknowledged <= version);
        let newer = self.acknowledged[first_newer..]
            .iter()
            .take_while(|(_, at)| *at < began);
        match (self.acknowledged.get(first_newer), newer.last()) {
            (Some((_, superseded)), Some((newest, _))) => Verdict::Stale {
                newest: *newest,
                age: began.saturating_sub(*superseded),
            },
            _ => Verdict::Current,
        }
    }

    fn newest(&self) -> Option<u64> {
        self.acknowledged.last().map(|(version, _)| *version)
    }
}

impl Report {
    /// The age below which the given share (`0.999`) of the reads of our own values is, rounded up to a power of two milliseconds.
    pub fn quantile(&self, share: f64) -> Duration {
        let judged = self.reads - self.foreign;
        let wanted = (judged as f64 * share).ceil() as u64;
        let mut below = 0;
        let bucket = self.histogram.iter().position(|count| {
            below += count;
            below >= wanted
        });
        Duration::from_millis(1 << bucket.unwrap_or(BUCKETS - 1))
    }

    /// How many reads were superseded for less than so many milliseconds, and not for less than half as many; the first
    /// number counts current reads too. Ends with the greatest age.
    pub fn by_age(&self) -> Vec<(u64, u64)> {
        let last = self.histogram.iter().rposition(|count| *count > 0);
        let ages = self
            .histogram
            .iter()
            .enumerate()
            .take(last.map_or(0, |last| last + 1));
        ages.map(|(power, count)| (1 << power, *count)).collect()
    }

    fn add(&mut self, verdict: Verdict) {
        self.reads += 1;
        match verdict {
            Verdict::Current => self.histogram[0] += 1,
            Verdict::Foreign => self.foreign += 1,
            Verdict::Stale { age, .. } => {
                self.stale += 1;
                self.max_age = self.max_age.max(age);
                self.histogram[bucket(age)] += 1;
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            reads,
            stale,
            foreign,
            backwards,
            max_age,
            ..
        } = self;
        let p999 = self.quantile(0.999);
        write!(
            f,
            "{reads} reads, {stale} stale (p99.9 < {p999:?}, max {max_age:?}), "
        )?;
        write!(f, "{foreign} foreign, {backwards} backwards")
    }
}

fn bucket(age: Duration) -> usize {
    let bits = u128::BITS - age.as_millis().leading_zeros();
    (bits as usize).min(BUCKETS - 1)
}

/// Up to nine hours.
const BUCKETS: usize = 26;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "key";

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Version 1 acknowledged at 10 ms, 2 at 20 ms, 4 at 40 ms; 5 is being written.
    fn oracle() -> Oracle {
        let oracle = Oracle::new();
        for (version, time) in [(1, 10), (2, 20), (4, 40)] {
            oracle.acknowledge(KEY, version, at(time));
        }
        oracle.intend(KEY, 5);
        oracle
    }

    #[track_caller]
    fn check(version: u64, began: u64, expected: Verdict) {
        assert_eq!(oracle().judge(KEY, version, at(began)), expected);
    }

    fn stale(newest: u64, age: u64) -> Verdict {
        Verdict::Stale { newest, age: at(age) }
    }

    #[test]
    fn a_read_is_stale_by_the_time_since_its_version_was_superseded() {
        check(4, 100, Verdict::Current);
        check(2, 100, stale(4, 60));
        check(1, 100, stale(4, 80));
        check(1, 30, stale(2, 10));
        check(0, 100, stale(4, 90));
    }

    #[test]
    fn a_read_that_began_before_the_acknowledgement_may_return_either() {
        check(2, 40, Verdict::Current);
        check(4, 15, Verdict::Current);
        check(1, 20, Verdict::Current);
        check(0, 5, Verdict::Current);
    }

    #[test]
    fn a_version_on_its_way_may_be_read_and_one_nobody_wrote_may_not() {
        check(5, 100, Verdict::Current);
        check(3, 30, Verdict::Current);
        check(6, 100, Verdict::Foreign);
        assert_eq!(oracle().judge("other", 1, at(100)), Verdict::Foreign);
        assert_eq!(oracle().judge("other", 0, at(100)), Verdict::Current);
    }

    #[test]
    fn a_late_acknowledgement_of_an_older_version_changes_nothing() {
        let oracle = oracle();
        oracle.acknowledge(KEY, 3, at(50));
        assert_eq!(oracle.judge(KEY, 4, at(100)), Verdict::Current);
        assert_eq!(oracle.judge(KEY, 2, at(100)), stale(4, 60));
    }

    #[test]
    fn the_report_adds_up() {
        let oracle = oracle();
        let mut reader = oracle.reader();
        for version in [4, 2, 4, 9] {
            reader.read(KEY, version, at(100));
        }
        let report = oracle.report();
        assert_eq!(
            (report.reads, report.stale, report.foreign, report.backwards),
            (4, 1, 1, 1)
        );
        assert_eq!(report.max_age, at(60));
        assert_eq!(
            report.to_string(),
            "4 reads, 1 stale (p99.9 < 64ms, max 60ms), 1 foreign, 1 backwards"
        );
    }

    #[test]
    fn quantiles_come_from_the_histogram() {
        let oracle = oracle();
        for _ in 0..999 {
            oracle.read(KEY, 4, at(100));
        }
        oracle.read(KEY, 2, at(100));
        assert_eq!(oracle.report().quantile(0.999), at(1));
        assert_eq!(oracle.report().quantile(1.0), at(64));
        let ages = oracle.report().by_age();
        assert_eq!((ages.first(), ages.last()), (Some(&(1, 999)), Some(&(64, 1))));
    }

    #[test]
    fn the_bound_is_asserted() {
        let fails = |read: u64, bound: u64| {
            let oracle = oracle();
            oracle.read(KEY, read, at(100));
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| oracle.assert_within(at(bound))))
                .is_err()
        };
        assert!(!fails(4, 0) && !fails(2, 60));
        assert!(fails(2, 59) && fails(9, 60));
        assert!(std::panic::catch_unwind(|| Oracle::new().assert_within(at(1))).is_err());
    }
}
