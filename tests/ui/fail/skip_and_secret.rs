use cache_core::cached;

#[cached(skip(id), secret(id))]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
