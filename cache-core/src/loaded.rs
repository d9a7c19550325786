//! What calls return: a value with the story of how it was come by.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use crate::entry::Entry;
use crate::outcome::{MissReason, Outcome};
use crate::sync::Arc;

/// A value and the [`Outcome`] of the call that got it. Dereferences to the value.
///
/// All callers of one load, and all hits until the entry is replaced, share one value behind an [`Arc`]; cloning a
/// `Loaded` clones that `Arc`.
pub struct Loaded<T> {
    entry: Arc<Entry<T>>,
    outcome: Outcome,
}

impl<T> Loaded<T> {
    pub(crate) fn new(entry: Arc<Entry<T>>, outcome: Outcome) -> Self {
        Self { entry, outcome }
    }

    pub(crate) fn entry(&self) -> &Arc<Entry<T>> {
        &self.entry
    }

    /// How the value was come by.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The value itself: moved out if nobody else holds it, cloned otherwise.
    pub fn into_inner(self) -> T
    where
        T: Clone,
    {
        Arc::try_unwrap(self.entry).map_or_else(|shared| shared.value.clone(), |entry| entry.value)
    }

    /// Whether both are the same value in memory.
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        Arc::ptr_eq(&this.entry, &other.entry)
    }
}

impl<T> Deref for Loaded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.entry.value
    }
}

impl<T> AsRef<T> for Loaded<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T> Clone for Loaded<T> {
    fn clone(&self) -> Self {
        Self {
            entry: self.entry.clone(),
            outcome: self.outcome,
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Loaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("value", &**self)
            .field("outcome", &self.outcome)
            .finish()
    }
}

impl<T: fmt::Display> fmt::Display for Loaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: PartialEq> PartialEq<T> for Loaded<T> {
    fn eq(&self, other: &T) -> bool {
        **self == *other
    }
}

/// What a lookup without a loader finds.
#[derive(Clone, Debug)]
#[must_use]
#[non_exhaustive]
pub enum Lookup<T> {
    /// A value; its outcome says whether it is fresh.
    Hit(Loaded<T>),
    /// It is known that there is no such value; since when.
    Negative(Duration),
    /// The caches cannot tell, and why.
    Miss(MissReason),
}

impl<T> Lookup<T> {
    /// The value, if there is one.
    pub fn value(self) -> Option<Loaded<T>> {
        match self {
            Self::Hit(loaded) => Some(loaded),
            Self::Negative(_) | Self::Miss(_) => None,
        }
    }
}

/// What became of a value that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a refused store may have to be told to somebody"]
#[non_exhaustive]
pub enum Stored {
    /// It is stored.
    Yes,
    /// Not stored: another mutation of the key came later.
    Superseded,
    /// Not stored: an invalidation of the key, or of a tag, holds stores off for a while.
    HeldOff,
    /// Not stored: its TTL is zero.
    ZeroTtl,
    /// Not stored: it is heavier than the in-process tier can hold, or cannot be weighed.
    TooLarge,
    /// Stored on this node only: the shared tier is away or full. When it is back, other nodes load the value anew.
    Locally,
}

impl Stored {
    /// Whether the value can be read now.
    pub fn is_stored(self) -> bool {
        matches!(self, Self::Yes | Self::Locally)
    }
}
