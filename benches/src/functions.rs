//! Hits of cached functions, compared with moka's `get` and with the `cached` crate.
//!
//! Every function is asked for the same 10,000 keys in the same order, and has a TTL and a bound. All return a small
//! `Price`, but for one of ours, which returns an `Arc` and so leads to one more place in memory.

use cache_core::key::{KeyPart, PartWriter};
use serde::{Deserialize, Serialize};

use crate::l1::AREA;
use crate::measure::{Contender, Effort, Race, single_threaded};
use crate::peers::{Caches, MOKA};
use crate::report::{Budget, Report, Row};
use crate::workload::{KEYS, Workload};

pub(crate) const INTEGER: &str = "fn(u64)";
pub(crate) const TEXT: &str = "fn(&str)";
pub(crate) const THREE: &str = "fn(&str, u32, bool)";
pub(crate) const STRUCT: &str = "fn(&Instrument)";
pub(crate) const SHARED: &str = "fn(&str) -> Arc";
pub(crate) const OURS: [&str; 5] = [INTEGER, TEXT, THREE, STRUCT, SHARED];

const CACHED_INTEGER: &str = "#[cached] fn(u64)";
const CACHED_TEXT: &str = "#[cached] fn(&str)";
pub(crate) const CONCURRENT_INTEGER: &str = "#[concurrent_cached] fn(u64)";
pub(crate) const CONCURRENT_TEXT: &str = "#[concurrent_cached] fn(&str)";

pub(crate) fn measure(effort: Effort, report: &mut Report) {
    let caches = Caches::filled();
    let functions = Functions::filled();
    let mut contenders = functions.contenders();
    contenders.extend(caches.contenders().into_iter().filter(|other| other.name == MOKA));
    let race = Race::run(&mut contenders, effort);
    let mut compare = |ours, peer, budget: Option<Budget>| {
        let row = Row::new(AREA, format!("{ours}, hit"), race.median(ours), "ns")
            .against(peer, race.median(peer))
            .ratio(race.ratio(ours, peer), race.spread(ours, peer))
            .budget(budget);
        report.add(row);
    };
    compare(INTEGER, MOKA, Some(Budget::RatioAtMost(0.20)));
    compare(TEXT, MOKA, Some(Budget::RatioAtMost(0.25)));
    compare(THREE, MOKA, Some(Budget::RatioAtMost(0.40)));
    compare(STRUCT, MOKA, None);
    compare(SHARED, MOKA, None);
    for (ours, peers) in [
        (INTEGER, [CACHED_INTEGER, CONCURRENT_INTEGER]),
        (TEXT, [CACHED_TEXT, CONCURRENT_TEXT]),
    ] {
        for peer in peers {
            compare(ours, peer, None);
        }
    }
}

/// The functions with all their results cached.
pub(crate) struct Functions {
    workload: Workload,
    instruments: Vec<Instrument>,
}

/// What the functions return.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Price {
    bid: f64,
    ask: f64,
}

/// A key with several fields.
struct Instrument {
    symbol: String,
    venue: u32,
}

impl KeyPart for Instrument {
    fn write(&self, out: PartWriter<'_>) {
        (&self.symbol, self.venue).write(out);
    }
}

impl Functions {
    pub(crate) fn filled() -> Self {
        let workload = Workload::new();
        let instruments = workload
            .keys
            .iter()
            .map(|key| Instrument {
                symbol: key.clone(),
                venue: 7,
            })
            .collect();
        let functions = Self {
            workload,
            instruments,
        };
        single_threaded().block_on(functions.fill());
        functions
    }

    async fn fill(&self) {
        // One function after the other, so that each one's entries lie together, as they do in the peers.
        for at in 0..KEYS as u64 {
            ours::integer(at).await;
            peer_integer(at).await;
            peer_integer_concurrent(at).await;
        }
        for symbol in &self.workload.keys {
            ours::text(symbol).await;
            peer_text(symbol).await;
            peer_text_concurrent(symbol).await;
        }
        for symbol in &self.workload.keys {
            ours::three(symbol, 7, true).await;
        }
        for instrument in &self.instruments {
            ours::structured(instrument).await;
        }
        for symbol in &self.workload.keys {
            ours::shared(symbol).await;
        }
    }

    pub(crate) fn contenders(&self) -> Vec<Contender<'_>> {
        let (at, key) = (
            |n| self.workload.at(n),
            |n| self.workload.keys[self.workload.at(n)].as_str(),
        );
        vec![
            Contender::new(INTEGER, move |n| ours::integer(at(n) as u64)),
            Contender::new(TEXT, move |n| ours::text(key(n))),
            Contender::new(THREE, move |n| ours::three(key(n), 7, true)),
            Contender::new(SHARED, move |n| ours::shared(key(n))),
            Contender::new(STRUCT, move |n| ours::structured(&self.instruments[at(n)])),
            Contender::new(CACHED_INTEGER, move |n| peer_integer(at(n) as u64)),
            Contender::new(CACHED_TEXT, move |n| peer_text(key(n))),
            Contender::new(CONCURRENT_INTEGER, move |n| peer_integer_concurrent(at(n) as u64)),
            Contender::new(CONCURRENT_TEXT, move |n| peer_text_concurrent(key(n))),
        ]
    }
}

/// Ours. Each has a cache of its own, as the peers' functions have.
mod ours {
    use std::sync::{Arc, LazyLock};

    use cache_core::{Cache, cached};

    use super::{Instrument, Price, named, numbered};
    use crate::workload::{CAPACITY, Quote};

    static INTEGER: LazyLock<Cache> = LazyLock::new(cache);
    static TEXT: LazyLock<Cache> = LazyLock::new(cache);
    static THREE: LazyLock<Cache> = LazyLock::new(cache);
    static STRUCTURED: LazyLock<Cache> = LazyLock::new(cache);
    static SHARED: LazyLock<Cache> = LazyLock::new(cache);

    fn cache() -> Cache {
        Cache::builder("functions")
            .memory_entries(CAPACITY as u64)
            .build()
            .expect("the settings are valid")
    }

    #[cached(ttl = "1h", prefix = "integer", cache = &INTEGER, companions = false)]
    pub(super) async fn integer(id: u64) -> Price {
        numbered(id)
    }

    #[cached(ttl = "1h", prefix = "text", cache = &TEXT, companions = false)]
    pub(super) async fn text(symbol: &str) -> Price {
        named(symbol)
    }

    #[cached(ttl = "1h", prefix = "three", cache = &THREE, companions = false)]
    pub(super) async fn three(symbol: &str, depth: u32, live: bool) -> Price {
        let _ = (depth, live);
        named(symbol)
    }

    #[cached(ttl = "1h", prefix = "structured", cache = &STRUCTURED, companions = false)]
    pub(super) async fn structured(instrument: &Instrument) -> Price {
        named(&instrument.symbol)
    }

    #[cached(ttl = "1h", prefix = "shared", cache = &SHARED, companions = false)]
    pub(super) async fn shared(symbol: &str) -> Arc<Quote> {
        Arc::new(Quote::of(symbol))
    }
}

#[cached::macros::cached(max_size = 20_000, ttl_secs = 3_600)]
async fn peer_integer(id: u64) -> Price {
    numbered(id)
}

#[cached::macros::cached(max_size = 20_000, ttl_secs = 3_600, key = "String", convert = { symbol.to_owned() })]
async fn peer_text(symbol: &str) -> Price {
    named(symbol)
}

#[cached::macros::concurrent_cached(max_size = 20_000, ttl_secs = 3_600)]
async fn peer_integer_concurrent(id: u64) -> Price {
    numbered(id)
}

#[cached::macros::concurrent_cached(max_size = 20_000, ttl_secs = 3_600, key = "String", convert = { symbol.to_owned() })]
async fn peer_text_concurrent(symbol: &str) -> Price {
    named(symbol)
}

fn numbered(id: u64) -> Price {
    let cents = id as f64;
    Price {
        bid: cents,
        ask: cents + 1.0,
    }
}

fn named(symbol: &str) -> Price {
    let cents = symbol.len() as f64;
    Price {
        bid: cents,
        ask: cents + 1.0,
    }
}
