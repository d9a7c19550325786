use cache_core::cached;

#[cached(hard_timeout = "5s")]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
