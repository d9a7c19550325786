use cache_core::cached;

#[cached(skip(db, db))]
async fn quote(db: u64, id: u64) -> u64 {
    db + id
}

fn main() {}
