use cache_core::cached;

#[cached(sync_writes = true)]
async fn quote(symbol: String) -> u64 {
    symbol.len() as u64
}

fn main() {}
