use cache_core::cached;

#[cached(ttl = "5m")]
struct Quote;

fn main() {}
