//! What is cached and in which order it is asked for.

use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// A value of ordinary size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Quote {
    pub(crate) symbol: String,
    pub(crate) bid: f64,
    pub(crate) ask: f64,
    pub(crate) venue: String,
}

impl Quote {
    pub(crate) fn of(symbol: &str) -> Self {
        Self {
            symbol: symbol.to_owned(),
            bid: 1.0,
            ask: 1.1,
            venue: "XETRA".to_owned(),
        }
    }
}

/// Keys, and a Zipf-distributed order of lookups: few keys are asked for often, and most of them seldom.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) keys: Vec<String>,
    pub(crate) values: Vec<Arc<Quote>>,
    order: Vec<u32>,
}

impl Workload {
    pub(crate) fn new() -> Self {
        let keys: Vec<_> = (0..KEYS).map(|n| format!("SYMBOL-{n}")).collect();
        let values = keys.iter().map(|key| Arc::new(Quote::of(key))).collect();
        Self {
            keys,
            values,
            order: zipf(KEYS, LOOKUPS),
        }
    }

    /// The number of the key of the `n`-th lookup.
    pub(crate) fn at(&self, n: usize) -> usize {
        self.order[n % LOOKUPS] as usize
    }
}

/// `count` ranks below `ranks`; rank `k` has a probability in proportion to `1 / (k + 1)`.
fn zipf(ranks: usize, count: usize) -> Vec<u32> {
    let cumulative: Vec<f64> = (1..=ranks)
        .scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f64;
            Some(*sum)
        })
        .collect();
    let total = cumulative[ranks - 1];
    let mut rng = SmallRng::seed_from_u64(1);
    (0..count)
        .map(|_| {
            let at = rng.random_range(0.0..total);
            cumulative.partition_point(|&sum| sum <= at) as u32
        })
        .collect()
}

pub(crate) const KEYS: usize = 10_000;

/// Room for all keys in every shard of every contender: what is measured are hits.
pub(crate) const CAPACITY: usize = 2 * KEYS;

/// A power of two, so that the remainder costs nothing worth measuring.
const LOOKUPS: usize = 1 << 16;
