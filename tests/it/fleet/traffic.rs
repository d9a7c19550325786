//! Callers that read and change keys all the time, and what became of their calls.

use std::sync::atomic::AtomicBool;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use support::Stopwatch;

use super::*;

/// Reads keys from several tasks until it is told to stop; every value must be its key's.
pub(super) struct Readers {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<Tally>>,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) calls: u64,
    pub(super) failed: u64,
    /// Answers that were another key's value.
    pub(super) foreign: u64,
    pub(super) slowest: Duration,
}

impl Readers {
    pub(super) fn start(nodes: &[Cache], per_node: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = nodes
            .iter()
            .flat_map(|node| (0..per_node).map(move |_| node.clone()))
            .zip(0..)
            .map(|(node, seed)| {
                let stop = stop.clone();
                tokio::spawn(async move { reader(&node, seed, &stop).await })
            })
            .collect();
        Self { stop, tasks }
    }

    pub(super) async fn stop(self) -> Tally {
        self.stop.store(true, Ordering::SeqCst);
        let mut sum = Tally::default();
        for task in self.tasks {
            let tally = task.await.unwrap();
            sum.calls += tally.calls;
            sum.failed += tally.failed;
            sum.foreign += tally.foreign;
            sum.slowest = sum.slowest.max(tally.slowest);
        }
        sum
    }
}

async fn reader(node: &Cache, seed: u64, stop: &AtomicBool) -> Tally {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut tally = Tally::default();
    while !stop.load(Ordering::SeqCst) {
        let n = rng.random_range(0..500_u64);
        let began = Stopwatch::start();
        let options = EntryOptions::ttl(Duration::from_millis(200)).tags(TagSet::new(["t"]).unwrap());
        let answer = node
            .get_or_load(&key(n), options, move |_| async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                Ok::<_, std::io::Error>(n)
            })
            .await;
        tally.slowest = tally.slowest.max(began.elapsed());
        tally.calls += 1;
        match answer {
            Ok(value) => tally.foreign += u64::from(*value != n),
            Err(_) => tally.failed += 1,
        }
        if rng.random_range(0..50) == 0 {
            let _ = node.remove(&key(n)).await;
        }
        tokio::task::yield_now().await;
    }
    tally
}

/// Whether what one node stores the other reads, once it has had a moment to hear of it.
pub(super) async fn shares(one: &Cache, other: &Cache) -> bool {
    let (key, value) = (key(u64::MAX - 1), rand::random::<u64>());
    let _ = one.set(&key, value, minutes(1)).await;
    for _ in 0..LOOKS {
        if other.get::<u64>(&key).await.is_some_and(|found| *found == value) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    false
}

/// The log is heard within milliseconds; on a busy machine, within some tens of them.
const LOOKS: usize = 50;
