use cache_core::cached;

#[cached(store_if = |value| *value)]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
