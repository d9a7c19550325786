use cache_core::cached;

#[cached(prefix = "depth")]
async fn depth(path: &str) -> usize {
    match path.rsplit_once('/') {
        Some((parent, _)) => Box::pin(depth(parent)).await + 1,
        None => 0,
    }
}

fn main() {}
