use cache_core::cached;

#[cached(codec = postcard)]
async fn quote(symbol: String) -> u64 {
    symbol.len() as u64
}

fn main() {}
