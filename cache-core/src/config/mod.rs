//! Configuration: caches, Redis, policies and warmers from files and the environment (feature `config`; TOML with
//! feature `toml`).
//!
//! ```
//! use cache_core::config::Config;
//!
//! let config = Config::sources()
//!     .json(r#"{"caches": {"market": {"memory_bytes": "256MiB", "policy": "short"}},
//!               "policies": {"short": {"ttl": "5m", "stale_for": "1h"}}}"#)?
//!     .environment()                       // CACHE_POLICIES__SHORT__TTL=1m, REDIS_URL=redis://..
//!     .read()?;
//! let caches = config.build()?;
//! let market = caches.get("market").expect("it stands in the configuration");
//! # let _ = market;
//! # Ok::<(), cache_core::Error>(())
//! ```
//!
//! Rules:
//!
//! * A duration and a size have a unit: `"5m"`, `"256MiB"`. Nothing is guessed.
//! * A field that does not exist is an error, not a default.
//! * What contradicts itself, or what the caches would refuse, is an error that names the path of the field, its value
//!   and the remedy, and the variable if it came from the environment.
//! * Later sources win over earlier ones, field by field.
//! * Secrets are never shown: not by `Debug`, not by [`Serialize`](serde::Serialize), not in errors.
//!
//! [`Config`] is a plain serde type: it may be a field of your own configuration, read from whatever serde reads.
//! `docs/configuration.md` has every field in one example.

mod build;
mod cache;
mod check;
mod environment;
mod policy;
mod redis;
mod scalar;
mod secrets;
mod section;
mod source;
mod units;
mod warmer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use build::Caches;
pub use cache::CacheConfig;
pub use policy::PolicyConfig;
pub use redis::{ClusterConfig, RedisConfig, SentinelConfig, TlsConfig};
pub use secrets::SecretUrl;
pub use source::Sources;
pub use warmer::WarmerConfig;

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The Redis that caches share, unless they have one of their own. Default: none, memory only.
    #[serde(
        deserialize_with = "section::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub redis: Option<RedisConfig>,
    /// Policies by name.
    #[serde(deserialize_with = "section::named")]
    pub policies: BTreeMap<String, PolicyConfig>,
    /// Caches by name, which is also their outermost namespace.
    #[serde(deserialize_with = "section::named")]
    pub caches: BTreeMap<String, CacheConfig>,
    /// The settings of warmers by name.
    #[serde(deserialize_with = "section::named")]
    pub warmers: BTreeMap<String, WarmerConfig>,
}

/// The sections of [`Config`], as variables of the environment begin.
const SECTIONS: &[&str] = &["redis", "policies", "caches", "warmers"];
