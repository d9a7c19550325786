use cache_core::cached;

#[cached(prefix = "quote")]
async fn quote(__key: u64) -> u64 {
    __key
}

fn main() {}
