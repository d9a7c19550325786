//! [`CacheBuilder`]: the settings of a cache, checked as a whole when it is built.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cache::failures::Failures;
use crate::cache::far::{Far, FarSettings};
use crate::cache::leases::{Leases, MAX_LEASES};
use crate::cache::tasks::Tasks;
use crate::cache::upkeep::Upkeep;
use crate::cache::warm::{Schedule, Warmers};
use crate::cache::{Cache, Inner, Settings};
#[cfg(feature = "mac")]
use crate::codec::MacKeys;
use crate::codec::envelope::Framing;
use crate::codec::{Codec, Compression};
use crate::epochs::{Epochs, Namespace};
use crate::error::Error;
use crate::flight::Flights;
use crate::measure::{Histogram, SharedTally};
use crate::measured::Measured;
use crate::memory::{Bound, Memory};
use crate::observe::Observer;
use crate::options::EntryOptions;
use crate::policies::Policies;
use crate::shared::SharedTier;
use crate::stats::Tally;
use crate::sync::{Arc, Mutex};
use crate::time::{Clock, SystemClock, minutes, seconds};
use crate::traffic::TrafficCounter;

/// Settings of a [`Cache`]. Every setter tells its default.
///
/// ```
/// use cache_core::{Cache, EntryOptions, time::{hours, minutes}};
///
/// let cache = Cache::builder("market")
///     .memory_bytes(64 << 20)
///     .defaults(EntryOptions::ttl(minutes(5)).stale_for(hours(1)))
///     .build()?;
/// # Ok::<(), cache_core::Error>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct CacheBuilder {
    name: String,
    bytes: Option<u64>,
    entries: Option<u64>,
    defaults: EntryOptions,
    policies: Vec<(String, EntryOptions)>,
    clock: Arc<dyn Clock>,
    max_load: Duration,
    lock_wait: Duration,
    max_loads: usize,
    max_background_loads: usize,
    shared: Option<Arc<dyn SharedTier>>,
    observer: Option<Arc<dyn Observer>>,
    codec: Codec,
    compression: Compression,
    #[cfg(feature = "mac")]
    signatures: Option<MacKeys>,
    schema: u32,
    lock_ttl: Duration,
    disconnected_cap: Duration,
    warmers: BTreeMap<String, Schedule>,
}

impl CacheBuilder {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            bytes: None,
            entries: None,
            defaults: EntryOptions::new(),
            policies: Vec::new(),
            clock: Arc::new(SystemClock),
            max_load: minutes(1),
            lock_wait: seconds(5),
            max_loads: 64,
            max_background_loads: 16,
            shared: None,
            observer: None,
            codec: Codec::Json,
            compression: Compression::none(),
            #[cfg(feature = "mac")]
            signatures: None,
            schema: 0,
            lock_ttl: seconds(10),
            disconnected_cap: seconds(5),
            warmers: BTreeMap::new(),
        }
    }

    /// Bounds the in-process tier by the bytes of its keys and values, plus about 450 per entry.
    ///
    /// Default: 64 MiB, if neither bytes nor entries are bounded. One entry may take up to a shard of it; a larger
    /// value is returned to its callers and not kept.
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Bounds the in-process tier by its number of entries; together with bytes, by what is reached first.
    ///
    /// Default: unbounded in number.
    pub fn memory_entries(mut self, entries: u64) -> Self {
        self.entries = Some(entries);
        self
    }

    /// What calls leave open comes from here.
    ///
    /// Default: [`EntryOptions::new`], that is, the toolkit's own defaults.
    pub fn defaults(mut self, defaults: EntryOptions) -> Self {
        self.defaults = defaults;
        self
    }

    /// Names options that calls refer to with [`EntryOptions::policy`] and functions with `#[cached(policy = ..)]`. They
    /// can be changed while the cache runs: see [`policies`](crate::policies).
    ///
    /// Default: none.
    pub fn policy(mut self, name: impl Into<String>, options: EntryOptions) -> Self {
        self.policies.push((name.into(), options));
        self
    }

    /// Where the cache takes its time from.
    ///
    /// Default: [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// No load runs longer than this, in the background either.
    ///
    /// Default: 1 minute. Keep it above every [`EntryOptions::hard_timeout`].
    pub fn max_load(mut self, limit: Duration) -> Self {
        self.max_load = limit;
        self
    }

    /// How long waiters leave a load alone that may be dead, before one of them loads: one with a borrowing loader, that
    /// may not be polled; one on another node, that does not renew its lock (then at least half of
    /// `lock_ttl`). With a stale value to fall back on, no load on another node is waited for longer than this,
    /// or than [`EntryOptions::soft_timeout`].
    ///
    /// Default: 5 seconds.
    pub fn lock_wait(mut self, limit: Duration) -> Self {
        self.lock_wait = limit;
        self
    }

    /// How many loaders may run at once; further ones queue, and their callers' timeouts go on. Loads within loads do
    /// not count.
    ///
    /// Default: 64, enough to saturate an origin and few enough not to flood it after a clear.
    pub fn max_concurrent_loads(mut self, limit: usize) -> Self {
        self.max_loads = limit;
        self
    }

    /// How many refreshes ahead of expiry may run at once; further ones are dropped and counted.
    ///
    /// Default: 16.
    pub fn max_background_loads(mut self, limit: usize) -> Self {
        self.max_background_loads = limit;
        self
    }

    /// Adds Redis as the tier that all nodes share. Nothing is contacted when the cache is built: it connects with the
    /// first operation, and works without Redis while that is away.
    ///
    /// Default: none, memory only.
    #[cfg(feature = "redis")]
    pub fn redis(self, redis: crate::redis::Redis) -> Self {
        self.shared(redis)
    }

    /// Adds any tier that all nodes share: for tests, a
    #[cfg_attr(
        feature = "test-util",
        doc = "[`ScriptedStore`](crate::testing::ScriptedStore) or a [`ChaosStore`](crate::testing::ChaosStore)."
    )]
    #[cfg_attr(not(feature = "test-util"), doc = "`ScriptedStore` (feature `test-util`).")]
    /// The last of `shared` and `redis` counts.
    ///
    /// Default: none, memory only.
    pub fn shared(mut self, tier: impl SharedTier) -> Self {
        self.shared = Some(Arc::new(tier));
        self
    }

    /// Tells `observer` of every call that ends, with its key and what it came to. Without one, a hit pays a single
    /// branch.
    ///
    /// Default: none.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// How values are written to the shared tier. What was written with another codec is still read.
    ///
    /// Default: [`Codec::Json`], readable with `redis-cli`.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Whether and how values are compressed on their way to the shared tier.
    ///
    /// Default: [`Compression::none`].
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Signs values on their way to the shared tier, and reads only those that one of these keys has signed for the key
    /// under which they stand; all others are misses, counted as decode errors.
    ///
    /// Default: no signatures. Whoever can write to Redis can then make the cache answer anything.
    #[cfg(feature = "mac")]
    pub fn signatures(mut self, keys: MacKeys) -> Self {
        self.signatures = Some(keys);
        self
    }

    /// The number of this build's form of values. Raise it when a type changes in a way that the codec cannot bridge:
    /// older values are then misses, and newer ones are left alone while they are fresh.
    ///
    /// Default: 0.
    pub fn schema(mut self, number: u32) -> Self {
        self.schema = number;
        self
    }

    /// How long the lock of a load lasts unless it is renewed, which happens three times as often: a node that dies
    /// while it loads delays the others by at most this.
    ///
    /// Default: 10 seconds.
    pub fn lock_ttl(mut self, ttl: Duration) -> Self {
        self.lock_ttl = ttl;
        self
    }

    /// How long entries are served from memory while invalidations by other nodes cannot be heard, although Redis
    /// answers. After it they are read from Redis again.
    ///
    /// Default: 5 seconds.
    pub fn disconnected_cap(mut self, cap: Duration) -> Self {
        self.disconnected_cap = cap;
        self
    }

    /// What the configuration says of the warmers of this cache.
    #[cfg(feature = "config")]
    pub(crate) fn warmers(mut self, schedules: BTreeMap<String, Schedule>) -> Self {
        self.warmers = schedules;
        self
    }

    /// Builds the cache. Nothing is contacted and no task is started.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid), naming the setting and the remedy.
    pub fn build(self) -> Result<Cache, Error> {
        check_name("the cache's name", &self.name)?;
        self.check()?;
        self.defaults.check_configuration()?;
        if let Some(name) = self.defaults.policy_name() {
            return Err(Error::invalid(format!(
                "the defaults name the policy `{name}`; calls do that, and the defaults hold where there is none"
            )));
        }
        let bytes = self.bytes.or(if self.entries.is_none() {
            Some(DEFAULT_BYTES)
        } else {
            None
        });
        let epochs = Epochs::new();
        let root = Arc::new(Namespace::within(None, 0, &self.name));
        let far = self.shared_tier();
        let default_policy = self.defaults.resolve()?;
        let policies = Policies::default();
        policies.set(self.policies, &self.defaults)?;
        let inner = Inner {
            far,
            default_policy,
            name: self.name.into(),
            clock: self.clock,
            memory: Memory::new(Bound {
                bytes,
                entries: self.entries,
            })?,
            epochs,
            flights: Arc::new(Flights::new(FLIGHT_SHARDS)),
            failures: Failures::new(),
            leases: Leases::new(MAX_LEASES),
            namespaces: Mutex::new(vec![root.clone()]),
            defaults: self.defaults,
            policies,
            tasks: Tasks::new(self.max_loads, self.max_background_loads),
            tally: Tally::new(),
            traffic: TrafficCounter::default(),
            load_times: Histogram::default(),
            families: Mutex::default(),
            observer: self.observer,
            upkeep: Upkeep::default(),
            warmers: Warmers::configured(self.warmers),
            settings: Settings {
                max_load: self.max_load,
                lock_wait: self.lock_wait,
            },
        };
        Ok(Cache {
            inner: Arc::new(inner),
            namespace: root,
        })
    }

    fn shared_tier(&self) -> Option<Arc<Far>> {
        let tier = self.shared.as_ref()?;
        let port = tier.open(&self.name, self.clock.clone());
        let framing = Framing {
            compression: self.compression,
            #[cfg(feature = "mac")]
            keys: self.signatures.clone(),
            ..Framing::default()
        };
        let settings = FarSettings {
            budget: tier.budget(),
            lock_ttl: self.lock_ttl,
            lease_window: self.max_load + LEASE_MARGIN,
            disconnected_cap: self.disconnected_cap,
            schema: self.schema,
        };
        let tally = Arc::new(SharedTally::new(&self.name));
        let port = Arc::new(Measured::new(port, self.clock.clone(), tally.clone()));
        Some(Arc::new(Far::new(port, self.codec, framing, settings, tally)))
    }

    fn check(&self) -> Result<(), Error> {
        let zero = |field: &str, remedy: &str| Err(Error::invalid(format!("`{field}` is zero; {remedy}")));
        match self {
            Self { bytes: Some(0), .. } => zero(
                "memory_bytes",
                "give the in-process tier room, or leave the default",
            ),
            Self { entries: Some(0), .. } => {
                zero("memory_entries", "give the in-process tier room, or leave it out")
            }
            Self { max_loads: 0, .. } => zero("max_concurrent_loads", "allow at least one load"),
            Self {
                max_load: Duration::ZERO,
                ..
            } => zero("max_load", "allow loads some time"),
            Self {
                lock_wait: Duration::ZERO,
                ..
            } => zero("lock_wait", "leave borrowing loaders some time"),
            _ => Ok(()),
        }
    }
}

/// Versions outlive the longest load by this, so that a load's last step can still compare.
const LEASE_MARGIN: Duration = Duration::from_secs(10);

/// Names stand in keys, labels and patterns as they are, so they are kept plain.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::invalid(format!(
            "{what} is empty; give it 1 to 64 characters"
        )));
    }
    if name.len() > 64 {
        return Err(Error::invalid(format!(
            "{what} has {} bytes; at most 64 are allowed",
            name.len()
        )));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match name.chars().find(|c| !plain(*c)) {
        Some(c) => Err(Error::invalid(format!(
            "{what} `{name}` contains {c:?}; use ASCII letters, digits, `_`, `-` and `.`"
        ))),
        None => Ok(()),
    }
}

/// A service's share of memory that surprises nobody.
const DEFAULT_BYTES: u64 = 64 << 20;

/// Enough for loads not to contend on the map of flights.
const FLIGHT_SHARDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::days;

    #[test]
    fn a_wrong_setting_fails_the_build_and_names_itself_and_the_remedy() {
        #[track_caller]
        fn check(builder: CacheBuilder, words: &[&str]) {
            let error = builder.build().expect_err("must be refused");
            assert!(error.is_invalid());
            for word in words {
                assert!(error.to_string().contains(word), "{error} does not say {word}");
            }
        }
        let cache = || Cache::builder("c");
        check(Cache::builder(""), &["name", "empty", "1 to 64"]);
        check(Cache::builder("a:b"), &["name", "':'", "ASCII"]);
        check(Cache::builder("x".repeat(65)), &["name", "65", "64"]);
        check(cache().memory_bytes(0), &["memory_bytes", "zero", "room"]);
        check(cache().memory_entries(0), &["memory_entries", "zero"]);
        check(
            cache().max_concurrent_loads(0),
            &["max_concurrent_loads", "at least one"],
        );
        check(cache().max_load(Duration::ZERO), &["max_load"]);
        check(
            cache().defaults(EntryOptions::ttl(Duration::ZERO)),
            &["`ttl`", "zero"],
        );
        check(
            cache().defaults(EntryOptions::ttl(days(400 * 365))),
            &["`ttl`", "365 days"],
        );
        check(
            cache().defaults(EntryOptions::new().policy("price")),
            &["defaults", "`price`"],
        );
        check(
            cache().policy("price", EntryOptions::ttl(Duration::ZERO)),
            &["policy `price`", "`ttl`"],
        );
        check(
            cache().defaults(EntryOptions::ttl(minutes(2)).hard_ttl(minutes(1))),
            &["`ttl`", "`hard_ttl`"],
        );
    }
}
