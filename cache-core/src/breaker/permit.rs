//! [`Permit`]: the leave to ask once, and what came of it.

use std::time::Duration;

use super::{Breaker, Transition};
use crate::time::Timestamp;

/// The leave to ask the endpoint once. Dropping it unreported counts as [`Report::Abandoned`].
#[derive(Debug)]
#[must_use = "a permit is reported with what came of the call"]
pub(crate) struct Permit<'b> {
    breaker: &'b Breaker,
    generation: u64,
    probe: bool,
    transition: Option<Transition>,
}

impl<'b> Permit<'b> {
    pub(super) fn ordinary(breaker: &'b Breaker, generation: u64) -> Self {
        Self {
            breaker,
            generation,
            probe: false,
            transition: None,
        }
    }

    pub(super) fn probe(breaker: &'b Breaker, generation: u64, transition: Option<Transition>) -> Self {
        Self {
            breaker,
            generation,
            probe: true,
            transition,
        }
    }

    /// The call is the one that finds out whether the endpoint is back.
    pub(crate) fn is_probe(&self) -> bool {
        self.probe
    }

    /// The transition that giving this permit was, at most once.
    pub(crate) fn take_transition(&mut self) -> Option<Transition> {
        self.transition.take()
    }

    /// Tells the breaker what came of the call.
    pub(crate) fn record(mut self, report: Report, now: Timestamp) -> Option<Transition> {
        let recorded = self.recorded();
        // A probe that is reported is no longer there to be abandoned.
        self.probe = false;
        self.breaker.record(recorded, report, now)
    }

    pub(super) fn recorded(&self) -> Recorded {
        Recorded {
            generation: self.generation,
            probe: self.probe,
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probe {
            // An abandoned probe moves nothing but makes room, so no time is needed.
            self.breaker
                .record(self.recorded(), Report::Abandoned, Timestamp::ZERO);
        }
    }
}

/// What a permit says about the call that it was given for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recorded {
    pub(super) generation: u64,
    pub(super) probe: bool,
}

/// What came of a permitted call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The endpoint answered, be it with an error about this one request: wrong type, unknown script, moved slot.
    /// What the answer was worth (a value that cannot be decoded) is not its health either.
    Answered,
    /// No answer in time, no connection, or an answer that says it cannot serve: loading, read only, cluster down,
    /// out of memory on a write.
    Failed,
    /// The caller left before an answer: says nothing.
    Abandoned,
}

/// Why the endpoint is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It failed; asked again after this.
    Open { retry_in: Duration },
    /// Another call is finding out.
    Probing,
    /// An operator said so.
    Forced,
}

impl Refused {
    /// The reason in one word, as in logs and metric labels.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Probing => "probing",
            Self::Forced => "forced",
        }
    }
}
