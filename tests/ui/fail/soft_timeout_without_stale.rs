use cache_core::cached;

#[cached(soft_timeout = "1s")]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
