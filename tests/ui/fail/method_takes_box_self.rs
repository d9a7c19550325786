use cache_core::cached;

struct Db(u64);

#[cached(skip(self))]
impl Db {
    #[cached]
    async fn quote(self: Box<Self>, id: u64) -> u64 {
        self.0 + id
    }
}

fn main() {}
