use std::collections::HashMap;

use cache_core::cached;

#[cached(batch)]
async fn squares(id: u64) -> HashMap<u64, u64> {
    HashMap::from([(id, id)])
}

fn main() {}
