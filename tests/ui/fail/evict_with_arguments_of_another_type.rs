use cache_core::{cache_evict, cached};

#[cached(prefix = "user")]
async fn user(id: u64) -> u64 {
    id
}

#[cache_evict(user(name))]
async fn rename(name: &str) -> usize {
    name.len()
}

fn main() {}
