//! What an error type allows: to be shared by all who waited, and to say what the cache has to say.

use std::fmt;
use std::marker::PhantomData;

use crate::error::Error;

/// What can be done with errors of type `E`.
pub struct Errors<E> {
    /// Gives every waiter the loader's error.
    pub clone: Option<fn(&E) -> E>,
    /// Tells the caller about timeouts and panics.
    pub convert: Option<fn(Error) -> E>,
}

impl<E> Errors<E> {
    /// Nothing.
    pub const NONE: Self = Self {
        clone: None,
        convert: None,
    };
}

impl<E> Clone for Errors<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Errors<E> {}

impl<E> fmt::Debug for Errors<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Errors")
            .field("clone", &self.clone.is_some())
            .field("convert", &self.convert.is_some())
            .finish()
    }
}

/// Asks what `E` implements: `(&&Probe::<E>::new()).cloning()` resolves to the first of the traits below that fits.
/// In a generic function only the bounds count.
#[derive(Debug)]
pub struct Probe<E>(PhantomData<fn() -> E>);

impl<E> Probe<E> {
    /// Asks about `E`.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<E> Default for Probe<E> {
    fn default() -> Self {
        Self::new()
    }
}

/// First choice: `E` is `Clone`.
pub trait ViaClone<E> {
    /// How to clone.
    fn cloning(&self) -> Option<fn(&E) -> E>;
}

impl<E: Clone> ViaClone<E> for &Probe<E> {
    fn cloning(&self) -> Option<fn(&E) -> E> {
        Some(E::clone)
    }
}

/// Second choice: it is not.
pub trait NoClone<E> {
    /// There is no way.
    fn cloning(&self) -> Option<fn(&E) -> E>;
}

impl<E> NoClone<E> for Probe<E> {
    fn cloning(&self) -> Option<fn(&E) -> E> {
        None
    }
}

/// First choice: `E` is `From<Error>`.
pub trait ViaFrom<E> {
    /// How to convert.
    fn converting(&self) -> Option<fn(Error) -> E>;
}

impl<E: From<Error>> ViaFrom<E> for &Probe<E> {
    fn converting(&self) -> Option<fn(Error) -> E> {
        Some(E::from)
    }
}

/// Second choice: it is not.
pub trait NoConversion<E> {
    /// There is no way.
    fn converting(&self) -> Option<fn(Error) -> E>;
}

impl<E> NoConversion<E> for Probe<E> {
    fn converting(&self) -> Option<fn(Error) -> E> {
        None
    }
}

/// An error that can say what the cache has to say.
#[diagnostic::on_unimplemented(
    message = "`hard_timeout` and `error_ttl` need an error type that can say what happened: `{Self}` cannot",
    label = "implement `From<cache_core::Error>` for this error type",
    note = "with `#[error(transparent)] Cache(#[from] cache_core::Error)`, for instance"
)]
pub trait TellsCacheErrors {}

impl<E: From<Error>> TellsCacheErrors for E {}

/// Does not compile for an error type that cannot say what the cache has to say.
pub const fn tells_cache_errors<E: TellsCacheErrors>() {}
