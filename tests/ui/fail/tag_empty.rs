use cache_core::cached;

#[cached(tags = [""])]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
