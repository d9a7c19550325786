use cache_core::cached;

#[cached(size = 100)]
async fn quote(symbol: String) -> u64 {
    symbol.len() as u64
}

fn main() {}
