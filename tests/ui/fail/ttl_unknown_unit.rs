use cache_core::cached;

#[cached(ttl = "5min")]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
