use cache_core::cached;

struct Db;

impl Db {
    #[cached(skip(self))]
    async fn quote(&self, id: u64) -> u64 {
        id
    }
}

fn main() {}
