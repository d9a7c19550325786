use cache_core::cached;

struct Refused;

#[cached(hard_timeout = "5s")]
async fn quote(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

fn main() {}
