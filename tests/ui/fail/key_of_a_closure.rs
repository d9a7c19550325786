use cache_core::cached;

#[cached(key = |id| id)]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
