use cache_core::cached;

#[cached(key = "quote:{id}")]
async fn quote(id: u64, (a, b): (u64, u64)) -> u64 {
    id + a + b
}

fn main() {}
