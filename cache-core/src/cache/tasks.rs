//! Every task that a cache starts, owned in one place: bounded by permits, ended by `close`.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::sync::Arc;
use crate::waits;

/// The tasks of one cache.
#[derive(Debug)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    closing: CancellationToken,
    loads: Arc<Semaphore>,
    load_limit: usize,
    background: Arc<Semaphore>,
}

impl Tasks {
    pub(crate) fn new(loads: usize, background: usize) -> Self {
        Self {
            tracker: TaskTracker::new(),
            closing: CancellationToken::new(),
            loads: Arc::new(Semaphore::new(loads)),
            load_limit: loads,
            background: Arc::new(Semaphore::new(background)),
        }
    }

    /// Runs `task` on the caller's runtime and in the caller's span; the task back if there is no runtime here.
    pub(crate) fn spawn<F>(&self, task: F) -> Result<(), F>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Ok(runtime) = Handle::try_current() else {
            return Err(task);
        };
        self.tracker.spawn_on(task.in_current_span(), &runtime);
        Ok(())
    }

    /// Waits for the right to run a loader. A load within a load needs none: it would wait for itself.
    pub(crate) async fn load_permit(&self) -> Option<OwnedSemaphorePermit> {
        if waits::current().is_some() {
            return None;
        }
        self.loads.clone().acquire_owned().await.ok()
    }

    /// The right to run a load that nobody waits for, if there is one left.
    pub(crate) fn background_permit(&self) -> Option<OwnedSemaphorePermit> {
        if self.is_closing() {
            return None;
        }
        self.background.clone().try_acquire_owned().ok()
    }

    pub(crate) fn loads_running(&self) -> usize {
        self.load_limit - self.loads.available_permits().min(self.load_limit)
    }

    /// Ends when the cache closes.
    pub(crate) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Starts nothing new, and waits for what runs; how many tasks were left when `timeout` ended.
    pub(crate) async fn close(&self, timeout: Duration) -> usize {
        self.closing.cancel();
        self.tracker.close();
        match tokio::time::timeout(timeout, self.tracker.wait()).await {
            Ok(()) => 0,
            Err(_) => self.tracker.len(),
        }
    }
}
