use cache_core::cached;

#[cached(convert = r#"{ format!("{symbol}") }"#)]
async fn quote(symbol: String) -> u64 {
    symbol.len() as u64
}

fn main() {}
