use cache_core::cached;

#[cached(prefix = "quote:v2")]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
