//! One cache: its tiers, bounds and defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use super::check::{Problem, positive};
use super::policy::PolicyConfig;
use super::redis::RedisConfig;
use super::{scalar, section};
use crate::cache::{Cache, CacheBuilder};
use crate::codec::{Codec, Compression};
use crate::options::EntryOptions;
use crate::time::{minutes, seconds};

/// One cache. Everything is optional; the defaults are the builder's.
///
/// ```toml
/// [caches.market]
/// memory_bytes = "256MiB"
/// policy = "medium"
/// ```
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CacheConfig {
    /// [`CacheBuilder::memory_bytes`].
    #[serde(with = "scalar::size", skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// [`CacheBuilder::memory_entries`].
    #[serde(with = "scalar::count", skip_serializing_if = "Option::is_none")]
    pub memory_entries: Option<u64>,
    /// Whether the cache uses Redis. Default: if one is configured and enabled.
    #[serde(with = "scalar::flag", skip_serializing_if = "Option::is_none")]
    pub shared: Option<bool>,
    /// A Redis of the cache's own, in place of the common one.
    #[serde(
        deserialize_with = "section::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub redis: Option<RedisConfig>,
    /// The name of the policy that is the cache's [default](CacheBuilder::defaults).
    #[serde(with = "scalar::text", skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// [`CacheBuilder::codec`]: `"json"`, `"msgpack"` or `"postcard"`.
    #[serde(with = "scalar::text", skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// [`CacheBuilder::compression`]: `"none"`, `"lz4"`, `"zstd"` or `"zstd 3"`.
    #[serde(with = "scalar::text", skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// Compresses only values above this. Default: `"1KiB"`.
    #[serde(with = "scalar::size", skip_serializing_if = "Option::is_none")]
    pub compress_above: Option<u64>,
    /// [`CacheBuilder::schema`].
    #[serde(with = "scalar::count", skip_serializing_if = "Option::is_none")]
    pub schema: Option<u64>,
    /// [`CacheBuilder::max_load`].
    #[serde(with = "scalar::span", skip_serializing_if = "Option::is_none")]
    pub max_load: Option<Duration>,
    /// [`CacheBuilder::lock_wait`].
    #[serde(with = "scalar::span", skip_serializing_if = "Option::is_none")]
    pub lock_wait: Option<Duration>,
    /// [`CacheBuilder::lock_ttl`].
    #[serde(with = "scalar::span", skip_serializing_if = "Option::is_none")]
    pub lock_ttl: Option<Duration>,
    /// [`CacheBuilder::disconnected_cap`].
    #[serde(with = "scalar::span", skip_serializing_if = "Option::is_none")]
    pub disconnected_cap: Option<Duration>,
    /// [`CacheBuilder::max_concurrent_loads`].
    #[serde(with = "scalar::count", skip_serializing_if = "Option::is_none")]
    pub max_concurrent_loads: Option<u64>,
    /// [`CacheBuilder::max_background_loads`].
    #[serde(with = "scalar::count", skip_serializing_if = "Option::is_none")]
    pub max_background_loads: Option<u64>,
}

/// What caches share.
pub(super) struct Common<'a> {
    pub(super) redis: Option<&'a RedisConfig>,
    pub(super) policies: &'a BTreeMap<String, PolicyConfig>,
    pub(super) options: &'a BTreeMap<String, EntryOptions>,
}

impl CacheConfig {
    /// The builder; problems have their whole path.
    pub(super) fn builder(&self, name: &str, common: &Common<'_>) -> Result<CacheBuilder, Problem> {
        let here = |problem: Problem| problem.within(&format!("caches.{name}"));
        let builder = self
            .check(common)
            .and_then(|()| self.local(name, common))
            .map_err(here)?;
        match self.redis(common) {
            Some(redis) if self.redis.is_some() => {
                attach(builder, redis).map_err(|problem| here(problem.within("redis")))
            }
            Some(redis) => attach(builder, redis).map_err(|problem| problem.within("redis")),
            None => Ok(builder),
        }
    }

    /// The settings that concern this node.
    fn local(&self, name: &str, common: &Common<'_>) -> Result<CacheBuilder, Problem> {
        let mut builder = Cache::builder(name);
        for (policy, options) in common.options {
            builder = builder.policy(policy, options.clone());
        }
        if let Some(bytes) = self.memory_bytes {
            builder = builder.memory_bytes(bytes);
        }
        if let Some(entries) = self.memory_entries {
            builder = builder.memory_entries(entries);
        }
        if let Some(options) = self.policy.as_ref().and_then(|name| common.options.get(name)) {
            builder = builder.defaults(options.clone());
        }
        if let Some(limit) = self.max_load {
            builder = builder.max_load(limit);
        }
        if let Some(limit) = self.lock_wait {
            builder = builder.lock_wait(limit);
        }
        if let Some(ttl) = self.lock_ttl {
            builder = builder.lock_ttl(ttl);
        }
        if let Some(cap) = self.disconnected_cap {
            builder = builder.disconnected_cap(cap);
        }
        if let Some(limit) = self.max_concurrent_loads {
            builder = builder.max_concurrent_loads(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        if let Some(limit) = self.max_background_loads {
            builder = builder.max_background_loads(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        if let Some(number) = self.schema {
            let number = u32::try_from(number)
                .map_err(|_| Problem::new("schema", number, "it is above 4294967295; count from 1 again"))?;
            builder = builder.schema(number);
        }
        Ok(builder.codec(self.codec()?).compression(self.compression()?))
    }

    /// Everything that is known without files and servers.
    pub(super) fn check(&self, common: &Common<'_>) -> Result<(), Problem> {
        for (field, value) in [
            ("memory_bytes", self.memory_bytes),
            ("memory_entries", self.memory_entries),
        ] {
            if value == Some(0) {
                return Err(Problem::new(
                    field,
                    0,
                    "give the in-process tier room, or leave it out",
                ));
            }
        }
        if self.max_concurrent_loads == Some(0) {
            return Err(Problem::new("max_concurrent_loads", 0, "allow at least one load"));
        }
        for (field, value) in [("max_load", self.max_load), ("lock_wait", self.lock_wait)] {
            positive(field, value, "leave it out, or give it at least \"1ms\"")?;
        }
        if let Some(ttl) = self.lock_ttl
            && !(seconds(1)..=minutes(10)).contains(&ttl)
        {
            let value = super::units::show_duration(ttl);
            let remedy =
                "it must be between \"1s\", below which it could not be renewed in time, and \"10m\"";
            return Err(Problem::new("lock_ttl", value, remedy));
        }
        self.check_policy(common)?;
        self.check_redis(common)?;
        self.codec()?;
        self.compression().map(|_| ())
    }

    fn check_policy(&self, common: &Common<'_>) -> Result<(), Problem> {
        let Some(name) = &self.policy else { return Ok(()) };
        let Some(policy) = common.policies.get(name) else {
            return Err(Problem::new(
                "policy",
                name,
                known("policy", common.policies.keys()),
            ));
        };
        let limit = self.max_load.unwrap_or(minutes(1));
        match policy.hard_timeout {
            Some(timeout) if timeout > limit => {
                let (timeout, limit) = (
                    super::units::show_duration(timeout),
                    super::units::show_duration(limit),
                );
                let remedy = format!(
                    "its `hard_timeout` ({timeout}) is above this cache's `max_load` ({limit}); raise that, or lower it"
                );
                Err(Problem::new("policy", name, remedy))
            }
            _ => Ok(()),
        }
    }

    fn check_redis(&self, common: &Common<'_>) -> Result<(), Problem> {
        if let Some(redis) = &self.redis {
            redis.check().map_err(|problem| problem.within("redis"))?;
        }
        match (self.shared, &self.redis, common.redis) {
            (Some(false), Some(_), _) => {
                let remedy = "there is a `redis` section for this cache; leave one of them out";
                Err(Problem::new("shared", false, remedy))
            }
            (Some(true), None, None) => {
                let remedy = "no Redis is configured; add a `redis` section or `REDIS_URL`, or leave it out";
                Err(Problem::new("shared", true, remedy))
            }
            _ => Ok(()),
        }
    }

    /// The Redis that this cache uses: its own, or the common one.
    fn redis<'a>(&'a self, common: &Common<'a>) -> Option<&'a RedisConfig> {
        let redis = self.redis.as_ref().or(common.redis)?;
        (redis.is_enabled() && self.shared != Some(false)).then_some(redis)
    }

    fn codec(&self) -> Result<Codec, Problem> {
        self.codec.as_deref().map_or(Ok(Codec::Json), codec)
    }

    fn compression(&self) -> Result<Compression, Problem> {
        let algorithm = self.algorithm()?;
        match self.compress_above {
            Some(bytes) if algorithm == Compression::none() => {
                let remedy = "nothing is compressed; give `compression`, or leave it out";
                Err(Problem::new(
                    "compress_above",
                    super::units::show_size(bytes),
                    remedy,
                ))
            }
            Some(bytes) => Ok(algorithm.above(usize::try_from(bytes).unwrap_or(usize::MAX))),
            None => Ok(algorithm),
        }
    }

    fn algorithm(&self) -> Result<Compression, Problem> {
        let text = self.compression.as_deref().unwrap_or("none");
        let problem = |remedy: &str| Err(Problem::new("compression", text, remedy));
        let mut words = text.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("none"), None, _) => Ok(Compression::none()),
            #[cfg(feature = "lz4")]
            (Some("lz4"), None, _) => Ok(Compression::lz4()),
            #[cfg(not(feature = "lz4"))]
            (Some("lz4"), None, _) => problem("this build lacks it; enable the feature `lz4`"),
            #[cfg(feature = "zstd")]
            (Some("zstd"), level, None) => match level.unwrap_or("1").parse() {
                Ok(level @ 1..=19) => Ok(Compression::zstd(level)),
                _ => problem("a level lies between 1 and 19"),
            },
            #[cfg(not(feature = "zstd"))]
            (Some("zstd"), _, None) => problem("this build lacks it; enable the feature `zstd`"),
            _ => problem("there are \"none\", \"lz4\", \"zstd\" and \"zstd 3\" with a level"),
        }
    }
}

#[cfg(feature = "redis")]
fn attach(builder: CacheBuilder, redis: &RedisConfig) -> Result<CacheBuilder, Problem> {
    Ok(builder.redis(redis.open()?))
}

#[cfg(not(feature = "redis"))]
fn attach(_: CacheBuilder, _: &RedisConfig) -> Result<CacheBuilder, Problem> {
    Err(Problem::whole(
        "this build knows no Redis; enable the feature `redis`, or set `enabled = false`",
    ))
}

/// The codec of this name.
pub(super) fn codec(name: &str) -> Result<Codec, Problem> {
    match name {
        "json" => Ok(Codec::Json),
        "postcard" => Ok(Codec::Postcard),
        #[cfg(feature = "msgpack")]
        "msgpack" => Ok(Codec::MessagePack),
        #[cfg(not(feature = "msgpack"))]
        "msgpack" => Err(Problem::new(
            "codec",
            name,
            "this build lacks it; enable the feature `msgpack`",
        )),
        _ => Err(Problem::new(
            "codec",
            name,
            "there are \"json\", \"msgpack\" and \"postcard\"",
        )),
    }
}

/// "there is no such policy", with those that there are.
pub(super) fn known<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        format!("there is no {what} at all; add one of this name, or leave it out")
    } else {
        format!("there is no such {what}; there are {}", names.join(", "))
    }
}
