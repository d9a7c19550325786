//! How generated code turns an argument of any type into a part.
//!
//! `(&&&Arg(&value)).append(&mut key)` takes the first of these that the type of `value` offers, by the order in
//! which method calls are resolved: `KeyPart`, then `serde::Serialize` through the canonical form, then nothing:
//! a compile error that says `KeyPart` is missing. A bare float is refused although it can be serialised, alone and in
//! what merely holds it.
//!
//! Inside a generic function only the bounds count, so a type parameter needs `KeyPart` among its bounds.

use serde::Serialize;

use crate::key::{KeyBuf, KeyError, KeyPart};

/// An argument on its way into a key.
#[derive(Debug)]
pub struct Arg<'a, T: ?Sized>(pub &'a T);

/// First choice: the type writes itself.
pub trait AppendPart {
    /// Adds the part.
    fn append(&self, key: &mut KeyBuf) -> Result<(), KeyError>;
    /// Adds the digest of the part.
    fn append_secret(&self, key: &mut KeyBuf) -> Result<(), KeyError>;
}

impl<T: KeyPart + ?Sized> AppendPart for &&Arg<'_, T> {
    #[inline]
    fn append(&self, key: &mut KeyBuf) -> Result<(), KeyError> {
        key.part(self.0);
        Ok(())
    }

    fn append_secret(&self, key: &mut KeyBuf) -> Result<(), KeyError> {
        key.secret(self.0);
        Ok(())
    }
}

/// Second choice: the canonical serialised form.
pub trait AppendSerialized {
    /// Adds the part.
    fn append(&self, key: &mut KeyBuf) -> Result<(), KeyError>;
    /// Adds the digest of the part.
    fn append_secret(&self, key: &mut KeyBuf) -> Result<(), KeyError>;
}

impl<T: Serialize + ?Sized> AppendSerialized for &Arg<'_, T> {
    #[inline]
    fn append(&self, key: &mut KeyBuf) -> Result<(), KeyError> {
        key.canonical(self.0).map(drop)
    }

    fn append_secret(&self, key: &mut KeyBuf) -> Result<(), KeyError> {
        key.secret_canonical(self.0).map(drop)
    }
}

/// No choice: the bound on the methods makes the compiler say what is missing.
pub trait AppendNothing {
    /// The type of the argument.
    type Part: ?Sized;

    /// Does not compile for a type that reaches this choice.
    fn append(&self, _key: &mut KeyBuf) -> Result<(), KeyError>
    where
        Self::Part: KeyPart,
    {
        Ok(())
    }

    /// Does not compile for a type that reaches this choice.
    fn append_secret(&self, _key: &mut KeyBuf) -> Result<(), KeyError>
    where
        Self::Part: KeyPart,
    {
        Ok(())
    }
}

impl<T: ?Sized> AppendNothing for Arg<'_, T> {
    type Part = T;
}

/// A float, alone or in what merely holds it: to be wrapped in [`Float`](crate::key::Float), which says what equality
/// means. Where a float is a field of a type of one's own, that type has decided.
pub trait BareFloat {}

impl BareFloat for f32 {}
impl BareFloat for f64 {}
impl<T: BareFloat + ?Sized> BareFloat for &T {}
impl<T: BareFloat + ?Sized> BareFloat for Box<T> {}
impl<T: BareFloat + ?Sized> BareFloat for std::sync::Arc<T> {}
impl<T: BareFloat> BareFloat for Option<T> {}
impl<T: BareFloat> BareFloat for Vec<T> {}
impl<T: BareFloat> BareFloat for [T] {}
impl<T: BareFloat, const N: usize> BareFloat for [T; N] {}
impl<A: BareFloat, B: BareFloat> BareFloat for (A, B) {}
impl<A: BareFloat, B: BareFloat, C: BareFloat> BareFloat for (A, B, C) {}

impl<T: BareFloat + ?Sized> AppendNothing for &&Arg<'_, T> {
    type Part = T;
}
