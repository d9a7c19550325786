//! [`CacheBuilder`]: the settings of a cache, checked as a whole when it is built.

use std::time::Duration;

use crate::cache::failures::Failures;
use crate::cache::lock::Leases;
use crate::cache::tasks::Tasks;
use crate::cache::upkeep::Upkeep;
use crate::cache::{Cache, Inner, Namespace, Settings};
use crate::epochs::Epochs;
use crate::error::Error;
use crate::flight::Flights;
use crate::memory::{Bound, Memory};
use crate::options::EntryOptions;
use crate::stats::Tally;
use crate::sync::{Arc, Mutex};
use crate::time::{Clock, SystemClock, minutes, seconds};

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
    clock: Arc<dyn Clock>,
    max_load: Duration,
    lock_wait: Duration,
    max_loads: usize,
    max_background_loads: usize,
}

impl CacheBuilder {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            bytes: None,
            entries: None,
            defaults: EntryOptions::new(),
            clock: Arc::new(SystemClock),
            max_load: minutes(1),
            lock_wait: seconds(5),
            max_loads: 64,
            max_background_loads: 16,
        }
    }

    /// Bounds the in-process tier by the bytes of its keys and values, plus about 200 per entry.
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

    /// How long waiters leave a borrowing loader alone that may not be polled, before one of them loads.
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

    /// Builds the cache. Nothing is contacted and no task is started.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid), naming the setting and the remedy.
    pub fn build(self) -> Result<Cache, Error> {
        check_name("the cache's name", &self.name)?;
        self.check()?;
        self.defaults.check_configuration()?;
        let bytes = self.bytes.or(if self.entries.is_none() {
            Some(DEFAULT_BYTES)
        } else {
            None
        });
        let epochs = Epochs::new();
        let root = Arc::new(Namespace {
            id: 0,
            text: self.name.as_str().into(),
            marks: vec![epochs.namespace_mark()],
        });
        let inner = Inner {
            name: self.name.into(),
            clock: self.clock,
            memory: Memory::new(Bound {
                bytes,
                entries: self.entries,
            })?,
            epochs,
            flights: Arc::new(Flights::new(FLIGHT_SHARDS)),
            failures: Failures::new(),
            leases: Leases::default(),
            namespaces: Mutex::new(vec![root.clone()]),
            defaults: self.defaults,
            tasks: Tasks::new(self.max_loads, self.max_background_loads),
            tally: Tally::new(),
            upkeep: Upkeep::default(),
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
            cache().defaults(EntryOptions::ttl(minutes(2)).hard_ttl(minutes(1))),
            &["`ttl`", "`hard_ttl`"],
        );
    }
}
