//! How figures grow with threads, entries, sizes of values, nodes, tags and shards.
//!
//! Each series is measured in interleaved rounds and ends as a law: flat, linear, logarithmic, or a power, with its
//! constants. In-process hits are measured in the processor time of their threads, what waits for a server in wall time.

use std::sync::Barrier;
use std::time::Duration;

use cache_core::codec::Codec;
use cache_core::time::hours;
use cache_core::{Cache, CacheKey, EntryOptions, Redis, TagSet, Tier, Typed};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use support::{RedisCluster, RedisServer, wait_until};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::coherence;
use crate::measure::{Effort, multi_threaded, now, processor_time, single_threaded};
use crate::report::Report;
use crate::sweep::{Series, Step, add, sweep};

const AREA: &str = "scale";

pub(crate) fn measure(effort: Effort, report: &mut Report) {
    threads(effort, report);
    entries(effort, report);
    sizes_in_memory(effort, report);
    let server = RedisServer::start();
    let runtime = multi_threaded();
    sizes_in_redis(&server, &runtime, effort, report);
    tags(&server, &runtime, effort, report);
    nodes(&server, &runtime, effort, report);
    invalidations(&server, effort, report);
    shards(&runtime, effort, report);
}

/// The same cache, hit by more threads.
fn threads(effort: Effort, report: &mut Report) {
    const ENTRIES: u64 = 10_000;
    let values = filled(ENTRIES, |n| n);
    let steps = [1_usize, 2].map(|count| {
        let values = &values;
        Step::new(count as f64, move |operations| {
            let barrier = Barrier::new(count);
            let each = operations / count as u64 + 1;
            let took = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..count as u64)
                    .map(|seed| {
                        let barrier = &barrier;
                        scope.spawn(move || {
                            barrier.wait();
                            processor_time(|| hit(values, ENTRIES, each, seed))
                        })
                    })
                    .collect();
                let times = threads
                    .into_iter()
                    .map(|thread| thread.join().expect("hits do not panic"));
                times.max().unwrap_or_default()
            });
            // Each thread has done its share in this time.
            took
        })
    });
    let series = Series {
        area: AREA,
        name: "hits in memory per second",
        by: "threads",
        unit: "M/s",
        figure: |nanos| 1e3 / nanos,
    };
    sweep(steps.into(), &series, effort, report);
}

/// More and more entries, hit at random.
fn entries(effort: Effort, report: &mut Report) {
    let most = if effort.is_quick() { 6 } else { 7 };
    let caches: Vec<_> = (3..=most)
        .map(|power| 10_u64.pow(power))
        .map(|count| (count, filled(count, |n| n)))
        .collect();
    let steps = caches
        .iter()
        .map(|(count, values)| {
            let mut seed = 0;
            Step::new(*count as f64, move |operations| {
                seed += 1;
                processor_time(|| hit(values, *count, operations, seed))
            })
        })
        .collect();
    sweep(steps, &nanos("hit in memory", "entries"), effort, report);
}

/// A hit hands out the value itself: its size does not matter.
fn sizes_in_memory(effort: Effort, report: &mut Report) {
    const ENTRIES: u64 = 32;
    let caches: Vec<_> = SIZES
        .into_iter()
        .map(|size| (size, filled(ENTRIES, |_| "x".repeat(size))))
        .collect();
    let steps = caches
        .iter()
        .map(|(size, values)| {
            Step::new(*size as f64, move |operations| {
                processor_time(|| hit(values, ENTRIES, operations, 1))
            })
        })
        .collect();
    sweep(steps, &nanos("hit in memory of a value", "bytes"), effort, report);
}

fn sizes_in_redis(server: &RedisServer, runtime: &Runtime, effort: Effort, report: &mut Report) {
    let cache = far_only(
        "sizes",
        Redis::from_url(&server.url()).expect("the server's URL is valid"),
    );
    let keys: Vec<_> = SIZES.into_iter().map(|size| (size, key(size as u64))).collect();
    runtime.block_on(async {
        for (size, key) in &keys {
            shared(&cache, key, "x".repeat(*size), hours(1).into()).await;
        }
    });
    let steps = keys
        .iter()
        .map(|(size, key)| {
            let cache = cache.clone();
            Step::new(*size as f64, move |operations| {
                one_after_another(runtime, operations, async || {
                    let found = cache.get::<String>(key).await;
                    assert!(found.is_some(), "it was stored");
                })
            })
        })
        .collect();
    sweep(steps, &micros("hit in Redis of a value", "bytes"), effort, report);
}

fn tags(server: &RedisServer, runtime: &Runtime, effort: Effort, report: &mut Report) {
    let cache = far_only(
        "tags",
        Redis::from_url(&server.url()).expect("the server's URL is valid"),
    );
    let counts = [0_u64, 1, 2, 4, 8, 16, 32];
    let tagged = |count: u64| {
        let tags = TagSet::new((0..count).map(|n| format!("tag-{n}"))).expect("the tags are valid");
        EntryOptions::ttl(hours(1)).tags(tags)
    };
    runtime.block_on(async {
        for count in counts {
            shared(&cache, &key(count), count, tagged(count)).await;
        }
    });
    let steps = counts.map(|count| {
        let (cache, key) = (cache.clone(), key(count));
        Step::new(count as f64, move |operations| {
            one_after_another(runtime, operations, async || {
                assert!(cache.get::<u64>(&key).await.is_some(), "it was stored");
            })
        })
    });
    sweep(
        steps.into(),
        &micros("hit in Redis of an entry", "tags"),
        effort,
        report,
    );
    let steps = counts.map(|count| {
        let (cache, key, options) = (cache.clone(), key(1_000 + count), tagged(count));
        Step::new(count as f64, move |operations| {
            one_after_another(runtime, operations, async || {
                let stored = cache.set(&key, count, options.clone()).await;
                assert!(stored.is_ok_and(cache_core::Stored::is_stored), "the server runs");
            })
        })
    });
    sweep(steps.into(), &micros("store of an entry", "tags"), effort, report);
}

/// All nodes together, each with a connection of its own and eight callers.
fn nodes(server: &RedisServer, runtime: &Runtime, effort: Effort, report: &mut Report) {
    let nodes: Vec<Cache> = (0..16)
        .map(|_| {
            far_only(
                "nodes",
                Redis::from_url(&server.url()).expect("the server's URL is valid"),
            )
        })
        .collect();
    runtime.block_on(async {
        for n in 0..KEYS {
            shared(&nodes[0], &key(n), n, hours(1).into()).await;
        }
    });
    let steps = [1_usize, 2, 4, 8, 16].map(|count| {
        let nodes = nodes[..count].to_vec();
        Step::new(count as f64, move |operations| {
            crowd(runtime, &nodes, 8, operations)
        })
    });
    sweep(
        steps.into(),
        &rate("hits in Redis per second, all together", "nodes"),
        effort,
        report,
    );
}

/// How long after an invalidation the slowest other node serves the old value.
fn invalidations(server: &RedisServer, effort: Effort, report: &mut Report) {
    for (count, delays) in coherence::delays(server, &[2, 4, 8, 16], effort.slow_rounds * 20) {
        let series = micros(
            "after an invalidation, until the slowest node has heard it",
            "nodes",
        );
        // The law is of sizes, and a node may have heard it before the one that said it: a microsecond at least.
        let delays = delays
            .into_iter()
            .map(|nanos| (nanos as f64).max(1_000.0))
            .collect();
        add(&series, count as f64, delays, report);
    }
}

/// A server, and a cluster of three masters on the same machine: what the routing costs.
fn shards(runtime: &Runtime, effort: Effort, report: &mut Report) {
    let (server, cluster) = (RedisServer::start(), RedisCluster::start());
    let alone = Redis::from_url(&server.url()).expect("the server's URL is valid");
    let sharded = Redis::cluster(cluster.urls()).expect("the servers' URLs are valid");
    let caches = [(1, far_only("shards", alone)), (3, far_only("shards", sharded))];
    runtime.block_on(async {
        for (_, cache) in &caches {
            for n in 0..KEYS {
                shared(cache, &key(n), n, hours(1).into()).await;
            }
        }
    });
    let steps = caches
        .iter()
        .map(|(count, cache)| {
            Step::new(f64::from(*count), move |operations| {
                crowd(runtime, std::slice::from_ref(cache), 64, operations)
            })
        })
        .collect();
    sweep(
        steps,
        &rate("hits in Redis per second, 64 callers", "shards"),
        effort,
        report,
    );
}

fn filled<T: cache_core::CacheValue>(count: u64, value: impl Fn(u64) -> T) -> Typed<T> {
    let cache = Cache::builder("scale")
        .memory_entries(2 * count)
        .defaults(EntryOptions::ttl(hours(1)))
        .build()
        .expect("the settings are valid");
    let values: Typed<T> = cache.typed("value").expect("the prefix is valid");
    single_threaded().block_on(async {
        for n in 0..count {
            assert!(values.set(n, value(n)).await.is_ok(), "the options are valid");
        }
    });
    values
}

/// Hits keys at random.
fn hit<T: cache_core::CacheValue>(values: &Typed<T>, count: u64, operations: u64, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    single_threaded().block_on(async {
        for _ in 0..operations {
            let found = values.get(rng.random_range(0..count)).await;
            assert!(found.is_some(), "there is room for all");
        }
    });
}

fn one_after_another(runtime: &Runtime, operations: u64, mut operation: impl AsyncFnMut()) -> Duration {
    runtime.block_on(async {
        let start = now();
        for _ in 0..operations {
            operation().await;
        }
        start.elapsed()
    })
}

/// So many callers on each node; the time for all operations together.
fn crowd(runtime: &Runtime, nodes: &[Cache], callers: u64, operations: u64) -> Duration {
    let each = operations / (nodes.len() as u64 * callers) + 1;
    let share = (each * nodes.len() as u64 * callers) as f64 / operations as f64;
    let took = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        let start = now();
        for (node, caller) in nodes
            .iter()
            .flat_map(|node| (0..callers).map(move |caller| (node.clone(), caller)))
        {
            tasks.spawn(async move {
                for n in 0..each {
                    let found = node.get::<u64>(&key((caller * 97 + n) % KEYS)).await;
                    assert!(found.is_some(), "it was stored");
                }
            });
        }
        tasks.join_all().await;
        start.elapsed()
    });
    took.div_f64(share)
}

/// A cache that keeps nothing in memory.
fn far_only(name: &str, redis: Redis) -> Cache {
    Cache::builder(name)
        .redis(redis)
        .memory_bytes(1)
        .codec(Codec::Postcard)
        .build()
        .expect("the settings are valid")
}

/// Stores it, and waits until it is found in Redis.
async fn shared<T: cache_core::CacheValue + Clone>(
    cache: &Cache,
    key: &CacheKey,
    value: T,
    options: EntryOptions,
) {
    wait_until(Duration::from_secs(10), "it is stored in Redis", async || {
        let _ = cache.set(key, value.clone(), options.clone()).await;
        let found = cache.get::<T>(key).await;
        found.is_some_and(|found| found.outcome().tier == Some(Tier::Shared))
    })
    .await;
}

fn key(n: u64) -> CacheKey {
    CacheKey::build("scale", n).expect("the prefix is valid")
}

fn nanos(name: &'static str, by: &'static str) -> Series {
    Series {
        area: AREA,
        name,
        by,
        unit: "ns",
        figure: |nanos| nanos,
    }
}

fn micros(name: &'static str, by: &'static str) -> Series {
    Series {
        area: AREA,
        name,
        by,
        unit: "µs",
        figure: |nanos| nanos / 1e3,
    }
}

fn rate(name: &'static str, by: &'static str) -> Series {
    Series {
        area: AREA,
        name,
        by,
        unit: "k/s",
        figure: |nanos| 1e6 / nanos,
    }
}

const SIZES: [usize; 6] = [16, 256, 4_096, 32_768, 262_144, 1_048_576];
const KEYS: u64 = 500;
