use cache_core::cached;

#[cached(ttl = "5m")]
fn quote(id: u64) -> u64 {
    id
}

fn main() {}
