//! Keys: readable, bounded, and never shared by different arguments.
//!
//! A [`CacheKey`] names an entry within a cache. Its text is `prefix:part:part`; the cache puts its namespace in
//! front, so that Redis holds `namespace:prefix:part:part`.
//!
//! ```
//! use cache_core::key::{CacheKey, Prefix};
//!
//! const USER: Prefix = Prefix::literal("user");
//!
//! assert_eq!(USER.key(7).text(), "user:7");
//! assert_eq!(USER.key((7, "de")).text(), "user:7:de");
//! assert_eq!(USER.key("a:b c").text(), "user:a%3Ab%20c");
//! assert_eq!(CacheKey::build("user", (7, Some("de"), [1, 2]))?.text(), "user:7:de:(1,2)");
//! # Ok::<(), cache_core::key::KeyError>(())
//! ```
//!
//! # Rules
//!
//! - **Injective.** For parts of fixed types, different arguments give different texts; `("a:b", "c")` and
//!   `("a", "b:c")`, `None` and `Some("")`, `[]` and `[""]` do not meet. What is replaced by a digest is told apart by
//!   SHA-256. Between *types* the texts are not told apart: `7u8`, `7i64` and `"7"` are all `7`, and a function
//!   whose argument becomes wider keeps its keys.
//! - **Stable.** The form is frozen: the same on every machine and in every release. It never comes from
//!   `std::hash::Hash` or from `Debug`.
//! - **Harmless.** Separators, glob characters, braces, whitespace and control characters of an argument are
//!   written as `%XX`: no argument selects a Redis Cluster slot, matches a pattern or breaks a line.
//!   Nothing is normalised: two spellings of `é` are two keys.
//! - **Bounded.** At most [`MAX_KEY_BYTES`] bytes. A part that does not fit is replaced by its SHA-256, alone; if
//!   there are too many of those, the last parts share one. The prefix always stays readable.
//! - **Discreet on request.** A [`Secret`] part appears only as its SHA-256.
//!
//! The grammar is in `docs/keys.md` of the repository.
//!
//! # What a part can be
//!
//! Whatever implements [`KeyPart`]: numbers, texts, options, tuples, collections and your own types. For the rest
//! there is [`Canonical`], which takes any `serde::Serialize`. Floats need the wrapper [`Float`], which says what
//! equality means for them.
//!
//! # What can fail
//!
//! Building a key from ordinary parts cannot. [`Prefix::new`] refuses an empty or overlong prefix (and
//! [`Prefix::literal`] makes that a compile error), [`Canonical::new`] passes on what a `Serialize` implementation
//! reports, and [`CacheKey::parse`] refuses a text that is not a key.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str;
use std::sync::Arc;

mod buffer;
mod canonical;
mod digest;
#[doc(hidden)]
pub mod dispatch;
mod error;
pub(crate) mod escape;
mod hash;
mod part;
mod parts;
mod prefix;
mod std_parts;
#[cfg(test)]
mod tests;
mod text;

pub use buffer::KeyBuf;
pub use canonical::{Canonical, MAX_DEPTH};
pub use error::KeyError;
pub use part::{Float, Group, KeyPart, PartWriter, Secret};
pub use parts::KeyParts;
pub use prefix::{MAX_PREFIX_BYTES, Prefix};
pub use text::MAX_KEY_BYTES;

/// The name of an entry within a cache: an immutable text that is cheap to clone.
///
/// Keys compare and sort by their text. `Hash` writes one precomputed `u64` and nothing else: it is seeded at
/// random per process, so a map with a hasher that passes it through is as safe against chosen keys as one with the
/// default hasher.
#[derive(Clone)]
pub struct CacheKey {
    hash: u64,
    text: Arc<str>,
}

impl CacheKey {
    /// The key of a prefix and its parts: one number or text, or a tuple with one element per part.
    ///
    /// With a prefix in a `const` nothing can fail: see [`Prefix::key`].
    ///
    /// # Errors
    ///
    /// [`KeyError::EmptyPrefix`] or [`KeyError::PrefixTooLong`].
    pub fn build(prefix: &str, parts: impl KeyParts) -> Result<CacheKey, KeyError> {
        Ok(Prefix::new(prefix)?.key(parts))
    }

    /// The key with exactly this text, as [`text`](CacheKey::text) returned it or a log shows it.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotCanonical`] for a text that no key has because a character should be escaped or an escape is
    /// not needed; [`KeyError::EmptyPrefix`], [`KeyError::PrefixTooLong`] and [`KeyError::TooLong`] for
    /// texts out of bounds.
    pub fn parse(text: &str) -> Result<CacheKey, KeyError> {
        if text.len() > MAX_KEY_BYTES {
            return Err(KeyError::TooLong { bytes: text.len() });
        }
        let prefix = first_part(text);
        prefix::check_escaped(prefix)?;
        if let Some(position) = prefix.find(escape::is_structure) {
            return Err(KeyError::NotCanonical { position });
        }
        let mut offset = 0;
        for part in text.split(':') {
            if part.is_empty() {
                return Err(KeyError::NotCanonical { position: offset });
            }
            escape::check_canonical(part, offset)?;
            offset += part.len() + 1;
        }
        Ok(CacheKey {
            hash: hash::hash_text(text.as_bytes()),
            text: Arc::from(text),
        })
    }

    /// The escaped text, without the namespace.
    #[inline]
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first part, escaped.
    #[must_use]
    pub fn prefix(&self) -> &str {
        first_part(&self.text)
    }

    /// The key, borrowed.
    #[inline]
    #[must_use]
    pub fn as_key(&self) -> KeyRef<'_> {
        KeyRef {
            hash: self.hash,
            text: self.text.as_bytes(),
        }
    }

    /// The precomputed hash: good within this process only.
    #[doc(hidden)]
    #[inline]
    #[must_use]
    pub fn hash_code(&self) -> u64 {
        self.hash
    }
}

fn first_part(text: &str) -> &str {
    text.split_once(':').map_or(text, |(prefix, _)| prefix)
}

impl PartialEq for CacheKey {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.text == other.text
    }
}

impl Eq for CacheKey {}

impl Hash for CacheKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl PartialOrd for CacheKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for CacheKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheKey({:?})", self.text())
    }
}

/// A borrowed key: equal to, and hashed like, the [`CacheKey`] of the same text.
#[derive(Clone, Copy)]
pub struct KeyRef<'a> {
    hash: u64,
    /// Valid UTF-8; bytes, because validating them on every lookup would cost more than the comparison.
    text: &'a [u8],
}

impl<'a> KeyRef<'a> {
    #[inline(always)]
    pub(crate) fn of_bytes(text: &'a [u8]) -> Self {
        KeyRef {
            hash: hash::hash_text(text),
            text,
        }
    }

    /// The escaped text, without the namespace.
    #[must_use]
    pub fn text(&self) -> &'a str {
        // Key buffers hold whole characters only, so the fallback is never taken.
        str::from_utf8(self.text).unwrap_or_default()
    }

    /// The key of a text whose hash is known.
    #[inline]
    pub(crate) fn hashed(hash: u64, text: &'a [u8]) -> Self {
        KeyRef { hash, text }
    }

    /// The first part, escaped.
    #[must_use]
    pub fn prefix(&self) -> &'a str {
        first_part(self.text())
    }

    /// An owned key with this text; the hash is not computed again.
    #[must_use]
    pub fn to_key(&self) -> CacheKey {
        CacheKey {
            hash: self.hash,
            text: buffer::shared_text(self.text),
        }
    }

    /// The precomputed hash: good within this process only.
    #[doc(hidden)]
    #[inline]
    #[must_use]
    pub fn hash_code(&self) -> u64 {
        self.hash
    }
}

impl PartialEq for KeyRef<'_> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.text == other.text
    }
}

impl Eq for KeyRef<'_> {}

impl PartialEq<CacheKey> for KeyRef<'_> {
    #[inline]
    fn eq(&self, other: &CacheKey) -> bool {
        *self == other.as_key()
    }
}

impl PartialEq<KeyRef<'_>> for CacheKey {
    #[inline]
    fn eq(&self, other: &KeyRef<'_>) -> bool {
        self.as_key() == *other
    }
}

impl Hash for KeyRef<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Lets the near cache be searched with a borrowed key.
impl quick_cache::Equivalent<CacheKey> for KeyRef<'_> {
    #[inline]
    fn equivalent(&self, key: &CacheKey) -> bool {
        self == key
    }
}

impl fmt::Display for KeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

impl fmt::Debug for KeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRef({:?})", self.text())
    }
}
