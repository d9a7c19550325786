use cache_core::cached;

#[cached(skip(bd))]
async fn quote(db: u64, id: u64) -> u64 {
    db + id
}

fn main() {}
