//! Named locks and claims.

use std::time::Duration;

use crate::shared::Token;

/// What is taken; locks and claims of one name do not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockKind {
    /// Ownership for a while.
    Lock,
    /// The right to do something once.
    Claim,
}

/// Asks for a lock or claim.
#[derive(Clone, Copy, Debug)]
pub struct AcquireRequest<'a> {
    /// Which of the two.
    pub kind: LockKind,
    /// Which one, as a full key text.
    pub name: &'a str,
    /// The holder's name; fresh for every acquisition.
    pub token: Token,
    /// How long it lasts unless extended.
    pub ttl: Duration,
}

/// The answer to an [`AcquireRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquisition {
    /// It is the caller's. The number is larger for every later holder: at least the server's time in microseconds.
    Acquired {
        /// For resources that refuse holders of the past.
        fencing: u64,
    },
    /// Somebody else has it.
    Held {
        /// For at most this long unless extended.
        remaining: Duration,
    },
}
