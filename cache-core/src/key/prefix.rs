//! The first part of a key, which names what kind of thing the key is about.

use std::borrow::Cow;
use std::fmt;

use crate::key::escape::{escaped, is_plain};
use crate::key::{CacheKey, KeyBuf, KeyError, KeyParts};

/// An escaped prefix has at most this many bytes, so that at least two digests fit behind it.
pub const MAX_PREFIX_BYTES: usize = 100;

/// The first part of a key: the unit that `remove_prefix` and Redis ACL patterns work on.
///
/// A prefix is exactly one part. Nest inside it with `/` or `.` (`"billing/invoice"`); where the colon form
/// `users:session:7` is wanted, the prefix is `users` and `session` is the first part.
///
/// ```
/// use cache_core::key::Prefix;
///
/// const USER: Prefix = Prefix::literal("user");
/// const USERS: Prefix = Prefix::literal("users");
///
/// assert_eq!(USER.key(7).text(), "user:7");
/// assert_eq!(USERS.key(("session", 7)).text(), "users:session:7");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    escaped: Cow<'static, str>,
}

impl Prefix {
    /// A prefix from any text, which is escaped like every part: `a:b` becomes `a%3Ab`.
    ///
    /// # Errors
    ///
    /// [`KeyError::EmptyPrefix`], or [`KeyError::PrefixTooLong`] beyond [`MAX_PREFIX_BYTES`] escaped bytes.
    pub fn new(text: &str) -> Result<Prefix, KeyError> {
        let escaped = escaped(text);
        check_length(&escaped)?;
        Ok(Prefix {
            escaped: Cow::Owned(escaped.into_owned()),
        })
    }

    /// A prefix from a literal, checked by the compiler when it initialises a `const`.
    ///
    /// # Panics
    ///
    /// If the text is empty, too long, or holds a character that would have to be escaped. In a `const` that is
    /// a compile error; for texts known only at run time use [`Prefix::new`].
    #[must_use]
    pub const fn literal(text: &'static str) -> Prefix {
        assert!(!text.is_empty(), "a key prefix must not be empty");
        assert!(
            text.len() <= MAX_PREFIX_BYTES,
            "a key prefix has at most 100 bytes"
        );
        assert!(
            is_plain(text),
            "a literal key prefix holds no whitespace and none of : % {{ }} * ? [ ] \\ ^ ( ) , ~ # ' \
             (nest with `/` or `.`; write further parts as parts)"
        );
        Prefix {
            escaped: Cow::Borrowed(text),
        }
    }

    /// The escaped text, as it stands in keys.
    #[inline]
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.escaped
    }

    /// The key of this prefix and these parts: one value such as `7` or `"de"`, or a tuple with one element per
    /// part. Use [`KeyBuf`] where even the one allocation of a [`CacheKey`] is too much.
    #[must_use]
    pub fn key(&self, parts: impl KeyParts) -> CacheKey {
        let mut key = KeyBuf::new(self);
        parts.append_to(&mut key);
        key.finish()
    }
}

fn check_length(escaped: &str) -> Result<(), KeyError> {
    match escaped.len() {
        0 => Err(KeyError::EmptyPrefix),
        1..=MAX_PREFIX_BYTES => Ok(()),
        bytes => Err(KeyError::PrefixTooLong { bytes }),
    }
}

/// Checks a prefix that is escaped already.
pub(crate) fn check_escaped(prefix: &str) -> Result<(), KeyError> {
    check_length(prefix)
}

impl TryFrom<&str> for Prefix {
    type Error = KeyError;

    fn try_from(text: &str) -> Result<Prefix, KeyError> {
        Prefix::new(text)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.escaped)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix({:?})", self.as_str())
    }
}
