//! Every task that a cache starts, owned in one place: bounded by permits, ended by `close`.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{Instrument as _, Span};

use crate::sync::Arc;

/// The tasks of one cache.
#[derive(Debug)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    /// Nothing new starts.
    closing: CancellationToken,
    /// What still runs is dropped.
    stopping: CancellationToken,
    loads: Arc<Semaphore>,
    load_limit: usize,
    background: Arc<Semaphore>,
    /// Items of warming under way.
    warming: Arc<AtomicUsize>,
}

impl Tasks {
    pub(crate) fn new(loads: usize, background: usize) -> Self {
        let loads = loads.min(Semaphore::MAX_PERMITS);
        Self {
            tracker: TaskTracker::new(),
            closing: CancellationToken::new(),
            stopping: CancellationToken::new(),
            loads: Arc::new(Semaphore::new(loads)),
            load_limit: loads,
            background: Arc::new(Semaphore::new(background.min(Semaphore::MAX_PERMITS))),
            warming: Arc::default(),
        }
    }

    /// Runs `task` on the caller's runtime and in the caller's span; the task back if there is no runtime here, or the
    /// cache has been stopped.
    pub(crate) fn spawn<F>(&self, task: F) -> Result<(), F>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match self.runtime() {
            Some(runtime) => {
                // Boxed: what a task is wrapped in is as large as the task, twice over, and is moved around before it runs.
                let work: Work = Box::pin(task);
                self.start(work.in_current_span(), &runtime);
                Ok(())
            }
            None => Err(task),
        }
    }

    /// Like [`spawn`](Self::spawn), apart from the caller's span: for what outlives the caller's business.
    pub(crate) fn spawn_apart<F>(&self, task: F) -> Result<(), F>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match self.runtime() {
            Some(runtime) => {
                self.start(task, &runtime);
                Ok(())
            }
            None => Err(task),
        }
    }

    /// A task that is started later, or never if it ends before; back if there is no runtime here, or the cache has been
    /// stopped.
    pub(crate) fn defer(&self, work: Work) -> Result<Deferred, Work> {
        match self.runtime() {
            Some(runtime) => Ok(Deferred {
                work,
                runtime,
                span: Span::current(),
                counted: self.tracker.token(),
                carrier: None,
            }),
            None => Err(work),
        }
    }

    /// Starts a task that was put off: where, and in whose span, it would have been started then.
    pub(crate) fn start_deferred(&self, deferred: Deferred) {
        let Deferred {
            work,
            runtime,
            span,
            counted,
            carrier,
        } = deferred;
        self.start(work.instrument(span), &runtime);
        // Now the task counts.
        drop(counted);
        carrier.into_iter().for_each(Waker::wake);
    }

    /// Where tasks can run now.
    pub(crate) fn runtime(&self) -> Option<Handle> {
        Handle::try_current()
            .ok()
            .filter(|_| !self.stopping.is_cancelled())
    }

    fn start(&self, task: impl Future<Output = ()> + Send + 'static, runtime: &Handle) {
        let stopping = self.stopping.clone();
        let task = async move {
            stopping.run_until_cancelled(task).await;
        };
        self.tracker.spawn_on(task, runtime);
    }

    /// Waits for the right to run a loader, or until that is so `urgent` that it runs without.
    pub(crate) async fn load_permit(&self, urgent: impl Future<Output = ()>) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.loads.clone().try_acquire_owned() {
            return Some(permit);
        }
        tokio::select! {
            biased;
            () = urgent => None,
            permit = self.loads.clone().acquire_owned() => permit.ok(),
        }
    }

    /// Waits until loads that somebody waits for have room, and takes a place for one more item of warming: an eighth of
    /// all loads that may run, at least one, stays free of those that nobody waits for yet. An item counts before its load
    /// begins, since a queue of them would stand before whoever comes next.
    pub(crate) async fn behind_live_loads(&self) -> WarmingPlace {
        loop {
            if let Some(place) = self.place_for_warming() {
                return place;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn place_for_warming(&self) -> Option<WarmingPlace> {
        let places = self
            .load_limit
            .saturating_sub((self.load_limit / 8).max(1))
            .max(1);
        // Without a timer there is no waiting, and hardly anybody else.
        let goes_on = |taken: usize| taken < places || !self.has_timer();
        if !goes_on(self.loads_running()) {
            return None;
        }
        let take = |taken| goes_on(taken).then_some(taken + 1);
        let taken = self
            .warming
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        taken.ok().map(|_| WarmingPlace(self.warming.clone()))
    }

    fn has_timer(&self) -> bool {
        Handle::try_current().is_ok()
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

    /// Starts nothing new but what was put off, waits for what runs, and drops what still runs when `timeout` ends; how
    /// many tasks that was.
    pub(crate) async fn close(&self, timeout: Duration, put_off: impl FnOnce() -> Vec<Deferred>) -> usize {
        self.closing.cancel();
        for deferred in put_off() {
            self.start_deferred(deferred);
        }
        self.tracker.close();
        if self.all_end_within(timeout).await {
            return 0;
        }
        let left = self.tracker.len();
        self.stopping.cancel();
        self.all_end_within(TO_BE_DROPPED).await;
        left
    }

    /// Whether all tasks have ended, waited for `timeout`; not at all without a runtime to keep the time.
    async fn all_end_within(&self, timeout: Duration) -> bool {
        if Handle::try_current().is_err() {
            return self.tracker.is_empty();
        }
        tokio::time::timeout(timeout, self.tracker.wait()).await.is_ok()
    }
}

/// What a task does.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A task that was not started yet.
pub(crate) struct Deferred {
    work: Work,
    runtime: Handle,
    span: Span,
    /// [`close`](Tasks::close) waits for it all the same.
    counted: TaskTrackerToken,
    /// Wakes the one who has polled it so far.
    carrier: Option<Waker>,
}

impl Deferred {
    /// Does some of the task's work here, as it would do it there: on its own runtime, and a panic ends it alone.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let _there = self.runtime.enter();
        let work = self.work.as_mut();
        // The work is dropped after a panic, so a state broken by it is never seen.
        std::panic::catch_unwind(AssertUnwindSafe(|| work.poll(context))).unwrap_or(Poll::Ready(()))
    }

    /// Who is to be woken if somebody else starts the task.
    pub(crate) fn carried_by(&mut self, carrier: &Waker) {
        if !self
            .carrier
            .as_ref()
            .is_some_and(|known| known.will_wake(carrier))
        {
            self.carrier = Some(carrier.clone());
        }
    }

    /// The one who has polled it starts it, or wants to know no more of it.
    pub(crate) fn by_its_carrier(mut self) -> Self {
        self.carrier = None;
        self
    }
}

/// The right of one item of warming to be under way; given back on drop.
#[derive(Debug)]
pub(crate) struct WarmingPlace(Arc<AtomicUsize>);

impl Drop for WarmingPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether a load is waited for by another one. Then it must not queue for a permit: that one may hold the last.
#[derive(Debug, Default)]
pub(crate) struct Urgency {
    set: AtomicBool,
    changed: Notify,
}

impl Urgency {
    pub(crate) fn set(&self) {
        self.set.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    pub(crate) async fn wait(&self) {
        let mut changed = pin!(self.changed.notified());
        // Enabled before the look, so that no change between the two is missed.
        changed.as_mut().enable();
        if !self.set.load(Ordering::SeqCst) {
            changed.await;
        }
    }
}

/// How long warming waits before it looks again whether loads have room: less than a load usually takes.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A task that is told to stop is dropped as soon as it yields; one that never does is not waited for.
const TO_BE_DROPPED: Duration = Duration::from_millis(100);
