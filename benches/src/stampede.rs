//! Many callers of one missing key at once: how many loads run, and how long everybody waits.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::time::minutes;
use cache_core::{Cache, CacheKey, EntryOptions};
use support::RedisServer;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::measure::{Effort, median, multi_threaded, now};
use crate::node::{Node, Stampede, machine_nanos};
use crate::report::{Budget, Report, Row};

const AREA: &str = "stampede";
const MOKA: &str = "moka";
const QUICK: &str = "quick_cache";
const CACHED: &str = "#[cached]";

pub(crate) fn measure(effort: Effort, report: &mut Report) {
    crowd(effort, report);
    dropped_leader(effort, report);
    failing_loader(effort, report);
    fleet(effort, report);
}

/// Nodes on one Redis server, each with callers that miss the same key at the same moment.
fn fleet(effort: Effort, report: &mut Report) {
    let server = RedisServer::start();
    let mut fresh = 0..;
    for (count, case) in [(1, "1 process"), (4, "4 processes")] {
        let mut nodes: Vec<_> = (0..count).map(|_| Node::there(&server.url())).collect();
        let outcomes: Vec<_> = fresh
            .by_ref()
            .take(effort.slow_rounds)
            .map(|n| stampede_of_all(&mut nodes, n))
            .collect();
        let outcome = middle(&outcomes);
        let case = format!("{case} of {PER_PROCESS} callers, on Redis");
        for (what, unit, ours, most) in [
            ("loads", "loads", outcome.loads, 1.0),
            ("last answer", "ms", outcome.millis, 115.0),
            ("without the right answer", "callers", outcome.wrong, 0.0),
        ] {
            let row = Row::new(AREA, format!("{case}: {what}"), ours, unit);
            report.add(row.budget(Budget::AtMost(most)));
        }
    }
}

fn stampede_of_all(nodes: &mut [Node], n: u64) -> Outcome {
    // So that every node has heard of it when it begins.
    let at = machine_nanos() + 100_000_000;
    for node in &mut *nodes {
        node.stampede(n, PER_PROCESS, at);
    }
    let mut all = Outcome {
        loads: 0.0,
        millis: 0.0,
        wrong: 0.0,
    };
    for node in nodes {
        let Stampede { loads, ended, wrong } = node.stampeded();
        all.loads += loads as f64;
        all.wrong += wrong as f64;
        all.millis = all.millis.max(ended.saturating_sub(at) as f64 / 1e6);
    }
    all
}

/// 1,000 callers, and a loader that takes 100 ms.
fn crowd(effort: Effort, report: &mut Report) {
    let case = format!("{CROWD} callers");
    let ours = repeat(effort, || {
        let (cache, key) = (our_cache(), our_key());
        stampede(CROWD, Loads::default(), move |loads| {
            let (cache, key) = (cache.clone(), key.clone());
            async move {
                let load = |_| async move { Ok::<_, Infallible>(loads.slow().await) };
                cache.get_or_load(&key, ttl(), load).await.is_ok()
            }
        })
    });
    let moka = repeat(effort, || {
        let cache = moka::future::Cache::new(1_000);
        stampede(CROWD, Loads::default(), move |loads| {
            let cache = cache.clone();
            async move { cache.get_with(KEY, async move { loads.slow().await }).await == VALUE }
        })
    });
    let quick = repeat(effort, || {
        let cache = quick_cache();
        stampede(CROWD, Loads::default(), move |loads| {
            let cache = cache.clone();
            async move {
                let load = async move { Ok::<_, Infallible>(loads.slow().await) };
                cache.get_or_insert_async(&KEY, load).await.is_ok()
            }
        })
    });
    let cached = once(stampede(CROWD, Loads::default(), |loads| async move {
        cached_value(KEY, loads).await == VALUE
    }));
    report_all(
        report,
        &case,
        &ours,
        Some((1.0, 105.0)),
        &[(MOKA, moka), (QUICK, quick), (CACHED, cached)],
    );
}

/// The first caller is dropped 10 ms after its loader started; the others came meanwhile.
fn dropped_leader(effort: Effort, report: &mut Report) {
    let case = format!("{CROWD} callers, the first is dropped");
    let ours = repeat(effort, || {
        let (cache, key) = (our_cache(), our_key());
        stampede_without_leader(move |loads| {
            let (cache, key) = (cache.clone(), key.clone());
            async move {
                let load = |_| async move { Ok::<_, Infallible>(loads.slow().await) };
                cache.get_or_load(&key, ttl(), load).await.is_ok()
            }
        })
    });
    let borrowed = repeat(effort, || {
        let (cache, key) = (our_cache(), our_key());
        stampede_without_leader(move |loads| {
            let (cache, key) = (cache.clone(), key.clone());
            async move {
                let load = |_| async { Ok::<_, Infallible>(loads.slow().await) };
                cache.get_or_load_borrowed(&key, ttl(), load).await.is_ok()
            }
        })
    });
    let moka = repeat(effort, || {
        let cache = moka::future::Cache::new(1_000);
        stampede_without_leader(move |loads| {
            let cache = cache.clone();
            async move { cache.get_with(KEY, async move { loads.slow().await }).await == VALUE }
        })
    });
    let quick = repeat(effort, || {
        let cache = quick_cache();
        stampede_without_leader(move |loads| {
            let cache = cache.clone();
            async move {
                let load = async move { Ok::<_, Infallible>(loads.slow().await) };
                cache.get_or_insert_async(&KEY, load).await.is_ok()
            }
        })
    });
    let peers = [(MOKA, moka), (QUICK, quick)];
    report_all(report, &case, &ours, Some((1.0, 110.0)), &peers);
    report_all(
        report,
        &format!("{case}, borrowing loader"),
        &borrowed,
        None,
        &peers,
    );
}

/// 50 callers, and a loader that fails after 100 ms.
fn failing_loader(effort: Effort, report: &mut Report) {
    let case = format!("{FEW} callers, the loader fails");
    let ours = repeat(effort, || {
        let (cache, key) = (our_cache(), our_key());
        stampede(FEW, Loads::default(), move |loads| {
            let (cache, key) = (cache.clone(), key.clone());
            async move {
                let load = |_| async move { Err::<u64, _>(loads.failing().await) };
                cache.get_or_load(&key, ttl(), load).await.is_err()
            }
        })
    });
    let moka = repeat(effort, || {
        let cache = moka::future::Cache::<u64, u64>::new(1_000);
        stampede(FEW, Loads::default(), move |loads| {
            let cache = cache.clone();
            async move {
                let load = async move { Err(loads.failing().await) };
                cache.try_get_with(KEY, load).await.is_err()
            }
        })
    });
    let quick = once({
        let cache = quick_cache();
        stampede(FEW, Loads::default(), move |loads| {
            let cache = cache.clone();
            async move {
                let load = async move { Err(loads.failing().await) };
                cache.get_or_insert_async(&KEY, load).await.is_err()
            }
        })
    });
    report_all(
        report,
        &case,
        &ours,
        Some((1.0, 105.0)),
        &[(MOKA, moka), (QUICK, quick)],
    );
}

/// Loads, milliseconds until the last caller had its answer, callers that got the wrong answer or none.
#[derive(Clone, Copy)]
struct Outcome {
    loads: f64,
    millis: f64,
    wrong: f64,
}

fn report_all(
    report: &mut Report,
    case: &str,
    ours: &Outcome,
    budget: Option<(f64, f64)>,
    peers: &[(&'static str, Outcome)],
) {
    for (peer, theirs) in peers {
        let rows = [
            (
                "loads",
                "loads",
                ours.loads,
                theirs.loads,
                budget.map(|(loads, _)| loads),
            ),
            (
                "last answer",
                "ms",
                ours.millis,
                theirs.millis,
                budget.map(|(_, millis)| millis),
            ),
            (
                "without the right answer",
                "callers",
                ours.wrong,
                theirs.wrong,
                Some(0.0),
            ),
        ];
        for (what, unit, ours, theirs, most) in rows {
            let row = Row::new(AREA, format!("{case}: {what}"), ours, unit)
                .against(peer, theirs)
                .budget(most.map(Budget::AtMost));
            report.add(row);
        }
    }
}

/// The median of each figure.
fn repeat<F: Future<Output = Outcome>>(effort: Effort, run: impl Fn() -> F) -> Outcome {
    middle(&(0..effort.slow_rounds).map(|_| once(run())).collect::<Vec<_>>())
}

fn middle(all: &[Outcome]) -> Outcome {
    let middle = |figure: fn(&Outcome) -> f64| median(all.iter().map(figure).collect());
    Outcome {
        loads: middle(|outcome| outcome.loads),
        millis: middle(|outcome| outcome.millis),
        wrong: middle(|outcome| outcome.wrong),
    }
}

fn once(run: impl Future<Output = Outcome>) -> Outcome {
    multi_threaded().block_on(run)
}

/// `callers` tasks that make the same call at once.
async fn stampede<F>(callers: usize, loads: Loads, call: impl Fn(Loads) -> F) -> Outcome
where
    F: Future<Output = bool> + Send + 'static,
{
    let start = now();
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        tasks.spawn(call(loads.clone()));
    }
    let right = answers(tasks).await;
    loads.outcome(start.elapsed(), callers - right)
}

async fn stampede_without_leader<F>(call: impl Fn(Loads) -> F) -> Outcome
where
    F: Future<Output = bool> + Send + 'static,
{
    let loads = Loads::default();
    let start = now();
    let leader = tokio::spawn(call(loads.clone()));
    loads.started.notified().await;
    let mut tasks = JoinSet::new();
    for _ in 1..CROWD {
        tasks.spawn(call(loads.clone()));
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    leader.abort();
    let right = answers(tasks).await;
    loads.outcome(start.elapsed(), CROWD - 1 - right)
}

/// How many got the right answer.
async fn answers(mut tasks: JoinSet<bool>) -> usize {
    let mut right = 0;
    while let Some(answered) = tasks.join_next().await {
        right += usize::from(answered.unwrap_or(false));
    }
    right
}

/// Loaders that take 100 ms, and are counted.
#[derive(Clone, Default)]
struct Loads {
    count: Arc<AtomicU64>,
    started: Arc<Notify>,
}

impl Loads {
    async fn slow(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.started.notify_one();
        tokio::time::sleep(Duration::from_millis(100)).await;
        VALUE
    }

    async fn failing(&self) -> std::io::Error {
        self.slow().await;
        std::io::Error::other("the origin is down")
    }

    fn outcome(&self, took: Duration, wrong: usize) -> Outcome {
        Outcome {
            loads: self.count.load(Ordering::Relaxed) as f64,
            millis: took.as_secs_f64() * 1_000.0,
            wrong: wrong as f64,
        }
    }
}

#[cached::macros::cached(key = "u64", convert = { key })]
async fn cached_value(key: u64, loads: Loads) -> u64 {
    let _ = key;
    loads.slow().await
}

fn our_cache() -> Cache {
    Cache::builder("stampede")
        .memory_entries(1_000)
        .build()
        .expect("the settings are valid")
}

fn our_key() -> CacheKey {
    CacheKey::build("value", KEY).expect("the prefix is valid")
}

fn quick_cache() -> Arc<quick_cache::sync::Cache<u64, u64>> {
    Arc::new(quick_cache::sync::Cache::new(1_000))
}

fn ttl() -> EntryOptions {
    EntryOptions::ttl(minutes(5))
}

const CROWD: usize = 1_000;
const FEW: usize = 50;
/// As many as a thousand callers, spread over four processes.
const PER_PROCESS: usize = 250;
const KEY: u64 = 1;
const VALUE: u64 = 42;
