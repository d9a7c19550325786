//! What came out of a scenario: figures, and checks of what must hold.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use super::{Resources, Scenario, Tally};
use crate::oracle;

/// All that a report tells about one run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Findings {
    /// `S1` to `S10`.
    pub scenario: String,
    /// What happened, in one line.
    pub title: String,
    /// From which it can be replayed.
    pub seed: u64,
    /// How long it took.
    pub seconds: f64,
    /// What must hold, and whether it did.
    pub checks: Vec<Check>,
    /// Counts of what was done, with their names.
    pub counts: Vec<(String, u64)>,
    /// How long calls took.
    pub latencies: Vec<Latency>,
    /// Who read what was superseded, and for how long it had been.
    pub stale_reads: Vec<StaleReads>,
    /// From the end of each fault until Redis was used again, in milliseconds.
    pub recoveries_ms: Vec<f64>,
    /// What the processes used.
    pub resources: Vec<Resources>,
    /// The faults and their times.
    pub events: Vec<String>,
}

/// Something that must hold.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Check {
    /// What is bounded.
    pub what: String,
    /// What was measured.
    pub measured: f64,
    /// What it may be.
    pub bound: f64,
    /// Whether the bound is the least rather than the most.
    pub at_least: bool,
    /// Of both numbers.
    pub unit: String,
}

/// Percentiles of calls, in milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "percentiles are named by their share")]
pub struct Latency {
    /// Which calls.
    pub what: String,
    /// How many.
    pub calls: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// Reads by the age of what they returned.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StaleReads {
    /// Who read, compared with what was acknowledged where.
    pub who: String,
    /// All reads.
    pub reads: u64,
    /// Reads of what was superseded.
    pub stale: u64,
    /// The greatest age, in milliseconds.
    pub max_ms: f64,
    /// How many reads were superseded for less than so many milliseconds, and not for less than half as many. The first
    /// number counts current reads too.
    pub by_age: Vec<(u64, u64)>,
}

impl Check {
    /// Whether it holds.
    pub fn holds(&self) -> bool {
        match self.at_least {
            true => self.measured >= self.bound,
            false => self.measured <= self.bound,
        }
    }
}

impl Findings {
    /// Whether everything held that must.
    pub fn hold(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(Check::holds)
    }

    /// Fails unless everything held that must.
    ///
    /// # Panics
    /// When something did not; the message is the report.
    #[track_caller]
    pub fn assert_hold(&self) {
        assert!(!self.checks.is_empty(), "nothing was checked");
        assert!(self.hold(), "seed {}: {self}", self.seed);
    }

    /// `what` must be `bound` at most.
    pub fn at_most(&mut self, what: impl Into<String>, measured: f64, bound: f64, unit: &str) {
        self.check(what, measured, bound, unit, false);
    }

    /// `what` must be `bound` at least.
    pub fn at_least(&mut self, what: impl Into<String>, measured: f64, bound: f64, unit: &str) {
        self.check(what, measured, bound, unit, true);
    }

    /// `what` must not take longer.
    pub fn within(&mut self, what: impl Into<String>, took: Duration, bound: Duration) {
        self.at_most(what, millis(took), millis(bound), "ms");
    }

    /// `what` must not have happened.
    pub fn never(&mut self, what: impl Into<String>, count: u64) {
        self.at_most(what, count as f64, 0.0, "");
    }

    /// Something was done so often.
    pub fn count(&mut self, what: impl Into<String>, count: u64) {
        self.counts.push((what.into(), count));
    }

    /// From the end of a fault to the first use of Redis.
    pub fn recovered(&mut self, took: Duration) {
        self.recoveries_ms.push(millis(took));
    }

    /// The longest recovery must be within the bound.
    pub fn check_recoveries(&mut self, bound: Duration) {
        let longest = self.recoveries_ms.iter().copied().fold(0.0, f64::max);
        self.at_most(
            "the longest time until Redis is used again after a fault",
            longest,
            millis(bound),
            "ms",
        );
    }

    /// The sum of an oracle.
    pub(super) fn stale(&mut self, who: impl Into<String>, report: &oracle::Report) {
        self.stale_reads.push(StaleReads {
            who: who.into(),
            reads: report.reads,
            stale: report.stale,
            max_ms: millis(report.max_age),
            by_age: report.by_age(),
        });
    }

    pub(super) fn latency(&mut self, what: impl Into<String>, histogram: &Histogram) {
        let at = |share| millis(histogram.at(share));
        self.latencies.push(Latency {
            what: what.into(),
            calls: histogram.count(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: millis(histogram.max()),
        });
    }

    /// What every scenario tells of its calls; no call may fail, or get somebody else's value.
    pub(super) fn tally(&mut self, tally: &Tally) {
        for (what, histogram) in [
            ("calls while all is well", &tally.calm),
            (
                "calls during faults, and until Redis is used again",
                &tally.faulty,
            ),
        ] {
            if histogram.count() > 0 {
                self.latency(what, histogram);
            }
        }
        self.count("calls", tally.calls());
        self.never("calls that failed", tally.failed());
        self.never("answers that were another key's value", tally.foreign());
    }

    pub(super) fn name(&mut self, scenario: Scenario, seed: u64, took: Duration) {
        self.scenario = scenario.name().to_owned();
        self.title = scenario.title().to_owned();
        self.seed = seed;
        self.seconds = took.as_secs_f64();
    }

    fn check(&mut self, what: impl Into<String>, measured: f64, bound: f64, unit: &str, at_least: bool) {
        let what = what.into();
        self.checks.retain(|known| known.what != what);
        self.checks.push(Check {
            what,
            measured,
            bound,
            at_least,
            unit: unit.to_owned(),
        });
    }
}

impl fmt::Display for Findings {
    /// As a section of a Markdown document.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}: {}\n", self.scenario, self.title)?;
        let verdict = if self.hold() { "passed" } else { "FAILED" };
        writeln!(f, "{verdict}; seed {}, {:.0} s\n", self.seed, self.seconds)?;
        writeln!(f, "| must hold | measured | bound | |\n|---|---:|---:|---|")?;
        for check in &self.checks {
            let sign = if check.at_least { "≥" } else { "≤" };
            writeln!(
                f,
                "| {} | {} | {sign} {} {} | {} |",
                check.what,
                number(check.measured),
                number(check.bound),
                check.unit,
                if check.holds() { "held" } else { "**missed**" }
            )?;
        }
        self.tables(f)
    }
}

impl Findings {
    fn tables(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.latencies.is_empty() {
            writeln!(
                f,
                "\n| ms | number | p50 | p90 | p99 | p99.9 | max |\n|---|---:|---:|---:|---:|---:|---:|"
            )?;
        }
        for row in &self.latencies {
            let [p50, p90, p99, p999, max] = [row.p50, row.p90, row.p99, row.p999, row.max].map(number);
            writeln!(
                f,
                "| {} | {} | {p50} | {p90} | {p99} | {p999} | {max} |",
                row.what, row.calls
            )?;
        }
        if !self.stale_reads.is_empty() {
            writeln!(
                f,
                "\n| reads | number | superseded | longest, ms | by age |\n|---|---:|---:|---:|---|"
            )?;
        }
        for row in &self.stale_reads {
            let ages: Vec<String> = row
                .by_age
                .iter()
                .filter(|(_, count)| *count > 0)
                .map(|(below, count)| format!("< {below} ms: {count}"))
                .collect();
            let ages = ages.join(", ");
            writeln!(
                f,
                "| {} | {} | {} | {} | {ages} |",
                row.who,
                row.reads,
                row.stale,
                number(row.max_ms)
            )?;
        }
        if !self.recoveries_ms.is_empty() {
            let mut sorted = self.recoveries_ms.clone();
            sorted.sort_by(f64::total_cmp);
            let (median, longest) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
            writeln!(
                f,
                "\nRedis was used again after {} faults: in the median {} ms after their end, at most {} ms.",
                sorted.len(),
                number(median),
                number(longest)
            )?;
        }
        if !self.resources.is_empty() {
            writeln!(
                f,
                "\n| process | MiB first | peak | last | MiB/min | files first | last | tasks first | last |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|"
            )?;
        }
        for row in &self.resources {
            let [first, peak, last, slope] = [
                row.first_mib,
                row.peak_mib,
                row.last_mib,
                row.slope_mib_per_minute,
            ]
            .map(number);
            let tasks = row
                .tasks
                .map_or("| ".into(), |(first, last)| format!("{first} | {last}"));
            let (before, after) = row.files;
            writeln!(
                f,
                "| {} | {first} | {peak} | {last} | {slope} | {before} | {after} | {tasks} |",
                row.who
            )?;
        }
        let counts: Vec<String> = self
            .counts
            .iter()
            .map(|(what, count)| format!("{what}: {count}"))
            .collect();
        writeln!(f, "\n{}.", counts.join("; "))
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_holds_until_something_was_checked() {
        let mut findings = Findings::default();
        assert!(!findings.hold());
        findings.at_most("one", 1.0, 1.0, "");
        findings.at_least("two", 2.0, 2.0, "");
        assert!(findings.hold());
        findings.never("three", 1);
        assert!(!findings.hold());
        assert!(
            findings.to_string().contains("| three | 1 | ≤ 0  | **missed** |"),
            "{findings}"
        );
    }

    #[test]
    fn a_call_that_fails_is_a_check_that_does_not_hold() {
        let tally = Tally::default();
        tally.begin().answered(true);
        tally.disturb(true);
        tally.begin().failed();
        let mut findings = Findings::default();
        findings.tally(&tally);
        assert!(!findings.hold());
        assert_eq!(findings.latencies.len(), 2);
    }
}
