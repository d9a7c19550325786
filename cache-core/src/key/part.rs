//! How a value writes itself into a key.

use std::fmt::{self, Write};

use crate::key::escape::escape;
use crate::key::text::KeyText;

/// A value that can be part of a key, written the same on every machine and in every release.
///
/// Implemented for integers, `bool`, `char`, strings, `Option`, tuples, slices, arrays, the standard collections
/// (hash maps and sets are sorted), `Duration`, network addresses, `()`, and references and smart pointers to
/// all of these. Not for `f32` and `f64`, whose equality is not what a key needs: wrap them in [`Float`].
/// Types that implement `serde::Serialize` go through [`Canonical`](crate::key::Canonical).
///
/// # Implementing it
///
/// Delegate to a part or a tuple of parts. The writer is passed by value, so an implementation writes exactly one
/// part, and what several fields write can never run together:
///
/// ```
/// use cache_core::key::{KeyPart, PartWriter, Prefix};
///
/// struct Candle { symbol: String, minutes: u32 }
///
/// impl KeyPart for Candle {
///     fn write(&self, out: PartWriter<'_>) {
///         (&self.symbol, self.minutes).write(out);
///     }
/// }
///
/// const CANDLE: Prefix = Prefix::literal("candle");
/// assert_eq!(CANDLE.key((Candle { symbol: "AAPL".into(), minutes: 5 },)).text(), "candle:(AAPL,5)");
/// ```
///
/// Values that differ must write different parts; for an enum write the variant as well: `("by_id", id).write(out)`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of a cache key",
    label = "this type does not implement `KeyPart`",
    note = "in `#[cached]`, a type of yours needs `#[derive(serde::Serialize)]`; by hand, pass it as `Canonical::new(&value)?`",
    note = "or leave the argument out with `skip(name)`, or name what matters of it: `key = \"prefix:{{name.field}}\"`",
    note = "or implement `KeyPart` by delegation: `fn write(&self, out: PartWriter<'_>) {{ (&self.a, self.b).write(out) }}`"
)]
pub trait KeyPart {
    /// Writes this value with one call of a method of `out`, or by passing `out` on to another part.
    fn write(&self, out: PartWriter<'_>);
}

/// Takes the text of one part. Each method uses the writer up.
#[derive(Debug)]
pub struct PartWriter<'a> {
    text: &'a mut KeyText,
}

impl<'a> PartWriter<'a> {
    #[inline]
    pub(crate) fn new(text: &'a mut KeyText) -> Self {
        PartWriter { text }
    }

    /// Writes a text, escaped.
    #[inline]
    pub fn text(self, text: &str) {
        escape(text, |piece| self.text.push(piece));
    }

    /// Writes what `value` displays, escaped, without a `String` in between.
    ///
    /// The text must be the same on every machine and in every release, and differ for values that differ. If the
    /// `Display` implementation fails, the text ends there.
    pub fn display(self, value: &(impl fmt::Display + ?Sized)) {
        let _ = write!(Escaping(self.text), "{value}");
    }

    /// Writes several parts as one: `(a,b,c)`.
    #[inline]
    pub fn group(self, write_items: impl FnOnce(&mut Group<'_>)) {
        self.text.push(b"(");
        write_items(&mut Group {
            text: self.text,
            items: 0,
        });
        self.text.push(b")");
    }

    /// Writes the SHA-256 of `part` in its place: `#` and 43 characters.
    ///
    /// This keeps a token out of Redis, logs and dashboards. It does not hide what can be guessed: whoever reads the
    /// key can hash a list of e-mail addresses and compare.
    pub fn secret(self, part: &(impl KeyPart + ?Sized)) {
        let start = self.text.position();
        write_node(self.text, part);
        self.text.replace_by_digest(start);
    }

    /// Writes the absence of a value.
    #[inline]
    pub(crate) fn none(self) {
        self.text.push(b"~");
    }

    /// Writes a present optional value: as itself, but `~` is added if it is an absence of its own.
    #[inline]
    pub(crate) fn some(self, part: &(impl KeyPart + ?Sized)) {
        let start = self.text.position();
        write_node(self.text, part);
        mark_some(self.text, start);
    }

    /// Writes digits or a word that needs no escaping.
    #[inline]
    pub(crate) fn word(self, word: &str) {
        self.text.push(word.as_bytes());
    }

    /// Writes several parts as one, in an order that does not depend on the iterator's.
    pub(crate) fn sorted_group<'p, P: KeyPart + 'p>(self, parts: impl IntoIterator<Item = P>) {
        self.text.push(b"(");
        let start = self.text.position();
        let mut ends = Vec::new();
        for part in parts {
            if !ends.is_empty() {
                self.text.push(b",");
            }
            write_node(self.text, &part);
            ends.push(self.text.position());
        }
        self.text.sort_pieces(start, &ends);
        self.text.push(b")");
    }
}

/// Takes the parts of a group, one after the other.
#[derive(Debug)]
pub struct Group<'a> {
    text: &'a mut KeyText,
    items: usize,
}

impl Group<'_> {
    /// Adds a part.
    #[inline]
    pub fn item(&mut self, part: &(impl KeyPart + ?Sized)) -> &mut Self {
        if self.items > 0 {
            self.text.push(b",");
        }
        self.items += 1;
        write_node(self.text, part);
        self
    }
}

/// A part that appears in the key only as its SHA-256. See [`PartWriter::secret`] for what that does not hide.
///
/// ```
/// use cache_core::key::{Prefix, Secret};
///
/// const SESSION: Prefix = Prefix::literal("session");
/// let key = SESSION.key(("de", Secret("bearer-token")));
/// assert_eq!(key.text(), "session:de:#_qhMiXJcf986cjY39AuZkKHnfoB3c4KJSBRFC6YiMCw");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Secret<T>(pub T);

impl<T: KeyPart> KeyPart for Secret<T> {
    fn write(&self, out: PartWriter<'_>) {
        out.secret(&self.0);
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A float as a part: two floats share a key exactly if their bits are equal or both are NaN. So `0.0` and `-0.0`
/// have different keys, and `0.1 + 0.2` is not `0.3`; round before you build a key from a computed float.
///
/// ```
/// use cache_core::key::{Float, Prefix};
///
/// const RATE: Prefix = Prefix::literal("rate");
/// assert_eq!(RATE.key((Float(1.5),)).text(), "rate:1.5e0");
/// ```
///
/// A bare float is not a part:
///
/// ```compile_fail,E0277
/// # use cache_core::key::Prefix;
/// # const RATE: Prefix = Prefix::literal("rate");
/// RATE.key((1.5,));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Float(pub f64);

impl From<f32> for Float {
    fn from(value: f32) -> Self {
        Float(f64::from(value))
    }
}

impl KeyPart for Float {
    fn write(&self, out: PartWriter<'_>) {
        write_float(out.text, self.0);
    }
}

/// Writes the shortest decimal digits that read back as the same float, always with an exponent.
pub(crate) fn write_float(text: &mut KeyText, value: impl fmt::LowerExp + Into<f64> + Copy) {
    if value.into().is_nan() {
        text.push(b"nan");
    } else {
        let _ = write!(Escaping(text), "{value:e}");
    }
}

/// Writes a part so that it is never empty: `'` stands for the empty text.
#[inline]
pub(crate) fn write_node(text: &mut KeyText, part: &(impl KeyPart + ?Sized)) {
    let start = text.position();
    part.write(PartWriter { text: &mut *text });
    if text.position() == start {
        text.push(b"'");
    }
}

/// Tells `Some(None)` from `None`. A text begins with `~` only if it consists of nothing else, so that counting
/// them gives the depth of the absence.
#[inline]
pub(crate) fn mark_some(text: &mut KeyText, start: usize) {
    if text.since(start).first() == Some(&b'~') {
        text.push(b"~");
    }
}

/// Escapes what is formatted into it.
pub(crate) struct Escaping<'a>(pub(crate) &'a mut KeyText);

impl Write for Escaping<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        escape(piece, |bytes| self.0.push(bytes));
        Ok(())
    }
}
