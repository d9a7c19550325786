//! Whether the paths of a hit have grown: instructions per operation, counted by valgrind's callgrind.
//!
//! ```text
//! cargo bench -p cache-tower --bench instructions               compares with instructions.txt, and fails if one grew
//! cargo bench -p cache-tower --bench instructions -- --write    takes what is counted as the new baseline
//! ```
//!
//! Counts hardly depend on what else the machine does, so 5 % decide. They do depend on the compiler: the baseline names
//! the one that it was counted with.

mod callgrind;

use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

use cache_core::key::{CacheKey, Prefix};
use cache_core::time::hours;
use cache_core::{Cache, Typed};
use cache_tower::policy::{Decision, HttpCachePolicy, RequestView, StoredHead, Timed, decide, select};
use http::{HeaderMap, Method, StatusCode};
use tokio::runtime::{Builder, Runtime};

/// Its name, and what repeats it so many times.
type Probe = (&'static str, fn(u64));

const PROBES: [Probe; 6] = [
    ("hit: Cache::get", hit),
    ("hit: Typed::get", typed_hit),
    ("hit: Typed::get_or_load", loading_hit),
    ("key: text", key_of_text),
    ("key: three parts", key_of_three),
    ("freshness: select and decide", freshness),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["probe", name, count] => {
            let (_, run) = PROBES.iter().find(|(known, _)| *known == name).expect("a probe");
            run(count.parse().expect("a number"));
            ExitCode::SUCCESS
        }
        _ if words.contains(&"--write") => write(),
        _ => check(),
    }
}

fn check() -> ExitCode {
    let text = std::fs::read_to_string(BASELINE).unwrap_or_default();
    let mut grew = false;
    println!("{:<30} {:>10} {:>10}", "instructions", "baseline", "now");
    for (name, _) in PROBES {
        let now = callgrind::per_operation(name, 1_000, 21_000);
        let Some(before) = baseline(&text, name) else {
            println!("{name:<30} {:>10} {now:>10.0}  not in the baseline", "");
            grew = true;
            continue;
        };
        let change = (now / before - 1.0) * 100.0;
        let verdict = match change {
            _ if change > TOLERANCE => "GREW",
            _ if change < -TOLERANCE => "shrank: take it as the new baseline",
            _ => "",
        };
        grew |= change > TOLERANCE;
        println!("{name:<30} {before:>10.0} {now:>10.0}  {change:>+5.1} %  {verdict}");
    }
    if grew {
        let with = text.lines().next().unwrap_or_default();
        eprintln!(
            "\nA path of a hit has grown by more than {TOLERANCE} % ({with}; this is {}).\nIf it must: cargo bench -p cache-tower --bench instructions -- --write",
            compiler()
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn write() -> ExitCode {
    let mut text = format!("# instructions per operation, counted with {}\n", compiler());
    for (name, _) in PROBES {
        text += &format!("{name}\t{:.0}\n", callgrind::per_operation(name, 1_000, 21_000));
    }
    print!("{text}");
    match std::fs::write(BASELINE, text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{BASELINE}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn baseline(text: &str, name: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'))?;
    line.trim().parse().ok()
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    version.unwrap_or_else(|_| "an unknown compiler".to_owned())
}

fn hit(count: u64) {
    let (runtime, typed, cache) = filled();
    let keys: Vec<CacheKey> = (0..KEYS).map(|n| PREFIX.key(name(n).as_str())).collect();
    drop(typed);
    runtime.block_on(async {
        for n in 0..count {
            assert!(black_box(cache.get::<u64>(&keys[(n % KEYS) as usize]).await).is_some());
        }
    });
}

fn typed_hit(count: u64) {
    let (runtime, typed, _cache) = filled();
    let names: Vec<String> = (0..KEYS).map(name).collect();
    runtime.block_on(async {
        for n in 0..count {
            assert!(black_box(typed.get(names[(n % KEYS) as usize].as_str()).await).is_some());
        }
    });
}

fn loading_hit(count: u64) {
    let (runtime, typed, _cache) = filled();
    let names: Vec<String> = (0..KEYS).map(name).collect();
    runtime.block_on(async {
        for n in 0..count {
            let load = |_| async { Err::<u64, _>("every lookup is a hit") };
            let found = typed.get_or_load(names[(n % KEYS) as usize].as_str(), load).await;
            assert!(black_box(found).is_ok());
        }
    });
}

fn key_of_text(count: u64) {
    let names: Vec<String> = (0..KEYS).map(name).collect();
    for n in 0..count {
        black_box(PREFIX.key(black_box(names[(n % KEYS) as usize].as_str())));
    }
}

fn key_of_three(count: u64) {
    let names: Vec<String> = (0..KEYS).map(name).collect();
    for n in 0..count {
        black_box(PREFIX.key(black_box((names[(n % KEYS) as usize].as_str(), 7_u32, true))));
    }
}

fn freshness(count: u64) {
    let (policy, now) = (
        HttpCachePolicy::safe(),
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000),
    );
    let mut headers = HeaderMap::new();
    headers.insert(
        "cache-control",
        "max-age=60, stale-while-revalidate=30".parse().expect("a field"),
    );
    headers.insert("vary", "accept-encoding".parse().expect("a field"));
    let mut fields = HeaderMap::new();
    fields.insert("accept-encoding", "gzip".parse().expect("a field"));
    let request = RequestView::new(&Method::GET, &fields);
    let response = Timed {
        status: StatusCode::OK,
        headers: &headers,
        requested: now,
        received: now,
    };
    let stored = StoredHead::store(&request, "http://example.com/", &response, &policy).expect("storable");
    let later = now + Duration::from_secs(10);
    for _ in 0..count {
        let decision = decide(
            &request,
            select([black_box(&stored)], &request),
            black_box(later),
            &policy,
        );
        assert!(matches!(black_box(decision), Decision::Serve(_)));
    }
}

fn filled() -> (Runtime, Typed<u64>, Cache) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let cache = Cache::builder("instructions")
        .defaults(cache_core::EntryOptions::ttl(hours(1)))
        .build()
        .expect("the settings are valid");
    let typed: Typed<u64> = cache.typed(PREFIX.as_str()).expect("the prefix is valid");
    runtime.block_on(async {
        for n in 0..KEYS {
            assert!(
                typed
                    .set(name(n).as_str(), n)
                    .await
                    .is_ok_and(cache_core::Stored::is_stored)
            );
        }
    });
    (runtime, typed, cache)
}

fn name(n: u64) -> String {
    format!("SYMBOL-{n}")
}

const PREFIX: Prefix = Prefix::literal("quote");
const KEYS: u64 = 256;
/// In per cent; runs differ by less than one.
const TOLERANCE: f64 = 5.0;
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");
