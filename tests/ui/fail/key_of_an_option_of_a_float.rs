use cache_core::cached;

#[cached(ttl = "5m")]
async fn quote(strike: Option<f64>) -> u64 {
    strike.map_or(0, |strike| strike as u64)
}

fn main() {}
