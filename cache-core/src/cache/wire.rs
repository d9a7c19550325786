//! How a type's values are weighed, and whether they could leave the process.

use std::fmt;

use crate::cache::CacheValue;
use crate::codec::{Codec, Coding};

/// What the engine needs to know about `T` beyond moving it around: chosen once per call, by the public method.
pub(crate) struct Wire<T> {
    /// The bytes that a value takes, roughly.
    pub(crate) weigh: fn(&T) -> usize,
    /// How values are written to and read from a shared tier; `None` for values that stay in this process.
    pub(crate) coding: Option<Coding<T>>,
    /// Which codec a value is written with, if not the cache's.
    pub(crate) codec: Option<Codec>,
}

impl<T> Clone for Wire<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Wire<T> {}

impl<T: CacheValue> Wire<T> {
    /// For values with serde: weighed by their length in a compact encoding.
    pub(crate) fn serde() -> Self {
        Self {
            weigh: encoded_length,
            coding: Some(Coding::of()),
            codec: None,
        }
    }
}

impl<T> Wire<T> {
    /// For values that stay in this process.
    pub(crate) fn local(weigh: fn(&T) -> usize) -> Self {
        Self {
            weigh,
            coding: None,
            codec: None,
        }
    }

    /// Writes values with this codec.
    pub(crate) fn written_in(self, codec: Option<Codec>) -> Self {
        Self { codec, ..self }
    }
}

impl<T> fmt::Debug for Wire<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

/// The length in postcard, whose size is close to what values take in memory; counting allocates nothing.
/// What postcard cannot write counts with its size on the stack.
fn encoded_length<T: CacheValue>(value: &T) -> usize {
    postcard::experimental::serialized_size(value)
        .unwrap_or(0)
        .max(size_of::<T>())
}
