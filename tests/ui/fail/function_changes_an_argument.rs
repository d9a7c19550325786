use cache_core::cached;

#[cached(ttl = "5m")]
async fn quote(ids: &mut Vec<u64>) -> u64 {
    ids.push(7);
    7
}

fn main() {}
