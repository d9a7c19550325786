use cache_core::cached;

struct Db(u64);

#[cached(background, stale = "1h", skip(db))]
async fn quote(db: &Db, id: u64) -> u64 {
    db.0 + id
}

fn main() {}
