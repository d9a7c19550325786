use cache_core::cached;

#[cached(ttl = "400d")]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
