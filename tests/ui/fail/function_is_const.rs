use cache_core::cached;

#[cached(prefix = "quote")]
const fn quote(id: u64) -> std::future::Ready<u64> {
    let _ = id;
    loop {}
}

fn main() {}
