use cache_core::cached;

#[cached(ttl = "0s", prefx = "quote", key = "{ib}", skip(bd), jitter = 2.0)]
async fn quote(db: u64, id: u64) -> u64 {
    db + id
}

fn main() {}
