use cache_core::{Cache, cached};

#[derive(Clone)]
struct Quote(u64);

#[cached(cache = cache, skip(cache))]
async fn quote(cache: &Cache, id: u64) -> Quote {
    Quote(id)
}

fn main() {}
