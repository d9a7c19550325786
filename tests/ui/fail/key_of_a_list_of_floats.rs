use cache_core::cached;

#[cached(ttl = "5m")]
async fn quote(strikes: &[f64]) -> u64 {
    strikes.len() as u64
}

fn main() {}
