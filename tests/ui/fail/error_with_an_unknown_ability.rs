use cache_core::cached;

#[cached(error(copy))]
async fn quote(id: u64) -> Result<u64, u8> {
    Ok(id)
}

fn main() {}
