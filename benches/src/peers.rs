//! The caches that are compared, each filled with the whole workload: ours, and the peers as their documentation sets
//! them up.

use std::sync::Arc;

use cache_core::key::{CacheKey, Prefix};
use cache_core::time::minutes;
use cache_core::{Cache, EntryOptions, Typed};
use rustix::time::{ClockId, clock_gettime};

use crate::measure::{Contender, single_threaded};
use crate::workload::{CAPACITY, Quote, Workload};

/// All caches with the same contents.
pub(crate) struct Caches {
    workload: Workload,
    ours: Typed<Quote>,
    cache: Cache,
    keys: Vec<CacheKey>,
    moka: moka::future::Cache<String, Arc<Quote>>,
    quick: quick_cache::sync::Cache<String, Arc<Quote>>,
    quick_expiring: quick_cache::sync::Cache<String, Expiring>,
    foyer: foyer_memory::Cache<String, Arc<Quote>>,
}

/// What a user of a cache without expiry stores to have it nevertheless.
#[derive(Clone)]
struct Expiring {
    value: Arc<Quote>,
    ends_at: u64,
}

pub(crate) const GET: &str = "Cache::get";
pub(crate) const TYPED: &str = "Typed::get";
pub(crate) const OR_LOAD: &str = "Typed::get_or_load";
pub(crate) const MOKA: &str = "moka get";
pub(crate) const QUICK: &str = "quick_cache";
pub(crate) const QUICK_EXPIRING: &str = "quick_cache + expiry";
pub(crate) const FOYER: &str = "foyer S3-FIFO";

impl Caches {
    pub(crate) fn ours(&self) -> Cache {
        self.cache.clone()
    }

    pub(crate) fn filled() -> Self {
        let workload = Workload::new();
        let cache = Cache::builder("bench")
            .memory_entries(CAPACITY as u64)
            .defaults(EntryOptions::ttl(minutes(60)))
            .build()
            .expect("the settings are valid");
        let caches = Self {
            ours: cache.typed(PREFIX.as_str()).expect("the prefix is valid"),
            cache,
            keys: workload.keys.iter().map(|key| PREFIX.key(key)).collect(),
            moka: moka_cache(),
            quick: quick_cache::sync::Cache::new(CAPACITY),
            quick_expiring: quick_cache::sync::Cache::new(CAPACITY),
            foyer: foyer_memory::CacheBuilder::new(CAPACITY)
                .with_eviction_config(foyer_memory::S3FifoConfig::default())
                .build(),
            workload,
        };
        single_threaded().block_on(caches.fill());
        caches
    }

    async fn fill(&self) {
        let ends_at = coarse_now() + 3_600_000_000_000;
        for (key, value) in self.workload.keys.iter().zip(&self.workload.values) {
            let stored = self.ours.set(key, (**value).clone()).await;
            assert!(stored.is_ok_and(cache_core::Stored::is_stored), "there is room");
            self.moka.insert(key.clone(), value.clone()).await;
            self.quick.insert(key.clone(), value.clone());
            let expiring = Expiring {
                value: value.clone(),
                ends_at,
            };
            self.quick_expiring.insert(key.clone(), expiring);
            self.foyer.insert(key.clone(), value.clone());
        }
        self.moka.run_pending_tasks().await;
    }

    /// Hits of every cache, in the same order of keys.
    pub(crate) fn contenders(&self) -> Vec<Contender<'_>> {
        let (at, key) = (|n| self.workload.at(n), |n| self.key(n));
        vec![
            Contender::new(GET, move |n| self.cache.get::<Quote>(&self.keys[at(n)])),
            Contender::new(TYPED, move |n| self.ours.get(key(n))),
            Contender::new(OR_LOAD, move |n| {
                self.ours
                    .get_or_load(key(n), |_| async { Err::<Quote, _>("every lookup is a hit") })
            }),
            Contender::new(MOKA, move |n| self.moka.get(key(n))),
            Contender::new(QUICK, move |n| async move { self.quick.get(key(n)) }),
            Contender::new(QUICK_EXPIRING, move |n| async move {
                let found = self.quick_expiring.get(key(n))?;
                (coarse_now() < found.ends_at).then_some(found.value)
            }),
            Contender::new(FOYER, move |n| async move { self.foyer.get(key(n)) }),
        ]
    }

    fn key(&self, n: usize) -> &str {
        &self.workload.keys[self.workload.at(n)]
    }
}

/// A moka cache as its documentation sets one up with a TTL.
fn moka_cache() -> moka::future::Cache<String, Arc<Quote>> {
    moka::future::Cache::builder()
        .max_capacity(CAPACITY as u64)
        .time_to_live(minutes(60))
        .build()
}

/// The time of the last timer tick, in nanoseconds.
fn coarse_now() -> u64 {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

const PREFIX: Prefix = Prefix::literal("quote");
