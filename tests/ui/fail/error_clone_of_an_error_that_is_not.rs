use cache_core::cached;

struct Refused;

#[cached(error(clone))]
async fn quote(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

fn main() {}
