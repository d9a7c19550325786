//! What callers notice while Redis is away, and how soon it is used again.
//!
//! Nothing is kept in memory (the in-process tier is bounded to one byte), so that every call wants the server; the
//! loader answers at once. Beside it, as many callers do what a program without a cache library would: GET through
//! redis-rs' `ConnectionManager`, and load when that fails. Both live through the same fault at the same time.

use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cache_core::time::{minutes, seconds};
use cache_core::{Cache, CacheKey, Redis, Tier};
use redis::AsyncCommands;
use redis::aio::ConnectionManager;
use support::{Accepting, Fault, FaultProxy, RedisServer, wait_until_blocking};
use tokio::task::JoinSet;

use crate::measure::{Effort, Percentiles, multi_threaded};
use crate::node::machine_nanos;
use crate::report::{Budget, Report, Row};

const AREA: &str = "outage";
const PEER: &str = "ConnectionManager";

pub(crate) fn measure(effort: Effort, report: &mut Report) {
    let outage = if effort.slow_rounds < 5 {
        seconds(4)
    } else {
        seconds(10)
    };
    for (name, kind) in [
        ("killed", Kind::Killed),
        ("frozen", Kind::Frozen),
        ("black-holed", Kind::BlackHoled),
    ] {
        let (ours, theirs) = live_through(kind, outage);
        let mut row = |what: &str, unit, figure: fn(&Experience) -> f64, budget: Option<Budget>| {
            let row = Row::new(AREA, format!("Redis {name}: {what}"), figure(&ours), unit);
            report.add(row.against(PEER, figure(&theirs)).budget(budget));
        };
        row("calls", "calls", |seen| seen.during.len() as f64, None);
        row(
            "failed calls",
            "calls",
            |seen| seen.failed as f64,
            Some(Budget::AtMost(0.0)),
        );
        row("p50", "ms", |seen| seen.during.at(0.5), None);
        row("p99", "ms", |seen| seen.during.at(0.99), None);
        row("max", "ms", |seen| seen.during.at(1.0), None);
        let open = Some(Budget::AtMost(1.0));
        row(
            "p99 once it is noticed (after 2 s)",
            "ms",
            |seen| seen.later.at(0.99),
            open,
        );
        row(
            "in use again",
            "ms",
            |seen| seen.recovery,
            Some(Budget::AtMost(1_500.0)),
        );
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Killed,
    Frozen,
    BlackHoled,
}

/// What callers noticed. Times are in milliseconds.
struct Experience {
    during: Percentiles,
    later: Percentiles,
    failed: u64,
    /// From the end of the fault to the first answer of the server.
    recovery: f64,
}

fn live_through(kind: Kind, outage: Duration) -> (Experience, Experience) {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.address());
    let url = server.url_via(proxy.address());
    let runtime = multi_threaded();
    let ours = Arc::new(Watch::default());
    let theirs = Arc::new(Watch::default());
    let callers = runtime.block_on(async {
        let (cache, manager) = (our_cache(&url), connected_manager(&url).await);
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            callers.spawn(call_again_and_again(ours.clone(), caller, {
                let cache = cache.clone();
                move |n| our_call(cache.clone(), n)
            }));
            callers.spawn(call_again_and_again(theirs.clone(), caller, {
                let manager = manager.clone();
                move |n| peer_call(manager.clone(), n)
            }));
        }
        callers
    });
    let both = [&ours, &theirs];
    wait_until_blocking(PATIENCE, "both are served by Redis", || {
        both.iter().all(|watch| watch.is_served())
    });
    let began = machine_nanos();
    both.iter().for_each(|watch| watch.begin(began));
    inflict(kind, &server, &proxy);
    std::thread::sleep(outage);
    end(kind, &server, &proxy);
    let ended = machine_nanos();
    both.iter().for_each(|watch| watch.end(ended));
    // A peer that never comes back is a result, too.
    std::thread::sleep(RECOVERY);
    drop(callers);
    (ours.experience(), theirs.experience())
}

fn inflict(kind: Kind, server: &RedisServer, proxy: &FaultProxy) {
    match kind {
        Kind::Killed => server.kill(),
        Kind::Frozen => server.freeze(),
        Kind::BlackHoled => {
            proxy.accept(Accepting::Tarpit);
            proxy.set(Fault::BlackHole);
        }
    }
}

fn end(kind: Kind, server: &RedisServer, proxy: &FaultProxy) {
    match kind {
        Kind::Killed => server.restart(),
        Kind::Frozen => server.thaw(),
        Kind::BlackHoled => proxy.heal(),
    }
}

/// How a call ended.
enum Answer {
    /// By the server.
    Served,
    /// By the loader.
    Loaded,
    Failed,
}

async fn our_call(cache: Cache, n: u64) -> Answer {
    let key = CacheKey::build("outage", n).expect("the prefix is valid");
    let load = move |_| async move { Ok::<_, Infallible>(n) };
    match cache.get_or_load(&key, minutes(5), load).await {
        Ok(loaded) if loaded.outcome().tier == Some(Tier::Shared) => Answer::Served,
        Ok(_) => Answer::Loaded,
        Err(_) => Answer::Failed,
    }
}

/// Whoever writes this by hand gets an error for each call that meets the fault.
async fn peer_call(mut manager: ConnectionManager, n: u64) -> Answer {
    let key = format!("peer:{n}");
    match manager.get::<_, Option<u64>>(&key).await {
        Ok(Some(_)) => Answer::Served,
        Ok(None) => match manager.set_ex::<_, _, ()>(key, n, 300).await {
            Ok(()) => Answer::Loaded,
            Err(_) => Answer::Failed,
        },
        Err(_) => Answer::Failed,
    }
}

/// One caller among many: a call, a short rest, the next call.
async fn call_again_and_again<F>(watch: Arc<Watch>, caller: u64, call: impl Fn(u64) -> F)
where
    F: Future<Output = Answer>,
{
    for n in 0.. {
        let start = machine_nanos();
        let answer = call((caller + n) % KEYS).await;
        watch.note(start, machine_nanos(), &answer);
        tokio::time::sleep(REST).await;
    }
}

/// What all callers of one kind see.
#[derive(Default)]
struct Watch {
    served: AtomicBool,
    began: AtomicU64,
    ended: AtomicU64,
    failed: AtomicU64,
    /// When the server first answered a call that began after the fault.
    recovered: AtomicU64,
    during: Mutex<(Percentiles, Percentiles)>,
}

impl Watch {
    fn note(&self, start: u64, end: u64, answer: &Answer) {
        let (began, ended) = (
            self.began.load(Ordering::SeqCst),
            self.ended.load(Ordering::SeqCst),
        );
        let is_over = ended != 0 && start >= ended;
        match answer {
            Answer::Served if is_over => {
                let _ = self
                    .recovered
                    .compare_exchange(0, end, Ordering::SeqCst, Ordering::SeqCst);
            }
            Answer::Served => self.served.store(true, Ordering::SeqCst),
            Answer::Loaded => {}
            Answer::Failed => {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        if began == 0 || is_over || end < began {
            return;
        }
        let millis = (end - start) as f64 / 1e6;
        let mut during = self.during.lock().unwrap_or_else(PoisonError::into_inner);
        during.0.add(millis);
        if start > began + NOTICED {
            during.1.add(millis);
        }
    }

    fn is_served(&self) -> bool {
        self.served.load(Ordering::SeqCst)
    }

    fn begin(&self, at: u64) {
        self.began.store(at, Ordering::SeqCst);
    }

    fn end(&self, at: u64) {
        self.ended.store(at, Ordering::SeqCst);
    }

    fn experience(&self) -> Experience {
        let mut during = self.during.lock().unwrap_or_else(PoisonError::into_inner);
        let (during, later) = std::mem::take(&mut *during);
        let (ended, recovered) = (
            self.ended.load(Ordering::SeqCst),
            self.recovered.load(Ordering::SeqCst),
        );
        let recovery = match recovered {
            0 => f64::INFINITY,
            at => (at - ended) as f64 / 1e6,
        };
        Experience {
            during,
            later,
            failed: self.failed.load(Ordering::SeqCst),
            recovery,
        }
    }
}

fn our_cache(url: &str) -> Cache {
    Cache::builder("outage")
        .redis(Redis::from_url(url).expect("the server's URL is valid"))
        .memory_bytes(1)
        .build()
        .expect("the settings are valid")
}

async fn connected_manager(url: &str) -> ConnectionManager {
    let client = redis::Client::open(url).expect("the server's URL is valid");
    ConnectionManager::new(client).await.expect("the server runs")
}

const CALLERS: u64 = 16;
const KEYS: u64 = 64;
const REST: Duration = Duration::from_millis(5);
/// When the breaker has surely opened: from then on a call should cost no more than its load.
const NOTICED: u64 = 2_000_000_000;
const PATIENCE: Duration = seconds(30);
const RECOVERY: Duration = seconds(10);
