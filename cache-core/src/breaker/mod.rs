//! [`Breaker`]: stops asking an endpoint that fails, and finds out when to ask it again.
//!
//! A state machine without a clock, a task or a socket: time is an argument, and what happened is returned as a
//! [`Transition`] for the caller to log, count and act upon.
//!
//! ```text
//!            5 failures in a row, or half of 20 calls in 10 s
//!   closed ────────────────────────────────────────────────▶ open ◀───────────┐
//!      ▲                                                      │ the wait      │ a probe fails:
//!      │                                                      │ ends, or a    │ twice the wait
//!      │ two probes answered                                  ▼ handshake     │
//!      └────────────────────────────────────────────────── half-open ─────────┘
//! ```
//!
//! Rules:
//!
//! * Closed and open are decided by one atomic load; the mutex is for transitions. A refusal costs some nanoseconds.
//! * In half-open there is exactly one probe at a time, and everyone else is still refused. A probe that is dropped
//!   without a report makes room for the next.
//! * What was permitted before a transition and reports after it changes nothing.
//! * A handshake that succeeds never closes the breaker; it only makes the next call the probe. A server may accept
//!   connections long before it answers commands.

#![cfg_attr(
    not(any(test, feature = "redis")),
    expect(dead_code, reason = "only the shared tier is behind it")
)]

mod permit;
mod phase;
#[cfg(test)]
mod tests;
mod transition;
mod window;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use self::permit::Recorded;
use self::phase::{Phase, State};
use self::window::Window;
use crate::sync::{Mutex, lock};
use crate::time::{Timestamp, seconds};

pub(crate) use self::permit::{Permit, Refused, Report};
pub(crate) use self::transition::{BreakerState, Cause, Transition};

/// Decides whether an endpoint is asked.
#[derive(Debug)]
pub(crate) struct Breaker {
    settings: BreakerSettings,
    /// Phase and generation; written with `core` locked.
    state: AtomicU64,
    /// In the open phase: when it ends. Written before `state`.
    open_until: AtomicU64,
    consecutive: AtomicU32,
    window: Window,
    core: Mutex<Core>,
}

/// When a [`Breaker`] opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BreakerSettings {
    /// Opens after so many failures in a row. Default: 5.
    pub(crate) consecutive_failures: u32,
    /// Opens when half of the calls of such a time failed. Default: 10 s.
    pub(crate) window: Duration,
    /// But only if there were so many. Default: 20, since a half of few calls says little.
    pub(crate) window_calls: u64,
    /// The first wait. Default: 1 s.
    pub(crate) open_for: Duration,
    /// Every failed probe doubles the wait up to this. Default: 30 s.
    pub(crate) max_open_for: Duration,
    /// Closes after so many answered probes. Default: 2.
    pub(crate) probes: u32,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            window: seconds(10),
            window_calls: 20,
            open_for: seconds(1),
            max_open_for: seconds(30),
            probes: 2,
        }
    }
}

/// What transitions need beyond the state.
#[derive(Debug)]
struct Core {
    random: SmallRng,
    /// How often it opened since it was last closed.
    openings: u32,
    answered_probes: u32,
}

impl Breaker {
    /// Closed. The seed is for the jitter of the waits, so that nodes do not probe in step.
    pub(crate) fn new(settings: BreakerSettings, seed: u64) -> Self {
        Self {
            state: AtomicU64::new(State::initial().pack()),
            open_until: AtomicU64::new(0),
            consecutive: AtomicU32::new(0),
            window: Window::new(settings.window),
            core: Mutex::new(Core {
                random: SmallRng::seed_from_u64(seed),
                openings: 0,
                answered_probes: 0,
            }),
            settings,
        }
    }

    /// Whether the endpoint may be asked now.
    ///
    /// # Errors
    ///
    /// [`Refused`]; no lock was taken for it.
    pub(crate) fn permit(&self, now: Timestamp) -> Result<Permit<'_>, Refused> {
        let state = self.load();
        match state.phase {
            Phase::Closed => Ok(Permit::ordinary(self, state.generation)),
            Phase::Forced => Err(Refused::Forced),
            Phase::Probing => Err(Refused::Probing),
            Phase::Open => match self.wait(now) {
                Some(retry_in) => Err(Refused::Open { retry_in }),
                None => self.permit_probe(now),
            },
            Phase::HalfOpen => self.permit_probe(now),
        }
    }

    /// Takes the probe, unless another call was faster.
    fn permit_probe(&self, now: Timestamp) -> Result<Permit<'_>, Refused> {
        let mut core = lock(&self.core);
        let mut state = self.load();
        let mut transition = None;
        match (state.phase, self.wait(now)) {
            (Phase::Closed, _) => return Ok(Permit::ordinary(self, state.generation)),
            (Phase::Forced, _) => return Err(Refused::Forced),
            (Phase::Probing, _) => return Err(Refused::Probing),
            (Phase::Open, Some(retry_in)) => return Err(Refused::Open { retry_in }),
            (Phase::Open, None) => {
                transition = Some(self.half_open(&mut core, Cause::WaitEnded));
                state = self.load();
            }
            (Phase::HalfOpen, _) => {}
        }
        self.enter(Phase::Probing, state.generation);
        Ok(Permit::probe(self, state.generation, transition))
    }

    /// A connection to the endpoint was established and greeted: if the breaker is open, the next call is the probe,
    /// however long the wait still is. The caller that gets the transition should make that call.
    pub(crate) fn handshake_succeeded(&self) -> Option<Transition> {
        if self.load().phase != Phase::Open {
            return None;
        }
        let mut core = lock(&self.core);
        (self.load().phase == Phase::Open).then(|| self.half_open(&mut core, Cause::Handshake))
    }

    /// Refuses everything until [`force_close`](Self::force_close): for operators.
    pub(crate) fn force_open(&self) -> Option<Transition> {
        let _core = lock(&self.core);
        let from = self.load();
        (from.phase != Phase::Forced)
            .then(|| self.change(from, Phase::Forced, Cause::Operator, Duration::ZERO))
    }

    /// Closes at once, whatever happened before, and counts failures afresh: for operators.
    pub(crate) fn force_close(&self) -> Option<Transition> {
        let mut core = lock(&self.core);
        let from = self.load();
        (from.phase != Phase::Closed).then(|| self.close(&mut core, from, Cause::Operator))
    }

    pub(crate) fn state(&self) -> BreakerState {
        self.load().phase.into()
    }

    fn record(&self, permit: Recorded, report: Report, now: Timestamp) -> Option<Transition> {
        let state = self.load();
        if state.generation != permit.generation {
            return None;
        }
        match (permit.probe, report) {
            (true, _) => self.probed(permit.generation, report, now),
            (false, Report::Answered) => {
                self.answered(now);
                None
            }
            (false, Report::Failed) => self.failed(permit.generation, now),
            (false, Report::Abandoned) => None,
        }
    }

    /// Kept cheap: this is every call while all is well.
    fn answered(&self, now: Timestamp) {
        if self.consecutive.load(Ordering::Relaxed) != 0 {
            self.consecutive.store(0, Ordering::Relaxed);
        }
        self.window.count(now, false);
    }

    fn failed(&self, generation: u64, now: Timestamp) -> Option<Transition> {
        let consecutive = self.consecutive.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.window.count(now, true);
        let cause = self.trips(consecutive, now)?;
        let mut core = lock(&self.core);
        let from = self.load();
        (from.phase == Phase::Closed && from.generation == generation)
            .then(|| self.open(&mut core, from, cause, now))
    }

    fn trips(&self, consecutive: u32, now: Timestamp) -> Option<Cause> {
        if consecutive >= self.settings.consecutive_failures {
            return Some(Cause::ConsecutiveFailures);
        }
        let seen = self.window.totals(now);
        let enough = seen.calls >= self.settings.window_calls;
        (enough && seen.failures * 2 >= seen.calls).then_some(Cause::FailureRate)
    }

    fn probed(&self, generation: u64, report: Report, now: Timestamp) -> Option<Transition> {
        let mut core = lock(&self.core);
        let from = self.load();
        if from.generation != generation || from.phase != Phase::Probing {
            return None;
        }
        match report {
            Report::Failed => return Some(self.open(&mut core, from, Cause::ProbeFailed, now)),
            Report::Answered => core.answered_probes += 1,
            Report::Abandoned => {}
        }
        if core.answered_probes >= self.settings.probes {
            return Some(self.close(&mut core, from, Cause::ProbesAnswered));
        }
        self.enter(Phase::HalfOpen, generation);
        None
    }

    fn open(&self, core: &mut Core, from: State, cause: Cause, now: Timestamp) -> Transition {
        let wait = open_wait(&self.settings, core.openings, core.random.random());
        core.openings = core.openings.saturating_add(1);
        self.open_until.store((now + wait).as_nanos(), Ordering::Release);
        self.change(from, Phase::Open, cause, wait)
    }

    fn half_open(&self, core: &mut Core, cause: Cause) -> Transition {
        core.answered_probes = 0;
        self.change(self.load(), Phase::HalfOpen, cause, Duration::ZERO)
    }

    fn close(&self, core: &mut Core, from: State, cause: Cause) -> Transition {
        core.openings = 0;
        self.consecutive.store(0, Ordering::Relaxed);
        self.window.clear();
        self.change(from, Phase::Closed, cause, Duration::ZERO)
    }

    /// Every transition begins a generation, so that reports of the one before are told apart.
    fn change(&self, from: State, to: Phase, cause: Cause, wait: Duration) -> Transition {
        self.enter(to, from.generation + 1);
        Transition {
            from: from.phase.into(),
            to: to.into(),
            cause,
            wait,
        }
    }

    fn enter(&self, phase: Phase, generation: u64) {
        self.state
            .store(State { phase, generation }.pack(), Ordering::Release);
    }

    fn load(&self) -> State {
        State::unpack(self.state.load(Ordering::Acquire))
    }

    /// What remains of the open phase.
    fn wait(&self, now: Timestamp) -> Option<Duration> {
        let until = Timestamp::from_nanos(self.open_until.load(Ordering::Acquire));
        Some(until.since(now)).filter(|wait| !wait.is_zero())
    }
}

/// `wait · 2^openings`, at most the longest, less up to a fifth of it by a random number from 0 to 1.
fn open_wait(settings: &BreakerSettings, openings: u32, random: f64) -> Duration {
    let factor = 1_u32.checked_shl(openings).unwrap_or(u32::MAX);
    let wait = settings
        .open_for
        .saturating_mul(factor)
        .min(settings.max_open_for);
    wait.mul_f64(1.0 - JITTER * random.clamp(0.0, 1.0))
}

const JITTER: f64 = 0.2;
