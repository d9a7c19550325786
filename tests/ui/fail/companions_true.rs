use cache_core::cached;

#[cached(companions = true)]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
