//! Warmers on demand: those that were registered, by name, one run of each at a time, within a deadline. Nothing that a
//! caller sends decides what is loaded.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::Cache;
use cache_core::time::{Clock, Timestamp};
use serde::Serialize;
use serde_json::Value;

/// One run; what it reports, or why it failed.
pub(super) type Run = Pin<Box<dyn Future<Output = Result<Value, String>> + Send>>;

/// A registered warmer.
pub(super) struct Warmer {
    pub(super) name: String,
    pub(super) cache: Cache,
    pub(super) deadline: Duration,
    pub(super) run: Box<dyn Fn() -> Run + Send + Sync>,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    running: bool,
    last: Option<Report>,
}

/// How the last run went.
#[derive(Clone, Serialize)]
struct Report {
    /// `done`, `failed`, `timed_out` or `dropped`.
    result: &'static str,
    duration_seconds: f64,
    /// What it reported, or why it failed.
    report: Value,
}

/// A warmer as it is shown.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    name: &'a str,
    cache: &'a str,
    running: bool,
    last: Option<Report>,
}

/// Why a run did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotStarted {
    Running,
    /// The cache is closing, or has enough to do in the background.
    NoRoom,
}

impl Warmer {
    /// Starts a run as a task of the cache, unless one is under way.
    pub(super) fn start(self: &Arc<Self>, clock: Arc<dyn Clock>) -> Result<(), NotStarted> {
        if std::mem::replace(&mut self.state().running, true) {
            return Err(NotStarted::Running);
        }
        let mut running = Running {
            began: clock.now(),
            clock,
            warmer: self.clone(),
            end: ("dropped", Value::Null),
        };
        let task = async move { running.go().await };
        self.cache.spawn_background(task).map_err(|_| NotStarted::NoRoom)
    }

    pub(super) fn shown(&self) -> Shown<'_> {
        let state = self.state();
        Shown {
            name: &self.name,
            cache: self.cache.name(),
            running: state.running,
            last: state.last.clone(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Warmer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Warmer")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A run under way. However it ends, its drop says so: it may panic, and the cache may be closed over it.
struct Running {
    warmer: Arc<Warmer>,
    clock: Arc<dyn Clock>,
    began: Timestamp,
    end: (&'static str, Value),
}

impl Running {
    async fn go(&mut self) {
        let run = (self.warmer.run)();
        self.end = match tokio::time::timeout(self.warmer.deadline, run).await {
            Ok(Ok(report)) => ("done", report),
            Ok(Err(error)) => ("failed", Value::String(error)),
            Err(_) => ("timed_out", Value::Null),
        };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let (result, report) = std::mem::replace(&mut self.end, ("dropped", Value::Null));
        let took = self.clock.now().since(self.began);
        tracing::info!(
            target: super::guard::AUDIT,
            warmer = self.warmer.name,
            result,
            ?took,
            %report,
            "warmed"
        );
        let mut state = self.warmer.state();
        state.running = false;
        state.last = Some(Report {
            result,
            duration_seconds: took.as_secs_f64(),
            report,
        });
    }
}
