use cache_core::cached;

#[cached(prefix = 7)]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
