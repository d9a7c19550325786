use cache_core::cached;

#[cached(ttl = |value, id| todo!())]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
