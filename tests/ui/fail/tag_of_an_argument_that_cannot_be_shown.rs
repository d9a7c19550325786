use cache_core::cached;

#[cached(tags = ["user:{id}"])]
async fn quote(id: Option<u64>) -> u64 {
    id.unwrap_or(0)
}

fn main() {}
