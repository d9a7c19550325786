use cache_core::cached;

#[cached(tags = ["user:{user}"])]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
