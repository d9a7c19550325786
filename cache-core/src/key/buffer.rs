//! Building a key on the stack.

use std::str;
use std::sync::Arc;

use serde::Serialize;

use crate::key::part::write_node;
use crate::key::text::KeyText;
use crate::key::{CacheKey, KeyError, KeyPart, KeyRef, PartWriter, Prefix, canonical};

/// Builds a key part by part, in a buffer of fixed size on the stack.
///
/// Nothing is allocated unless a single part is longer than a key may be; even then the key itself stays within
/// [`MAX_KEY_BYTES`](crate::key::MAX_KEY_BYTES). Look up with [`as_key`](KeyBuf::as_key), and pay for a
/// [`CacheKey`] only when the key has to be kept.
///
/// ```
/// use cache_core::key::{KeyBuf, Prefix};
///
/// const QUOTE: Prefix = Prefix::literal("quote");
///
/// let mut key = KeyBuf::new(&QUOTE);
/// key.part("AAPL").part(&7u64).secret("api-token");
/// assert!(key.as_key().text().starts_with("quote:AAPL:7:#"));
/// ```
#[derive(Debug)]
pub struct KeyBuf {
    text: KeyText,
}

impl KeyBuf {
    /// Begins a key with its prefix.
    #[inline]
    #[must_use]
    pub fn new(prefix: &Prefix) -> KeyBuf {
        let mut key = KeyBuf::EMPTY;
        key.begin(prefix.as_str());
        key
    }

    /// With [`begin`](Self::begin), for the hit path: a buffer that is filled where it was made is not copied, one that
    /// comes out of [`new`](Self::new) may be.
    pub(crate) const EMPTY: KeyBuf = KeyBuf { text: KeyText::EMPTY };

    /// The text is that of a [`Prefix`].
    #[inline]
    pub(crate) fn begin(&mut self, prefix: &str) {
        self.text.begin(prefix);
    }

    /// Adds a part.
    #[inline]
    pub fn part(&mut self, part: &(impl KeyPart + ?Sized)) -> &mut Self {
        self.text.open_part();
        write_node(&mut self.text, part);
        self.text.close_part();
        self
    }

    /// Adds a part of which only the SHA-256 appears in the key. See [`PartWriter::secret`] for what that does not
    /// hide.
    pub fn secret(&mut self, part: &(impl KeyPart + ?Sized)) -> &mut Self {
        self.text.open_part();
        PartWriter::new(&mut self.text).secret(part);
        self.text.close_part();
        self
    }

    /// Adds a value in its canonical serialised form, like [`Canonical`](crate::key::Canonical) but without an
    /// allocation.
    ///
    /// # Errors
    ///
    /// [`KeyError::Serialize`] or [`KeyError::TooDeep`]; the key is then as it was before the call.
    pub fn canonical(&mut self, value: &(impl Serialize + ?Sized)) -> Result<&mut Self, KeyError> {
        self.text.open_part();
        match canonical::write(value, &mut self.text) {
            Ok(()) => {
                self.text.close_part();
                Ok(self)
            }
            Err(error) => {
                self.text.abandon_part();
                Err(error)
            }
        }
    }

    /// Adds a value in its canonical serialised form, of which only the SHA-256 appears in the key.
    ///
    /// # Errors
    ///
    /// Like [`canonical`](KeyBuf::canonical).
    pub fn secret_canonical(&mut self, value: &(impl Serialize + ?Sized)) -> Result<&mut Self, KeyError> {
        self.text.open_part();
        let start = self.text.position();
        match canonical::write(value, &mut self.text) {
            Ok(()) => {
                self.text.replace_by_digest(start);
                self.text.close_part();
                Ok(self)
            }
            Err(error) => {
                self.text.abandon_part();
                Err(error)
            }
        }
    }

    /// The key so far, borrowed: for lookups that need no allocation.
    // Returned through memory, the parts of a key would be stored and read back in different widths, and wait for that.
    #[inline(always)]
    #[must_use]
    pub fn as_key(&self) -> KeyRef<'_> {
        KeyRef::of_bytes(self.text.as_bytes())
    }

    /// The key so far, owned.
    #[must_use]
    pub fn finish(&self) -> CacheKey {
        self.as_key().to_key()
    }
}

/// The text of a finished buffer.
pub(crate) fn shared_text(bytes: &[u8]) -> Arc<str> {
    match str::from_utf8(bytes) {
        Ok(text) => Arc::from(text),
        // Buffers hold whole characters only; a lossy copy keeps this free of panics.
        Err(_) => Arc::from(String::from_utf8_lossy(bytes)),
    }
}
