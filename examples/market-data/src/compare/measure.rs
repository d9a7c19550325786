//! Durations, and what is told of many of them.

use std::time::Duration;

use cache_core::time::{Clock as _, SystemClock};

/// How long each of many calls took.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(super) fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub(super) fn merge(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The time that this share of the calls did not exceed.
    pub(super) fn quantile(&self, share: f64) -> Duration {
        let sorted = self.sorted();
        let last = sorted.len().saturating_sub(1);
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted
            .get(rank.saturating_sub(1).min(last))
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn sorted(&self) -> Vec<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted
    }
}

/// The result of a call, and how long it took.
pub(super) async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let begun = SystemClock.now();
    let result = call.await;
    (result, SystemClock.now().since(begun))
}

/// `1.23 ms`, with three digits and the unit that fits.
pub(super) fn show(time: Duration) -> String {
    let nanos = time.as_nanos() as f64;
    let (value, unit) = match nanos {
        ..1e3 => (nanos, "ns"),
        1e3..1e6 => (nanos / 1e3, "µs"),
        1e6..1e9 => (nanos / 1e6, "ms"),
        _ => (nanos / 1e9, "s"),
    };
    let digits = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {unit}")
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_were_measured() {
        let latencies = Latencies((1..=100).map(Duration::from_millis).rev().collect());
        let millis = |share| latencies.quantile(share).as_millis();
        assert_eq!(
            (millis(0.0), millis(0.5), millis(0.99), millis(1.0)),
            (1, 50, 99, 100)
        );
        assert_eq!(Latencies::default().quantile(0.5), Duration::ZERO);
    }

    #[test]
    fn times_are_shown_with_the_unit_that_fits() {
        for (nanos, text) in [
            (7, "7.00 ns"),
            (1_500, "1.50 µs"),
            (12_340_000, "12.3 ms"),
            (2_000_000_000, "2.00 s"),
        ] {
            assert_eq!(show(Duration::from_nanos(nanos)), text);
        }
    }
}
