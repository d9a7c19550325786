//! Nobody reads what was superseded: on the node that changed it never, on the others for moments at most.
//!
//! Each key's value in the origin is a version that grows. A writer changes the origin, then invalidates or sets the key
//! in one of many ways, on one node or another. Loads read the origin first and take their time then, so they bring old
//! values late. Readers on all nodes report to oracles: one per node that knows what was acknowledged on that node, and
//! permits nothing older; one for the fleet that permits as much as notices take.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use cache_core::{Eager, KeyPattern, LoadContext};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use support::{Fault, FaultProxy, Oracle, Stopwatch};
use tokio::runtime::Handle;

use super::failover::hand_over;
use super::*;

const KEYS: u64 = 40;
const GROUPS: u64 = 5;

pub(super) struct World {
    seed: u64,
    origin: Vec<AtomicU64>,
    pub(super) nodes: Vec<Cache>,
    /// What was acknowledged on each node.
    own: Vec<Oracle>,
    /// What was acknowledged on any, for reads on the others.
    pub(super) fleet: Oracle,
    clock: Stopwatch,
    stop: AtomicBool,
    /// How each key was changed last.
    last: Vec<AtomicU64>,
    /// Reads through this node are the fleet oracle's business only if this says so.
    judged: Vec<AtomicBool>,
    /// Where each node runs that is frozen now and then.
    apart: Vec<Option<Handle>>,
    freezes: AtomicU64,
    chance: Mutex<SmallRng>,
}

impl World {
    pub(super) fn new(seed: u64, nodes: Vec<Cache>) -> Self {
        println!("seed {seed}");
        Self {
            origin: (0..KEYS).map(|_| AtomicU64::new(0)).collect(),
            last: (0..KEYS).map(|_| AtomicU64::new(0)).collect(),
            own: nodes.iter().map(|_| Oracle::new()).collect(),
            judged: nodes.iter().map(|_| AtomicBool::new(true)).collect(),
            apart: nodes.iter().map(|_| None).collect(),
            freezes: AtomicU64::new(0),
            chance: Mutex::new(SmallRng::seed_from_u64(seed)),
            seed,
            nodes,
            fleet: Oracle::new(),
            clock: Stopwatch::start(),
            stop: AtomicBool::new(false),
        }
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
        if verdict != support::oracle::Verdict::Current {
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
        let (n, cache) = (rng.random_range(0..KEYS), &self.nodes[node]);
        let item = key(n);
        let began = self.clock.elapsed();
        let by = rng.random_range(0..10);
        let found = match by {
            0 => cache.get::<u64>(&item).await.map(|value| *value),
            1 => {
                // What a batch stores carries no tags, so it is only of keys that are never changed by tag.
                let some: Vec<u64> = (0..4).map(|i| (n + i * 4) % KEYS / 4 * 4 + 3).collect();
                let keys: Vec<_> = some.iter().map(|n| key(*n)).collect();
                let world = self.clone();
                let loaded = cache.get_or_load_many(&keys, options(n).tags(TagSet::EMPTY), move |keys| {
                    let world = world.clone();
                    async move { world.load_many(keys).await }
                });
                for (n, value) in some.iter().zip(loaded.await.unwrap()) {
                    if let Some(value) = value {
                        self.judge(node, *n, *value, began, "batch");
                    }
                }
                None
            }
            _ => {
                let world = self.clone();
                let loaded =
                    cache.get_or_load(&item, options(n), move |load| world.load(node, n, Some(load)));
                Some(*loaded.await.unwrap())
            }
        };
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
        let (n, node) = (rng.random_range(0..KEYS), rng.random_range(0..2));
        let name = n.to_string();
        let version = self.origin[n as usize].load(Ordering::SeqCst) + 1;
        for oracle in self.own.iter().chain([&self.fleet]) {
            oracle.intend(&name, version);
        }
        self.origin[n as usize].store(version, Ordering::SeqCst);
        let how: u64 = match rng.random_range(0..20) {
            tag @ (9..=11) if n % 4 == 3 => tag - 9,
            how => how,
        };
        self.last[n as usize].store(how, Ordering::SeqCst);
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

    /// Reads on every node and writes, for a while; then nothing is on its way any more.
    pub(super) async fn run(self: &Arc<Self>, disturb: impl Future<Output = ()>) {
        let seed = self.seed;
        self.stop.store(false, Ordering::SeqCst);
        let mut tasks = Vec::new();
        for node in 0..self.nodes.len() {
            for reader in 0..6 {
                let world = self.clone();
                let mut rng = SmallRng::seed_from_u64(seed + node as u64 * 100 + reader);
                let reads = async move {
                    while world.runs() {
                        world.read(node, &mut rng).await;
                        tokio::time::sleep(Duration::from_micros(rng.random_range(0..2_000))).await;
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

    #[track_caller]
    pub(super) fn assert_own_reads_are_never_old(&self) {
        for (node, oracle) in self.own.iter().enumerate() {
            println!("node {node}, own changes: {}", oracle.report());
            oracle.assert_within(Duration::ZERO);
        }
    }
}

/// Longer than a load of the node that it happens to may take.
const FROZEN: Duration = Duration::from_millis(600);

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

/// Lifetimes shorter than a load with its waits, and longer than any disturbance; some keys are refreshed ahead, some tagged by their loader.
fn options(n: u64) -> EntryOptions {
    let ttl = [1_000, 300, 30_000, 5_000][n as usize % 4];
    let options = EntryOptions::ttl(Duration::from_millis(ttl));
    let options = match n % 5 {
        0 => options.eager(Eager::After(0.2)),
        1 => options.stale_for(seconds(10)),
        _ => options,
    };
    match n % 3 {
        0 => options,
        _ => options.tags(TagSet::new([group(n)]).unwrap()),
    }
}

/// For values that no loader gives a tag.
fn tagged_options(n: u64) -> EntryOptions {
    options(n).tags(TagSet::new([group(n)]).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_superseded_is_read_while_all_is_well() {
    let redis = RedisServer::start();
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(hearing_node(&redis.url(), |node| node).await);
    }
    let world = Arc::new(World::new(1, nodes));
    world.run(tokio::time::sleep(seconds(8))).await;
    let report = world.fleet.report();
    println!("fleet: {report}");
    world.assert_own_reads_are_never_old();
    assert!(report.reads > 2_000 && report.foreign == 0, "{report}");
    // The bucket above 100 ms.
    assert!(report.quantile(0.999) <= Duration::from_millis(128), "{report}");
    world.fleet.assert_within(seconds(1));
}

/// B10.6, B12.5
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_superseded_ends_within_the_cap_when_the_log_is_cut_trimmed_or_lost() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(redis.address());
    let cap = seconds(3);
    let nodes = vec![
        hearing_node(&redis.url(), |node| node).await,
        hearing_node(&redis.url(), |node| node).await,
        hearing_node(&redis.url_via(proxy.address()), |node| node.disconnected_cap(cap)).await,
    ];
    let world = Arc::new(World::new(2, nodes));
    let disturb = async {
        let pause = || tokio::time::sleep(Duration::from_millis(1_200));
        pause().await;
        redis.flushall();
        pause().await;
        trim(&redis);
        pause().await;
        proxy.connection_that_sent("XREAD").set(Fault::BlackHole);
        tokio::time::sleep(Duration::from_millis(5_500)).await;
        proxy.heal();
        redis.flushall();
        pause().await;
    };
    world.run(disturb).await;
    println!("fleet: {}", world.fleet.report());
    world.assert_own_reads_are_never_old();
    world.fleet.assert_within(cap + Duration::from_millis(1_500));
}

/// B9.2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_superseded_is_read_although_a_node_freezes_over_its_loads() {
    let redis = RedisServer::start();
    let mut nodes = vec![hearing_node(&redis.url(), |node| node).await];
    // Leaked, since a runtime must not be dropped within another.
    let apart = Box::leak(Box::new(
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap(),
    ));
    let url = redis.url();
    let frozen = async move {
        let redis = Redis::from_url(&url).unwrap();
        // Its loads outlive their locks, and their permission to store.
        let builder = Cache::builder("fleet")
            .redis(redis)
            .max_load(FROZEN / 2)
            .lock_ttl(FROZEN / 3);
        let cache = builder.build().unwrap();
        // Starts its tasks where it runs.
        let _ = cache.get::<u64>(&key(u64::MAX)).await;
        cache
    };
    nodes.push(apart.spawn(frozen).await.unwrap());
    hears(&nodes[1]).await;
    nodes.push(hearing_node(&redis.url(), |node| node).await);
    let mut world = World::new(3, nodes);
    world.apart[1] = Some(apart.handle().clone());
    let world = Arc::new(world);
    world.run(tokio::time::sleep(seconds(8))).await;
    println!("fleet: {}", world.fleet.report());
    world.assert_own_reads_are_never_old();
    world.fleet.assert_within(FROZEN + seconds(1));
    assert!(world.freezes.load(Ordering::SeqCst) > 0, "it was frozen");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_superseded_is_read_although_the_master_is_demoted_under_the_reader_of_its_log() {
    let first = RedisServer::start();
    let second = RedisServer::builder().replica_of(&first).start();
    second.wait_ready();
    let proxy = FaultProxy::start(first.address());
    let url = first.url_via(proxy.address());
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(hearing_node(&url, |node| node.disconnected_cap(seconds(3))).await);
    }
    let world = Arc::new(World::new(4, nodes));
    let disturb = async {
        for (from, to) in [(&first, &second), (&second, &first)] {
            tokio::time::sleep(seconds(1)).await;
            proxy.swap_backend(to.address());
            tokio::task::block_in_place(|| hand_over(from, to));
        }
        tokio::time::sleep(seconds(4)).await;
    };
    world.run(disturb).await;
    println!("fleet: {}", world.fleet.report());
    world.assert_own_reads_are_never_old();
    world.fleet.assert_within(Duration::from_millis(4_500));
}

/// The log loses everything but its last entry.
pub(super) fn trim(redis: &RedisServer) {
    for key in redis.command(&["KEYS", "*"]).items() {
        let key = key.text();
        if redis.command(&["TYPE", &key]).text() == "stream" {
            redis.command(&["XTRIM", &key, "MAXLEN", "1"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_racing_sets_all_nodes_read_the_same() {
    let redis = RedisServer::start();
    let (a, b) = (
        hearing_node(&redis.url(), |node| node).await,
        hearing_node(&redis.url(), |node| node).await,
    );
    for n in 0..300_u64 {
        let other = if n % 2 == 0 { &a } else { &b };
        let (k, hour) = (key(n), hours(1));
        let (one, two, _) = tokio::join!(
            a.set(&k, 1_u64, hour),
            other.set(&k, 2_u64, hour),
            a.get::<u64>(&k)
        );
        assert!(one.unwrap().is_stored() && two.unwrap().is_stored());
    }
    let fresh = hearing_node(&redis.url(), |node| node).await;
    let keys: Vec<_> = (0..300).map(key).collect();
    let stored: Vec<_> = fresh
        .get_many::<u64>(&keys)
        .await
        .into_iter()
        .map(|value| *value.unwrap())
        .collect();
    for node in [&a, &b] {
        wait_until(seconds(2), "the node reads what is stored", async || {
            let values = node.get_many::<u64>(&keys).await;
            values
                .iter()
                .zip(&stored)
                .all(|(value, stored)| value.as_deref() == Some(stored))
        })
        .await;
    }
}
