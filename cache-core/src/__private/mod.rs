//! What the expansion of `#[cached]` calls. Hidden, and versioned with the macro crate: not for use by hand.
//!
//! A call of a cached function is one `look`, which answers from the in-process tier without an allocation, or
//! returns a `Miss`. Only then are options, a key of its own and the boxed body made, and `Miss::owned` or
//! `Miss::borrowed` sends them down the read-through path.

use std::future::Future;
use std::pin::Pin;

mod batch;
mod door;
mod errors;
mod look;
mod output;
mod run;
mod site;
mod slot;
mod types;
mod value;

pub use crate::codec::Codec;
pub use crate::key::dispatch::{AppendFloat, AppendNothing, AppendPart, AppendSerialized, Arg, InItsWrapper};
pub use crate::key::{CacheKey, KeyBuf, KeyError, KeyPart};
pub use crate::tag::{Tag, TagSet};
pub use crate::{Cache, Eager, EntryOptions, Error, LoadContext, Loaded, Outcome, Stored};

pub use batch::{BatchOutput, Of, batch};
pub use door::{Door, Holds, cache_of, open};
pub use errors::{
    Errors, NoClone, NoConversion, Probe, TellsCacheErrors, ViaClone, ViaFrom, tells_cache_errors,
};
pub use look::{
    Look, Miss, Ops, Refresh, Way, invalidate, invalidate_all, key, look, miss, ops, peek, set, told,
    told_boxed, untold, untold_boxed,
};
pub use output::{Fallible, FallibleMaybe, Maybe, Never, Output, Plain};
pub use run::{After, Told, bypassing};
pub use site::{Site, slashed};
pub use types::TypePart;
pub use value::{carry, copy_of, duty, of_value, part, tag, typed};

/// A future behind a pointer: what only the way past the hit pays for.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
