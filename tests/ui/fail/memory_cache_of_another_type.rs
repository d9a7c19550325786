use cache_core::{MemoryCache, cached};

#[cached(cache = cache, skip(cache))]
async fn quote(cache: &MemoryCache<String>, id: u64) -> u64 {
    id
}

fn main() {}
