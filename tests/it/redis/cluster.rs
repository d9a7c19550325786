//! A cluster: every call finds its node, whatever moves meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cache_core::Redis;
use cache_core::notice::{Event, Op};
use cache_core::shared::{
    AcquireRequest, Acquisition, Ending, FaultKind, LockKind, LogEvent, Mark, Mutation, ScanRequest, Shared,
    Strength, Token, Verdict, Version,
};
use cache_core::time::SystemClock;
use support::{RedisCluster, RedisServer, Stopwatch, wait_until, wait_until_blocking};

use super::{BUDGET, change, commit, lease, read, remove, set, tombstone};

/// A cluster whose user may do exactly what docs/redis.md lists.
fn restricted() -> RedisCluster {
    let rules = format!("{} +cluster|slots +asking", super::permissions::rules());
    RedisCluster::start_with(|node| node.user("cache", "pw", &rules))
}

fn open(cluster: &RedisCluster) -> Arc<dyn Shared> {
    let config = Redis::cluster(cluster.urls()).unwrap();
    config.open("m", Arc::new(SystemClock))
}

/// Sets values under keys of all slots' neighbourhoods.
async fn fill(tier: &Arc<dyn Shared>, count: usize) -> Vec<String> {
    let keys: Vec<String> = (0..count).map(|n| format!("m:k:{n}")).collect();
    for key in &keys {
        set(tier, key, key).await;
    }
    keys
}

/// B8.16
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_port_works_on_a_cluster() {
    let cluster = restricted();
    let tier = open(&cluster);

    // Single flight, wake-up and the last script, on each of many slots.
    for n in 0..30 {
        let key = format!("m:load:{n}");
        let mut waiting = tier.subscribe(&key, BUDGET).await.unwrap();
        let lease = lease(&tier, &key).await;
        assert_eq!(commit(&tier, &key, &lease, "x").await.verdict, Verdict::Applied);
        assert_eq!(waiting.next().await, Some(Ending::Done));
        assert_eq!(read(&tier, &key).await.as_deref(), Some("x"));
        let request = AcquireRequest {
            kind: LockKind::Lock,
            name: &key,
            token: Token::random(),
            ttl: super::LOCK,
        };
        assert!(matches!(
            tier.acquire(request, BUDGET).await.unwrap(),
            Acquisition::Acquired { .. }
        ));
    }

    // A batch over many slots: one answer each, in order, and one notice.
    let keys = fill(&tier, 90).await;
    let texts: Vec<&str> = keys.iter().map(String::as_str).collect();
    let readings = tier.read_many(&texts, BUDGET).await.unwrap();
    for (key, reading) in keys.iter().zip(readings) {
        assert!(
            matches!(reading.found, cache_core::shared::Found::Value(value) if super::text_of(&value) == key)
        );
    }
    let mut reader = tier.follow_log();
    reader.next().await.unwrap();
    let mutations = keys
        .iter()
        .map(|key| {
            let version = Version::random();
            let tombstone = tombstone(version, Duration::ZERO);
            Mutation {
                key,
                version,
                change: cache_core::shared::Change::Remove { tombstone },
            }
        })
        .collect();
    let answer = tier.mutate(Op::Remove, mutations, BUDGET).await.unwrap();
    assert_eq!(answer.verdicts, vec![Verdict::Applied; 90]);
    let last = answer.notice.unwrap();
    let removed = async {
        loop {
            if let LogEvent::Notices(notices) = reader.next().await.unwrap()
                && let Some(notice) = notices.into_iter().find(|notice| notice.id == last)
            {
                return notice.event;
            }
        }
    };
    let removed = tokio::time::timeout(Duration::from_secs(5), removed)
        .await
        .unwrap();
    assert!(matches!(removed, Event::Keys(Op::Remove, keys) if keys.len() == 90));

    // Marks and log share a slot.
    let ttl = Duration::from_secs(100);
    let marks = [
        Mark::Tag("m", "a"),
        Mark::Tag("m", "b"),
        Mark::Prefix("m/eu", "c"),
        Mark::Namespace("m"),
    ];
    tier.marks(&marks, ttl, BUDGET).await.unwrap();
    let id = tier
        .move_marks(&marks, Strength::Hard, Duration::ZERO, ttl, BUDGET)
        .await
        .unwrap();
    assert!(id.is_after(last));

    // A scan visits every master.
    let (mut found, mut cursor) = (0, None);
    loop {
        let (glob, count) = ("m:load:*", 100);
        let page = tier
            .scan(ScanRequest { glob, cursor, count }, BUDGET)
            .await
            .unwrap();
        found += page.keys.len();
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, 30);
    for node in cluster.masters() {
        let eternal = node.keys_without_ttl();
        assert!(eternal.iter().all(|key| key == "{m}:log"), "{eternal:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_heard_during_a_load_refuses_its_store() {
    let cluster = restricted();
    let tier = open(&cluster);
    let mut reader = tier.follow_log();
    reader.next().await.unwrap();
    let running = lease(&tier, "m:a").await;
    tier.begin_pattern("m:a*", BUDGET).await.unwrap();
    while !matches!(reader.next().await.unwrap(), LogEvent::Notices(_)) {}
    let answer = commit(&tier, "m:a", &running, "old").await;
    assert_eq!((answer.verdict, answer.released), (Verdict::FenceMoved, true));
    let next = lease(&tier, "m:a").await;
    assert_eq!(commit(&tier, "m:a", &next, "new").await.verdict, Verdict::Applied);
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_on_their_way_are_followed_without_a_failure() {
    let cluster = restricted();
    let tier = open(&cluster);
    let keys = fill(&tier, 60).await;
    let done = Arc::new(AtomicBool::new(false));
    let (reading, over) = (tier.clone(), done.clone());
    let reader = tokio::spawn(async move {
        let mut reads = 0_u64;
        while !over.load(Ordering::SeqCst) {
            for key in &keys {
                assert_eq!(read(&reading, key).await.as_ref(), Some(key));
                reads += 1;
            }
            for key in &keys[..10] {
                set(&reading, key, key).await;
            }
        }
        reads
    });
    tokio::task::block_in_place(|| {
        let masters = cluster.masters();
        cluster.reshard(masters[0], masters[1], 300);
        cluster.reshard(masters[1], masters[0], 300);
    });
    done.store(true, Ordering::SeqCst);
    assert!(reader.await.unwrap() > 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_master_costs_its_own_slots_only_and_is_replaced() {
    let cluster = restricted();
    let tier = open(&cluster);
    let keys = fill(&tier, 60).await;
    let (lost, others): (Vec<&String>, Vec<&String>) = {
        let dead = cluster.master_of("m:k:0").port();
        keys.iter().partition(|key| cluster.master_of(key).port() == dead)
    };
    assert!(!lost.is_empty() && others.len() > 20);
    cluster.kill_master_of("m:k:0");
    let stopwatch = Stopwatch::start();
    for key in &others {
        tier.read(key, Duration::from_millis(250)).await.unwrap();
    }
    assert!(
        stopwatch.elapsed() < Duration::from_secs(1),
        "{:?}",
        stopwatch.elapsed()
    );
    let stopwatch = Stopwatch::start();
    assert!(tier.read(lost[0], Duration::from_millis(250)).await.is_err());
    assert!(
        stopwatch.elapsed() < Duration::from_millis(350),
        "{:?}",
        stopwatch.elapsed()
    );
    // What the cluster itself needs to notice and to elect, and a second and a half.
    wait_until(
        Duration::from_millis(15_000),
        "the replica took over",
        async || tier.read(lost[0], Duration::from_millis(250)).await.is_ok(),
    )
    .await;
    let version = Version::random();
    let tombstone = tombstone(version, Duration::ZERO);
    let verdict = change(
        &tier,
        lost[0],
        version,
        cache_core::shared::Change::Remove { tombstone },
    )
    .await;
    assert_eq!(verdict, Verdict::Applied);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_come_and_go_are_learned_and_left() {
    let mut cluster = restricted();
    let tier = open(&cluster);
    fill(&tier, 30).await;
    let added = cluster.add_node().port();
    let node = |port: u16| cluster.nodes().iter().find(|node| node.port() == port).unwrap();
    let giver = cluster.master_of("m:k:0");
    let count = cluster.slots_of(giver);
    tokio::task::block_in_place(|| cluster.reshard(giver, node(added), count));
    for n in 0..30 {
        assert!(read(&tier, &format!("m:k:{n}")).await.is_some());
    }
    let left = giver.port();
    wait_until(BUDGET, "the empty node is left", async || {
        let health = tier.health();
        let knows = |port: u16| {
            health
                .iter()
                .any(|node| node.endpoint.ends_with(&format!(":{port}")))
        };
        knows(added) && !knows(left)
    })
    .await;
    remove(&tier, "m:k:0").await;
}

#[tokio::test]
async fn a_cluster_that_never_answered_costs_the_first_attempt_only() {
    let config = Redis::cluster(["redis://127.0.0.1:1", "redis://127.0.0.1:2"]).unwrap();
    let tier = config.open("m", Arc::new(SystemClock));
    let stopwatch = Stopwatch::start();
    for _ in 0..100 {
        assert!(tier.read("m:a", Duration::from_millis(250)).await.is_err());
    }
    assert!(
        stopwatch.elapsed() < Duration::from_millis(350),
        "{:?}",
        stopwatch.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_down_costs_the_deadline() {
    let cluster = restricted();
    let tier = open(&cluster);
    set(&tier, "m:a", "x").await;
    for node in cluster.nodes() {
        node.kill();
    }
    for _ in 0..20 {
        let stopwatch = Stopwatch::start();
        assert!(tier.read("m:a", Duration::from_millis(250)).await.is_err());
        assert!(
            stopwatch.elapsed() < Duration::from_millis(350),
            "{:?}",
            stopwatch.elapsed()
        );
    }
}

/// The only replica of a master.
fn replica_of<'c>(cluster: &'c RedisCluster, master: &RedisServer) -> &'c RedisServer {
    let replica = master
        .info_field("replication", "slave0")
        .expect("it has a replica");
    let port = replica.split("port=").nth(1).unwrap().split(',').next().unwrap();
    let port: u16 = port.parse().unwrap();
    cluster.nodes().iter().find(|node| node.port() == port).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_lacks_slots_costs_the_deadline_and_is_used_when_it_has_them_again() {
    let cluster = restricted();
    let tier = open(&cluster);
    let keys = fill(&tier, 30).await;
    let dead = cluster.master_of(&keys[0]);
    let replica = replica_of(&cluster, dead);
    replica.kill();
    dead.kill();
    let living: Vec<&RedisServer> = cluster.nodes().iter().filter(|node| node.is_running()).collect();
    tokio::task::block_in_place(|| {
        wait_until_blocking(
            Duration::from_secs(20),
            "the cluster says that it is down",
            || {
                let is_down = |node: &&RedisServer| {
                    node.command(&["CLUSTER", "INFO"])
                        .text()
                        .contains("cluster_state:fail")
                };
                living.iter().all(is_down)
            },
        );
    });
    // Those whose servers live are refused as well: the cluster serves all slots or none.
    let mut kinds = Vec::new();
    for key in keys.iter().cycle().take(90) {
        let stopwatch = Stopwatch::start();
        kinds.push(
            tier.read(key, Duration::from_millis(250))
                .await
                .unwrap_err()
                .kind(),
        );
        assert!(
            stopwatch.elapsed() < Duration::from_millis(350),
            "{key}: {:?}",
            stopwatch.elapsed()
        );
    }
    assert!(kinds.contains(&FaultKind::ClusterDown), "{kinds:?}");
    let stopwatch = Stopwatch::start();
    for key in &keys {
        let _ = tier.read(key, Duration::from_millis(250)).await;
    }
    assert!(
        stopwatch.elapsed() < Duration::from_secs(1),
        "{:?}",
        stopwatch.elapsed()
    );

    tokio::task::block_in_place(|| {
        dead.restart();
        replica.restart();
        cluster.wait_ready();
    });
    let stopwatch = Stopwatch::start();
    for key in &keys {
        wait_until(Duration::from_secs(5), "its slot is used again", async || {
            tier.read(key, Duration::from_millis(250)).await.is_ok()
        })
        .await;
    }
    assert!(
        stopwatch.elapsed() < Duration::from_millis(2_500),
        "{:?}",
        stopwatch.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_which_no_named_node_is_left_is_known_all_the_same() {
    let cluster = restricted();
    let named = replica_of(&cluster, cluster.master_of("m:k:0"));
    let config = Redis::cluster([named.url()]).unwrap();
    let tier = config.open("m", Arc::new(SystemClock));
    let keys = fill(&tier, 60).await;
    named.kill();
    // What it knows becomes wrong, and only the others can tell.
    tokio::task::block_in_place(|| {
        let masters = cluster.masters();
        cluster.reshard(masters[0], masters[1], 300);
    });
    for key in &keys {
        assert_eq!(read(&tier, key).await.as_ref(), Some(key));
    }
    set(&tier, "m:k:0", "again").await;
}
