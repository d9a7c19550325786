//! The canonical form as a `serde` data format.
//!
//! Every value becomes one node, and no node is empty. The first bytes tell the kinds apart, so that a value whose
//! type says nothing (a JSON document, say) is still written injectively: numbers are bare, texts are bare unless
//! they could be read as something else and then begin with `'`, `(` opens a sequence, `@` a map or a variant,
//! `!` bytes, and `~` is an absent value.

use std::fmt::Write;

use serde::Serialize;
use serde::ser::{self, Serializer};

use crate::key::part::{Escaping, mark_some, write_float};
use crate::key::text::KeyText;
use crate::key::{KeyError, MAX_DEPTH};

/// Writes one node.
pub(super) struct NodeSerializer<'a> {
    text: &'a mut KeyText,
    /// How many levels may still be opened.
    depth: usize,
}

impl<'a> NodeSerializer<'a> {
    pub(super) fn new(text: &'a mut KeyText) -> Self {
        NodeSerializer {
            text,
            depth: MAX_DEPTH,
        }
    }

    fn bare(self, word: &str) -> Result<(), KeyError> {
        self.text.push(word.as_bytes());
        Ok(())
    }

    fn integer(self, value: impl itoa::Integer) -> Result<(), KeyError> {
        self.bare(itoa::Buffer::new().format(value))
    }

    /// One level further down.
    fn nested(self) -> Result<NodeSerializer<'a>, KeyError> {
        let depth = self.depth.checked_sub(1).ok_or(KeyError::TooDeep)?;
        Ok(NodeSerializer {
            text: self.text,
            depth,
        })
    }

    fn name(&mut self, variant: &str) -> Result<(), KeyError> {
        self.text.push(b"@");
        write_text(self.text, variant);
        Ok(())
    }

    fn items(self) -> Result<Items<'a>, KeyError> {
        let NodeSerializer { text, depth } = self.nested()?;
        text.push(b"(");
        Ok(Items {
            text,
            depth,
            empty: true,
        })
    }

    fn entries(self) -> Result<Entries<'a>, KeyError> {
        let NodeSerializer { text, depth } = self.nested()?;
        text.push(b"(");
        let start = text.position();
        Ok(Entries {
            text,
            depth,
            start,
            ends: Vec::new(),
        })
    }
}

impl<'a> Serializer for NodeSerializer<'a> {
    type Ok = ();
    type Error = KeyError;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Items<'a>;
    type SerializeTupleStruct = Items<'a>;
    type SerializeTupleVariant = Items<'a>;
    type SerializeMap = Entries<'a>;
    type SerializeStruct = Entries<'a>;
    type SerializeStructVariant = Entries<'a>;

    fn serialize_bool(self, value: bool) -> Result<(), KeyError> {
        self.bare(if value { "true" } else { "false" })
    }

    fn serialize_i8(self, value: i8) -> Result<(), KeyError> {
        self.integer(value)
    }

    fn serialize_i16(self, value: i16) -> Result<(), KeyError> {
        self.integer(value)
    }

    fn serialize_i32(self, value: i32) -> Result<(), KeyError> {
        self.integer(value)
    }

    fn serialize_i64(self, value: i64) -> Result<(), KeyError> {
        self.integer(value)
    }

    fn serialize_i128(self, value: i128) -> Result<(), KeyError> {
        self.integer(value)
    }

    fn serialize_u8(self, value: u8) -> Result<(), KeyError> {
        self.integer(value)
    }

    fn serialize_u16(self, value: u16) -> Result<(), KeyError> {
        self.integer(value)
    }

    fn serialize_u32(self, value: u32) -> Result<(), KeyError> {
        self.integer(value)
    }

    fn serialize_u64(self, value: u64) -> Result<(), KeyError> {
        self.integer(value)
    }

    fn serialize_u128(self, value: u128) -> Result<(), KeyError> {
        self.integer(value)
    }

    fn serialize_f32(self, value: f32) -> Result<(), KeyError> {
        write_float(self.text, value);
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<(), KeyError> {
        write_float(self.text, value);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), KeyError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), KeyError> {
        if could_be_another_node(value) {
            self.text.push(b"'");
        }
        write_text(self.text, value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), KeyError> {
        self.text.push(b"!");
        for byte in value {
            let _ = write!(Escaping(self.text), "{byte:02x}");
        }
        Ok(())
    }

    fn serialize_none(self) -> Result<(), KeyError> {
        self.bare("~")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), KeyError> {
        let NodeSerializer { text, depth } = self.nested()?;
        let start = text.position();
        value.serialize(NodeSerializer {
            text: &mut *text,
            depth,
        })?;
        mark_some(text, start);
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), KeyError> {
        self.bare("null")
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), KeyError> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        mut self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), KeyError> {
        self.name(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), KeyError> {
        value.serialize(self.nested()?)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), KeyError> {
        self.name(variant)?;
        let mut items = self.items()?;
        items.item(value)?;
        items.close()
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Items<'a>, KeyError> {
        self.items()
    }

    fn serialize_tuple(self, _len: usize) -> Result<Items<'a>, KeyError> {
        self.items()
    }

    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<Items<'a>, KeyError> {
        self.items()
    }

    fn serialize_tuple_variant(
        mut self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Items<'a>, KeyError> {
        self.name(variant)?;
        self.items()
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Entries<'a>, KeyError> {
        self.text.push(b"@");
        self.entries()
    }

    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Entries<'a>, KeyError> {
        self.serialize_map(Some(len))
    }

    fn serialize_struct_variant(
        mut self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Entries<'a>, KeyError> {
        self.name(variant)?;
        self.entries()
    }
}

/// The nodes of a sequence, a tuple or a tuple variant.
pub(super) struct Items<'a> {
    text: &'a mut KeyText,
    depth: usize,
    empty: bool,
}

impl Items<'_> {
    fn item(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), KeyError> {
        if !self.empty {
            self.text.push(b",");
        }
        self.empty = false;
        value.serialize(NodeSerializer {
            text: &mut *self.text,
            depth: self.depth,
        })
    }

    fn close(self) -> Result<(), KeyError> {
        self.text.push(b")");
        Ok(())
    }
}

/// The entries of a map, a struct or a struct variant, sorted by their text when the last one is written.
pub(super) struct Entries<'a> {
    text: &'a mut KeyText,
    depth: usize,
    start: usize,
    ends: Vec<usize>,
}

impl Entries<'_> {
    fn key(&mut self, key: &(impl Serialize + ?Sized)) -> Result<(), KeyError> {
        self.text.push(if self.ends.is_empty() { b"(" } else { b",(" });
        key.serialize(NodeSerializer {
            text: &mut *self.text,
            depth: self.depth,
        })
    }

    fn value(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), KeyError> {
        self.text.push(b",");
        value.serialize(NodeSerializer {
            text: &mut *self.text,
            depth: self.depth,
        })?;
        self.text.push(b")");
        self.ends.push(self.text.position());
        Ok(())
    }

    fn field(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) -> Result<(), KeyError> {
        self.key(name)?;
        self.value(value)
    }

    fn close(self) -> Result<(), KeyError> {
        self.text.sort_pieces(self.start, &self.ends);
        self.text.push(b")");
        Ok(())
    }
}

macro_rules! items {
    ($($kind:ident $method:ident)*) => {$(
        impl ser::$kind for Items<'_> {
            type Ok = ();
            type Error = KeyError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), KeyError> {
                self.item(value)
            }

            fn end(self) -> Result<(), KeyError> {
                self.close()
            }
        }
    )*};
}

items! {
    SerializeSeq serialize_element
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
    SerializeTupleVariant serialize_field
}

macro_rules! fields {
    ($($kind:ident)*) => {$(
        impl ser::$kind for Entries<'_> {
            type Ok = ();
            type Error = KeyError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), KeyError> {
                self.field(name, value)
            }

            fn end(self) -> Result<(), KeyError> {
                self.close()
            }
        }
    )*};
}

fields! { SerializeStruct SerializeStructVariant }

impl ser::SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = KeyError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), KeyError> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), KeyError> {
        self.value(value)
    }

    fn end(self) -> Result<(), KeyError> {
        self.close()
    }
}

/// Writes an escaped text; the empty one as `'`, which [`could_be_another_node`] leaves to this function.
fn write_text(text: &mut KeyText, value: &str) {
    if value.is_empty() {
        text.push(b"'");
    }
    let _ = Escaping(text).write_str(value);
}

/// Whether a bare text would look like a node of another kind.
fn could_be_another_node(text: &str) -> bool {
    text.starts_with(['@', '!']) || WORDS.contains(&text) || is_number(text)
}

const WORDS: &[&str] = &["true", "false", "null", "nan", "inf", "-inf"];

/// `-` digits `.` digits `e` `-` digits, where everything but the first digits may be missing.
fn is_number(text: &str) -> bool {
    let (mantissa, exponent) = split_optional(text, 'e');
    let (whole, fraction) = split_optional(mantissa, '.');
    is_integer(whole) && fraction.is_none_or(is_digits) && exponent.is_none_or(is_integer)
}

fn split_optional(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

fn is_integer(text: &str) -> bool {
    is_digits(text.strip_prefix('-').unwrap_or(text))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
