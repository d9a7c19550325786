use cache_core::cached;

#[cached(name = "quote")]
async fn quote(symbol: String) -> u64 {
    symbol.len() as u64
}

fn main() {}
