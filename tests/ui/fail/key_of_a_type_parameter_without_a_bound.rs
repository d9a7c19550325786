use cache_core::cached;

#[cached(ttl = "5m")]
async fn quote<T: Send + 'static>(id: T) -> u64 {
    drop(id);
    7
}

fn main() {}
