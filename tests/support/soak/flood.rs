//! S9: what must not grow while Redis is away, nor under keys that nobody asked for before.

use std::sync::Arc;
use std::time::Duration;

use cache_core::Cache;
use cache_core::time::seconds;

use tokio::task::JoinSet;

use super::fleet::{hearing_node, key, tagged, undelivered};
use super::resources::{Watch, open_files, resident, tasks};
use super::{Findings, Resources, Run, Tally};
use crate::clock::Stopwatch;
use crate::redis::RedisServer;

pub(super) async fn run(run: &Run, tally: &Arc<Tally>) -> Findings {
    let redis = RedisServer::start();
    let cache = hearing_node(&redis.url(), |node| node.memory_bytes(BUDGET)).await;
    let mut findings = Findings::default();
    let before = (resident(), open_files(), tasks());

    run.journal.note("Redis is killed");
    tally.disturb(true);
    redis.kill();
    let asked = under_watch("without Redis", run, &mut findings, async {
        paced(run.length / 2, |n| {
            let (cache, tally) = (cache.clone(), tally.clone());
            async move {
                ask(&cache, n % RETURNING, &tally).await;
                if n.is_multiple_of(10) {
                    // Not acknowledged, and remembered until Redis is back.
                    let _ = cache.remove(&key(n % RETURNING)).await;
                }
            }
        })
        .await
    });
    let asked = asked.await;
    findings.count("requests without Redis", asked);
    run.journal.note("Redis is back");
    tokio::task::block_in_place(|| redis.restart());
    let back = Stopwatch::start();
    findings.never(
        "invalidations not delivered in the end",
        undelivered(std::slice::from_ref(&cache), seconds(30)).await,
    );
    run.journal.note(format_args!(
        "what was pending is delivered after {:?}",
        back.elapsed()
    ));
    tally.disturb(false);

    let asked = under_watch("under unique keys", run, &mut findings, async {
        paced(run.length / 2, |n| {
            let (cache, tally) = (cache.clone(), tally.clone());
            async move { ask(&cache, RETURNING + n, &tally).await }
        })
        .await
    });
    let asked = asked.await;
    findings.count("unique keys", asked);

    let grown = resident().saturating_sub(before.0);
    let bound = BUDGET * 13 / 10 + (64 << 20);
    findings.at_most("growth of the memory", mib(grown), mib(bound), "MiB");
    settle(before).await;
    findings.at_most(
        "open files more than before",
        open_files() as f64 - before.1 as f64,
        2.0,
        "",
    );
    findings.at_most(
        "tasks more than before",
        tasks() as f64 - before.2 as f64,
        2.0,
        "",
    );
    findings
}

/// One request: a value of 512 bytes with a tag of its own.
async fn ask(cache: &Cache, n: u64, tally: &Tally) {
    let call = tally.begin();
    let key = key(n);
    let load = move |_| async move { Ok::<_, std::io::Error>(vec![n; 64]) };
    match cache.get_or_load(&key, tagged(&format!("tag-{n}")), load).await {
        Ok(value) => call.answered(value.len() == 64 && value[0] == n),
        Err(_) => call.failed(),
    }
}

/// So many requests a second, by a few callers; how many there were.
async fn paced<F>(length: Duration, request: impl Fn(u64) -> F) -> u64
where
    F: Future<Output = ()> + Send + 'static,
{
    let began = Stopwatch::start();
    let mut asked = 0;
    let mut calls = JoinSet::new();
    while began.elapsed() < length {
        // A timer is no finer than a millisecond, in which there are several requests.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let due = began.elapsed().as_micros() as u64 * RATE / 1_000_000;
        while asked < due {
            if calls.len() >= AT_ONCE {
                calls.join_next().await;
            }
            calls.spawn(request(asked));
            asked += 1;
        }
        while calls.try_join_next().is_some() {}
    }
    calls.join_all().await;
    asked
}

/// Lets the work go on, and checks that nothing grows in its second half.
async fn under_watch(what: &str, run: &Run, findings: &mut Findings, work: impl Future<Output = u64>) -> u64 {
    let watch = Watch::start(what, std::process::id());
    let done = work.await;
    let seen = watch.stop().await;
    // Within seconds, one allocation of the allocator's own is a steep slope.
    if run.length >= LONG_ENOUGH {
        check_slopes(what, &seen, findings);
    }
    findings.resources.push(seen);
    done
}

fn check_slopes(what: &str, seen: &Resources, findings: &mut Findings) {
    for (of, slope, most, unit) in [
        ("memory", seen.slope_mib_per_minute, 1.0, "MiB/min"),
        ("open files", seen.slope_files_per_minute, 1.0, "/min"),
        ("tasks", seen.slope_tasks_per_minute, 1.0, "/min"),
    ] {
        findings.at_most(
            format!("growth of the {of} {what}, in the second half"),
            slope,
            most,
            unit,
        );
    }
}

/// Connections and tasks of the fault end by themselves, soon after it.
async fn settle(before: (u64, u64, u64)) {
    let began = Stopwatch::start();
    while (open_files() > before.1 + 2 || tasks() > before.2 + 2) && began.elapsed() < seconds(10) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

const BUDGET: u64 = 16 << 20;
const RATE: u64 = 2_000;
const AT_ONCE: usize = 64;
/// How many keys are asked for while Redis is away: more than the budget holds.
const RETURNING: u64 = 50_000;
const LONG_ENOUGH: Duration = seconds(60);
