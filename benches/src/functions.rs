//! Hits of cached functions, compared with moka's `get` and with the `cached` crate.
//!
//! Every function returns a small `Price`, is asked for the same 10,000 keys in the same order, and has a TTL and a
//! bound.

use cache_core::key::{KeyPart, PartWriter};
use cache_core::time::minutes;
use cache_core::{Cache, EntryOptions, Typed};

use serde::{Deserialize, Serialize};

use crate::l1::{AREA, contender};
use crate::measure::{Contender, Effort, Race, single_threaded};
use crate::peers::{Caches, MOKA};
use crate::report::{Budget, Report, Row};
use crate::workload::{CAPACITY, KEYS, Workload};

pub(crate) const INTEGER: &str = "fn(u64)";
pub(crate) const TEXT: &str = "fn(&str)";
pub(crate) const THREE: &str = "fn(&str, u32, bool)";
pub(crate) const STRUCT: &str = "fn(&Instrument)";
pub(crate) const OURS: [&str; 4] = [INTEGER, TEXT, THREE, STRUCT];

const CACHED_INTEGER: &str = "#[cached] fn(u64)";
const CACHED_TEXT: &str = "#[cached] fn(&str)";
const CONCURRENT_INTEGER: &str = "#[concurrent_cached] fn(u64)";
const CONCURRENT_TEXT: &str = "#[concurrent_cached] fn(&str)";

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
    for (ours, peers) in [
        (INTEGER, [CACHED_INTEGER, CONCURRENT_INTEGER]),
        (TEXT, [CACHED_TEXT, CONCURRENT_TEXT]),
    ] {
        for peer in peers {
            compare(ours, peer, None);
        }
    }
    for (name, peer, most) in [
        (INTEGER, Some(CONCURRENT_INTEGER), 0.0),
        (TEXT, Some(CONCURRENT_TEXT), 0.0),
        (THREE, None, 1.0),
        (STRUCT, None, 1.0),
    ] {
        let ours = contender(&mut contenders, name).allocations();
        let mut row = Row::new(AREA, format!("{name}, allocations per hit"), ours, "allocations")
            .budget(Budget::AtMost(most));
        if let Some(peer) = peer {
            row = row.against(peer, contender(&mut contenders, peer).allocations());
        }
        report.add(row);
    }
}

/// The functions with all their results cached.
pub(crate) struct Functions {
    workload: Workload,
    instruments: Vec<Instrument>,
    ours: Ours,
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

struct Ours {
    integer: Typed<Price>,
    text: Typed<Price>,
    three: Typed<Price>,
    structured: Typed<Price>,
}

impl Functions {
    pub(crate) fn filled() -> Self {
        let workload = Workload::new();
        let cache = Cache::builder("functions")
            .memory_entries(OURS.len() as u64 * CAPACITY as u64)
            .defaults(EntryOptions::ttl(minutes(60)))
            .build()
            .expect("the settings are valid");
        let typed = |prefix| cache.typed(prefix).expect("the prefix is valid");
        let functions = Self {
            ours: Ours {
                integer: typed("integer"),
                text: typed("text"),
                three: typed("three"),
                structured: typed("structured"),
            },
            instruments: workload
                .keys
                .iter()
                .map(|key| Instrument {
                    symbol: key.clone(),
                    venue: 7,
                })
                .collect(),
            workload,
        };
        single_threaded().block_on(functions.fill());
        functions
    }

    async fn fill(&self) {
        // One function after the other, so that each one's entries lie together, as they do in the peers.
        for at in 0..KEYS as u64 {
            self.ours.integer(at).await;
            peer_integer(at).await;
            peer_integer_concurrent(at).await;
        }
        for symbol in &self.workload.keys {
            self.ours.text(symbol).await;
            peer_text(symbol).await;
            peer_text_concurrent(symbol).await;
        }
        for symbol in &self.workload.keys {
            self.ours.three(symbol, 7, true).await;
        }
        for instrument in &self.instruments {
            self.ours.structured(instrument).await;
        }
    }

    pub(crate) fn contenders(&self) -> Vec<Contender<'_>> {
        let (at, key) = (
            |n| self.workload.at(n),
            |n| self.workload.keys[self.workload.at(n)].as_str(),
        );
        vec![
            Contender::new(INTEGER, move |n| self.ours.integer(at(n) as u64)),
            Contender::new(TEXT, move |n| self.ours.text(key(n))),
            Contender::new(THREE, move |n| self.ours.three(key(n), 7, true)),
            Contender::new(STRUCT, move |n| self.ours.structured(&self.instruments[at(n)])),
            Contender::new(CACHED_INTEGER, move |n| peer_integer(at(n) as u64)),
            Contender::new(CACHED_TEXT, move |n| peer_text(key(n))),
            Contender::new(CONCURRENT_INTEGER, move |n| peer_integer_concurrent(at(n) as u64)),
            Contender::new(CONCURRENT_TEXT, move |n| peer_text_concurrent(key(n))),
        ]
    }
}

/// What the macro writes, by hand.
impl Ours {
    async fn integer(&self, id: u64) -> Price {
        let found = self
            .integer
            .get_or_load(id, move |_| async move { Ok::<_, ()>(numbered(id)) });
        found.await.map_or_else(|_| numbered(id), |price| *price)
    }

    async fn text(&self, symbol: &str) -> Price {
        if let Some(found) = self.text.get(symbol).await {
            return *found;
        }
        let price = named(symbol);
        assert!(self.text.set(symbol, price).await.is_ok(), "there is room");
        price
    }

    async fn three(&self, symbol: &str, depth: u32, live: bool) -> Price {
        if let Some(found) = self.three.get((symbol, depth, live)).await {
            return *found;
        }
        let price = named(symbol);
        assert!(
            self.three.set((symbol, depth, live), price).await.is_ok(),
            "there is room"
        );
        price
    }

    async fn structured(&self, instrument: &Instrument) -> Price {
        if let Some(found) = self.structured.get((instrument,)).await {
            return *found;
        }
        let price = named(&instrument.symbol);
        assert!(
            self.structured.set((instrument,), price).await.is_ok(),
            "there is room"
        );
        price
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
