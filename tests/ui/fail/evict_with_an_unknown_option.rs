use cache_core::cache_evict;

#[cache_evict(tag = "user:{id}")]
async fn rename(id: u64) -> u64 {
    id
}

fn main() {}
