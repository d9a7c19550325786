use cache_core::cached;

#[cached(key = "quote::{id}")]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
