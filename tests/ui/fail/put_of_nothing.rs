use cache_core::cache_put;

#[cache_put()]
async fn rename(id: u64) -> u64 {
    id
}

fn main() {}
