use cache_core::cached;

struct Db;

#[cached(skip(self, id))]
impl Db {
    #[cached]
    async fn quote(&self, id: u64) -> u64 {
        id
    }
}

fn main() {}
