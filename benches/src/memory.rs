//! Whether a bound in bytes holds under a flood of unique keys.

use std::process::Command;
use std::sync::Arc;

use cache_core::time::minutes;
use cache_core::{Cache, EntryOptions, Typed};
use serde::{Deserialize, Serialize};

use crate::measure::{Effort, single_threaded};
use crate::report::{Budget, Report, Row};

const AREA: &str = "memory";
const OURS_TEXT: &str = "ours, text";
const OURS_BYTES: &str = "ours, bytes";
const MOKA: &str = "moka";

pub(crate) fn measure(effort: Effort, report: &mut Report) {
    let payloads: &[usize] = if effort.slow_rounds < 5 {
        &[1_024]
    } else {
        &[16, 128, 1_024, 16_384, 100_000]
    };
    for &payload in payloads {
        let moka = growth(MOKA, payload);
        for (contender, kind) in [(OURS_TEXT, "text"), (OURS_BYTES, "bytes")] {
            let case = format!("resident memory for a bound of 64 MiB, {kind} of {payload} B");
            let row = Row::new(AREA, case, growth(contender, payload), "× bound")
                .against(MOKA, moka)
                .budget(Budget::AtMost(1.3));
            report.add(row);
        }
    }
}

/// Fills a cache with unique keys of four times its bound, and prints by how much the process grew, as a share of the
/// bound.
pub(crate) fn flood(contender: &str, payload: usize) {
    let floods = 4 * BOUND / payload as u64;
    let before = resident();
    let mut peak = before;
    let mut fill = filler(contender, payload);
    let runtime = single_threaded();
    for n in 0..floods {
        runtime.block_on(fill(n));
        if n % (floods / 64).max(1) == 0 {
            peak = peak.max(resident());
        }
    }
    println!("{}", (peak.max(resident()) - before) as f64 / BOUND as f64);
}

type Fill = Box<dyn FnMut(u64) -> std::pin::Pin<Box<dyn Future<Output = ()>>>>;

/// Stores the `n`-th value of a flood.
fn filler(contender: &str, payload: usize) -> Fill {
    match contender {
        OURS_TEXT => {
            let cache = our_cache();
            Box::new(move |n| {
                let cache = cache.clone();
                Box::pin(async move { store(&cache, n, text(payload)).await })
            })
        }
        OURS_BYTES => {
            let cache = our_cache();
            Box::new(move |n| {
                let cache = cache.clone();
                Box::pin(async move { store(&cache, n, Bytes(vec![b'x'; payload])).await })
            })
        }
        MOKA => {
            let cache = moka::future::Cache::builder()
                .max_capacity(BOUND)
                .weigher(|key: &String, value: &Arc<str>| (key.len() + value.len()) as u32)
                .time_to_live(minutes(60))
                .build();
            Box::new(move |n| {
                let cache = cache.clone();
                Box::pin(async move { cache.insert(format!("flood:{n}"), text(payload).into()).await })
            })
        }
        other => panic!("there is no contender `{other}`"),
    }
}

/// Bytes as users have them: one serde type for the whole.
#[derive(Serialize, Deserialize)]
struct Bytes(Vec<u8>);

fn our_cache() -> Cache {
    Cache::builder("memory")
        .memory_bytes(BOUND)
        .defaults(EntryOptions::ttl(minutes(60)))
        .build()
        .expect("the settings are valid")
}

async fn store<T: cache_core::CacheValue>(cache: &Cache, n: u64, value: T) {
    let values: Typed<T> = cache.typed("flood").expect("the prefix is valid");
    assert!(values.set(n, value).await.is_ok(), "the options are valid");
}

fn text(length: usize) -> String {
    "x".repeat(length)
}

/// The growth of a flooded process of its own.
fn growth(contender: &str, payload: usize) -> f64 {
    let program = std::env::current_exe().expect("the program knows where it is");
    let output = Command::new(program)
        .args(["flood", contender, &payload.to_string()])
        .output()
        .expect("the program can be started again");
    let printed = String::from_utf8_lossy(&output.stdout);
    printed.trim().parse().unwrap_or_else(|_| {
        panic!(
            "the flood of `{contender}` ended early: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this measurement needs Linux's /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("the kernel tells the resident size in kB") * 1_024
}

const BOUND: u64 = 64 << 20;
