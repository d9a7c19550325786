use cache_core::cached;

#[cached(ttk = "5m")]
async fn quote(id: u64) -> u64 {
    id
}

fn main() {}
