//! [`Reject`]: why bytes of the shared tier are not an answer.

use std::time::Duration;

use crate::measure::Unreadable;

/// Why what stands under a key counts as absent. Whatever it is, the call goes on as after a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reject {
    /// Not ours: another program's value, or one that was overwritten from its start.
    Foreign,
    /// Too short for what every entry has.
    Truncated,
    /// Changed since it was written: a flipped bit, a missing or an added piece.
    Checksum,
    /// Written by a later release; fresh for so long, as the part says that is the same in every format.
    NewerFormat { fresh_for: Duration },
    /// The checksum is right, the content contradicts itself.
    Malformed,
    /// Signatures are required, and it has none.
    Unsigned,
    /// Signed with a secret that is not accepted.
    UnknownMacKey,
    /// The signature is not that of this content under this key.
    Mac,
    /// Written for another key.
    KeyMismatch,
    /// Of an earlier schema of its type.
    OlderSchema,
    /// Of a later schema of its type: a miss, but not to be overwritten for as long as it is fresh. Otherwise the two
    /// halves of a rolling deployment would throw out each other's entries.
    NewerSchema { fresh_for: Duration },
    /// In a codec that this build does not have.
    Codec,
    /// Compressed in a way that this build does not have.
    Compression,
    /// Not what the compression writes, or not of the length that the entry declares.
    Decompress,
    /// Longer than the limit.
    TooLarge,
}

impl Reject {
    /// The same in the words of metrics.
    pub(crate) const fn unreadable(self) -> Unreadable {
        match self {
            Self::Foreign => Unreadable::Foreign,
            Self::Truncated | Self::Checksum | Self::Malformed | Self::Decompress => Unreadable::Damaged,
            Self::NewerFormat { .. } | Self::OlderSchema | Self::NewerSchema { .. } => Unreadable::Version,
            Self::Unsigned | Self::UnknownMacKey | Self::Mac | Self::KeyMismatch => Unreadable::Signature,
            Self::Codec | Self::Compression => Unreadable::Codec,
            Self::TooLarge => Unreadable::TooLarge,
        }
    }

    /// The reason in one word, as in logs and metric labels.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::Truncated => "truncated",
            Self::Checksum => "checksum",
            Self::NewerFormat { .. } => "newer_format",
            Self::Malformed => "malformed",
            Self::Unsigned => "unsigned",
            Self::UnknownMacKey => "unknown_mac_key",
            Self::Mac => "mac",
            Self::KeyMismatch => "key_mismatch",
            Self::OlderSchema => "older_schema",
            Self::NewerSchema { .. } => "newer_schema",
            Self::Codec => "codec",
            Self::Compression => "compression",
            Self::Decompress => "decompress",
            Self::TooLarge => "too_large",
        }
    }
}
