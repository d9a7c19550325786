use cache_core::cached;

struct Db;

#[cached(skip(self))]
impl Db {
    #[cached(prefix = "user")]
    async fn user(&self, id: u64) -> u64 {
        id
    }

    #[cached(prefix = "user")]
    async fn account(&self, id: u64) -> u64 {
        id
    }
}

fn main() {}
