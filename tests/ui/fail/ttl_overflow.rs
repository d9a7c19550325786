use cache_core::cached;

#[cached(ttl = 99999999999999999999999)]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
