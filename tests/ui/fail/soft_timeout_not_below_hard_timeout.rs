use cache_core::cached;

#[cached(soft_timeout = "9s", hard_timeout = "5s", stale = "1h")]
async fn quote(id: u64) -> Result<u64, cache_core::Error> {
    Ok(id)
}

fn main() {}
