//! Tags: names shared by entries, so that all of them can be invalidated at once.
//!
//! ```
//! use cache_core::tag::{Tag, TagSet};
//!
//! let tags = TagSet::new(["user:7", "team:red", "user:7"])?;
//! assert_eq!(tags.len(), 2);
//! assert!(tags.contains("user:7"));
//! assert!(Tag::new("").is_err());
//! # Ok::<(), cache_core::tag::TagError>(())
//! ```

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::slice;
use std::sync::Arc;

/// A tag has at most this many bytes: enough for a path or two identifiers, little enough to store with each entry.
pub const MAX_TAG_BYTES: usize = 256;

/// An entry carries at most this many tags, because every read compares the version of each.
pub const MAX_TAGS: usize = 64;

/// A name shared by entries: not empty, at most [`MAX_TAG_BYTES`] bytes, any UTF-8 without control characters.
///
/// Tags compare byte by byte; nothing is trimmed, folded or normalised. Clones share the text.
#[derive(Clone)]
pub struct Tag {
    text: Text,
}

#[derive(Clone)]
enum Text {
    Static(&'static str),
    Shared(Arc<str>),
}

impl Tag {
    /// A tag from any text.
    ///
    /// # Errors
    ///
    /// [`TagError::Empty`], [`TagError::TooLong`] or [`TagError::ControlCharacter`].
    pub fn new(text: impl AsRef<str>) -> Result<Tag, TagError> {
        let text = text.as_ref();
        check(text)?;
        Ok(Tag {
            text: Text::Shared(Arc::from(text)),
        })
    }

    /// A tag from a literal, without an allocation; checked by the compiler when it initialises a `const`.
    ///
    /// # Panics
    ///
    /// If the text is not a valid tag. In a `const` that is a compile error; for texts known only at run time use
    /// [`Tag::new`].
    #[must_use]
    pub const fn literal(text: &'static str) -> Tag {
        match check(text) {
            Ok(()) => Tag {
                text: Text::Static(text),
            },
            Err(TagError::Empty) => panic!("a tag must not be empty"),
            Err(TagError::TooLong { .. }) => panic!("a tag has at most 256 bytes"),
            Err(_) => panic!("a tag must not hold control characters"),
        }
    }

    /// The text.
    #[inline]
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.text {
            Text::Static(text) => text,
            Text::Shared(text) => text,
        }
    }
}

/// `const`, hence by bytes: the control characters are C0, DEL and C1 (`C2 80` to `C2 9F` in UTF-8).
pub(crate) const fn check(text: &str) -> Result<(), TagError> {
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return Err(TagError::Empty);
    }
    if bytes.len() > MAX_TAG_BYTES {
        return Err(TagError::TooLong { bytes: bytes.len() });
    }
    let mut position = 0;
    while position < bytes.len() {
        let c1 = bytes[position] == 0xC2 && bytes[position + 1] < 0xA0;
        if bytes[position].is_ascii_control() || c1 {
            return Err(TagError::ControlCharacter { position });
        }
        position += 1;
    }
    Ok(())
}

impl PartialEq for Tag {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Tag {}

impl PartialOrd for Tag {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Tag {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

/// Like the text's, so that a map of tags can be searched with a `&str`.
impl Hash for Tag {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl std::borrow::Borrow<str> for Tag {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Tag {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({:?})", self.as_str())
    }
}

impl TryFrom<&str> for Tag {
    type Error = TagError;

    fn try_from(text: &str) -> Result<Tag, TagError> {
        Tag::new(text)
    }
}

impl TryFrom<String> for Tag {
    type Error = TagError;

    fn try_from(text: String) -> Result<Tag, TagError> {
        Tag::new(text)
    }
}

impl TryFrom<&String> for Tag {
    type Error = TagError;

    fn try_from(text: &String) -> Result<Tag, TagError> {
        Tag::new(text)
    }
}

impl From<&Tag> for Tag {
    fn from(tag: &Tag) -> Tag {
        tag.clone()
    }
}

impl std::str::FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Tag, TagError> {
        Tag::new(text)
    }
}

/// The tags of an entry: at most [`MAX_TAGS`], each once, sorted. Clones share them; the empty set allocates nothing.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct TagSet {
    /// Sorted and without duplicates; `None` if empty.
    tags: Option<Arc<[Tag]>>,
}

impl TagSet {
    /// No tags.
    pub const EMPTY: TagSet = TagSet { tags: None };

    /// The set of these tags, which may be texts; repeated ones count once.
    ///
    /// # Errors
    ///
    /// [`TagError::TooMany`], or what [`Tag::new`] says about one of the texts.
    pub fn new<I>(tags: I) -> Result<TagSet, TagError>
    where
        I: IntoIterator,
        I::Item: TryInto<Tag>,
        TagError: From<<I::Item as TryInto<Tag>>::Error>,
    {
        let mut unique = BTreeSet::new();
        for tag in tags {
            unique.insert(tag.try_into()?);
            if unique.len() > MAX_TAGS {
                return Err(TagError::TooMany);
            }
        }
        if unique.is_empty() {
            return Ok(TagSet::EMPTY);
        }
        Ok(TagSet {
            tags: Some(unique.into_iter().collect()),
        })
    }

    /// The set of these tags and those of `other`.
    ///
    /// # Errors
    ///
    /// [`TagError::TooMany`].
    pub fn union(&self, other: &TagSet) -> Result<TagSet, TagError> {
        match (self.is_empty(), other.is_empty()) {
            (_, true) => Ok(self.clone()),
            (true, false) => Ok(other.clone()),
            (false, false) => TagSet::new(self.iter().chain(other)),
        }
    }

    /// Whether an entry with these tags is invalidated with `tag`.
    #[must_use]
    pub fn contains(&self, tag: &str) -> bool {
        self.as_slice()
            .binary_search_by(|member| member.as_str().cmp(tag))
            .is_ok()
    }

    /// How many tags there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tags.is_none()
    }

    /// The tags in order.
    pub fn iter(&self) -> slice::Iter<'_, Tag> {
        self.as_slice().iter()
    }

    /// The tags in order, as a slice.
    #[must_use]
    pub fn as_slice(&self) -> &[Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

impl<'a> IntoIterator for &'a TagSet {
    type Item = &'a Tag;
    type IntoIter = slice::Iter<'a, Tag>;

    fn into_iter(self) -> slice::Iter<'a, Tag> {
        self.iter()
    }
}

impl From<Tag> for TagSet {
    fn from(tag: Tag) -> TagSet {
        TagSet {
            tags: Some(Arc::from([tag])),
        }
    }
}

impl fmt::Debug for TagSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Tag::as_str)).finish()
    }
}

/// Why a tag or a set of tags was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TagError {
    /// The text is empty.
    Empty,
    /// The text has more than [`MAX_TAG_BYTES`] bytes.
    TooLong {
        /// Length of the text in bytes.
        bytes: usize,
    },
    /// The text holds a control character.
    ControlCharacter {
        /// Byte offset of the first one.
        position: usize,
    },
    /// There are more than [`MAX_TAGS`] different tags.
    TooMany,
}

impl TagError {
    /// A short name of the reason, for logs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            TagError::Empty => "empty_tag",
            TagError::TooLong { .. } => "tag_too_long",
            TagError::ControlCharacter { .. } => "control_character_in_tag",
            TagError::TooMany => "too_many_tags",
        }
    }
}

impl fmt::Display for TagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TagError::Empty => f.write_str("a tag must not be empty"),
            TagError::TooLong { bytes } => {
                write!(
                    f,
                    "the tag has {bytes} bytes, at most {MAX_TAG_BYTES} are allowed"
                )
            }
            TagError::ControlCharacter { position } => {
                write!(f, "the tag holds a control character at byte {position}")
            }
            TagError::TooMany => write!(f, "an entry has at most {MAX_TAGS} tags"),
        }
    }
}

impl StdError for TagError {}

impl From<Infallible> for TagError {
    fn from(never: Infallible) -> TagError {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check_text(text: &str, expected: Result<(), TagError>) {
        assert_eq!(Tag::new(text).map(|tag| assert_eq!(tag.as_str(), text)), expected);
    }

    #[test]
    fn any_readable_text_is_a_tag() {
        check_text("user:1", Ok(()));
        check_text(" two words * ? {} ", Ok(()));
        check_text("Größe 東京 🦀 \u{a0}", Ok(()));
        check_text(&"x".repeat(MAX_TAG_BYTES), Ok(()));
    }

    #[test]
    fn empty_long_and_control_texts_are_refused() {
        check_text("", Err(TagError::Empty));
        check_text(
            &"x".repeat(MAX_TAG_BYTES + 1),
            Err(TagError::TooLong {
                bytes: MAX_TAG_BYTES + 1,
            }),
        );
        check_text("a\nb", Err(TagError::ControlCharacter { position: 1 }));
        check_text("ab\0", Err(TagError::ControlCharacter { position: 2 }));
        check_text("é\u{7f}", Err(TagError::ControlCharacter { position: 2 }));
        check_text("é\u{9f}", Err(TagError::ControlCharacter { position: 2 }));
    }

    #[test]
    fn literal_tags_equal_tags_made_at_run_time() {
        const USER: Tag = Tag::literal("user:1");
        assert_eq!(USER, Tag::new("user:1").unwrap());
        assert_eq!(TagSet::from(USER), TagSet::new(["user:1"]).unwrap());
    }

    #[test]
    fn set_is_sorted_and_without_duplicates() {
        let tags = TagSet::new(["b", "a", "b", "c", "a"]).unwrap();
        assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(tags.contains("b") && !tags.contains("d"));
    }

    #[test]
    fn empty_sets_are_the_same_however_they_are_made() {
        assert_eq!(TagSet::new(Vec::<Tag>::new()).unwrap(), TagSet::EMPTY);
        assert_eq!(TagSet::default(), TagSet::EMPTY);
        assert!(TagSet::EMPTY.is_empty() && TagSet::EMPTY.as_slice().is_empty());
    }

    #[test]
    fn set_is_bounded_by_different_tags_not_by_their_number() {
        let name = |n: usize| format!("t{n}");
        assert_eq!(TagSet::new((0..MAX_TAGS).map(name)).unwrap().len(), MAX_TAGS);
        assert_eq!(
            TagSet::new((0..1000).map(|n| name(n % MAX_TAGS))).unwrap().len(),
            MAX_TAGS
        );
        assert_eq!(TagSet::new((0..=MAX_TAGS).map(name)), Err(TagError::TooMany));
        assert_eq!(TagSet::new(["ok", ""]), Err(TagError::Empty));
    }

    #[test]
    fn union_keeps_the_bound() {
        let left = TagSet::new(["a", "b"]).unwrap();
        let right = TagSet::new(["b", "c"]).unwrap();
        assert_eq!(left.union(&right).unwrap(), TagSet::new(["a", "b", "c"]).unwrap());
        assert_eq!(left.union(&TagSet::EMPTY).unwrap(), left);
        assert_eq!(TagSet::EMPTY.union(&left).unwrap(), left);
        let many = TagSet::new((0..MAX_TAGS).map(|n| format!("t{n}"))).unwrap();
        assert_eq!(many.union(&left), Err(TagError::TooMany));
    }

    proptest! {
        #[test]
        fn a_tag_is_accepted_exactly_if_the_rule_says_so(text in any::<String>()) {
            let valid = !text.is_empty() && text.len() <= MAX_TAG_BYTES && !text.contains(char::is_control);
            prop_assert_eq!(Tag::new(&text).is_ok(), valid);
        }
    }
}
