use cache_core::{cache_put, cached};

#[cached(prefix = "user")]
async fn user(id: u64) -> u64 {
    id
}

#[cache_put(user(id), tags = ["a"])]
async fn rename(id: u64) -> u64 {
    id
}

fn main() {}
