//! Values and tombstones: what a read finds, and what explicit changes do to it.

use std::fmt;
use std::time::Duration;

use crate::notice::LogId;
use crate::shared::Version;
use crate::time::Timestamp;

/// What a read found, and when the question was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What stands under the key.
    pub found: Found,
    /// The instant that remaining lifetimes count from, on the adapter's clock.
    pub sent: Timestamp,
}

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// An invalidation, with its version.
    Tombstone(Version),
    /// Something that is not ours: another type, other bytes, or no time to live. Absent to every comparison.
    Foreign,
    /// A value of ours; the envelope decides whether it can be read.
    Value(StoredValue),
}

impl Found {
    /// What a load that found this remembers for its commit.
    pub fn seen(&self) -> Option<Version> {
        match self {
            Self::Absent | Self::Foreign => None,
            Self::Tombstone(version) => Some(*version),
            Self::Value(value) => Some(value.version),
        }
    }
}

/// A value as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredValue {
    /// Its version, from its header.
    pub version: Version,
    /// All of it, header included.
    pub bytes: Vec<u8>,
    /// At most what was left of its physical life when the question was sent.
    pub remaining: Duration,
}

impl fmt::Debug for StoredValue {
    /// Never prints what a user stored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredValue")
            .field("version", &self.version)
            .field("bytes", &self.bytes.len())
            .field("remaining", &self.remaining)
            .finish()
    }
}

/// Bytes to store.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    /// The value or tombstone; begins with the header that the module describes.
    pub bytes: Vec<u8>,
    /// Its whole life on the server, at least the longest load and ten seconds.
    pub physical: Duration,
}

impl fmt::Debug for Payload {
    /// Never prints what a user stored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("bytes", &self.bytes.len())
            .field("physical", &self.physical)
            .finish()
    }
}

/// What the server decided about a change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stands.
    Applied,
    /// There was nothing to store.
    Nothing,
    /// Another version stands there, or none where one was seen; the version that stands.
    Superseded(Option<Version>),
    /// Another token holds the lock.
    OtherHolder,
    /// The load took longer than it may.
    TooLate,
    /// The log began anew, or a pattern removal began, since the lease.
    FenceMoved,
    /// An invalidation with a hold-off, for so much longer.
    HeldOff(Duration),
    /// The server has no memory for it; the lock was released all the same.
    OutOfMemory,
}

impl Verdict {
    /// The verdict in one word, as in logs and metric labels.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Nothing => "nothing",
            Self::Superseded(_) => "superseded",
            Self::OtherHolder => "other_holder",
            Self::TooLate => "too_late",
            Self::FenceMoved => "fence_moved",
            Self::HeldOff(_) => "held_off",
            Self::OutOfMemory => "out_of_memory",
        }
    }
}

/// An explicit change of a key.
#[derive(Clone, Debug)]
pub struct Mutation<'a> {
    /// Which key.
    pub key: &'a str,
    /// The version that stands there afterwards; for a set, the one in its bytes.
    pub version: Version,
    /// What to do.
    pub change: Change,
}

/// What happens to a key.
#[derive(Clone, Debug)]
pub enum Change {
    /// The value is this. Refused while an invalidation's hold-off lasts. A recorded error goes.
    Set {
        /// What to store.
        payload: Payload,
        /// Under which condition.
        condition: Condition,
    },
    /// The value, the lock and a recorded error go; the tombstone stays. It refuses stores as its header says, and for
    /// what is left of the hold of one that stood there.
    Remove {
        /// The tombstone, with this mutation's version in it; lives at least for the longest load and ten seconds.
        tombstone: Payload,
    },
    /// What stands there gets the new version, and a value no more life than makes it stale, as its header says. The
    /// lock and a recorded error go. Where nothing stands, or nothing will before `window` is over, the version alone
    /// is remembered for that long: so a load that runs now stores nothing, here as after any other mutation.
    Expire {
        /// The longest load and ten seconds.
        window: Duration,
    },
}

/// When a set applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Whatever stands there.
    Always,
    /// Only over this version, or over absence.
    Seen(Option<Version>),
}

/// What became of a call of [`Shared::mutate`](crate::shared::Shared::mutate).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MutationAnswer {
    /// The id of the notice; `None` if nothing was applied, hence nothing announced.
    pub notice: Option<LogId>,
    /// One verdict per change.
    pub verdicts: Vec<Verdict>,
}

/// More keys than this do not fit into one notice.
pub const MAX_KEYS_PER_NOTICE: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_bytes_are_not_printed() {
        let value = StoredValue {
            version: Version::from_bytes([7; 16]),
            bytes: b"secret".to_vec(),
            remaining: Duration::from_secs(1),
        };
        assert!(!format!("{value:?}").contains("115"), "{value:?}");
    }
}
