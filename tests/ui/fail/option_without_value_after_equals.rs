use cache_core::cached;

#[cached(ttl =, prefix = "q")]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
