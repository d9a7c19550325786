//! The log of invalidations, as it arrives.

use std::any::Any;
use std::fmt;

use tokio::sync::mpsc;

use crate::notice::{LogId, Notice};
use crate::time::Timestamp;

/// The log as it arrives. Dropping it ends the reading.
#[must_use = "dropping it ends the reading"]
pub struct LogReader {
    events: mpsc::Receiver<LogEvent>,
    _task: Box<dyn Any + Send + Sync>,
}

impl LogReader {
    /// What arrives in `events`; `task` is dropped with it.
    pub fn new(events: mpsc::Receiver<LogEvent>, task: impl Any + Send + Sync) -> Self {
        Self {
            events,
            _task: Box::new(task),
        }
    }

    /// The next event; `None` after [`Shared::close`](crate::shared::Shared::close).
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<LogEvent> {
        self.events.recv().await
    }

    /// The next event if one has arrived.
    pub fn try_next(&mut self) -> Option<LogEvent> {
        self.events.try_recv().ok()
    }
}

impl fmt::Debug for LogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReader").finish_non_exhaustive()
    }
}

/// What the reader of the log has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// Mutations by any node, this one included, in the order of the log and without a hole since the last event.
    Notices(Vec<Notice>),
    /// The master confirmed: everything announced before `at` has been delivered before this event.
    Confirmed {
        /// When the question was sent, on the adapter's clock.
        at: Timestamp,
        /// The newest id, delivered already.
        position: LogId,
    },
    /// Notices were missed, or may have been; reading goes on behind `position`. Also the first event after the log was
    /// reached for the first time. The position was fixed before this event, so: move the epoch, then forget.
    Gap {
        /// Why.
        reason: GapReason,
        /// What is delivered next comes after this.
        position: LogId,
    },
    /// Three heartbeats in a row failed. Said once until the next [`Confirmed`](Self::Confirmed).
    Unheard,
}

/// Why notices may have been missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The reader has just begun.
    Started,
    /// The log has another identity: flushed, or another database.
    NewLog,
    /// Ids are missing: the log was trimmed beyond what was read.
    Trimmed,
    /// The log ends before what was read, or says something else there: a failover to an older copy, a restored dump.
    Older,
    /// A notice that this version of the toolkit does not understand.
    Unknown,
    /// The consumer was slower than the queue is long.
    Overflow,
}

impl GapReason {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 6] = [
        Self::Started,
        Self::NewLog,
        Self::Trimmed,
        Self::Older,
        Self::Unknown,
        Self::Overflow,
    ];

    /// The reason in one word, as in logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::NewLog => "new_log",
            Self::Trimmed => "trimmed",
            Self::Older => "older",
            Self::Unknown => "unknown_notice",
            Self::Overflow => "overflow",
        }
    }
}
