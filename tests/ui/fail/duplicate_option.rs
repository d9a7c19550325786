use cache_core::cached;

#[cached(ttl = "5m", ttl = "6m")]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
