//! Bad networks and bad disks, as a cache lives through them: bounded delays, no failed call, and recovery.

use std::process::Command;
use std::time::Duration;

use cache_core::shared::FaultKind;
use cache_core::time::{minutes, seconds};
use cache_core::{Cache, CacheKey, Redis, Stored};
use support::{Fault, FaultProxy, RedisServer, Stopwatch, wait_until, wait_until_blocking};

use super::{BUDGET, found, open, set, tombstone};

/// What one call may take at most: the budget of the shared tier, and what a busy machine adds.
const BOUND: Duration = Duration::from_millis(250 + 250);

fn node(url: &str) -> Cache {
    Cache::builder("faults")
        .redis(Redis::from_url(url).unwrap())
        .build()
        .unwrap()
}

fn key(n: u64) -> CacheKey {
    CacheKey::build("item", n).unwrap()
}

/// Loads, and checks how long that took.
#[track_caller]
fn within_bound(stopwatch: &Stopwatch, what: &str) {
    let took = stopwatch.elapsed();
    assert!(took <= BOUND, "{what} took {took:?}");
}

async fn load(cache: &Cache, n: u64) -> u64 {
    let load = move |_| async move { Ok::<u64, std::io::Error>(n) };
    *cache.get_or_load(&key(n), minutes(5), load).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_values_on_a_slow_line_hold_up_no_small_operation_beyond_its_budget() {
    let server = RedisServer::start();
    let near = node(&server.url());
    let large = "x".repeat(1 << 20);
    assert_eq!(
        near.set(&key(1_000), large, minutes(5)).await.unwrap(),
        Stored::Yes
    );
    for n in 0..10 {
        assert_eq!(near.set(&key(n), n, minutes(5)).await.unwrap(), Stored::Yes);
    }
    let proxy = FaultProxy::start(server.address());
    let far = node(&server.url_via(proxy.address()));
    assert_eq!(*far.get::<u64>(&key(0)).await.unwrap(), 0);

    // 100 kbit/s: the large value alone would take 84 seconds.
    proxy.set(Fault::Bandwidth(12_500));
    let greedy = tokio::spawn({
        let far = far.clone();
        async move {
            for _ in 0..10 {
                let stopwatch = Stopwatch::start();
                let _ = far.get::<String>(&key(1_000)).await;
                within_bound(&stopwatch, "the large read");
            }
        }
    });
    for n in 100..140 {
        let stopwatch = Stopwatch::start();
        assert_eq!(load(&far, n).await, n);
        within_bound(&stopwatch, "a small load");
    }
    greedy.await.unwrap();

    proxy.heal();
    wait_until(seconds(5), "small values are read again", async || {
        far.get::<u64>(&key(5)).await.is_some_and(|value| *value == 5)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_save_serves_reads_and_gets_the_invalidations_when_it_can() {
    let server = RedisServer::builder().option("save", "3600 1").start();
    let tier = open(&server);
    set(&tier, "m:a", "one").await;
    let cache = node(&server.url());
    assert_eq!(load(&cache, 1).await, 1);
    assert_eq!(cache.set(&key(2), 2_u64, minutes(5)).await.unwrap(), Stored::Yes);

    // Where the dump is to be, there is a folder.
    let folder = server.command(&["CONFIG", "GET", "dir"]).items()[1].text();
    let obstacle = std::path::Path::new(&folder).join("dump.rdb");
    std::fs::create_dir(&obstacle).unwrap();
    let status = |expected: &str| {
        server.command(&["BGSAVE"]);
        server
            .info_field("persistence", "rdb_last_bgsave_status")
            .as_deref()
            == Some(expected)
    };
    wait_until_blocking(seconds(10), "saving fails", || status("err"));

    let version = cache_core::shared::Version::random();
    let mutation = cache_core::shared::Mutation {
        key: "m:a",
        version,
        change: cache_core::shared::Change::Remove {
            tombstone: tombstone(version, Duration::ZERO),
        },
    };
    let refused = tier
        .mutate(cache_core::notice::Op::Remove, vec![mutation], BUDGET)
        .await;
    assert_eq!(refused.unwrap_err().kind(), FaultKind::Misconfigured);
    assert!(
        matches!(found(&tier, "m:a").await, cache_core::shared::Found::Value(_)),
        "reads go on"
    );

    for n in 10..20 {
        let stopwatch = Stopwatch::start();
        assert_eq!(load(&cache, n).await, n);
        within_bound(&stopwatch, "a load");
    }
    assert!(cache.remove(&key(2)).await.unwrap_err().is_uncertain());
    assert!(
        cache.get::<u64>(&key(2)).await.is_none(),
        "here it counts at once"
    );

    std::fs::remove_dir(&obstacle).unwrap();
    wait_until_blocking(seconds(10), "saving works", || status("ok"));
    wait_until(seconds(40), "the invalidation is delivered", async || {
        cache.stats().counters.recovered > 0
    })
    .await;
    assert!(
        node(&server.url()).get::<u64>(&key(2)).await.is_none(),
        "for everybody"
    );
}

/// A broken relay: answers that come twice, or that nobody gave. The stream is out of step then.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_come_twice_or_from_nowhere_are_nobodys_value() {
    let server = RedisServer::start();
    let near = node(&server.url());
    let proxy = FaultProxy::start(server.address());
    let far = node(&server.url_via(proxy.address()));
    let mut n = 0;
    for fault in ["doubled", "injected", "both"] {
        if fault != "injected" {
            proxy.set(Fault::DuplicateReplies);
        }
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let own = n..n + 20;
            n += 20;
            let values = own.clone().map(|n| (key(n), n));
            let stored = near.set_many(values, minutes(5)).await.unwrap();
            assert!(stored.iter().all(|stored| *stored == Stored::Yes));
            let far = far.clone();
            callers.spawn(async move {
                for n in own {
                    assert_eq!(load(&far, n).await, n);
                }
            });
            if fault != "doubled" {
                for connection in proxy.open_connections() {
                    connection.inject(b"$3\r\nbad\r\n");
                }
            }
        }
        callers.join_all().await;
        proxy.heal();
        wait_until(seconds(5), "the line is used again", async || {
            far.set(&key(0), 0_u64, minutes(5)).await.unwrap() == Stored::Yes
        })
        .await;
    }
}

/// One answer too many, and never a pause in which it would be noticed: the connection is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_out_of_step_is_left_although_it_is_never_idle() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.address());
    let tier = super::open_url(&server.url_via(proxy.address()));
    set(&tier, "m:a", "one").await;
    let lines = proxy.open_connections();
    // On their way together, so that the stray answer is taken for that of the first.
    proxy.set_existing(Fault::BlackHole);
    let mut reads = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let tier = tier.clone();
        reads.spawn(async move {
            tier.read("m:a", BUDGET)
                .await
                .map(drop)
                .map_err(|fault| fault.kind())
        });
    }
    wait_until(BUDGET, "they are sent", async || tier.health()[0].in_flight == 20).await;
    for line in &lines {
        line.inject(b":7\r\n");
    }
    proxy.heal();
    let kinds = reads.join_all().await;
    assert!(kinds.contains(&Err(FaultKind::Protocol)), "{kinds:?}");
    wait_until(BUDGET, "there is a new line", async || {
        matches!(tier.read("m:a", BUDGET).await, Ok(reading) if matches!(reading.found, cache_core::shared::Found::Value(_)))
            && tier.health()[0].connects == 2
    })
    .await;
}

const INNER: &str = "redis::faults::in_a_network_of_its_own_all_packets_get_lost_for_a_while";
const PERMISSION: &str = "CACHE_TESTS_WITHOUT_NETWORK_NAMESPACES";

/// Runs the test below in a network of its own.
#[test]
fn lost_packets_cost_one_budget_and_the_line_is_used_again_at_once() {
    if std::env::var_os(PERMISSION).is_some() {
        return;
    }
    let program = std::env::current_exe().unwrap();
    let run = Command::new("unshare")
        .arg("-Urn")
        .arg(program)
        .args(["--exact", INNER, "--ignored", "--nocapture"])
        .output()
        .unwrap_or_else(|error| panic!("`unshare` of util-linux is needed: {error}"));
    let (out, err) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    assert!(
        run.status.success() && out.contains("1 passed"),
        "if this machine permits no network namespaces, say so with {PERMISSION}=1\n{out}\n{err}"
    );
}

fn link(state: &str) {
    let set = Command::new("ip").args(["link", "set", "lo", state]).status();
    assert!(set.expect("`ip` of iproute2 is needed").success(), "lo {state}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes the loopback device down: started by the test above, in a network namespace"]
async fn in_a_network_of_its_own_all_packets_get_lost_for_a_while() {
    let links = Command::new("ip").args(["-o", "link"]).output().unwrap();
    let links = String::from_utf8_lossy(&links.stdout).into_owned();
    let is_new = links.lines().count() == 1 && links.contains("lo:") && links.contains("DOWN");
    assert!(is_new, "this is not a new network namespace:\n{links}");
    link("up");

    let server = RedisServer::start();
    let cache = node(&server.url());
    assert_eq!(cache.set(&key(0), 0_u64, minutes(5)).await.unwrap(), Stored::Yes);
    link("down");
    let outage = Stopwatch::start();
    let mut n = 1;
    while outage.elapsed() < seconds(20) {
        let stopwatch = Stopwatch::start();
        assert_eq!(load(&cache, n).await, n);
        within_bound(&stopwatch, "a load without a network");
        assert_eq!(load(&cache, 0).await, 0);
        n += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(cache.stats().counters.degraded > 0);
    link("up");
    let recovery = Stopwatch::start();
    wait_until(seconds(5), "the server is used again", async || {
        cache.set(&key(0), 1_u64, minutes(5)).await.unwrap() == Stored::Yes
    })
    .await;
    assert!(
        recovery.elapsed() <= Duration::from_millis(1_500),
        "{:?}",
        recovery.elapsed()
    );
}
