use std::collections::HashMap;

use cache_core::cached;

#[cached(batch)]
async fn squares(ids: Vec<u64>) -> Vec<u64> {
    ids
}

type Unused = HashMap<u64, u64>;

fn main() {}
