//! Waiting for a condition that only shows from outside.
//!
//! Polling with a deadline instead of a sleep: as fast as the system under test, and a failure names what
//! was waited for.

use std::panic::Location;
use std::time::Duration;

use crate::clock::Stopwatch;

/// Polls `condition` until it holds.
///
/// # Panics
/// When it does not hold within `within`; the message names `what` and the caller.
#[track_caller]
pub fn wait_until<C>(within: Duration, what: &str, mut condition: C) -> impl Future<Output = ()>
where
    C: AsyncFnMut() -> bool,
{
    let caller = Location::caller();
    async move {
        let polling = async {
            while !condition().await {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        if tokio::time::timeout(within, polling).await.is_err() {
            panic!("not within {within:?}: {what} (waited for at {caller})");
        }
    }
}

/// As [`wait_until`], for code without a runtime. Blocks the calling thread.
///
/// # Panics
/// When the condition does not hold within `within`.
#[track_caller]
pub fn wait_until_blocking(within: Duration, what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(within, condition), "not within {within:?}: {what}");
}

/// Polls until the condition holds; `false` when the time is up.
pub(crate) fn holds_within(within: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let stopwatch = Stopwatch::start();
    loop {
        if condition() {
            return true;
        }
        if stopwatch.elapsed() >= within {
            return false;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Short against every bound the tests assert, long against the cost of one look.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
