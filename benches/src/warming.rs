//! What live callers notice while two nodes warm ten thousand keys at once.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use cache_core::time::minutes;
use cache_core::warm::Warmer;
use cache_core::{Cache, CacheKey, Redis, Stored};
use support::RedisServer;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::measure::{Effort, Percentiles, median, multi_threaded, now};
use crate::report::{Budget, Report, Row};

const AREA: &str = "warming";

pub(crate) fn measure(effort: Effort, report: &mut Report) {
    let server = RedisServer::start();
    let runtime = multi_threaded();
    let mut ratios = [const { Vec::new() }; KINDS];
    let mut p99s = [const { (Vec::new(), Vec::new()) }; KINDS];
    let (mut loads, mut took) = (0, Vec::new());
    runtime.block_on(async {
        for _ in 0..effort.slow_rounds {
            let nodes = [node(&server), node(&server)];
            nodes[0].clear().await.expect("Redis is there");
            let seed = node(&server);
            let quiet = live(&nodes[0], &seed, 0, async { sleep(QUIET).await }).await;
            let began = now();
            let busy = live(&nodes[0], &seed, QUIET_KEYS, warm(&nodes, &mut loads)).await;
            took.push(began.elapsed().as_secs_f64());
            for kind in 0..KINDS {
                let (before, during) = (quiet[kind].at(0.99), busy[kind].at(0.99));
                ratios[kind].push(during / before);
                p99s[kind].0.push(during);
                p99s[kind].1.push(before);
            }
            for cache in [&nodes[0], &nodes[1], &seed] {
                let _ = cache.close(Duration::from_secs(5)).await;
            }
        }
    });
    let rounds = effort.slow_rounds as f64;
    let case = "loads per key, 10,000 keys of 10 ms, 50 at once, by two nodes at once";
    let row = Row::new(AREA, case, loads as f64 / rounds / KEYS as f64, "loads");
    report.add(row.budget(Budget::AtMost(1.0)));
    report.add(Row::new(AREA, "both nodes have them all", median(took), "s"));
    for (kind, (during, before)) in p99s.into_iter().enumerate() {
        let row = Row::new(AREA, NAMES[kind], median(during), "µs")
            .against("without warming", median(before))
            .ratio(median(ratios[kind].clone()), 0.0);
        report.add(row.budget((kind == 0).then_some(Budget::RatioAtMost(1.2))));
    }
}

fn node(server: &RedisServer) -> Cache {
    let redis = Redis::from_url(&server.url()).expect("the URL is right");
    Cache::builder("warming")
        .redis(redis)
        .build()
        .expect("the settings are right")
}

/// Both nodes warm the same list.
async fn warm(nodes: &[Cache; 2], loads: &mut u64) {
    let counted = Arc::new(AtomicU64::new(0));
    let warmers = nodes.each_ref().map(|cache| {
        let counted = counted.clone();
        let load = move |_: CacheKey| {
            counted.fetch_add(1, Ordering::Relaxed);
            async {
                sleep(LOADER).await;
                Ok::<_, String>("x".repeat(200))
            }
        };
        let keys: Vec<_> = (0..KEYS).map(|n| key("warm", n)).collect();
        let warmer = Warmer::keys("list", keys, minutes(5), load);
        cache
            .add_warmer(warmer.concurrency(50).each_node())
            .expect("it is the first")
    });
    for warmer in warmers {
        let run = warmer.settled().await.expect("it runs at start");
        assert_eq!(run.report.failed, 0, "{run:?}");
    }
    *loads += counted.load(Ordering::Relaxed);
}

/// Lets callers call until `work` is done; how long their calls took: all, hits, reads of Redis and loads.
async fn live(
    cache: &Cache,
    seed: &Cache,
    first: usize,
    work: impl Future<Output = ()>,
) -> [Percentiles; KINDS] {
    let load = async |cache: &Cache, key: &CacheKey| {
        let load = |_| async {
            sleep(LOADER).await;
            Ok::<_, String>("x".repeat(200))
        };
        let loaded = cache.get_or_load(key, minutes(5), load).await;
        loaded.expect("the loader does not fail");
    };
    for n in first..first + SEEDED {
        let stored = seed.set(&key("seeded", n), "x".repeat(200), minutes(5)).await;
        assert_eq!(stored.expect("the options are right"), Stored::Yes);
    }
    for n in 0..HOT {
        load(cache, &key("hot", n)).await;
    }
    let (done, next) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(first)),
    );
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (cache, done, next) = (cache.clone(), done.clone(), next.clone());
        callers.spawn(async move {
            let mut times = [const { Vec::new() }; KINDS];
            let mut turn = caller * 13;
            while !done.load(Ordering::Relaxed) {
                turn += 1;
                let n = next.fetch_add(1, Ordering::Relaxed);
                let (kind, key) = match turn % 50 {
                    0 => (3, key("missing", n)),
                    at if at % 5 == 1 && n < first + SEEDED => (2, key("seeded", n)),
                    _ => (1, key("hot", n % HOT)),
                };
                let began = now();
                load(&cache, &key).await;
                let took = began.elapsed().as_secs_f64() * 1e6;
                times[0].push(took);
                times[kind].push(took);
                sleep(Duration::from_millis(1)).await;
            }
            times
        });
    }
    work.await;
    done.store(true, Ordering::Relaxed);
    let mut all = [const { Vec::new() }; KINDS];
    while let Some(times) = callers.join_next().await {
        let times: [Vec<f64>; KINDS] = times.expect("a caller does not panic");
        for (all, times) in all.iter_mut().zip(times) {
            all.extend(times);
        }
    }
    all.map(|times| {
        let mut percentiles = Percentiles::default();
        times.into_iter().for_each(|time| percentiles.add(time));
        percentiles
    })
}

fn key(prefix: &'static str, n: usize) -> CacheKey {
    CacheKey::build(prefix, n as u64).expect("the key is right")
}

const KINDS: usize = 4;
const NAMES: [&str; KINDS] = [
    "99 % of live calls below: 78 % hits, 20 % reads of Redis, 2 % loads of 10 ms",
    "99 % of live hits below",
    "99 % of live reads of Redis below",
    "99 % of live loads of 10 ms below",
];
const KEYS: usize = 10_000;
const LOADER: Duration = Duration::from_millis(10);
/// As long as warming takes, about.
const QUIET: Duration = Duration::from_secs(4);
const CALLERS: usize = 8;
const HOT: usize = 1_000;
const SEEDED: usize = 20_000;
/// Beyond the keys of the quiet part.
const QUIET_KEYS: usize = 10_000_000;
