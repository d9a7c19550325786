//! Allocations per hit, and bytes on the heap per entry.
//!
//! Counted by an allocator that counts, which makes every allocation slower: hence a build of its own.

use std::hint::black_box;

use cache_core::time::minutes;
use cache_core::{Cache, Typed};

use crate::functions::{CONCURRENT_INTEGER, CONCURRENT_TEXT, Functions, INTEGER, STRUCT, TEXT, THREE};
use crate::http;
use crate::l1::contender;
use crate::measure::single_threaded;
use crate::peers::{Caches, GET, MOKA, OR_LOAD, TYPED};
use crate::report::{Budget, Report, Row};

const AREA: &str = "allocations";

pub(crate) fn measure(report: &mut Report) {
    let caches = Caches::filled();
    let mut contenders = caches.contenders();
    for name in [GET, TYPED, OR_LOAD] {
        let ours = contender(&mut contenders, name).allocations();
        let moka = contender(&mut contenders, MOKA).allocations();
        let row = per_hit(name, ours).against(MOKA, moka);
        report.add(row.budget(Budget::AtMost(0.0)));
    }
    let functions = Functions::filled();
    let mut contenders = functions.contenders();
    for (name, peer, most) in [
        (INTEGER, Some(CONCURRENT_INTEGER), 0.0),
        (TEXT, Some(CONCURRENT_TEXT), 0.0),
        (THREE, None, 1.0),
        (STRUCT, None, 1.0),
    ] {
        let mut row = per_hit(name, contender(&mut contenders, name).allocations());
        if let Some(peer) = peer {
            row = row.against(peer, contender(&mut contenders, peer).allocations());
        }
        report.add(row.budget(Budget::AtMost(most)));
    }
    let mut contenders = http::contenders();
    let bare = contender(&mut contenders, http::BARE).allocations();
    for name in [http::INSIDE, http::OUTSIDE] {
        let ours = contender(&mut contenders, name).allocations();
        report.add(per_hit(name, ours).against(http::BARE, bare));
    }
    heap_per_entry(report);
}

fn per_hit(name: &str, ours: f64) -> Row {
    Row::new(AREA, format!("{name}, allocations per hit"), ours, "allocations")
}

/// Of a full cache, key and value included: with tables for as many entries as it may hold, and what it remembers of
/// those that it has evicted.
fn heap_per_entry(report: &mut Report) {
    let case = format!("heap per entry of a full cache, {KEY} B keys and {VALUE} B values");
    let row = Row::new(AREA, case, our_overhead(), "B").against(MOKA, moka_overhead());
    report.add(row.budget(Budget::AtMost(200.0 + (KEY + VALUE) as f64)));
}

fn our_overhead() -> f64 {
    heap(|| {
        let cache = Cache::builder("memory")
            .memory_entries(ENTRIES)
            .build()
            .expect("the settings are valid");
        let values: Typed<u64> = cache.typed("value").expect("the prefix is valid");
        single_threaded().block_on(async {
            for n in FIRST..FIRST + 2 * ENTRIES {
                assert!(values.set(n, n).await.is_ok(), "the options are valid");
            }
        });
        let held = cache.stats().entries;
        (black_box((cache, values)), held)
    })
}

fn moka_overhead() -> f64 {
    heap(|| {
        let cache = moka::future::Cache::builder()
            .max_capacity(ENTRIES)
            .time_to_live(minutes(60))
            .build();
        single_threaded().block_on(async {
            for n in FIRST..FIRST + 2 * ENTRIES {
                cache.insert(format!("value:{n}"), n).await;
            }
            cache.run_pending_tasks().await;
        });
        let held = cache.entry_count();
        (black_box(cache), held)
    })
}

/// Bytes that `fill` leaves on the heap, by the number of entries that it holds.
fn heap<T>(fill: impl FnOnce() -> (T, u64)) -> f64 {
    let mut kept = None;
    let info = allocation_counter::measure(|| kept = Some(fill()));
    let held = kept.as_ref().map_or(1, |(_, held)| *held);
    info.bytes_current as f64 / held as f64
}

const ENTRIES: u64 = 100_000;
/// Nine digits, like all that follow.
const FIRST: u64 = 100_000_000;
const KEY: usize = "value:100000000".len();
const VALUE: usize = size_of::<u64>();
