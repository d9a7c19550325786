use cache_core::cached;

#[cached(policy = "tenant:price")]
async fn price(symbol: String) -> u64 {
    symbol.len() as u64
}

fn main() {}
