//! How values become the bytes of the shared tier: [`Codec`], [`Compression`] and, with feature `mac`, signatures.
//!
//! | | for | 200 B, encode / decode | mind |
//! |---|---|---|---|
//! | [`Codec::Json`] | the default: readable with `redis-cli`, fields may come and go | 0.43 / 1.0 µs | maps need text or number keys; `NaN` and infinities become `null` and are then not read back |
//! | `Codec::MessagePack` | the same freedom with fields by name, smaller and faster; feature `msgpack` | 0.29 / 0.45 µs | |
//! | [`Codec::Postcard`] | speed and size | 0.25 / 0.35 µs | fields by position: a changed type needs a new schema number; no `serde(untagged)`, `serde(tag)`, `serde(flatten)`, `skip_serializing_if`, `serde_json::Value` |
//!
//! Rules:
//!
//! * What was written with one codec is read with that codec, whatever is configured now: the entry says which it
//!   was. Changing the codec loses nothing, as long as the old one's feature stays enabled.
//! * What cannot be decoded is a miss, never a failed call, and costs neither memory nor time beyond what its length
//!   justifies: declared lengths are not believed, nesting is limited, and leftover bytes are refused.
//! * A message about bytes that could not be decoded never quotes them: they may be anyone's data.

#![cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "the unit tests take entries apart further than the shared tier does"
    )
)]

mod compression;
pub(crate) mod envelope;
pub(crate) mod error;
mod json;
mod limits;
#[cfg(feature = "mac")]
mod mac;
#[cfg(feature = "msgpack")]
mod msgpack;
mod postcard;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::error::CodecError;
use crate::cache::CacheValue;

pub use self::compression::Compression;
#[cfg(feature = "mac")]
pub use self::mac::MacKeys;

/// How values are written to the shared tier.
///
/// Default: [`Codec::Json`], because what stands in Redis can then be read by people, and types may gain and lose
/// fields between two releases. See the [module page](self) for how to choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// JSON; floating point numbers survive to the last bit.
    #[default]
    Json,
    /// MessagePack with fields by name.
    #[cfg(feature = "msgpack")]
    MessagePack,
    /// Postcard: fields by position, integers of variable length.
    Postcard,
}

impl Codec {
    /// The codec in one word, as in logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            #[cfg(feature = "msgpack")]
            Self::MessagePack => "msgpack",
            Self::Postcard => "postcard",
        }
    }

    /// Appends the encoded value; on failure `out` is as it was.
    ///
    /// # Errors
    ///
    /// [`CodecError::Encode`], if the codec cannot express the value.
    pub(crate) fn encode<T: Serialize + ?Sized>(
        self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let start = out.len();
        let result = match self {
            Self::Json => json::encode(value, out),
            #[cfg(feature = "msgpack")]
            Self::MessagePack => msgpack::encode(value, out),
            Self::Postcard => postcard::encode(value, out),
        };
        result.map_err(|source| {
            out.truncate(start);
            CodecError::Encode { codec: self, source }
        })
    }

    /// The value that these bytes, all of them, stand for.
    ///
    /// # Errors
    ///
    /// [`CodecError::Decode`].
    pub(crate) fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, CodecError> {
        let result = match self {
            Self::Json => json::decode(bytes),
            #[cfg(feature = "msgpack")]
            Self::MessagePack => msgpack::decode(bytes),
            Self::Postcard => postcard::decode(bytes),
        };
        result.map_err(|why| CodecError::Decode { codec: self, why })
    }

    /// The number that stands for the codec in an envelope; 0 means that there is nothing to decode.
    pub(crate) const fn id(self) -> u8 {
        match self {
            Self::Json => 1,
            #[cfg(feature = "msgpack")]
            Self::MessagePack => 2,
            Self::Postcard => 3,
        }
    }

    /// The codec with this number, if this build has it.
    pub(crate) const fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Json),
            #[cfg(feature = "msgpack")]
            2 => Some(Self::MessagePack),
            3 => Some(Self::Postcard),
            _ => None,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The two directions for one type, as plain functions: code that handles a `T` without knowing serde carries this.
pub(crate) struct Coding<T> {
    /// [`Codec::encode`] for `T`.
    pub(crate) encode: EncodeFn<T>,
    /// [`Codec::decode`] for `T`.
    pub(crate) decode: DecodeFn<T>,
}

/// Appends the encoded value.
pub(crate) type EncodeFn<T> = fn(&T, Codec, &mut Vec<u8>) -> Result<(), CodecError>;

/// Reads the value back.
pub(crate) type DecodeFn<T> = fn(&[u8], Codec) -> Result<T, CodecError>;

impl<T: CacheValue> Coding<T> {
    pub(crate) const fn of() -> Self {
        Self {
            encode: |value, codec, out| codec.encode(value, out),
            decode: |bytes, codec| codec.decode(bytes),
        }
    }
}

impl<T> Clone for Coding<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Coding<T> {}

impl<T> fmt::Debug for Coding<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Coding")
    }
}
