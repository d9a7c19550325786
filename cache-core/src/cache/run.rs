//! Running a loader: for so long, and no panic leaves it.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::cache::Cache;
use crate::cache::flights::Cause;
use crate::error::{Error, ErrorKind};
use crate::stats::Count;
use crate::sync::Arc;
use crate::waits;

/// How a loader's run ended, unless it was given up.
pub(crate) enum Ran<V, E> {
    Value(V),
    Error(E),
    Panicked(String),
    TimedOut(Duration),
}

impl Cache {
    /// Counts and tells how a load failed.
    pub(crate) fn cause<V, E: Send + Sync + 'static>(&self, ran: Ran<V, E>) -> Cause {
        let (count, kind, message) = match ran {
            Ran::Error(error) => {
                tracing::debug!(cache = self.name(), "the loader returned an error");
                self.inner.tally.count(Count::LoadFailed);
                return Cause::Loader(Arc::new(error));
            }
            Ran::Panicked(message) => (Count::LoadPanicked, ErrorKind::LoaderPanicked, message),
            Ran::TimedOut(limit) => (
                Count::LoadTimedOut,
                ErrorKind::LoadTimeout,
                format!("the load was aborted after {limit:?}"),
            ),
            Ran::Value(_) => return Cause::Cache(Error::invalid("a load that gave a value did not fail")),
        };
        tracing::warn!(
            cache = self.name(),
            kind = kind.as_str(),
            message,
            "a load failed"
        );
        self.inner.tally.count(count);
        Cause::Cache(Error::new(kind, message))
    }
}

/// Runs a loader as the work of `flight`, for at most `limit`, and catches its panic.
pub(crate) async fn run<V, E>(
    limit: Duration,
    flight: u64,
    loader: impl Future<Output = Result<V, E>>,
) -> Ran<V, E> {
    match deadline(limit, waits::within(flight, caught(loader))).await {
        Some(Ok(Ok(value))) => Ran::Value(value),
        Some(Ok(Err(error))) => Ran::Error(error),
        Some(Err(message)) => Ran::Panicked(format!("the loader panicked: {message}")),
        None => Ran::TimedOut(limit),
    }
}

/// `work`'s output if it comes within `limit`. Without a runtime there are no timers, and no limit.
pub(crate) async fn deadline<F: Future>(limit: Duration, work: F) -> Option<F::Output> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Some(work.await);
    }
    tokio::time::timeout(limit, work).await.ok()
}

/// The output of `future`, or the message of its panic.
pub(crate) async fn caught<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    std::future::poll_fn(move |context| {
        // The future is not touched again after a panic, so a state broken by it is never seen.
        match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Err(message_of(&*panic))),
        }
    })
    .await
}

pub(crate) fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("with a payload that is not text").to_owned()
}
