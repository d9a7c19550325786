use cache_core::cached;

#[cached(version = "2")]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
