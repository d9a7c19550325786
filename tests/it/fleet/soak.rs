//! Much at once, and everything that can go wrong, by chance: shortened from what is run for hours before a release.

use std::collections::HashMap;
use std::sync::Mutex;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use support::{Accepting, Fault, FaultProxy};

use super::oracle::{World, trim};
use super::*;

/// Another one each time it is run by hand with `CHAOS_SEED`; the fault and its time are printed as they happen.
fn seed() -> u64 {
    std::env::var("CHAOS_SEED").map_or(7, |seed| seed.parse().unwrap())
}

async fn chaos(seed: u64, redis: &RedisServer, proxies: &[FaultProxy]) {
    let mut rng = SmallRng::seed_from_u64(seed);
    for _ in 0..16 {
        let pause = Duration::from_millis(rng.random_range(200..1_000));
        let lasts = Duration::from_millis(rng.random_range(100..1_200));
        let (fault, proxy) = (
            rng.random_range(0..10),
            &proxies[rng.random_range(0..proxies.len())],
        );
        tokio::time::sleep(pause).await;
        println!("after {pause:?} fault {fault} for {lasts:?}");
        match fault {
            0 => {
                redis.freeze();
                tokio::time::sleep(lasts).await;
                redis.thaw();
            }
            1 => {
                redis.kill();
                tokio::time::sleep(lasts).await;
                tokio::task::block_in_place(|| redis.restart());
            }
            2 => redis.flushall(),
            3 => trim(redis),
            4 => passing(proxy, Fault::BlackHole, lasts * 3).await,
            5 => passing(proxy, Fault::WithholdReplies, lasts).await,
            6 => passing(proxy, Fault::DelayReplies(Duration::from_millis(50)), lasts).await,
            7 => passing(proxy, Fault::Slice, lasts).await,
            8 => {
                proxy.accept(Accepting::Tarpit);
                proxy.reset_all();
                tokio::time::sleep(lasts).await;
                proxy.heal();
            }
            _ => {
                redis.command(&["SCRIPT", "FLUSH"]);
                redis.disconnect_clients();
            }
        }
    }
    tokio::time::sleep(seconds(1)).await;
}

async fn passing(proxy: &FaultProxy, fault: Fault, lasts: Duration) {
    proxy.set(fault);
    tokio::time::sleep(lasts).await;
    proxy.heal();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_no_call_fails_and_nobody_reads_what_was_superseded_for_long() {
    let redis = RedisServer::start();
    let proxies = [
        FaultProxy::start(redis.address()),
        FaultProxy::start(redis.address()),
    ];
    let mut nodes = Vec::new();
    for url in [
        redis.url(),
        redis.url_via(proxies[0].address()),
        redis.url_via(proxies[1].address()),
    ] {
        nodes.push(hearing_node(&url, |node| node.disconnected_cap(seconds(3))).await);
    }
    let seed = seed();
    let world = Arc::new(World::new(seed, nodes));
    world.run(chaos(seed, &redis, &proxies)).await;
    println!("fleet: {}", world.fleet.report());
    world.assert_own_reads_are_never_old();
    // The longest cut, the time until the log is unheard, and the cap.
    world.fleet.assert_within(Duration::from_millis(7_500));
    for node in &world.nodes {
        assert_eq!(node.flush_pending(seconds(5)).await, 0, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stampede_loads_once_in_each_of_many_rounds() {
    let redis = RedisServer::start();
    let mut nodes = Vec::new();
    for _ in 0..4 {
        nodes.push(hearing_node(&redis.url(), |node| node).await);
    }
    for round in 0..8 {
        let origin = Origin::default();
        let mut calls = tokio::task::JoinSet::new();
        for caller in 0..1_000 {
            let (node, origin) = (nodes[caller % 4].clone(), origin.clone());
            calls.spawn(async move {
                let key = key(round);
                let load = node.get_or_load(&key, minutes(5), move |_| origin.load_slowly());
                load.await.is_ok()
            });
        }
        assert!(calls.join_all().await.into_iter().all(|answered| answered));
        assert_eq!(origin.loads(), 1, "round {round}");
    }
}

/// What a loader was asked for, and how many of its runs went on at once.
#[derive(Default)]
struct Crowd {
    loads: HashMap<u64, u64>,
    running: u64,
    peak: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_keys_that_vanish_at_once_are_loaded_a_few_at_a_time() {
    const KEYS: u64 = 10_000;
    const AT_ONCE: u64 = 64;
    let redis = RedisServer::start();
    let limit = |node: CacheBuilder| node.max_concurrent_loads(AT_ONCE as usize);
    let nodes = [
        hearing_node(&redis.url(), limit).await,
        hearing_node(&redis.url(), limit).await,
    ];
    let values = (0..KEYS).map(|n| (key(n), n));
    let _ = nodes[0].set_many(values, hours(1)).await.unwrap();
    redis.flushall();
    for node in &nodes {
        wait_until(seconds(5), "it has forgotten", async || {
            node.get::<u64>(&key(1)).await.is_none()
        })
        .await;
    }
    let crowds = [Arc::<Mutex<Crowd>>::default(), Arc::<Mutex<Crowd>>::default()];
    let mut calls = tokio::task::JoinSet::new();
    for (node, crowd) in nodes.iter().zip(&crowds) {
        for n in 0..KEYS {
            let (node, crowd) = (node.clone(), crowd.clone());
            calls.spawn(async move {
                let key = key(n);
                let options = EntryOptions::ttl(minutes(5)).hard_timeout(minutes(2));
                let load = node.get_or_load(&key, options, move |_| async move {
                    {
                        let mut crowd = crowd.lock().unwrap();
                        *crowd.loads.entry(n).or_default() += 1;
                        crowd.running += 1;
                        crowd.peak = crowd.peak.max(crowd.running);
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    crowd.lock().unwrap().running -= 1;
                    Ok::<_, std::io::Error>(n)
                });
                load.await.is_ok_and(|value| *value == n)
            });
        }
    }
    assert!(calls.join_all().await.into_iter().all(|answered| answered));
    for crowd in &crowds {
        let crowd = crowd.lock().unwrap();
        println!(
            "{} keys loaded, at most {} at once",
            crowd.loads.len(),
            crowd.peak
        );
        assert!(crowd.loads.values().all(|loads| *loads == 1));
        assert!(crowd.peak <= AT_ONCE);
    }
}

/// How much memory this process has.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_keys_while_redis_is_down_stays_within_the_bound() {
    const BUDGET: usize = 16 << 20;
    let redis = RedisServer::start();
    let cache = hearing_node(&redis.url(), |node| node.memory_bytes(BUDGET as u64)).await;
    redis.kill();
    let before = resident();
    for n in 0..60_000_u64 {
        let key = key(n);
        let options = tagged(&format!("tag-{n}"));
        let load = cache.get_or_load(&key, options, move |_| async move {
            Ok::<_, std::io::Error>(vec![n; 64])
        });
        assert_eq!(load.await.unwrap()[0], n);
        if n % 10 == 0 {
            assert!(cache.remove(&key).await.is_err());
        }
    }
    let grown = resident().saturating_sub(before);
    println!("grew by {} KiB", grown >> 10);
    assert!(grown < BUDGET * 13 / 10 + (64 << 20), "grew by {grown} bytes");
    redis.restart();
    wait_until(seconds(20), "what was pending is delivered", async || {
        cache.flush_pending(seconds(1)).await == 0
    })
    .await;
}
