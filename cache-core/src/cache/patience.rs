//! How long one caller waits.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Sleep;

use crate::options::Policy;

/// How long a caller waits, from its arrival on, whatever it waits for.
pub(super) struct Patience {
    /// With something to fall back on.
    pub(super) soft: Timer,
    /// At all.
    pub(super) hard: Timer,
}

impl Patience {
    pub(super) fn of(policy: &Policy) -> Self {
        Self {
            soft: Timer::after(policy.soft_timeout),
            hard: Timer::after(Some(policy.hard_timeout)),
        }
    }

    /// Waits for `work`, and drops it when patience ends.
    pub(super) async fn wait_for(&mut self, work: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = work => {}
            () = &mut self.hard => {}
        }
    }
}

/// Ends after `limit`; never without a runtime to keep the time.
pub(super) async fn sleep(limit: Duration) {
    match Handle::try_current() {
        Ok(_) => tokio::time::sleep(limit).await,
        Err(_) => std::future::pending().await,
    }
}

/// Ends once, and may be asked again after that.
pub(super) enum Timer {
    Never,
    Runs(Pin<Box<Sleep>>),
    Over,
}

impl Timer {
    /// Ends after `limit`; never without one, and never without a runtime to keep the time.
    fn after(limit: Option<Duration>) -> Self {
        match limit {
            // Timers have the grain of a millisecond; stale-while-revalidate does not wait for it.
            Some(Duration::ZERO) => Self::Over,
            Some(limit) if Handle::try_current().is_ok() => Self::Runs(Box::pin(tokio::time::sleep(limit))),
            _ => Self::Never,
        }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match &mut *self {
            Self::Never => Poll::Pending,
            Self::Over => Poll::Ready(()),
            Self::Runs(sleep) => {
                ready!(sleep.as_mut().poll(context));
                *self = Self::Over;
                Poll::Ready(())
            }
        }
    }
}
