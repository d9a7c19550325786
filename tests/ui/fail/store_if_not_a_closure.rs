use cache_core::cached;

#[cached(store_if = true)]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
