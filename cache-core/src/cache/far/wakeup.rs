//! Waiting for the end of what another node holds: woken by it, or polling where nobody wakes.

use std::future::pending;
use std::time::Duration;

use rand::Rng as _;

use crate::cache::far::Far;
use crate::shared::{Ending, Wakeups};

/// One waiter's wait for one lock.
pub(crate) struct Wakeup {
    poll: Duration,
    /// `Some(None)`: the server does not publish, and polling is all there is.
    wakeups: Option<Option<Wakeups>>,
}

impl Wakeup {
    pub(crate) fn new() -> Self {
        Self {
            poll: FIRST_POLL,
            wakeups: None,
        }
    }

    /// Waits until it is worth asking again: the holder has ended, its lock may have, or some time has passed.
    /// Subscribed before it is asked the second time, so no end is missed: the first time this does not wait.
    pub(crate) async fn next(&mut self, far: &Far, key: &str, remaining: Duration) -> Option<Ending> {
        let Some(wakeups) = &mut self.wakeups else {
            self.wakeups = Some(far.port.subscribe(key, far.settings.budget).await.ok());
            return None;
        };
        let jitter = rand::rng().random_range(0.5..1.5);
        let pause = self.poll.mul_f64(jitter).min(remaining + LOCK_DELTA);
        self.poll = (self.poll * 2).min(LAST_POLL);
        tokio::select! {
            ending = next_ending(wakeups.as_mut()) => Some(ending),
            () = tokio::time::sleep(pause) => None,
        }
    }
}

async fn next_ending(wakeups: Option<&mut Wakeups>) -> Ending {
    if let Some(wakeups) = wakeups
        && let Some(ending) = wakeups.next().await
    {
        return ending;
    }
    // There is no subscription, or it was lost; the poll goes on.
    pending().await
}

const FIRST_POLL: Duration = Duration::from_millis(25);
const LAST_POLL: Duration = Duration::from_millis(250);
/// A lock is asked for again a moment after its end, not at it.
const LOCK_DELTA: Duration = Duration::from_millis(5);
