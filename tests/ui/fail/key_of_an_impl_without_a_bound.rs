use cache_core::cached;

#[cached(ttl = "5m")]
async fn quote(name: impl Into<String> + Send + 'static) -> String {
    name.into()
}

fn main() {}
