use cache_core::cache_evict;

async fn user(id: u64) -> u64 {
    id
}

#[cache_evict(user(id))]
async fn rename(id: u64) -> u64 {
    user(id).await
}

fn main() {}
