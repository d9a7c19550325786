//! Time as a value: [`Timestamp`], and the [`Clock`] that everything else takes it from.
//!
//! This is the only file of the workspace's libraries that reads the machine's clock; a lint keeps it so. Time is
//! monotonic: setting the wall clock moves no expiry. [`Clock::wall`] is for protocols that speak of dates.
//!
//! A hit may be asked for tens of millions of times a second, and a precise clock read costs more than the rest of
//! it. A clock therefore has two faces: [`Clock::now`] is precise, [`Clock::coarse`] may lag by up to
//! [`COARSE_LAG`] but never runs ahead. An expiry that is near is decided by the precise one, so that TTLs hold to
//! the millisecond at the price of the cheap one.

use std::fmt;
use std::ops::Add;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

/// A point on a [`Clock`]'s own monotonic line, in nanoseconds.
///
/// Comparable only with timestamps of the same clock; it says nothing about the time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The clock's origin.
    pub const ZERO: Self = Self(0);
    /// Later than anything that happens: "never".
    pub const MAX: Self = Self(u64::MAX);

    /// The point this many nanoseconds after the clock's origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this; zero when `earlier` is not earlier.
    #[inline]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This point moved back by `duration`, at most to the origin.
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at [`Timestamp::MAX`].
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

/// Where a cache takes its time from.
///
/// Implementations must be monotonic, and `coarse` must never be ahead of `now`.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The precise time.
    fn now(&self) -> Timestamp;

    /// The time, at most [`COARSE_LAG`] behind [`Clock::now`] and never ahead of it.
    fn coarse(&self) -> Timestamp {
        self.now()
    }

    /// The time of day, for protocols that speak of dates, as HTTP does. No expiry of an entry depends on it.
    #[expect(clippy::disallowed_methods, reason = "this file is where clocks are read")]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    /// The time of day, at most [`COARSE_LAG`] behind [`Clock::wall`].
    fn coarse_wall(&self) -> SystemTime {
        self.wall()
    }
}

/// How far [`Clock::coarse`] may lag: a timer tick of the slowest common kernel configuration, and some.
pub const COARSE_LAG: Duration = Duration::from_millis(12);

/// The machine's monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        monotonic::now()
    }

    fn coarse(&self) -> Timestamp {
        monotonic::coarse()
    }

    #[cfg(target_os = "linux")]
    fn coarse_wall(&self) -> SystemTime {
        monotonic::coarse_wall()
    }
}

/// The clock of the tokio runtime, which `tokio::time::pause` stops and `advance` moves.
///
/// For tests that steer timers and expiry together. Precise only.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioClock;

impl Clock for TokioClock {
    #[expect(clippy::disallowed_methods, reason = "this file is where clocks are read")]
    fn now(&self) -> Timestamp {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        let origin = ORIGIN.get_or_init(Instant::now);
        let now = tokio::time::Instant::now().into_std();
        // A paused clock stands at the beginning of its test, which may lie before the first reading.
        (Timestamp::ZERO + HEAD_START + now.saturating_duration_since(*origin))
            .before(origin.saturating_duration_since(now))
    }

    /// Moves with the runtime's clock, from the time of day at which it was first asked.
    #[expect(clippy::disallowed_methods, reason = "this file is where clocks are read")]
    fn wall(&self) -> SystemTime {
        static ORIGIN: OnceLock<(SystemTime, Timestamp)> = OnceLock::new();
        let (wall, line) = *ORIGIN.get_or_init(|| (SystemTime::now(), self.now()));
        wall + self.now().since(line)
    }
}

/// What a paused clock has behind it when it begins before the first reading.
const HEAD_START: Duration = Duration::from_secs(86_400);

/// So many seconds, as a [`Duration`].
pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// So many minutes, as a [`Duration`].
pub const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n.saturating_mul(60))
}

/// So many hours, as a [`Duration`].
pub const fn hours(n: u64) -> Duration {
    Duration::from_secs(n.saturating_mul(3_600))
}

/// So many days, as a [`Duration`].
pub const fn days(n: u64) -> Duration {
    Duration::from_secs(n.saturating_mul(86_400))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(target_os = "linux")]
mod monotonic {
    use rustix::time::{ClockId, Timespec, clock_gettime};

    use std::time::{Duration, SystemTime};

    use super::Timestamp;

    pub(super) fn now() -> Timestamp {
        from_spec(clock_gettime(ClockId::Monotonic))
    }

    /// The same line as `now`, as of the last timer tick.
    pub(super) fn coarse() -> Timestamp {
        from_spec(clock_gettime(ClockId::MonotonicCoarse))
    }

    /// The time of day as of the last timer tick; before 1970 it stands still.
    pub(super) fn coarse_wall() -> SystemTime {
        let spec = clock_gettime(ClockId::RealtimeCoarse);
        let since = u64::try_from(spec.tv_sec).map(|seconds| Duration::new(seconds, spec.tv_nsec as u32));
        SystemTime::UNIX_EPOCH + since.unwrap_or_default()
    }

    fn from_spec(spec: Timespec) -> Timestamp {
        // A monotonic clock counts from boot: neither field is negative.
        Timestamp(
            (spec.tv_sec as u64)
                .wrapping_mul(1_000_000_000)
                .wrapping_add(spec.tv_nsec as u64),
        )
    }
}

#[cfg(not(target_os = "linux"))]
mod monotonic {
    use std::sync::OnceLock;
    use std::time::Instant;

    use super::Timestamp;

    #[expect(clippy::disallowed_methods, reason = "this file is where clocks are read")]
    pub(super) fn now() -> Timestamp {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        let origin = ORIGIN.get_or_init(Instant::now);
        Timestamp::ZERO + origin.elapsed()
    }

    pub(super) fn coarse() -> Timestamp {
        now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coarse_clock_lags_within_its_bound_and_never_leads() {
        for _ in 0..1_000 {
            let coarse = SystemClock.coarse();
            let now = SystemClock.now();
            assert!(coarse <= now, "coarse {coarse:?} ran ahead of {now:?}");
            let coarse = SystemClock.coarse_wall();
            let wall = SystemClock.wall();
            assert!(coarse <= wall, "coarse {coarse:?} ran ahead of {wall:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_of_a_paused_runtime_moves_exactly_with_it() {
        std::thread::sleep(Duration::from_millis(5));
        let first = TokioClock.now();
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(TokioClock.now().since(first), Duration::from_millis(1));
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::MAX + Duration::MAX, Timestamp::MAX);
        assert_eq!(Timestamp::ZERO.before(Duration::MAX), Timestamp::ZERO);
        assert_eq!(
            Timestamp::from_nanos(5).since(Timestamp::from_nanos(9)),
            Duration::ZERO
        );
    }
}
