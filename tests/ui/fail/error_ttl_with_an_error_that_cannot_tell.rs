use cache_core::cached;

struct Refused;

#[cached(error_ttl = "5s")]
async fn quote(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

fn main() {}
