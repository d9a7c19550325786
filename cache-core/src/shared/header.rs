//! What every stored value begins with, and the two kinds of random names.

use std::fmt;
use std::ops::Range;

/// The first bytes of everything of ours, whatever its format. No UTF-8 text begins with them.
pub const MAGIC: [u8; 4] = *b"\xf5cce";

/// Where the version stands.
pub const VERSION_AT: Range<usize> = 4..20;

/// Where it says what it is.
pub const KIND_AT: usize = 20;

/// What a tombstone says there.
pub const TOMBSTONE: u8 = b't';

/// What every format begins with.
pub const HEADER_BYTES: usize = 30;

/// Where the bytes behind a key came from: unique per write, compared for equality only.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version([u8; 16]);

/// Who holds a lock: unique per acquisition, never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token([u8; 16]);

impl From<u128> for Version {
    fn from(number: u128) -> Self {
        Self(number.to_be_bytes())
    }
}

impl From<Version> for u128 {
    fn from(version: Version) -> Self {
        Self::from_be_bytes(version.0)
    }
}

macro_rules! random_bytes {
    ($name:ident) => {
        impl $name {
            /// 128 random bits.
            pub fn random() -> Self {
                Self(rand::random())
            }

            /// These bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// These bytes, if there are sixteen of them.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

random_bytes!(Version);
random_bytes!(Token);
