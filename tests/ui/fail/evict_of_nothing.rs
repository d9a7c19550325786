use cache_core::cache_evict;

#[cache_evict]
async fn rename(id: u64) -> u64 {
    id
}

fn main() {}
