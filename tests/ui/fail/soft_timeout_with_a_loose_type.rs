use cache_core::cached;

#[cached(soft_timeout = "1s", stale = "1h")]
async fn quote<T: cache_core::key::KeyPart + Send + Sync>(id: T) -> u64 {
    drop(id);
    7
}

fn main() {}
