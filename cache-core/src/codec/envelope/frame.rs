//! What all formats share, and what all entries of a cache share.

use std::ops::Range;

use twox_hash::XxHash3_64;

use crate::codec::Compression;
#[cfg(feature = "mac")]
use crate::codec::MacKeys;
use crate::entry::Version;

/// How a cache frames its entries: settings that hold for all of them.
#[derive(Clone, Debug)]
pub(crate) struct Framing {
    /// How payloads are compressed when written; reading goes by the entry.
    pub(crate) compression: Compression,
    /// The longest payload, before compression, that is written or read.
    pub(crate) max_payload: usize,
    /// Entries are signed, and unsigned ones refused.
    #[cfg(feature = "mac")]
    pub(crate) keys: Option<MacKeys>,
}

impl Default for Framing {
    fn default() -> Self {
        Self {
            compression: Compression::none(),
            max_payload: DEFAULT_MAX_PAYLOAD,
            #[cfg(feature = "mac")]
            keys: None,
        }
    }
}

/// What stands under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Value,
    Negative,
    Failure,
    Tombstone,
}

impl Kind {
    pub(crate) const fn id(self) -> u8 {
        match self {
            Self::Value => b'v',
            Self::Negative => b'n',
            Self::Failure => b'f',
            Self::Tombstone => b't',
        }
    }

    pub(crate) const fn from_id(id: u8) -> Option<Self> {
        match id {
            b'v' => Some(Self::Value),
            b'n' => Some(Self::Negative),
            b'f' => Some(Self::Failure),
            b't' => Some(Self::Tombstone),
            _ => None,
        }
    }
}

/// The entry version, if the bytes are ours, however damaged the rest is: a writer needs it to replace them.
pub(crate) fn version_of(bytes: &[u8]) -> Option<Version> {
    if bytes.get(MAGIC_AT)? != MAGIC {
        return None;
    }
    let version = bytes.get(VERSION_AT)?.try_into().ok()?;
    Some(Version::from_be_bytes(version))
}

/// The version as it stands in the entry, for scripts to compare with.
pub(crate) const fn version_bytes(version: Version) -> [u8; 16] {
    version.to_be_bytes()
}

/// Tells a value that was moved to another key by accident. Not for enemies: they are the signature's business.
pub(super) fn key_check(key: &[u8]) -> u64 {
    XxHash3_64::oneshot(key)
}

pub(super) fn checksum(covered: &[u8]) -> u64 {
    XxHash3_64::oneshot(covered)
}

pub(crate) const MAGIC: [u8; 4] = crate::shared::MAGIC;
pub(crate) const MAGIC_AT: Range<usize> = 0..4;
pub(crate) const VERSION_AT: Range<usize> = 4..20;

/// Where what checksum and signature cover begins.
pub(super) const COVERED_FROM: usize = 20;

pub(super) const CHECKSUM_BYTES: usize = 8;

/// The id of the secret and the MAC.
pub(in crate::codec) const SIGNATURE_BYTES: usize = 4 + 32;

/// The only flag.
pub(super) const SIGNED: u8 = 1;

/// 8 MiB: far above what a value in a cache should have, far below what hurts.
const DEFAULT_MAX_PAYLOAD: usize = 8 << 20;
