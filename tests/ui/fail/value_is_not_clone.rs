use cache_core::cached;

#[derive(serde::Serialize, serde::Deserialize)]
struct Quote(u64);

#[cached(ttl = "5m")]
async fn quote(id: u64) -> Quote {
    Quote(id)
}

fn main() {}
