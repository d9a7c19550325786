use cache_core::cached;

#[cached(ttl = 0)]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
