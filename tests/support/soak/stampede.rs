//! S4 and S5: many callers of one key, and many keys at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_core::time::{hours, minutes, seconds};
use cache_core::{Cache, EntryOptions};
use tokio::task::JoinSet;

use super::fleet::{hearing_node, key};
use super::{Findings, Run, Tally};
use crate::redis::RedisServer;
use crate::wait::wait_until;

pub(super) async fn one_key(run: &Run, tally: &Arc<Tally>) -> Findings {
    const NODES: usize = 4;
    const CALLERS: usize = 1_000;
    let redis = RedisServer::start();
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(hearing_node(&redis.url(), |node| node).await);
    }
    let mut most = 0;
    let rounds = run.rounds(async |round| {
        let loads = Arc::new(AtomicU64::new(0));
        let mut calls = JoinSet::new();
        for caller in 0..CALLERS {
            let (node, loads, tally) = (nodes[caller % NODES].clone(), loads.clone(), tally.clone());
            calls.spawn(async move {
                let call = tally.begin();
                let load = move |_| async move {
                    loads.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Ok::<_, std::io::Error>(round)
                };
                match node.get_or_load(&key(round), minutes(5), load).await {
                    Ok(value) => call.answered(*value == round),
                    Err(_) => call.failed(),
                }
            });
        }
        calls.join_all().await;
        most = most.max(loads.load(Ordering::SeqCst));
    });
    let rounds = rounds.await;
    let mut findings = Findings::default();
    findings.count("rounds", rounds);
    findings.at_most("loads of a round on all nodes together", most as f64, 1.0, "");
    findings
}

/// What a loader was asked for, and how many of its runs went on at once.
#[derive(Default)]
struct Crowd {
    loads: HashMap<u64, u64>,
    running: u64,
    peak: u64,
}

pub(super) async fn many_keys(run: &Run, tally: &Arc<Tally>) -> Findings {
    const KEYS: u64 = 10_000;
    const AT_ONCE: usize = 64;
    let redis = RedisServer::start();
    let mut nodes = Vec::new();
    for _ in 0..2 {
        nodes.push(hearing_node(&redis.url(), |node| node.max_concurrent_loads(AT_ONCE)).await);
    }
    let (mut most, mut peak, mut twice) = (0, 0, 0);
    let rounds = run.rounds(async |_| {
        let values = (0..KEYS).map(|n| (key(n), n));
        let _ = nodes[0].set_many(values, hours(1)).await.unwrap();
        redis.flushall();
        for node in &nodes {
            wait_until(seconds(10), "it has forgotten", async || {
                node.get::<u64>(&key(1)).await.is_none()
            })
            .await;
        }
        let mut calls = JoinSet::new();
        let mut crowds = Vec::new();
        for node in &nodes {
            let crowd = Arc::<Mutex<Crowd>>::default();
            for n in (0..KEYS).flat_map(|n| [n, n]) {
                let (node, crowd, tally) = (node.clone(), crowd.clone(), tally.clone());
                calls.spawn(async move {
                    let call = tally.begin();
                    let options = EntryOptions::ttl(minutes(5)).hard_timeout(minutes(2));
                    match node
                        .get_or_load(&key(n), options, move |_| crowd_load(crowd, n))
                        .await
                    {
                        Ok(value) => call.answered(*value == n),
                        Err(_) => call.failed(),
                    }
                });
            }
            crowds.push(crowd);
        }
        calls.join_all().await;
        let mut loaded = HashMap::<u64, u64>::new();
        for crowd in crowds {
            let crowd = crowd.lock().unwrap();
            most = most.max(crowd.loads.values().copied().max().unwrap_or(0));
            peak = peak.max(crowd.peak);
            crowd
                .loads
                .keys()
                .for_each(|n| *loaded.entry(*n).or_default() += 1);
        }
        twice += loaded.values().filter(|nodes| **nodes > 1).count() as u64;
    });
    let rounds = rounds.await;
    let mut findings = Findings::default();
    findings.count("rounds", rounds);
    findings.at_most("loads of a key on a node", most as f64, 1.0, "");
    findings.at_most("loads of a node at once", peak as f64, AT_ONCE as f64, "");
    findings.count("keys that both nodes loaded", twice);
    let alone = |node: &Cache| node.stats().counters.loads_without_lease;
    findings.count("loads without a lease", nodes.iter().map(alone).sum());
    findings
}

async fn crowd_load(crowd: Arc<Mutex<Crowd>>, n: u64) -> Result<u64, std::io::Error> {
    {
        let mut crowd = crowd.lock().unwrap();
        *crowd.loads.entry(n).or_default() += 1;
        crowd.running += 1;
        crowd.peak = crowd.peak.max(crowd.running);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    crowd.lock().unwrap().running -= 1;
    Ok(n)
}
