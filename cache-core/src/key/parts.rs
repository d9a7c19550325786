//! The parts behind a prefix, given at once.

use std::borrow::Cow;
use std::num::NonZero;
use std::sync::Arc;

use crate::key::{KeyBuf, KeyPart};

/// The parts of a key behind its prefix: a single number or text, or a tuple with one element per part.
///
/// Any other single value stands in a tuple of one: `USER.key((id,))`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a list of key parts",
    label = "neither a number, a text nor a tuple of parts",
    note = "write a single part of another type as a tuple of one: `(part,)`"
)]
pub trait KeyParts {
    /// Adds the parts to a key in order.
    fn append_to(&self, key: &mut KeyBuf);
}

impl<T: KeyParts + ?Sized> KeyParts for &T {
    #[inline]
    fn append_to(&self, key: &mut KeyBuf) {
        (**self).append_to(key);
    }
}

macro_rules! single_parts {
    ($($part:ty)*) => {$(
        impl KeyParts for $part {
            #[inline]
            fn append_to(&self, key: &mut KeyBuf) {
                key.part(self);
            }
        }
    )*};
}

single_parts! {
    i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize
    NonZero<u8> NonZero<u16> NonZero<u32> NonZero<u64> NonZero<u128> NonZero<usize>
    bool char str String Arc<str> Box<str> Cow<'_, str>
}

/// No parts: the key consists of its prefix.
impl KeyParts for () {
    fn append_to(&self, _key: &mut KeyBuf) {}
}

macro_rules! tuples {
    ($(($($name:ident)+))*) => {$(
        impl<$($name: KeyPart),+> KeyParts for ($($name,)+) {
            #[inline]
            fn append_to(&self, key: &mut KeyBuf) {
                #[allow(non_snake_case, reason = "the variables carry the names of the types")]
                let ($($name,)+) = self;
                $(key.part($name);)+
            }
        }
    )*};
}

tuples! {
    (A)
    (A B)
    (A B C)
    (A B C D)
    (A B C D E)
    (A B C D E F)
    (A B C D E F G)
    (A B C D E F G H)
    (A B C D E F G H I)
    (A B C D E F G H I J)
    (A B C D E F G H I J K)
    (A B C D E F G H I J K L)
}
