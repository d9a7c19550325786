use cache_core::cached;

#[cached(eager = "always")]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
