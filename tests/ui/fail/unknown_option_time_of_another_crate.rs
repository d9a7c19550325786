use cache_core::cached;

#[cached(time = 60)]
async fn quote(symbol: String) -> u64 {
    symbol.len() as u64
}

fn main() {}
