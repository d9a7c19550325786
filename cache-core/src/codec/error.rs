//! Why a value did not become bytes, or bytes did not become a value.

use std::error::Error as StdError;
use std::fmt;

use super::Codec;

/// What a serialiser reports.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a value was not encoded or decoded.
#[derive(Debug)]
pub(crate) enum CodecError {
    /// The codec cannot express the value, or the value's own `Serialize` failed.
    Encode { codec: Codec, source: BoxError },
    /// The bytes are not an encoding of such a value.
    Decode { codec: Codec, why: Undecodable },
    /// The encoded value is longer than a reader would accept.
    TooLarge { bytes: usize, limit: usize },
}

impl CodecError {
    /// The reason in one word, as in logs and metric labels.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Encode { .. } => "encode",
            Self::Decode { why, .. } => why.as_str(),
            Self::TooLarge { .. } => "too_large",
        }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode { codec, source } => write!(f, "the value has no form in {codec}: {source}"),
            Self::Decode { codec, why } => {
                write!(f, "the bytes are no such value in {codec}: {}", why.as_str())
            }
            Self::TooLarge { bytes, limit } => {
                write!(f, "the encoded value has {bytes} bytes, the limit is {limit}")
            }
        }
    }
}

impl StdError for CodecError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Encode { source, .. } => Some(source.as_ref()),
            Self::Decode { .. } | Self::TooLarge { .. } => None,
        }
    }
}

/// Why bytes are not an encoding of the wanted value. Never quotes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undecodable {
    /// Not the codec's language.
    Syntax,
    /// Well formed, but another type's value.
    Mismatch,
    /// The bytes end within the value.
    EndsEarly,
    /// The value ends before the bytes do.
    Leftover,
    /// Nested too deeply.
    TooDeep,
    /// More elements than an acceptable value can have.
    TooMany,
}

impl Undecodable {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Mismatch => "mismatch",
            Self::EndsEarly => "ends_early",
            Self::Leftover => "leftover",
            Self::TooDeep => "too_deep",
            Self::TooMany => "too_many",
        }
    }
}
