use cache_core::cached;

#[cached(negative_ttl = "5s")]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
