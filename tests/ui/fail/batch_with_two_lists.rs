use std::collections::HashMap;

use cache_core::cached;

#[cached(batch)]
async fn squares(ids: Vec<u64>, others: Vec<u64>) -> HashMap<u64, u64> {
    ids.into_iter().zip(others).collect()
}

fn main() {}
