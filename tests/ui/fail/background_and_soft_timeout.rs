use cache_core::cached;

#[cached(background, soft_timeout = "9s", stale = "1h")]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
