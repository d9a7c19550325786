use cache_core::cached;

#[cached(jitter = 1.5)]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
