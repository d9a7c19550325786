use cache_core::cached;

struct Opts {
    lang: u64,
}

#[cached(key = "quote:{opts.langs}")]
async fn quote(opts: Opts) -> u64 {
    opts.lang
}

fn main() {}
