//! A deserialiser that limits how deep a value nests and how many elements it has.
//!
//! In postcard a recursive type turns a megabyte of equal bytes into a million stack frames, and elements without
//! content turn a declared length of 2^60 into a loop without an end. MessagePack's reader counts collections but not
//! variants; JSON's counts everything but a type that nests without writing anything. So all of them are read through
//! this.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use super::error::Undecodable;

/// A value nests at most this many levels of structs, enums, options and collections: what a thread's stack bears
/// even without optimisation, and far more than data made by people has.
const MAX_DEPTH: usize = 256;

/// A value has at most this many elements and fields whatever its length: room for those that take no bytes.
const FREE_ELEMENTS: usize = 1 << 20;

/// And this many more for each of its bytes: one byte may end several structs of one field.
const ELEMENTS_PER_BYTE: usize = 16;

/// What is left for the value that is being read.
#[derive(Debug)]
pub(super) struct Limits {
    depth: Cell<usize>,
    elements: Cell<usize>,
    exceeded: Cell<Option<Undecodable>>,
}

impl Limits {
    /// For a value of so many bytes.
    fn new(bytes: usize) -> Self {
        let elements = FREE_ELEMENTS.saturating_add(bytes.saturating_mul(ELEMENTS_PER_BYTE));
        Self {
            depth: Cell::new(MAX_DEPTH),
            elements: Cell::new(elements),
            exceeded: Cell::new(None),
        }
    }

    /// Reads a value within the limits; `other` tells what the deserialiser's own failures mean.
    pub(super) fn read<'de, T, D>(
        inner: D,
        bytes: usize,
        other: impl Fn(&D::Error) -> Undecodable,
    ) -> Result<T, Undecodable>
    where
        T: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let limits = Self::new(bytes);
        let read = T::deserialize(Limited::new(inner, &limits));
        read.map_err(|error| limits.exceeded.get().unwrap_or_else(|| other(&error)))
    }

    fn nested<R, E: Error>(&self, read: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        let depth = self.depth.get();
        let Some(below) = depth.checked_sub(1) else {
            return Err(self.exceed(Undecodable::TooDeep));
        };
        self.depth.set(below);
        let result = read();
        self.depth.set(depth);
        result
    }

    fn element<E: Error>(&self) -> Result<(), E> {
        let Some(left) = self.elements.get().checked_sub(1) else {
            return Err(self.exceed(Undecodable::TooMany));
        };
        self.elements.set(left);
        Ok(())
    }

    fn exceed<E: Error>(&self, limit: Undecodable) -> E {
        self.exceeded.set(Some(limit));
        E::custom(limit.as_str())
    }
}

/// A deserialiser, visitor, seed or access that passes everything on and hands the limits down.
#[derive(Debug)]
struct Limited<'l, I> {
    inner: I,
    limits: &'l Limits,
}

impl<'l, I> Limited<'l, I> {
    fn new(inner: I, limits: &'l Limits) -> Self {
        Self { inner, limits }
    }
}

macro_rules! leaves {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        }
    )*};
}

macro_rules! composites {
    ($($method:ident($($name:ident: $type:ty),*))*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let limits = self.limits;
            limits.nested(|| self.inner.$method($($name,)* Limited::new(visitor, limits)))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Limited<'_, D> {
    type Error = D::Error;

    leaves! {
        deserialize_bool
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_unit deserialize_identifier
    }

    composites! {
        deserialize_any()
        deserialize_ignored_any()
        deserialize_option()
        deserialize_newtype_struct(name: &'static str)
        deserialize_seq()
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_map()
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! plain_visits {
    ($($method:ident($type:ty))*) => {$(
        #[inline]
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Limited<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    plain_visits! {
        visit_bool(bool)
        visit_i8(i8) visit_i16(i16) visit_i32(i32) visit_i64(i64) visit_i128(i128)
        visit_u8(u8) visit_u16(u16) visit_u32(u32) visit_u64(u64) visit_u128(u128)
        visit_f32(f32) visit_f64(f64) visit_char(char)
        visit_str(&str) visit_borrowed_str(&'de str) visit_string(String)
        visit_bytes(&[u8]) visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
    }

    #[inline]
    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    #[inline]
    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Limited::new(inner, self.limits))
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(Limited::new(inner, self.limits))
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(Limited::new(elements, self.limits))
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(Limited::new(entries, self.limits))
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(Limited::new(variant, self.limits))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Limited<'_, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Limited::new(inner, self.limits))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Limited<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.limits.element()?;
        self.inner.next_element_seed(Limited::new(seed, self.limits))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Limited<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.limits.element()?;
        self.inner.next_key_seed(Limited::new(seed, self.limits))
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(Limited::new(seed, self.limits))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'l, A: EnumAccess<'de>> EnumAccess<'de> for Limited<'l, A> {
    type Error = A::Error;
    type Variant = Limited<'l, A::Variant>;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.inner.variant_seed(seed)?;
        Ok((value, Limited::new(variant, self.limits)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Limited<'_, A> {
    type Error = A::Error;

    #[inline]
    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(Limited::new(seed, self.limits))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, Limited::new(visitor, self.limits))
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner
            .struct_variant(fields, Limited::new(visitor, self.limits))
    }
}
