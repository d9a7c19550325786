//! S8: half of the callers leave.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use cache_core::time::{minutes, seconds};
use cache_core::{Cache, EntryOptions};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::fleet::{hearing_node, key, undelivered};
use super::{Findings, Run, Tally};
use crate::clock::Stopwatch;
use crate::redis::RedisServer;
use crate::resp::Value;
use crate::wait::wait_until;

pub(super) async fn run(run: &Run, tally: &Arc<Tally>) -> Findings {
    let redis = RedisServer::start();
    let nodes = [
        hearing_node(&redis.url(), |node| node).await,
        hearing_node(&redis.url(), |node| node).await,
    ];
    let left = Arc::new(AtomicU64::new(0));
    let stormy: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (cache, tally, left) = (nodes[caller as usize % 2].clone(), tally.clone(), left.clone());
            let (mut rng, length) = (SmallRng::seed_from_u64(run.seed + caller), run.length);
            tokio::spawn(async move {
                let began = Stopwatch::start();
                while began.elapsed() < length {
                    for _ in 0..100 {
                        call(&cache, &mut rng, &tally, &left).await;
                    }
                }
            })
        })
        .collect();
    for task in stormy {
        task.await.unwrap();
    }
    let after = Stopwatch::start();
    wait_until(seconds(30), "nothing is left in flight", async || {
        nodes
            .iter()
            .all(|node| node.loads_in_flight() == 0 && node.stats().waiters == 0)
    })
    .await;
    let mut findings = Findings::default();
    findings.within(
        "from the last call until no load and no waiter is left",
        after.elapsed(),
        run.within(seconds(1)),
    );
    findings.never(
        "invalidations not delivered at the end",
        undelivered(&nodes, seconds(5)).await,
    );
    let locks = locks_given_back(&redis).await;
    findings.within(
        "from then on until no lock is held",
        locks,
        run.within(seconds(3)),
    );
    let left = left.load(Ordering::SeqCst);
    let all = left + tally.calls();
    findings.count("callers who left", left);
    findings.at_least(
        "share of the callers who left",
        left as f64 / all as f64,
        0.25,
        "",
    );
    findings.never("keys that are stuck", stuck(&nodes).await);
    findings
}

/// One call, dropped at some point of its way or not.
async fn call(cache: &Cache, rng: &mut SmallRng, tally: &Tally, left: &AtomicU64) {
    let (n, polls, borrowed) = (rng.random_range(0..KEYS), rng.random_range(1..3), rng.random());
    // Who need not wait has no occasion to leave: about half of all do.
    let patience = if rng.random_bool(0.9) { polls } else { u32::MAX };
    let options = EntryOptions::ttl(Duration::from_millis(3));
    let load = move |_| async move {
        tokio::time::sleep(Duration::from_micros(300)).await;
        Ok::<_, std::io::Error>(n)
    };
    let call = tally.begin();
    let answer = patient(patience, async {
        match rng.random_range(0..8) {
            0 => cache
                .remove(&key(n))
                .await
                .map(|()| n)
                .map_err(|error| error.to_string()),
            1 => cache
                .set(&key(n), n, minutes(1))
                .await
                .map(|_| n)
                .map_err(|error| error.to_string()),
            _ if borrowed => cache
                .get_or_load_borrowed(&key(n), options, load)
                .await
                .map(|value| *value)
                .map_err(|error| error.to_string()),
            _ => cache
                .get_or_load(&key(n), options, load)
                .await
                .map(|value| *value)
                .map_err(|error| error.to_string()),
        }
    });
    match answer.await {
        Some(Ok(value)) => call.answered(value == n),
        Some(Err(error)) => {
            println!("key {n}: {error}");
            call.failed();
        }
        None => {
            left.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Looks at it so many times; if it is not ready by then, drops it where it stands.
async fn patient<T>(looks: u32, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut left = looks;
    poll_fn(|context| {
        left -= 1;
        match work.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Keys that cannot be loaded any more.
async fn stuck(nodes: &[Cache]) -> u64 {
    let mut stuck = 0;
    for node in nodes {
        for n in 0..KEYS {
            node.remove(&key(n)).await.unwrap();
            let item = key(n);
            let load = node.get_or_load(
                &item,
                minutes(1),
                move |_| async move { Ok::<_, std::io::Error>(n) },
            );
            let loaded = tokio::time::timeout(seconds(5), load).await;
            stuck += u64::from(!loaded.is_ok_and(|loaded| loaded.is_ok_and(|value| *value == n)));
        }
    }
    stuck
}

/// How long it takes until no lock of a load, a name or a claim is held.
async fn locks_given_back(redis: &RedisServer) -> Duration {
    let began = Stopwatch::start();
    wait_until(seconds(30), "all locks are given back", async || {
        let held = redis.command(&["KEYS", "{*}:[lxc]"]);
        held.items().iter().map(Value::text).next().is_none()
    })
    .await;
    began.elapsed()
}

const CALLERS: u64 = 16;
const KEYS: u64 = 50;
