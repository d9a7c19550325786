use cache_core::cached;

#[cached(ttl = id)]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
