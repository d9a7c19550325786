use cache_core::cached;

struct Db;

#[cached(ttl = "5m", skip(self))]
impl Db {
    #[cached]
    async fn quote(&self, id: u64) -> u64 {
        id
    }
}

fn main() {}
