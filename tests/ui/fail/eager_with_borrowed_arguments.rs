use cache_core::cached;

#[cached(eager = 0.8)]
async fn quote(id: u64, name: &str) -> u64 {
    id + name.len() as u64
}

fn main() {}
