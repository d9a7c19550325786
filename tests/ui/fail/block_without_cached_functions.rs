use cache_core::cached;

struct Db;

#[cached]
impl Db {
    async fn quote(&self, id: u64) -> u64 {
        id
    }
}

fn main() {}
