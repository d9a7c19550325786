use cache_core::cached;

#[cached(key = "quote:{ib}")]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
