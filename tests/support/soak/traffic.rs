//! Callers that read and change keys all the time, and what became of their calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cache_core::time::minutes;
use cache_core::{Cache, EntryOptions, TagSet};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::Tally;
use super::fleet::key;

/// Reads keys from several tasks until it is told to stop; every value must be its key's.
#[derive(Debug)]
pub struct Readers {
    stop: Arc<AtomicBool>,
    tally: Arc<Tally>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Readers {
    /// So many on each node.
    pub fn start(nodes: &[Cache], per_node: u64) -> Self {
        Self::counted(nodes, per_node, 0, Arc::default())
    }

    pub(super) fn counted(nodes: &[Cache], per_node: u64, seed: u64, tally: Arc<Tally>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = nodes
            .iter()
            .flat_map(|node| (0..per_node).map(move |_| node.clone()))
            .zip(seed..)
            .map(|(node, seed)| {
                let (stop, tally) = (stop.clone(), tally.clone());
                tokio::spawn(async move { read(&node, seed, &stop, &tally).await })
            })
            .collect();
        Self { stop, tally, tasks }
    }

    /// Waits for the calls under way.
    ///
    /// # Panics
    /// When a reader did.
    pub async fn stop(self) -> Arc<Tally> {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.tally
    }
}

async fn read(node: &Cache, seed: u64, stop: &AtomicBool, tally: &Tally) {
    let mut rng = SmallRng::seed_from_u64(seed);
    while !stop.load(Ordering::SeqCst) {
        let n = rng.random_range(0..500_u64);
        let call = tally.begin();
        let options = EntryOptions::ttl(Duration::from_millis(200)).tags(TagSet::new(["t"]).unwrap());
        let answer = node
            .get_or_load(&key(n), options, move |_| async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                Ok::<_, std::io::Error>(n)
            })
            .await;
        match answer {
            Ok(value) => call.answered(*value == n),
            Err(_) => call.failed(),
        }
        if rng.random_range(0..50) == 0 {
            let _ = node.remove(&key(n)).await;
        }
        tokio::task::yield_now().await;
    }
}

/// Whether what one node stores the other reads, once it has had a moment to hear of it.
pub async fn shares(one: &Cache, other: &Cache) -> bool {
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
