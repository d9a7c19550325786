//! The warmers of a cache: started when they are added, run by their schedule and on demand, one run of each at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Serialize, Serializer};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::cache::Cache;
use crate::cache::far::WeakCache;
use crate::cache::run::caught;
use crate::error::{Error, ErrorKind};
use crate::stats::Count;
use crate::sync::{Arc, Mutex, lock};
use crate::time::Timestamp;

use super::fleet::Turn;
use super::warmer::{Schedule, Warmer};
use super::{WarmReport, WarmRun, WarmStop};

/// The warmers of one cache.
#[derive(Debug, Default)]
pub(crate) struct Warmers {
    /// What the configuration says, by name.
    configured: BTreeMap<String, Schedule>,
    added: Mutex<Vec<Arc<Added>>>,
}

#[derive(Debug)]
struct Added {
    warmer: Warmer,
    scheduled: AtomicBool,
    state: watch::Sender<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// The run at start has yet to begin.
    pending: bool,
    /// The run under way.
    running: Option<Arc<Mutex<WarmReport>>>,
    last: Option<WarmerRun>,
}

impl State {
    fn is_settled(&self) -> bool {
        !self.pending && self.running.is_none()
    }
}

/// A warmer that was added to a cache. Clones are handles to the same one.
#[derive(Clone)]
pub struct WarmerHandle {
    cache: Cache,
    added: Arc<Added>,
}

/// A warmer as it is shown to operators.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WarmerStatus {
    /// Its name.
    pub name: String,
    /// The name of the cache that it warms.
    pub cache: String,
    /// Whether it runs by its schedule; otherwise only on demand.
    pub enabled: bool,
    /// Its interval, if it has one.
    #[serde(rename = "every_seconds", serialize_with = "as_seconds_if_any")]
    pub every: Option<Duration>,
    /// How far the run under way is.
    pub running: Option<WarmReport>,
    /// How the last run went.
    pub last: Option<WarmerRun>,
}

/// How a run of a warmer went.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WarmerRun {
    /// What began it.
    pub cause: WarmCause,
    /// How it ended.
    pub result: WarmResult,
    /// From its beginning to its end, waiting for other nodes included.
    #[serde(rename = "duration_seconds", serialize_with = "as_seconds")]
    pub duration: Duration,
    /// What became of the keys.
    pub report: WarmReport,
    /// Why it failed.
    pub error: Option<String>,
}

/// What began a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WarmCause {
    /// The warmer was added.
    Start,
    /// Its interval passed.
    Interval,
    /// Somebody asked for it.
    Demand,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WarmResult {
    /// It came to its end; single keys may have failed.
    Done,
    /// Its closure returned an error.
    Failed,
    /// It took longer than its timeout.
    TimedOut,
    /// It panicked.
    Panicked,
    /// It was dropped: the cache was closed, or its runtime ended.
    Dropped,
    /// It was not needed: another node runs it, or has done so in this interval.
    Elsewhere,
}

impl WarmResult {
    /// In one word, as in JSON, logs and labels of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Panicked => "panicked",
            Self::Dropped => "dropped",
            Self::Elsewhere => "elsewhere",
        }
    }

    fn count(self) -> Count {
        match self {
            Self::Done => Count::WarmerDone,
            Self::Elsewhere => Count::WarmerElsewhere,
            Self::Failed | Self::TimedOut | Self::Panicked | Self::Dropped => Count::WarmerFailed,
        }
    }
}

impl WarmCause {
    fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Interval => "interval",
            Self::Demand => "demand",
        }
    }
}

impl Warmers {
    pub(crate) fn configured(configured: BTreeMap<String, Schedule>) -> Self {
        Self {
            configured,
            added: Mutex::default(),
        }
    }

    fn all(&self) -> Vec<Arc<Added>> {
        lock(&self.added).clone()
    }
}

impl Cache {
    /// Adds a warmer and starts it: at once, at its interval, or neither, as it says itself or the configuration of its
    /// name, which wins. Nothing waits for it. Without a tokio runtime here it starts with the first load.
    ///
    /// A warmer whose closure calls `#[cached]` functions is added after [`install`](Self::install). Its runs end with
    /// [`close`](Self::close): they begin nothing more, and are dropped.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) if the cache has a warmer of this name, or for settings that make no sense.
    pub fn add_warmer(&self, warmer: Warmer) -> Result<WarmerHandle, Error> {
        let mut warmer = warmer;
        if let Some(configured) = self.inner.warmers.configured.get(&warmer.name) {
            warmer.schedule = configured.or(warmer.schedule);
        }
        warmer.check()?;
        let pending = warmer.schedule.runs_at_start();
        let added = Arc::new(Added {
            warmer,
            scheduled: AtomicBool::new(false),
            state: watch::Sender::new(State {
                pending,
                ..State::default()
            }),
        });
        let mut all = lock(&self.inner.warmers.added);
        if all.iter().any(|other| other.warmer.name == added.warmer.name) {
            return Err(Error::invalid(format!(
                "the cache `{}` has a warmer `{}` already; give each a name of its own",
                self.name(),
                added.warmer.name
            )));
        }
        all.push(added.clone());
        drop(all);
        self.keep_schedule(&added);
        Ok(self.handle(added))
    }

    /// The warmer of this name, if it was added.
    pub fn warmer(&self, name: &str) -> Option<WarmerHandle> {
        let added = lock(&self.inner.warmers.added)
            .iter()
            .find(|added| added.warmer.name == name)?
            .clone();
        Some(self.handle(added))
    }

    /// All warmers that were added, in their order.
    pub fn warmers(&self) -> Vec<WarmerHandle> {
        let all = self.inner.warmers.all();
        all.into_iter().map(|added| self.handle(added)).collect()
    }

    /// Names of warmers that the configuration has, and the application did not add.
    pub fn missing_warmers(&self) -> Vec<String> {
        let names = self.inner.warmers.configured.keys();
        names
            .filter(|name| self.warmer(name).is_none())
            .cloned()
            .collect()
    }

    /// Starts the schedules that wait for a runtime.
    pub(crate) fn start_warmers(&self) {
        for added in self.inner.warmers.all() {
            self.keep_schedule(&added);
        }
    }

    fn handle(&self, added: Arc<Added>) -> WarmerHandle {
        WarmerHandle {
            cache: self.clone(),
            added,
        }
    }

    fn keep_schedule(&self, added: &Arc<Added>) {
        let schedule = &added.warmer.schedule;
        if !(schedule.runs_at_start() || schedule.interval().is_some())
            || self.inner.tasks.is_closing()
            || added.scheduled.swap(true, Ordering::Relaxed)
        {
            return;
        }
        let scheduled = Scheduled {
            cache: WeakCache::of(self),
            added: added.clone(),
            finished: false,
        };
        let closing = self.inner.tasks.closing();
        // Refused without a runtime; then `scheduled` is dropped, and the next load tries again.
        let _ = self.inner.tasks.spawn_apart(async move {
            closing.run_until_cancelled(scheduled.keep()).await;
        });
    }
}

impl WarmerHandle {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.added.warmer.name
    }

    /// Starts a run on this node, whatever other nodes do; each key is loaded once nevertheless.
    ///
    /// # Errors
    ///
    /// [`Contended`](ErrorKind::Contended) if a run is under way on this node; [`Closed`](ErrorKind::Closed) if the cache
    /// is closing; [`Unavailable`](ErrorKind::Unavailable) without a tokio runtime.
    pub fn start(&self) -> Result<(), Error> {
        start(&self.cache, &self.added, WarmCause::Demand)
    }

    /// Starts a run as [`start`](Self::start) does, and waits for its end.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    ///
    /// # Cancellation
    ///
    /// The run goes on.
    pub async fn run(&self) -> Result<WarmerRun, Error> {
        self.start()?;
        let ended = self.settled().await;
        ended.ok_or_else(|| Error::new(ErrorKind::Closed, "the cache was closed over the run"))
    }

    /// Waits until no run is under way, the one at start included; how the last one went. `None`: there was none.
    pub async fn settled(&self) -> Option<WarmerRun> {
        let mut state = self.added.state.subscribe();
        let settled = state.wait_for(State::is_settled).await;
        settled.ok()?.last.clone()
    }

    /// How it is now.
    pub fn status(&self) -> WarmerStatus {
        let state = self.added.state.borrow();
        let schedule = &self.added.warmer.schedule;
        WarmerStatus {
            name: self.name().to_owned(),
            cache: self.cache.name().to_owned(),
            enabled: schedule.is_enabled(),
            every: schedule.interval(),
            running: state.running.as_ref().map(|report| *lock(report)),
            last: state.last.clone(),
        }
    }
}

/// The task that keeps a schedule. Its hold on the cache is weak: it does not keep the cache alive.
struct Scheduled {
    cache: WeakCache,
    added: Arc<Added>,
    finished: bool,
}

impl Scheduled {
    async fn keep(mut self) {
        let schedule = self.added.warmer.schedule;
        let mut ticks = schedule.interval().map(interval);
        if let Some(ticks) = &mut ticks {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // The first one is now.
            ticks.tick().await;
        }
        if schedule.runs_at_start() {
            self.run(WarmCause::Start).await;
        }
        if let Some(mut ticks) = ticks {
            loop {
                ticks.tick().await;
                if !self.run(WarmCause::Interval).await {
                    break;
                }
            }
        }
        self.finished = true;
    }

    /// Whether the cache is still there.
    async fn run(&self, cause: WarmCause) -> bool {
        let Some(cache) = self.cache.upgrade() else {
            return false;
        };
        // Refused while one is under way that somebody asked for: then that is it.
        let _ = start(&cache, &self.added, cause);
        drop(cache);
        let mut state = self.added.state.subscribe();
        state.wait_for(State::is_settled).await.is_ok()
    }
}

impl Drop for Scheduled {
    fn drop(&mut self) {
        // The runtime ended, or there was none: the next one begins anew.
        if !self.finished {
            self.added.scheduled.store(false, Ordering::Relaxed);
        }
    }
}

fn start(cache: &Cache, added: &Arc<Added>, cause: WarmCause) -> Result<(), Error> {
    let refused = |kind, why: &str| {
        let name = &added.warmer.name;
        Err(Error::new(
            kind,
            format!("the warmer `{name}` was not started: {why}"),
        ))
    };
    if cache.inner.tasks.is_closing() {
        return refused(ErrorKind::Closed, "the cache is closing");
    }
    if cache.inner.tasks.runtime().is_none() {
        return refused(ErrorKind::Unavailable, "no tokio runtime runs here");
    }
    let report = Arc::new(Mutex::new(WarmReport::default()));
    let mut was_running = false;
    added.state.send_modify(|state| {
        state.pending &= cause != WarmCause::Start;
        was_running = state.running.is_some();
        state.running.get_or_insert_with(|| report.clone());
    });
    if was_running {
        return refused(ErrorKind::Contended, "a run is under way");
    }
    let mut running = Running {
        cache: cache.clone(),
        added: added.clone(),
        cause,
        report,
        began: cache.inner.clock.now(),
        end: (WarmResult::Dropped, None),
    };
    // A task that is not taken is dropped, and says so.
    let _ = cache.inner.tasks.spawn_apart(async move { running.go().await });
    Ok(())
}

/// A run under way. However it ends, its drop says so.
struct Running {
    cache: Cache,
    added: Arc<Added>,
    cause: WarmCause,
    report: Arc<Mutex<WarmReport>>,
    began: Timestamp,
    end: (WarmResult, Option<String>),
}

impl Running {
    async fn go(&mut self) {
        let closing = self.cache.inner.tasks.closing();
        match closing.run_until_cancelled(self.warm()).await {
            Some(end) => self.end = end,
            None => lock(&self.report).stopped = Some(WarmStop::Closing),
        }
    }

    async fn warm(&self) -> (WarmResult, Option<String>) {
        let warmer = &self.added.warmer;
        let turn = Turn::take(&self.cache, &warmer.name, &warmer.schedule, self.cause).await;
        if matches!(turn, Turn::Elsewhere) {
            return (WarmResult::Elsewhere, None);
        }
        let given = WarmRun::new(
            self.cache.clone(),
            warmer.limits(),
            warmer.horizon(),
            self.report.clone(),
        );
        let job = caught(async { (warmer.job)(given).await });
        let job = tokio::time::timeout(warmer.schedule.limit(), job);
        let ended = tokio::select! {
            ended = job => ended,
            () = turn.keep() => return (WarmResult::Dropped, None),
        };
        match ended {
            Ok(Ok(None)) => (WarmResult::Done, None),
            Ok(Ok(Some(error))) => (WarmResult::Failed, Some(error)),
            Ok(Err(panic)) => (WarmResult::Panicked, Some(panic)),
            Err(_) => (WarmResult::TimedOut, None),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let (result, error) = (self.end.0, self.end.1.take());
        let report = *lock(&self.report);
        let duration = self.cache.inner.clock.now().since(self.began);
        let run = WarmerRun {
            cause: self.cause,
            result,
            duration,
            report,
            error,
        };
        self.tell(&run);
        self.cache.inner.tally.count(result.count());
        self.added.state.send_modify(|state| {
            state.running = None;
            state.last = Some(run);
        });
    }
}

impl Running {
    fn tell(&self, run: &WarmerRun) {
        let (cache, warmer) = (self.cache.name(), &self.added.warmer.name);
        let (cause, result, error) = (run.cause.as_str(), run.result.as_str(), run.error.as_deref());
        let WarmReport {
            loaded,
            skipped,
            failed,
            left,
            ..
        } = run.report;
        let took = run.duration;
        match run.result {
            WarmResult::Done => {
                tracing::info!(
                    cache,
                    warmer,
                    cause,
                    ?took,
                    loaded,
                    skipped,
                    failed,
                    left,
                    "warmed"
                );
            }
            WarmResult::Elsewhere => {
                tracing::debug!(cache, warmer, cause, ?took, "another node warms");
            }
            WarmResult::Dropped if run.report.stopped == Some(WarmStop::Closing) => {
                tracing::info!(
                    cache,
                    warmer,
                    cause,
                    ?took,
                    loaded,
                    "warming ended with its cache"
                );
            }
            _ => {
                tracing::warn!(
                    cache,
                    warmer,
                    cause,
                    result,
                    error,
                    ?took,
                    loaded,
                    skipped,
                    failed,
                    left,
                    "warming failed"
                );
            }
        }
    }
}

fn as_seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

fn as_seconds_if_any<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}

impl fmt::Debug for WarmerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WarmerHandle")
            .field("cache", &self.cache)
            .field("warmer", &self.added.warmer)
            .finish_non_exhaustive()
    }
}
