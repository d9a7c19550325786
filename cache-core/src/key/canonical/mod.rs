//! Any serialisable value as a part.

mod serializer;

use serde::Serialize;

use crate::key::text::KeyText;
use crate::key::{KeyError, KeyPart, PartWriter};
use serializer::NodeSerializer;

/// How deep a serialised value may be nested; deeper ones are refused rather than risking the stack.
pub const MAX_DEPTH: usize = 64;

/// A value of any `serde::Serialize` type in canonical form, as a part.
///
/// Struct fields and map entries are sorted, so neither the order of declaration nor that of a hash map matters;
/// fields and variants are written by name, as `serde` sees it (`rename`, `skip` and `flatten` apply). A
/// one-field struct is written as its field, so `UserId(7)` is `7`.
///
/// Two values get the same text only if `serde` describes both alike. For derived implementations that means they
/// are equal in every field that is serialised; `#[serde(untagged)]` variants that hold the same data, and
/// integers of one value but different width in them, are not told apart.
///
/// A `HashSet` inside a serialised type is a plain sequence to `serde`, in the order of this process: its keys
/// would not be found again. Use a `BTreeSet` there; as an argument of its own a `HashSet` is fine,
/// because it implements [`KeyPart`].
///
/// ```
/// use cache_core::key::{Canonical, Prefix};
///
/// #[derive(serde::Serialize)]
/// struct Filter { symbol: String, limit: Option<u32> }
///
/// const SEARCH: Prefix = Prefix::literal("search");
/// let filter = Filter { symbol: "AAPL".into(), limit: None };
/// let key = SEARCH.key((7, Canonical::new(&filter)?));
/// assert_eq!(key.text(), "search:7:@((limit,~),(symbol,AAPL))");
/// # Ok::<(), cache_core::key::KeyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    text: Box<str>,
}

impl Canonical {
    /// Serialises a value into its canonical form.
    ///
    /// # Errors
    ///
    /// [`KeyError::Serialize`] if the value's `Serialize` implementation fails, [`KeyError::TooDeep`] if it is nested
    /// deeper than [`MAX_DEPTH`].
    pub fn new(value: &(impl Serialize + ?Sized)) -> Result<Canonical, KeyError> {
        let mut text = KeyText::EMPTY;
        write(value, &mut text)?;
        let text = String::from_utf8_lossy(text.since(0)).into();
        Ok(Canonical { text })
    }
}

impl KeyPart for Canonical {
    fn write(&self, out: PartWriter<'_>) {
        out.word(&self.text);
    }
}

/// Adds the canonical form of `value` to the open part; on an error the part is left unfinished.
pub(crate) fn write(value: &(impl Serialize + ?Sized), text: &mut KeyText) -> Result<(), KeyError> {
    value.serialize(NodeSerializer::new(text))
}
