use cache_core::cached;

#[cached(key = "quote:{a}{b}")]
async fn quote(a: u64, b: u64) -> u64 {
    a + b
}

fn main() {}
