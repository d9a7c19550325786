use std::collections::HashMap;

use cache_core::cached;

#[cached(batch, store_if = |value| *value > 3)]
async fn squares(ids: Vec<u64>) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, *id)).collect()
}

fn main() {}
