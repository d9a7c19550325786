//! [`ManualClock`]: a clock that stands until it is moved.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::sync::Arc;
use crate::time::{Clock, Timestamp};

/// A clock that stands still until it is moved. Clones show the same time.
///
/// It moves expiry, not timers: pair it with `tokio::time::pause` and `advance` where timeouts matter, or use
/// [`TokioClock`](crate::time::TokioClock), which moves both.
///
/// ```
/// use cache_core::testing::ManualClock;
/// use cache_core::{Cache, CacheKey, time::{minutes, seconds}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = ManualClock::new();
/// let cache = Cache::builder("test").clock(clock.clone()).build()?;
/// let key = CacheKey::build("answer", 1)?;
/// cache.set(&key, 42, minutes(1)).await?;
/// clock.advance(seconds(59));
/// assert!(cache.get::<i32>(&key).await.is_none_or(|answer| answer == 42)); // jitter shortens TTLs
/// clock.advance(seconds(1));
/// assert!(cache.get::<i32>(&key).await.is_none());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock {
    nanos: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock at some point after its origin.
    pub fn new() -> Self {
        Self {
            nanos: Arc::new(AtomicU64::new(START)),
        }
    }

    /// Moves the clock forward.
    pub fn advance(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.nanos.load(Ordering::SeqCst))
    }

    /// The beginning of 2026, moved on with the clock.
    fn wall(&self) -> SystemTime {
        let start = UNIX_EPOCH + Duration::from_secs(1_767_225_600) - Duration::from_nanos(START);
        start + Duration::from_nanos(self.nanos.load(Ordering::SeqCst))
    }
}

/// Where a new clock stands: after its origin, so that there is a past.
const START: u64 = 1_000_000_000_000;
