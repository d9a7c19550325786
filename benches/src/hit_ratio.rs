//! How many lookups an in-process tier answers, for traces that are made here from a seed.
//!
//! Each lookup that misses stores its key. The traces: Zipf-distributed keys; the same with a scan of keys that are asked
//! for once, now and then; and a loop over more keys than there is room for, which is the worst case of LRU.

use std::collections::{BTreeMap, HashMap};

use cache_core::time::hours;
use cache_core::{Cache, EntryOptions, Typed};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::measure::{Effort, single_threaded};
use crate::report::{Report, Row};

const AREA: &str = "hit-ratio";

pub(crate) fn measure(effort: Effort, report: &mut Report) {
    let length = if effort.is_quick() { 200_000 } else { 1_000_000 };
    for (name, trace) in [
        ("Zipf", zipf(length)),
        ("Zipf with scans", scans(length)),
        ("loop over 1.2 × the room of 10 %", looping(length)),
    ] {
        for share in [1, 5, 10] {
            let room = KEYS as usize * share / 100;
            let ours = ours(&trace, room);
            let case = format!("{name}, room for {share} % of {KEYS} keys");
            for (peer, theirs) in [
                ("moka", moka(&trace, room)),
                ("quick_cache", quick(&trace, room)),
                ("LRU", lru(&trace, room)),
            ] {
                report.add(Row::new(AREA, case.clone(), ours, "% hits").against(peer, theirs));
            }
        }
    }
}

fn zipf(length: usize) -> Vec<u64> {
    let mut draw = zipf_draws();
    (0..length).map(|_| draw()).collect()
}

/// A tenth of the lookups belong to scans of 2,000 keys each, of which none comes again.
fn scans(length: usize) -> Vec<u64> {
    let mut draw = zipf_draws();
    let mut once = KEYS..;
    let mut trace = Vec::with_capacity(length);
    while trace.len() < length {
        trace.extend((0..18_000).map(|_| draw()));
        trace.extend(once.by_ref().take(2_000));
    }
    trace.truncate(length);
    trace
}

fn looping(length: usize) -> Vec<u64> {
    let keys = KEYS / 10 * 12 / 10;
    (0..length as u64).map(|n| n % keys).collect()
}

/// Rank `k` has a probability in proportion to `1 / (k + 1)`; keys are ranks in another order.
fn zipf_draws() -> impl FnMut() -> u64 {
    let mut sum = 0.0;
    let cumulative: Vec<f64> = (1..=KEYS)
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect();
    let mut rng = SmallRng::seed_from_u64(SEED);
    move || {
        let at = rng.random_range(0.0..sum);
        let rank = cumulative.partition_point(|known| *known <= at) as u64;
        rank * 7_919 % KEYS
    }
}

fn ours(trace: &[u64], room: usize) -> f64 {
    let cache = Cache::builder("hit-ratio")
        .memory_entries(room as u64)
        .defaults(EntryOptions::ttl(hours(1)))
        .build()
        .expect("the settings are valid");
    let values: Typed<u64> = cache.typed("value").expect("the prefix is valid");
    single_threaded().block_on(async {
        let mut hits = 0;
        for &n in trace {
            match values.get(n).await {
                Some(_) => hits += 1,
                None => assert!(values.set(n, n).await.is_ok(), "the options are valid"),
            }
        }
        share(hits, trace)
    })
}

fn moka(trace: &[u64], room: usize) -> f64 {
    let cache = moka::future::Cache::<u64, u64>::new(room as u64);
    single_threaded().block_on(async {
        let mut hits = 0;
        for (&n, at) in trace.iter().zip(0_u64..) {
            match cache.get(&n).await {
                Some(_) => hits += 1,
                None => cache.insert(n, n).await,
            }
            // It evicts in batches; without this a loop without pauses would run ahead of it.
            if at % 64 == 0 {
                cache.run_pending_tasks().await;
            }
        }
        share(hits, trace)
    })
}

fn quick(trace: &[u64], room: usize) -> f64 {
    let cache = quick_cache::sync::Cache::<u64, u64>::new(room);
    let hits = trace.iter().filter(|&&n| {
        let found = cache.get(&n).is_some();
        if !found {
            cache.insert(n, n);
        }
        found
    });
    share(hits.count(), trace)
}

/// By the book: whoever was used last stays longest.
fn lru(trace: &[u64], room: usize) -> f64 {
    let (mut used, mut order) = (HashMap::new(), BTreeMap::new());
    let hits = trace.iter().zip(0_u64..).filter(|&(&n, now)| {
        let before = used.insert(n, now);
        if let Some(before) = before {
            order.remove(&before);
        }
        order.insert(now, n);
        if order.len() > room
            && let Some((_, oldest)) = order.pop_first()
        {
            used.remove(&oldest);
        }
        before.is_some()
    });
    share(hits.count(), trace)
}

fn share(hits: usize, trace: &[u64]) -> f64 {
    hits as f64 / trace.len() as f64 * 100.0
}

const KEYS: u64 = 100_000;
const SEED: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_is_followed() {
        assert_eq!(lru(&[1, 2, 1, 3, 1, 2], 2), 2.0 / 6.0 * 100.0);
        assert_eq!(lru(&[1, 2, 3, 1, 2, 3], 2), 0.0);
    }

    #[test]
    fn a_trace_is_the_same_each_time() {
        assert_eq!(zipf(1_000), zipf(1_000));
    }
}
