use cache_core::cached;

#[cached(prefix = "quote")]
async fn quote(id: u64, #[cfg(test)] desk: u64) -> u64 {
    id
}

fn main() {}
