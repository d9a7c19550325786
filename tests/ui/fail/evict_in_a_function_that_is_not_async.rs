use cache_core::{cache_evict, cached};

#[cached(prefix = "user")]
async fn user(id: u64) -> u64 {
    id
}

#[cache_evict(user(id))]
fn rename(id: u64) -> u64 {
    id
}

fn main() {}
