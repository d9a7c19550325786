use cache_core::cached;

#[cached(skip())]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
