//! S6 and S7: masters die and are replaced, slots move.

use std::sync::Arc;
use std::time::Duration;

use cache_core::time::seconds;
use cache_core::{Cache, Redis};

use super::fleet::undelivered;
use super::traffic::{Readers, shares};
use super::{Findings, Run, Tally};
use crate::clock::Stopwatch;
use crate::hearing::hears;
use crate::redis::{RedisCluster, RedisServer, SentinelTrio};
use crate::wait::{wait_until, wait_until_blocking};

pub(super) async fn sentinel(run: &Run, tally: &Arc<Tally>) -> Findings {
    let trio = SentinelTrio::start();
    let redis = || Redis::sentinel(SentinelTrio::SERVICE, trio.urls()).unwrap();
    let nodes = [node(redis()).await, node(redis()).await];
    let readers = Readers::counted(&nodes, 8, run.seed, tally.clone());
    let mut findings = Findings::default();
    let rounds = run.rounds(async |round| {
        run.journal.note(format_args!("failover {}", round + 1));
        tally.disturb(true);
        let dead = tokio::task::block_in_place(|| {
            let dead = trio.kill_master();
            trio.wait_for_failover(dead);
            dead
        });
        findings.recovered(shared_again(&nodes).await);
        tally.disturb(false);
        tokio::task::block_in_place(|| {
            let servers = trio.servers().iter();
            let dead = servers.into_iter().find(|server| server.port() == dead).unwrap();
            rejoined(dead);
        });
    });
    let rounds = rounds.await;
    readers.stop().await;
    findings.count("failovers", rounds);
    findings.check_recoveries(run.recovery(seconds(1)));
    findings.never(
        "invalidations not delivered at the end",
        undelivered(&nodes, seconds(5)).await,
    );
    findings
}

pub(super) async fn cluster(run: &Run, tally: &Arc<Tally>) -> Findings {
    let cluster = RedisCluster::start();
    let redis = || Redis::cluster(cluster.urls()).unwrap();
    let nodes = [node(redis()).await, node(redis()).await];
    let readers = Readers::counted(&nodes, 8, run.seed, tally.clone());
    let mut findings = Findings::default();
    let mut crossed = 0;
    let rounds = run.rounds(async |round| {
        run.journal
            .note(format_args!("resharding and failover {}", round + 1));
        tokio::task::block_in_place(|| {
            let masters = cluster.masters();
            cluster.reshard(masters[0], masters[1], 250);
            cluster.reshard(masters[1], masters[0], 250);
        });
        crossed += cluster.masters().into_iter().map(crossed_slots).sum::<u64>();
        tally.disturb(true);
        let dead = tokio::task::block_in_place(|| {
            let dead = cluster.kill_master_of("{fleet}:log");
            cluster.wait_ready();
            dead
        });
        findings.recovered(shared_again(&nodes).await);
        tally.disturb(false);
        tokio::task::block_in_place(|| {
            rejoined(dead);
            cluster.wait_ready();
        });
    });
    let rounds = rounds.await;
    readers.stop().await;
    findings.count("reshardings of 250 slots", 2 * rounds);
    findings.count("failovers", rounds);
    findings.never(
        "commands refused because their keys lie in several slots",
        crossed,
    );
    findings.check_recoveries(run.recovery(Duration::from_millis(1_500)));
    findings.never(
        "invalidations not delivered at the end",
        undelivered(&nodes, seconds(5)).await,
    );
    findings
}

async fn node(redis: Redis) -> Cache {
    let cache = Cache::builder("fleet").redis(redis).build().unwrap();
    hears(&cache).await;
    cache
}

/// How long it takes until both nodes share values.
async fn shared_again(nodes: &[Cache; 2]) -> Duration {
    let back = Stopwatch::start();
    wait_until(seconds(30), "the nodes share again", async || {
        shares(&nodes[0], &nodes[1]).await
    })
    .await;
    back.elapsed()
}

/// Starts it again, and waits until it is a replica.
fn rejoined(dead: &RedisServer) {
    dead.restart();
    wait_until_blocking(seconds(60), "it is a replica now", || {
        // Sentinels end its connections when they make it one.
        dead.try_command(&["INFO", "replication"])
            .is_ok_and(|info| info.text().contains("master_link_status:up"))
    });
}

/// How often this server has refused a command since it was started.
fn crossed_slots(server: &RedisServer) -> u64 {
    let count = server.info_field("errorstats", "errorstat_CROSSSLOT");
    count
        .and_then(|count| count.strip_prefix("count=")?.parse().ok())
        .unwrap_or(0)
}

/// Makes the replica the master, without losing a write.
pub fn hand_over(master: &RedisServer, replica: &RedisServer) {
    let port = replica.port().to_string();
    let role = |server: &RedisServer| server.info_field("replication", "role");
    wait_until_blocking(seconds(20), "it is the master now", || {
        // Given up when the replica is not up to date in time; then it is tried again.
        if role(master).as_deref() == Some("master") {
            master.command(&["FAILOVER", "TO", "127.0.0.1", &port, "TIMEOUT", "2000"]);
        }
        role(replica).as_deref() == Some("master") && role(master).as_deref() == Some("slave")
    });
}
