use cache_core::cached;

#[cached(ttl = "5m")]
async unsafe fn quote(id: u64) -> u64 {
    id
}

fn main() {}
