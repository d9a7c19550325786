use cache_core::cached;

struct Option {
    strike: f32,
}

#[cached(key = "greeks:{option.strike}")]
async fn greeks(option: &Option) -> u64 {
    option.strike as u64
}

fn main() {}
