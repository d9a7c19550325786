use cache_core::cached;

struct Db(u64);

#[cached]
impl Db {
    #[cached]
    async fn quote(&self, id: u64) -> u64 {
        self.0 + id
    }
}

fn main() {}
