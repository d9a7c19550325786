use cache_core::cached;

#[cached(eager = 1.0)]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
