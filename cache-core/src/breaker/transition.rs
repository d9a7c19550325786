//! [`Transition`]: what a change of state tells those who watch.

use std::time::Duration;

use super::phase::Phase;

/// A change of state, to be logged, counted and told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transition {
    pub(crate) from: BreakerState,
    pub(crate) to: BreakerState,
    pub(crate) cause: Cause,
    /// If it opened: for how long.
    pub(crate) wait: Duration,
}

/// Why the state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    ConsecutiveFailures,
    FailureRate,
    ProbeFailed,
    WaitEnded,
    Handshake,
    ProbesAnswered,
    Operator,
}

impl Cause {
    /// The cause in one word, as in logs and metric labels.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::FailureRate => "failure_rate",
            Self::ProbeFailed => "probe_failed",
            Self::WaitEnded => "wait_ended",
            Self::Handshake => "handshake",
            Self::ProbesAnswered => "probes_answered",
            Self::Operator => "operator",
        }
    }
}

/// The state as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BreakerState {
    Closed,
    Open,
    HalfOpen,
    /// Open until an operator closes it.
    ForcedOpen,
}

impl BreakerState {
    /// The state in one word, as in logs and metric labels.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
        }
    }
}

impl From<Phase> for BreakerState {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Closed => Self::Closed,
            Phase::Open => Self::Open,
            Phase::HalfOpen | Phase::Probing => Self::HalfOpen,
            Phase::Forced => Self::ForcedOpen,
        }
    }
}
