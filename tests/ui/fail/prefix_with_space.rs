use cache_core::cached;

#[cached(prefix = "my quote")]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
