use cache_core::cached;

#[cached(ttl = "5m")]
async fn quote(strike: f64) -> u64 {
    strike as u64
}

fn main() {}
