//! Caching for async services: the engine behind [`#[cached]`](macro@cached) and the tower layer of `cache-tower`.
//!
//! * **One load per key**, however many callers miss at once: safe against callers that leave, loaders that panic,
//!   hang or call themselves.
//! * **Stale instead of failing**: an old value stands in while the loader fails or is slow, within a window you set.
//! * **An invalidation always wins** over a load that began before it: by key, tag, prefix, pattern, or all.
//! * **One cache for the fleet**, with Redis behind it (feature `redis`): one load per key across nodes, invalidations
//!   that reach every node, and no failed call when Redis is away.
//! * **A hit costs tens of nanoseconds**: typed values in memory, no decoding, no lock beyond a shard's, no allocation.
//!
//! ```
//! use cache_core::{Cache, CacheKey, EntryOptions, TagSet, time::{hours, minutes}};
//!
//! # #[derive(serde::Serialize, serde::Deserialize, Clone)]
//! # struct User { name: String }
//! # async fn load_user(_: u64) -> Result<User, std::io::Error> { Ok(User { name: "Ada".into() }) }
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let cache = Cache::builder("shop")
//!         .memory_bytes(64 << 20)
//!         .defaults(EntryOptions::ttl(minutes(5)).stale_for(hours(1)))
//!         .build()?;
//!
//!     let key = CacheKey::build("user", 7_u64)?;
//!     let options = EntryOptions::new().tags(TagSet::new(["user:7"])?);
//!     let user = cache.get_or_load(&key, options, |_| load_user(7)).await?;
//!     assert_eq!(user.name, "Ada");                     // `Loaded<User>` dereferences to the value
//!     println!("{}", user.outcome());                   // loaded reason=absent age=0ns
//!
//!     cache.invalidate_tag("user:7").await?;            // after this returns, the old value is never seen again
//!     Ok(())
//! }
//! ```
//!
//! # The way of a call
//!
//! 1. [`Cache::get_or_load`] looks into the in-process tier. A fresh value is the answer.
//! 2. Otherwise it joins the key's *flight*, or starts one. One caller's loader runs, in a task of its own; the others
//!    wait. Callers that arrive after an invalidation never join a flight that began before it.
//! 3. With Redis, the flight asks there first: for the value, or for the *lease* that lets one node of the fleet load.
//!    If Redis is away, this is skipped within its budget, and the node serves alone.
//! 4. Waiting ends with the result, or with the *soft timeout* if a stale value is at hand, or with the *hard timeout*.
//! 5. The result is stored, unless the key, or a tag, prefix or namespace of it, was invalidated since the load began;
//!    those who waited get it in any case.
//!
//! Every answer carries an [`Outcome`]: hit, stale hit and why, loaded, shared with another caller, and its age. The
//! same words are in logs, in metrics ([`Cache::stats`], feature `metrics`) and in HTTP's `Cache-Status`.
//!
//! # Where to read on
//!
//! | for | see |
//! |---|---|
//! | annotating functions | [`#[cached]`](macro@cached) |
//! | TTLs, stale windows, timeouts, eager refresh | [`EntryOptions`] |
//! | TTLs by name, from configuration, changed at run time | [`policies`] |
//! | what a loader can say about its load | [`LoadContext`] |
//! | keys: their form, and what can be in them | [`key`] |
//! | invalidation, hard and soft | [`Invalidation`], [`KeyPattern`] |
//! | configuration from TOML, JSON and the environment | `config` (feature `config`), `docs/configuration.md` |
//! | Redis: servers, Sentinel, Cluster, TLS | `Redis` (feature `redis`), [`CacheBuilder`], `docs/redis.md` |
//! | values without serde | [`MemoryCache`] |
//! | metrics, health, diagnosis | [`stats`], [`health`], [`doctor`] |
//! | loading ahead of traffic | [`warm`], [`Cache::refresh_ahead`] |
//! | deduplication and locks | [`Cache::claim`], [`Cache::try_claim`], [`Cache::try_lock`] |
//! | your own tests | `testing` (feature `test-util`) |
//! | a guide: failures, HTTP, security, tuning, migration, design | `docs/guide/` of the repository |
//!
//! # Runtime
//!
//! Loads run on the tokio runtime of the caller that starts them. Fresh hits, `get`, `set` and invalidations need no
//! runtime at all. Without one, a loader runs inside its caller and timeouts do not apply. A runtime must have its timers
//! switched on (`enable_time` or `enable_all`, as `#[tokio::main]` does): timeouts, waits and upkeep use them, and tokio
//! panics in a call that asks a runtime without them. With Redis it needs `enable_io` too.
//!
//! A load in a task of its own carries the caller's tracing span, and no task-locals by itself: the loader is your future,
//! so wrap it, `move |_| TENANT.scope(tenant, load(id))`. `#[cached]` does that for those that `propagate(..)` names.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `macros` | yes | `#[cached]` |
//! | `metrics` | yes | the counters of [`Cache::stats`] through the `metrics` facade |
//! | `redis` | no | the tier that all nodes share: `Redis`, `CacheBuilder::redis` |
//! | `redis-tls` | no | TLS towards Redis |
//! | `msgpack` | no | `codec::Codec::MessagePack` |
//! | `lz4`, `zstd` | no | `codec::Compression::lz4`, `codec::Compression::zstd` |
//! | `mac` | no | `CacheBuilder::signatures`: signed entries in the shared tier |
//! | `config`, `toml` | no | `config::Config`: caches, Redis, policies and warmers from files and the environment |
//! | `test-util` | no | `testing`: a manual clock, a scripted shared tier, chaos, a recording observer |

// Documentation links to the macro also when it is switched off.
#![cfg_attr(not(feature = "macros"), allow(rustdoc::broken_intra_doc_links))]

#[doc(hidden)]
pub mod __private;
mod breaker;
mod cache;
pub mod codec;
#[cfg(feature = "config")]
pub mod config;
pub mod doctor;
mod entry;
mod epochs;
mod error;
mod flight;
mod format;
mod freshness;
pub mod health;
pub mod key;
mod later;
mod loaded;
mod measure;
mod measured;
mod memory;
pub mod notice;
pub mod observe;
pub mod options;
pub mod outcome;
pub mod policies;
#[cfg(feature = "redis")]
pub mod redis;
mod samples;
mod secret;
pub mod shared;
pub mod stats;
mod sync;
pub mod tag;
mod telemetry;
#[cfg(feature = "test-util")]
pub mod testing;
pub mod time;
mod traffic;
mod waits;
pub mod warm;

#[cfg(feature = "macros")]
#[doc = include_str!("cache_evict.md")]
pub use cache_macros::cache_evict;
#[cfg(feature = "macros")]
#[doc = include_str!("cache_put.md")]
pub use cache_macros::cache_put;
#[cfg(feature = "macros")]
#[doc = include_str!("cached.md")]
pub use cache_macros::cached;

pub use cache::{
    Ahead, Cache, CacheBuilder, CacheValue, Claim, ClaimAttempt, Claiming, Confirmation, Inspected,
    Inspection, Invalidation, KeyPattern, LoadContext, LockGuard, Locking, MemoryCache, MemoryCacheBuilder,
    StorePermit, TryClaiming, TryLocking, Typed, Updating,
};
pub use error::{Error, ErrorKind, LoadError};
pub use key::CacheKey;
pub use loaded::{Loaded, Lookup, Stored};
pub use options::{Eager, EntryOptions};
pub use outcome::{MissReason, Outcome, OutcomeKind, StaleReason, Tier};
pub use policies::Policies;
#[cfg(feature = "redis")]
pub use redis::Redis;
pub use secret::Secret;
pub use stats::Stats;
pub use tag::{Tag, TagSet};
