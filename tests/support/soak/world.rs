//! Nobody reads what was superseded: on the node that changed it never, on the others for moments at most.
//!
//! Each key's value in the origin is a version that grows. A writer changes the origin, then invalidates or sets the key
//! in one of many ways, on one node or another. Loads read the origin first and take their time then, so they bring old
//! values late. Readers on all nodes report to oracles: one per node that knows what was acknowledged on that node, and
//! permits nothing older; one for the fleet that permits as much as notices take.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_core::time::seconds;
use cache_core::{
    Cache, CacheKey, Eager, EntryOptions, Error, ErrorKind, KeyPattern, LoadContext, Stored, TagSet,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::Handle;

use super::fleet::key;
use super::{Findings, Tally};
use crate::clock::Stopwatch;
use crate::oracle::{Oracle, Verdict};

/// Nodes, an origin, and everybody who reads and writes.
#[derive(Debug)]
pub struct World {
    seed: u64,
    shape: Shape,
    tally: Arc<Tally>,
    origin: Vec<AtomicU64>,
    nodes: Vec<Cache>,
    /// What was acknowledged on each node.
    own: Vec<Oracle>,
    /// What was acknowledged on any, for reads on the others.
    fleet: Oracle,
    clock: Stopwatch,
    stop: AtomicBool,
    /// How each key was changed last.
    last: Vec<AtomicU64>,
    /// Reads through this node are the fleet oracle's business only if this says so.
    judged: Vec<AtomicBool>,
    /// Where each node runs that is frozen now and then.
    apart: Vec<Option<Handle>>,
    freezes: AtomicU64,
    writes: AtomicU64,
    chance: Mutex<SmallRng>,
}

/// How much goes on.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// How many keys there are.
    pub keys: u64,
    /// How many readers each node has.
    pub readers: u64,
    /// How long a reader rests between two reads, at most.
    pub rest: Duration,
}

impl Shape {
    /// Few keys, so that much happens to each.
    pub const SMALL: Self = Self {
        keys: 40,
        readers: 6,
        rest: Duration::from_millis(2),
    };
}

impl World {
    /// Nobody reads or writes yet.
    pub fn new(seed: u64, nodes: Vec<Cache>) -> Self {
        Self::shaped(seed, nodes, Shape::SMALL, Arc::default())
    }

    pub(super) fn shaped(seed: u64, nodes: Vec<Cache>, shape: Shape, tally: Arc<Tally>) -> Self {
        let zeros = || (0..shape.keys).map(|_| AtomicU64::new(0)).collect();
        Self {
            origin: zeros(),
            last: zeros(),
            own: nodes.iter().map(|_| Oracle::new()).collect(),
            judged: nodes.iter().map(|_| AtomicBool::new(true)).collect(),
            apart: nodes.iter().map(|_| None).collect(),
            freezes: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            chance: Mutex::new(SmallRng::seed_from_u64(seed)),
            seed,
            shape,
            tally,
            nodes,
            fleet: Oracle::new(),
            clock: Stopwatch::start(),
            stop: AtomicBool::new(false),
        }
    }

    /// This node runs on a runtime of its own, where it is frozen over some of its loads, for [`FROZEN`].
    pub fn runs_apart(&mut self, node: usize, runtime: Handle) {
        self.apart[node] = Some(runtime);
    }

    /// How often a node that runs apart was frozen.
    pub fn freezes(&self) -> u64 {
        self.freezes.load(Ordering::SeqCst)
    }

    /// Its nodes.
    pub fn nodes(&self) -> &[Cache] {
        &self.nodes
    }

    /// What must hold: no call fails; nobody reads what was superseded on the node itself, and on another node for
    /// longer than the bound.
    pub fn findings(&self, bound: Duration) -> Findings {
        let mut findings = Findings {
            seed: self.seed,
            ..Findings::default()
        };
        for (node, oracle) in self.own.iter().enumerate() {
            let report = oracle.report();
            findings.stale(format!("node {node}, of what was acknowledged on it"), &report);
            findings.at_least(format!("reads on node {node}"), report.reads as f64, 1.0, "");
            findings.never(
                format!("reads on node {node} of what was superseded on it"),
                report.stale,
            );
        }
        let report = self.fleet.report();
        findings.stale("all nodes, of what was acknowledged on any", &report);
        findings.never("reads of a version that nobody wrote", report.foreign);
        findings.within(
            "the longest time that another node served what was superseded",
            report.max_age,
            bound,
        );
        findings.never("calls that failed", self.tally.failed());
        findings.count("changes of a key", self.writes.load(Ordering::SeqCst));
        findings
    }

    /// The reads of all nodes, compared with what was acknowledged on any.
    pub fn fleet(&self) -> crate::oracle::Report {
        self.fleet.report()
    }

    /// A number below `below`, for what is left to chance.
    fn random(&self, below: u64) -> u64 {
        self.chance.lock().unwrap().random_range(0..below)
    }

    /// Does what this node does where this node runs.
    async fn on<R: Send + 'static>(&self, node: usize, work: impl Future<Output = R> + Send + 'static) -> R {
        match &self.apart[node] {
            Some(apart) => apart.spawn(work).await.unwrap(),
            None => work.await,
        }
    }

    fn runs(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    /// The loader: sees the origin now, and tells it later. A node that runs apart is frozen over some of its loads.
    async fn load(
        self: Arc<Self>,
        node: usize,
        n: u64,
        load: Option<LoadContext<u64>>,
    ) -> Result<u64, std::io::Error> {
        let version = self.origin[n as usize].load(Ordering::SeqCst);
        let pause = self.random(25);
        if self.apart[node].is_some() && self.random(200) == 0 {
            self.freezes.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(FROZEN);
        } else if pause > 3 {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        if let Some(load) = load
            && n.is_multiple_of(3)
        {
            load.tag(group(n)).unwrap();
        }
        Ok(version)
    }

    fn judge(&self, node: usize, n: u64, version: u64, began: Duration, by: &str) {
        let verdict = self.own[node].read(&n.to_string(), version, began);
        if verdict != Verdict::Current {
            let how = self.last[n as usize].load(Ordering::SeqCst);
            println!(
                "node {node}, key {n}, version {version}, changed by way {how}, read by {by}: {verdict:?}"
            );
        }
        if self.judged[node].load(Ordering::SeqCst) {
            self.fleet.read(&n.to_string(), version, began);
        }
    }

    async fn read(self: &Arc<Self>, node: usize, rng: &mut SmallRng) {
        let (n, cache) = (rng.random_range(0..self.shape.keys), &self.nodes[node]);
        let item = key(n);
        let began = self.clock.elapsed();
        let by = rng.random_range(0..10);
        let call = self.tally.begin();
        let found = match by {
            0 => cache.get::<u64>(&item).await.map(|value| *value),
            1 => {
                // What a batch stores carries no tags, so it is only of keys that are never changed by tag.
                let some: Vec<u64> = (0..4)
                    .map(|i| (n + i * 4) % self.shape.keys / 4 * 4 + 3)
                    .collect();
                let keys: Vec<_> = some.iter().map(|n| key(*n)).collect();
                let world = self.clone();
                let loaded = cache.get_or_load_many(&keys, options(n).tags(TagSet::EMPTY), move |keys| {
                    let world = world.clone();
                    async move { world.load_many(keys).await }
                });
                let values = match loaded.await {
                    Ok(values) => values,
                    Err(error) => {
                        println!("node {node}, a batch from key {n}: {error}");
                        return call.failed();
                    }
                };
                for (n, value) in some.iter().zip(values) {
                    if let Some(value) = value {
                        self.judge(node, *n, *value, began, "batch");
                    }
                }
                None
            }
            _ => {
                let world = self.clone();
                let mut options = options(n);
                if revalidates(n) {
                    options = options.soft_timeout(Duration::ZERO);
                }
                let loaded = cache.get_or_load(&item, options, move |load| world.load(node, n, Some(load)));
                match loaded.await {
                    Ok(loaded) => Some(*loaded),
                    Err(error) => {
                        println!("node {node}, key {n}: {error}");
                        return call.failed();
                    }
                }
            }
        };
        call.answered(true);
        if let Some(version) = found {
            self.judge(node, n, version, began, if by == 0 { "get" } else { "load" });
        }
    }

    async fn load_many(
        self: Arc<Self>,
        keys: Vec<CacheKey>,
    ) -> Result<HashMap<CacheKey, u64>, std::io::Error> {
        let number = |key: &CacheKey| key.text().rsplit(':').next().unwrap().parse::<u64>().unwrap();
        let versions: HashMap<_, _> = keys
            .into_iter()
            .map(|key| {
                let version = self.origin[number(&key) as usize].load(Ordering::SeqCst);
                (key, version)
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(versions)
    }

    /// Changes a key in the origin and, in one of many ways, in the caches.
    async fn write(self: &Arc<Self>, rng: &mut SmallRng) {
        let (n, node) = (rng.random_range(0..self.shape.keys), rng.random_range(0..2));
        let name = n.to_string();
        let version = self.origin[n as usize].load(Ordering::SeqCst) + 1;
        for oracle in self.own.iter().chain([&self.fleet]) {
            oracle.intend(&name, version);
        }
        self.origin[n as usize].store(version, Ordering::SeqCst);
        let how: u64 = match rng.random_range(0..20) {
            tag @ (9..=11) if n % 4 == 3 => tag - 9,
            // What was only made stale may still be shown.
            7 if revalidates(n) => 0,
            how => how,
        };
        self.last[n as usize].store(how, Ordering::SeqCst);
        self.writes.fetch_add(1, Ordering::SeqCst);
        let world = self.clone();
        let change = async move { world.change(node, n, version, how).await };
        let (here, everywhere) = self.on(node, change).await;
        let now = self.clock.elapsed();
        if here {
            self.own[node].acknowledge(&name, version, now);
        }
        if everywhere {
            self.fleet.acknowledge(&name, version, now);
        }
    }

    /// Changes a key in the caches, in one of many ways; whether it holds on this node from now on, and on all.
    async fn change(self: Arc<Self>, node: usize, n: u64, version: u64, how: u64) -> (bool, bool) {
        let (cache, item) = (&self.nodes[node], key(n));
        match how {
            0..=3 => sure(cache.remove(&item).await.map_err(Some)),
            4..=6 => {
                let stored = cache.set(&item, version, tagged_options(n)).await.unwrap();
                (stored.is_stored(), stored == Stored::Yes)
            }
            7 => sure(cache.expire(&item).await.map_err(Some)),
            8 => {
                let updated = cache
                    .update(&item, tagged_options(n), |_: Option<u64>| version)
                    .await;
                sure(updated.map(drop).map_err(|_| None))
            }
            9..=11 => sure(cache.invalidate_tag(group(n)).await.map_err(Some)),
            12 => sure(cache.remove_prefix("item").await.map_err(Some)),
            13 => sure(cache.clear().await.map_err(Some)),
            14 => {
                let pattern = KeyPattern::new("item").unwrap().part(n);
                sure(cache.remove_matching(pattern).await.map_err(Some))
            }
            15 => {
                let world = self.clone();
                let load = cache.refresh(&item, options(n), move |load| world.load(node, n, Some(load)));
                sure(load.await.map(drop).map_err(|_| None))
            }
            16 => {
                let (one, other) = tokio::join!(
                    cache.set(&item, version, tagged_options(n)),
                    self.nodes[1 - node].set(&item, version, tagged_options(n))
                );
                (one.unwrap().is_stored(), other.unwrap() == Stored::Yes)
            }
            _ => {
                let (one, other) = tokio::join!(cache.remove(&item).into_future(), cache.expire(&item));
                sure(one.and(other).map_err(Some))
            }
        }
    }

    /// Reads on every node and writes while something happens; then nothing is on its way any more.
    ///
    /// # Panics
    /// When a reader or the writer did.
    pub async fn run(self: &Arc<Self>, disturb: impl Future<Output = ()>) {
        let seed = self.seed;
        self.stop.store(false, Ordering::SeqCst);
        let mut tasks = Vec::new();
        for node in 0..self.nodes.len() {
            for reader in 0..self.shape.readers {
                let world = self.clone();
                let mut rng = SmallRng::seed_from_u64(seed + node as u64 * 100 + reader);
                let reads = async move {
                    while world.runs() {
                        world.read(node, &mut rng).await;
                        tokio::time::sleep(world.shape.rest.mul_f64(rng.random())).await;
                    }
                };
                tasks.push(match &self.apart[node] {
                    Some(apart) => apart.spawn(reads),
                    None => tokio::spawn(reads),
                });
            }
        }
        let world = self.clone();
        let mut rng = SmallRng::seed_from_u64(seed);
        tasks.push(tokio::spawn(async move {
            while world.runs() {
                world.write(&mut rng).await;
                tokio::time::sleep(Duration::from_micros(rng.random_range(0..3_000))).await;
            }
        }));
        disturb.await;
        self.stop.store(true, Ordering::SeqCst);
        for task in tasks {
            task.await.unwrap();
        }
    }
}

const GROUPS: u64 = 5;

/// Longer than a load of the node that it happens to may take.
pub const FROZEN: Duration = Duration::from_millis(600);

/// Whether it holds on this node, and on all.
fn sure(outcome: Result<(), Option<Error>>) -> (bool, bool) {
    match outcome {
        Ok(()) => (true, true),
        // Not acknowledged: it holds here at once, and elsewhere later.
        Err(Some(error)) => (error.kind() == ErrorKind::InvalidationUncertain, false),
        Err(None) => (false, false),
    }
}

fn group(n: u64) -> String {
    format!("group-{}", n % GROUPS)
}

/// Lifetimes shorter than a load with its waits, and longer than any disturbance; some keys are refreshed ahead, some served stale,
/// some tagged by their loader.
fn options(n: u64) -> EntryOptions {
    let ttl = [1_000, 300, 30_000, 5_000][n as usize % 4];
    let options = EntryOptions::ttl(Duration::from_millis(ttl));
    let options = match n % 5 {
        0 => options.eager(Eager::After(0.2)),
        1 | 2 => options.stale_for(seconds(10)),
        _ => options,
    };
    match n % 3 {
        0 => options,
        _ => options.tags(TagSet::new([group(n)]).unwrap()),
    }
}

/// Whether a stale value of this key is shown while it is loaded anew behind it.
fn revalidates(n: u64) -> bool {
    n % 5 == 2
}

/// For values that no loader gives a tag.
fn tagged_options(n: u64) -> EntryOptions {
    options(n).tags(TagSet::new([group(n)]).unwrap())
}
