use cache_core::cache_evict;

#[cache_evict(7 + 8)]
async fn rename(id: u64) -> u64 {
    id
}

fn main() {}
