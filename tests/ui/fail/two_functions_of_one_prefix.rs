use cache_core::cached;

#[cached(prefix = "user")]
async fn user(id: u64) -> u64 {
    id
}

#[cached(prefix = "user")]
async fn account(id: u64) -> u64 {
    id
}

fn main() {}
