use cache_core::cached;

#[cached(cache = 7_u8)]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
