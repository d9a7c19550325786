//! The engine.

pub mod cache;
mod entry;
mod epochs;
pub mod error;
mod flight;
mod freshness;
pub mod key;
pub mod loaded;
mod memory;
pub mod notice;
pub mod options;
pub mod outcome;
#[cfg(feature = "redis")]
pub mod redis;
pub mod shared;
pub mod stats;
mod sync;
pub mod tag;
#[cfg(feature = "test-util")]
pub mod testing;
pub mod time;
mod waits;

pub use cache::{
    Cache, CacheBuilder, CacheValue, Claim, Invalidation, KeyPattern, LoadContext, LockGuard, MemoryCache,
    Typed,
};
pub use error::{Error, ErrorKind, LoadError};
pub use key::CacheKey;
pub use loaded::{Loaded, Lookup, Stored};
pub use options::{Eager, EntryOptions};
pub use outcome::{MissReason, Outcome, OutcomeKind, StaleReason, Tier};
#[cfg(feature = "redis")]
pub use redis::Redis;
