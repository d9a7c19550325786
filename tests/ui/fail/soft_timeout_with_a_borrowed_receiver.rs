use cache_core::cached;

struct Db(u64);

#[cached(skip(self))]
impl Db {
    #[cached(soft_timeout = "1s", stale = "1h")]
    async fn quote(&self, id: u64) -> u64 {
        self.0 + id
    }
}

fn main() {}
