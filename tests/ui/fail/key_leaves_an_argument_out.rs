use cache_core::cached;

#[cached(key = "quote:{id}")]
async fn quote(id: u64, lang: String) -> String {
    format!("{id}{lang}")
}

fn main() {}
