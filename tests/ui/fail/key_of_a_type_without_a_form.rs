use cache_core::cached;

struct Opts(u64);

#[cached(ttl = "5m")]
async fn quote(opts: Opts) -> u64 {
    opts.0
}

fn main() {}
