use cache_core::cached;

tokio::task_local! {
    static TENANT: u64;
}

#[cached(propagate(TENANT))]
async fn quote(name: &str) -> usize {
    name.len()
}

fn main() {}
