use cache_core::cached;

#[cached(secret(token))]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
