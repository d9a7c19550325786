use std::collections::HashMap;

use cache_core::cached;

struct Db;

#[cached(batch, skip(db))]
async fn squares(db: &Db, ids: Vec<u64>) -> HashMap<u64, u64> {
    let _ = db;
    ids.iter().map(|id| (*id, *id)).collect()
}

fn main() {}
