use cache_core::cached;

#[cached(prefix = "quote")]
extern "C" fn quote(id: u64) -> std::pin::Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move { id })
}

fn main() {}
