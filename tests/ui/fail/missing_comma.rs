use cache_core::cached;

#[cached(ttl = "5m" prefix = "quote")]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
