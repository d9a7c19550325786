use cache_core::cached;

#[cached(key = "quote:{id.max(3)}")]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
