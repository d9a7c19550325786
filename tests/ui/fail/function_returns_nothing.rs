use cache_core::cached;

#[cached(ttl = "5m")]
async fn quote(id: u64) {
    drop(id);
}

fn main() {}
