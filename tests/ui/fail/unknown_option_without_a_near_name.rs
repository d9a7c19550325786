use cache_core::cached;

#[cached(banana = 1)]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
