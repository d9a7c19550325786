//! Why a key could not be made.

use std::error::Error as StdError;
use std::fmt;

/// Why a prefix, a key text or a serialised part was refused.
///
/// Ordinary parts cannot fail; see the [module page](crate::key) for the three places that can.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The prefix is empty.
    EmptyPrefix,
    /// The escaped prefix has more than [`MAX_PREFIX_BYTES`](crate::key::MAX_PREFIX_BYTES) bytes.
    PrefixTooLong {
        /// Length of the escaped prefix in bytes.
        bytes: usize,
    },
    /// The text has more than [`MAX_KEY_BYTES`](crate::key::MAX_KEY_BYTES) bytes, which no key has.
    TooLong {
        /// Length of the text in bytes.
        bytes: usize,
    },
    /// The text holds a character that a key would have escaped, or an escape that a key would not write.
    NotCanonical {
        /// Byte offset in the text of the piece that is not in canonical form.
        position: usize,
    },
    /// A serialised value is nested deeper than [`MAX_DEPTH`](crate::key::MAX_DEPTH) levels.
    TooDeep,
    /// The value's `Serialize` implementation reported this error.
    Serialize(Box<str>),
}

impl KeyError {
    /// A short name of the reason, for logs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            KeyError::EmptyPrefix => "empty_prefix",
            KeyError::PrefixTooLong { .. } => "prefix_too_long",
            KeyError::TooLong { .. } => "key_too_long",
            KeyError::NotCanonical { .. } => "not_canonical",
            KeyError::TooDeep => "too_deep",
            KeyError::Serialize(_) => "serialize",
        }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::EmptyPrefix => f.write_str("a key prefix must not be empty"),
            KeyError::PrefixTooLong { bytes } => {
                write!(
                    f,
                    "the key prefix has {bytes} bytes when escaped, at most 100 are allowed"
                )
            }
            KeyError::TooLong { bytes } => write!(f, "the key text has {bytes} bytes, keys have at most 200"),
            KeyError::NotCanonical { position } => {
                write!(f, "the key text is not in canonical form at byte {position}")
            }
            KeyError::TooDeep => f.write_str("the key part is nested deeper than 64 levels"),
            KeyError::Serialize(message) => write!(f, "the key part cannot be serialised: {message}"),
        }
    }
}

impl StdError for KeyError {}

impl serde::ser::Error for KeyError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        KeyError::Serialize(message.to_string().into_boxed_str())
    }
}
