//! S3: everything that can go wrong, by chance.

use std::sync::Arc;
use std::time::Duration;

use cache_core::time::seconds;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::fleet::{hearing_node, undelivered};
use super::traffic::shares;
use super::world::{Shape, World};
use super::{Findings, Run, Tally};
use crate::clock::Stopwatch;
use crate::proxy::{Accepting, Fault, FaultProxy};
use crate::redis::RedisServer;
use crate::wait::wait_until;

pub(super) async fn run(run: &Run, tally: &Arc<Tally>) -> Findings {
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
        nodes.push(hearing_node(&url, |node| node.disconnected_cap(CAP)).await);
    }
    let world = Arc::new(World::shaped(run.seed, nodes, Shape::SMALL, tally.clone()));
    let recoveries = {
        let mut recoveries = Vec::new();
        world
            .run(disturb(run, tally, &world, &redis, &proxies, &mut recoveries))
            .await;
        recoveries
    };
    // The longest cut, the time until the log is unheard, and the cap.
    let mut findings = world.findings(LONGEST_CUT + seconds(1) + CAP);
    findings.count("faults", recoveries.len() as u64);
    recoveries.into_iter().for_each(|took| findings.recovered(took));
    findings.check_recoveries(run.recovery(RECOVERY));
    findings.never(
        "invalidations not delivered at the end",
        undelivered(world.nodes(), seconds(5)).await,
    );
    findings
}

async fn disturb(
    run: &Run,
    tally: &Tally,
    world: &World,
    redis: &RedisServer,
    proxies: &[FaultProxy],
    recoveries: &mut Vec<Duration>,
) {
    let mut rng = SmallRng::seed_from_u64(run.seed);
    let longest = (run.length / 20).clamp(seconds(1), seconds(15));
    let began = Stopwatch::start();
    while began.elapsed() < run.length || recoveries.is_empty() {
        // All chances of a round are drawn at once, so that a replay draws the same.
        let pause = longest.mul_f64(rng.random_range(0.2..1.0));
        let lasts = Duration::from_millis(rng.random_range(100..1_200));
        let what = Disturbance::ALL[rng.random_range(0..Disturbance::ALL.len())];
        let proxy = &proxies[rng.random_range(0..proxies.len())];
        tokio::time::sleep(pause).await;
        run.journal.note(format_args!("{what:?} for {lasts:?}"));
        tally.disturb(true);
        what.inflict(lasts, redis, proxy).await;
        let back = Stopwatch::start();
        let nodes = world.nodes();
        wait_until(seconds(30), "all nodes use Redis again", async || {
            shares(&nodes[0], &nodes[1]).await && shares(&nodes[1], &nodes[2]).await
        })
        .await;
        recoveries.push(back.elapsed());
        tally.disturb(false);
    }
}

/// What can go wrong; only the end of the list may grow, or seeds mean something else.
#[derive(Debug, Clone, Copy)]
enum Disturbance {
    Frozen,
    Killed,
    Flushed,
    LogTrimmed,
    BlackHole,
    RepliesWithheld,
    RepliesDelayed,
    Sliced,
    Tarpit,
    ScriptsGone,
    LogCut,
    Refused,
    HalfClosed,
    OutOfMemory,
    Paused,
    Loading,
}

impl Disturbance {
    const ALL: [Self; 16] = [
        Self::Frozen,
        Self::Killed,
        Self::Flushed,
        Self::LogTrimmed,
        Self::BlackHole,
        Self::RepliesWithheld,
        Self::RepliesDelayed,
        Self::Sliced,
        Self::Tarpit,
        Self::ScriptsGone,
        Self::LogCut,
        Self::Refused,
        Self::HalfClosed,
        Self::OutOfMemory,
        Self::Paused,
        Self::Loading,
    ];

    /// Returns when it has ended.
    async fn inflict(self, lasts: Duration, redis: &RedisServer, proxy: &FaultProxy) {
        let passes = || tokio::time::sleep(lasts);
        match self {
            Self::Frozen => {
                redis.freeze();
                passes().await;
                redis.thaw();
            }
            Self::Killed => {
                redis.kill();
                passes().await;
                tokio::task::block_in_place(|| redis.restart());
            }
            Self::Flushed => redis.flushall(),
            Self::LogTrimmed => trim(redis),
            Self::BlackHole => passing(proxy, Fault::BlackHole, lasts * 3).await,
            Self::RepliesWithheld => passing(proxy, Fault::WithholdReplies, lasts).await,
            Self::RepliesDelayed => {
                passing(proxy, Fault::DelayReplies(Duration::from_millis(50)), lasts).await;
            }
            Self::Sliced => passing(proxy, Fault::Slice, lasts).await,
            Self::Tarpit => {
                proxy.accept(Accepting::Tarpit);
                proxy.reset_all();
                passes().await;
                proxy.heal();
            }
            Self::ScriptsGone => {
                redis.command(&["SCRIPT", "FLUSH"]);
                redis.disconnect_clients();
            }
            Self::LogCut => {
                let log = proxy
                    .open_connections()
                    .into_iter()
                    .find(|connection| connection.has_sent("XREAD"));
                if let Some(log) = log {
                    log.set(Fault::BlackHole);
                }
                tokio::time::sleep(lasts * 3).await;
                proxy.heal();
            }
            Self::Refused => {
                proxy.accept(Accepting::Refuse);
                proxy.reset_all();
                passes().await;
                proxy.heal();
            }
            Self::HalfClosed => proxy.close_all(),
            Self::OutOfMemory => {
                redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
                passes().await;
                redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
            }
            Self::Paused => {
                let millis = lasts.as_millis().to_string();
                redis.command(&["CLIENT", "PAUSE", &millis, "ALL"]);
                passes().await;
            }
            Self::Loading => tokio::task::block_in_place(|| {
                redis.restart_loading(lasts);
                redis.wait_ready();
            }),
        }
    }
}

async fn passing(proxy: &FaultProxy, fault: Fault, lasts: Duration) {
    proxy.set(fault);
    tokio::time::sleep(lasts).await;
    proxy.heal();
}

/// The log loses everything but its last entry.
pub fn trim(redis: &RedisServer) {
    for key in redis.command(&["KEYS", "*"]).items() {
        let key = key.text();
        if redis.command(&["TYPE", &key]).text() == "stream" {
            redis.command(&["XTRIM", &key, "MAXLEN", "1"]);
        }
    }
}

const CAP: Duration = seconds(3);
const LONGEST_CUT: Duration = Duration::from_millis(3 * 1_200);
/// From the end of a fault to the first use of Redis by all.
const RECOVERY: Duration = Duration::from_millis(1_500);
