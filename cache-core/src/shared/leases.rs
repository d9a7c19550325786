//! One load for the fleet: a value, or the right to load it, or who has that; and the end of a load.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::shared::{Payload, StoredValue, Token, Verdict, Version};

/// Asks for a value or the right to load it.
#[derive(Clone, Copy, Debug)]
pub struct LeaseRequest<'a> {
    /// Which key.
    pub key: &'a str,
    /// Which value would be no answer.
    pub refuse: Refuse,
    /// The holder's name if the lock is given; fresh for every acquisition.
    pub token: Token,
    /// How long the lock lasts unless renewed. Zero: load without it, and do not wait for who has it.
    pub ttl: Duration,
    /// Whether a recorded error is an answer.
    pub consult_errors: bool,
    /// Take the lock from this holder, if it is still the one.
    pub take_over: Option<Token>,
}

/// Which values a caller does not want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuse {
    /// None: whatever is there will do.
    Nothing,
    /// The one that was just read and found wanting.
    Version(Version),
    /// All: whatever is there, load anew.
    Any,
}

/// The answer to a [`LeaseRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// There is a value that was not refused.
    Value(StoredValue),
    /// A load failed a moment ago: what it recorded, and for how much longer that holds.
    Recorded(Vec<u8>, Duration),
    /// Load: the lock is the caller's.
    Lease(Lease),
    /// Somebody else loads.
    Held {
        /// Who.
        holder: Token,
        /// When its lock ends unless renewed.
        remaining: Duration,
    },
}

/// The right to load a key, and what its commit is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Under which the lock is held.
    pub token: Token,
    /// The version that stands under the key now, be it only that of an expiry; `None` for absence.
    pub seen: Option<Version>,
    /// The server's time when the lease was given, in microseconds.
    pub started: u64,
    /// What a commit must find unchanged besides the key.
    pub fence: Fence,
}

/// The identity of the log and the last pattern removal, as one opaque text: a commit is refused when it has changed,
/// because then a tombstone may have been lost, or may not have been written for this key. On a cluster it is what this
/// node has heard, and compares with nothing before the log was heard for the first time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fence(pub(crate) Vec<u8>);

impl Fence {
    /// Compares with nothing: for a load that has no lease.
    pub const NONE: Self = Self(Vec::new());

    /// What the tier compares, in whatever form it likes.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes that it was made of.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The end of a load.
#[derive(Clone, Debug)]
pub struct CommitRequest<'a> {
    /// Which key.
    pub key: &'a str,
    /// The lock's token, if the load holds one. Without one, a lock of somebody else refuses the store.
    pub token: Option<Token>,
    /// What stood under the key before the load.
    pub seen: Option<Version>,
    /// [`Lease::started`]; without it the server does not check the load's duration.
    pub started: Option<u64>,
    /// The longest load that may store.
    pub max_load: Duration,
    /// [`Lease::fence`].
    pub fence: &'a Fence,
    /// What to store; `None` only releases.
    pub store: Option<Payload>,
    /// A failure to record for others, and for how long.
    pub record: Option<(Vec<u8>, Duration)>,
    /// What waiters are told. After a refused store they are told [`Ending::Released`].
    pub ending: Ending,
}

/// How a load ended, as waiters hear it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The value is there.
    Done,
    /// The loader failed, with this kind of error (at most 64 bytes are sent).
    Failed(String),
    /// The lock is free and nothing was stored.
    Released,
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitAnswer {
    /// Whether the value stands, or why not.
    pub verdict: Verdict,
    /// With [`Verdict::Superseded`]: what stands there instead, if it is a value.
    pub current: Option<StoredValue>,
    /// Whether the lock was still held by the token and is now free.
    pub released: bool,
}

/// How loads of one key end, from now on. Dropping it ends the subscription.
#[must_use = "dropping it ends the subscription"]
pub struct Wakeups {
    endings: mpsc::Receiver<Ending>,
    _subscription: Box<dyn Any + Send + Sync>,
}

impl Wakeups {
    /// What arrives in `endings`; `subscription` is dropped with it.
    pub fn new(endings: mpsc::Receiver<Ending>, subscription: impl Any + Send + Sync) -> Self {
        Self {
            endings,
            _subscription: Box::new(subscription),
        }
    }

    /// The next end of a load; `None` when the subscription was lost, and polling remains.
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Ending> {
        self.endings.recv().await
    }
}

impl fmt::Debug for Wakeups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakeups").finish_non_exhaustive()
    }
}
