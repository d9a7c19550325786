//! A Redis that is there and refuses, or has lost what it knew: calls go on, and what it refused is delivered later.

use support::proxy::Connection;
use support::{Accepting, FaultProxy, Stopwatch};

use super::*;
use support::soak::traffic::shares;

/// What a call may cost while Redis misbehaves: its budget, and what a busy machine adds.
const COST: Duration = Duration::from_millis(350);

/// From the fault's end until the nodes share again, and what a busy machine adds to a second and a half.
const BACK: Duration = Duration::from_millis(2_500);

/// A node and a load of it that takes no time, again and again; how long the slowest took.
async fn slowest_load(cache: &Cache, from: u64, options: impl Fn() -> EntryOptions) -> Duration {
    let mut slowest = Duration::ZERO;
    for n in from..from + 40 {
        let (origin, began) = (Origin::default(), Stopwatch::start());
        origin.value.store(n, Ordering::SeqCst);
        assert_eq!(read(cache, &origin, n, options()).await, n);
        slowest = slowest.max(began.elapsed());
    }
    slowest
}

async fn share_again(a: &Cache, b: &Cache, fault: &str) {
    let back = Stopwatch::start();
    wait_until(seconds(10), fault, async || {
        shares(a, b).await && shares(b, a).await
    })
    .await;
    println!("{fault}: back after {:?}", back.elapsed());
    assert!(back.elapsed() < BACK, "{fault}: {:?}", back.elapsed());
    for cache in [a, b] {
        assert_eq!(cache.flush_pending(seconds(5)).await, 0, "{fault}");
    }
}

/// A node whose user the test may change.
fn with_user() -> RedisServer {
    RedisServer::builder().user("cache", "pw", "~* &* +@all").start()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_refuses_costs_little_and_is_back_when_it_no_longer_does() {
    let redis = with_user();
    let a = hearing_node(&redis.url(), |node| node).await;
    let b = hearing_node(&redis.url(), |node| node).await;
    let faults = [
        (
            "out of memory",
            "CONFIG SET maxmemory 1",
            "CONFIG SET maxmemory 0",
        ),
        ("a replica", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
        (
            "a replica that does not serve without its master",
            "CONFIG SET replica-serve-stale-data no; REPLICAOF 127.0.0.1 1",
            "REPLICAOF NO ONE",
        ),
        (
            "no permission to run scripts",
            "ACL SETUSER cache -evalsha -eval",
            "ACL SETUSER cache +evalsha +eval",
        ),
        (
            "a user who is switched off",
            "ACL SETUSER cache off",
            "ACL SETUSER cache on",
        ),
    ];
    let order = |orders: &str| {
        for order in orders.split("; ") {
            let answer = redis.command(&order.split(' ').collect::<Vec<_>>());
            assert_eq!(answer.error(), None, "{order}");
        }
    };
    let mut n = 0;
    for (fault, begin, end) in faults {
        let _ = a.set(&key(900), 1_u64, hours(1)).await.unwrap();
        wait_until(SOON, "b has it", async || {
            b.get::<u64>(&key(900)).await.as_deref() == Some(&1)
        })
        .await;
        order(begin);
        n += 100;
        for options in [tagged("t"), tagged("t").error_ttl(seconds(1))] {
            n += 50;
            let slowest = slowest_load(&a, n, || options.clone()).await;
            println!("{fault}: at most {slowest:?}");
            assert!(slowest < COST, "{fault}: {slowest:?}");
        }
        let began = Stopwatch::start();
        let set = a.set(&key(900), 2_u64, hours(1)).await.unwrap();
        assert!(matches!(set, Stored::Yes | Stored::Locally), "{fault}: {set:?}");
        assert_eq!(
            a.get::<u64>(&key(900)).await.as_deref(),
            Some(&2),
            "{fault}: it holds here"
        );
        // Invalidating needs no memory.
        let removed = a.remove(&key(900)).await;
        match removed {
            Ok(()) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidationUncertain, "{fault}"),
        }
        assert!(
            a.get::<u64>(&key(900)).await.is_none(),
            "{fault}: it is gone here"
        );
        assert!(began.elapsed() < COST * 4, "{fault}: {:?}", began.elapsed());
        order(end);
        share_again(&a, &b, fault).await;
        wait_until(SOON, "it is gone everywhere", async || {
            b.get::<u64>(&key(900)).await.is_none()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_loading_is_used_when_it_has_loaded() {
    let redis = RedisServer::start();
    let a = hearing_node(&redis.url(), |node| node).await;
    let b = hearing_node(&redis.url(), |node| node).await;
    tokio::task::block_in_place(|| redis.restart_loading(seconds(60)));
    let slowest = slowest_load(&a, 0, || tagged("t")).await;
    assert!(slowest < COST, "{slowest:?}");
    assert!(a.remove(&key(1)).await.is_err(), "it is loading");
    tokio::task::block_in_place(|| redis.finish_loading());
    share_again(&a, &b, "loading").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_server_or_the_network_ends_costs_no_hit() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(redis.address());
    let a = hearing_node(&redis.url(), |node| node).await;
    // More patience than a busy machine takes: what is asked here is whether there is an answer.
    let patient = Redis::from_url(&redis.url_via(proxy.address())).unwrap();
    let patient = patient.operation_timeout(seconds(5)).unwrap();
    let b = Cache::builder("fleet").redis(patient).build().unwrap();
    hears(&b).await;
    let values = (0..30).map(|n| (key(n), n));
    let _ = a.set_many(values, hours(1)).await.unwrap();
    for n in 0..12 {
        // A connection that ended at once would count as a failed attempt.
        tokio::time::sleep(Duration::from_millis(400)).await;
        match n % 4 {
            0 => tokio::task::block_in_place(|| redis.disconnect_clients()),
            1 => proxy.close_all(),
            2 => proxy.open_connections().iter().for_each(Connection::half_close),
            _ => proxy.reset_all(),
        }
        let asked = Stopwatch::start();
        let found = b.get::<u64>(&key(n)).await;
        assert_eq!(found.as_deref(), Some(&n), "asked again on a new connection");
        assert!(asked.elapsed() < COST * 4, "{n}: {:?}", asked.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_resets_every_connection_costs_next_to_nothing() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(redis.address());
    let a = hearing_node(&redis.url_via(proxy.address()), |node| node).await;
    let b = hearing_node(&redis.url(), |node| node).await;
    for accepting in [
        Accepting::Reset,
        Accepting::Answer(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
    ] {
        let fault = format!("{accepting:?}");
        proxy.accept(accepting);
        proxy.reset_all();
        let slowest = slowest_load(&a, 0, || tagged("t")).await;
        assert!(slowest < COST, "{fault}: {slowest:?}");
        assert!(a.invalidate_tag("t").await.is_err());
        proxy.heal();
        share_again(&a, &b, &fault).await;
    }
}

/// B12.5
#[tokio::test(flavor = "multi_thread")]
async fn what_an_emptied_redis_has_forgotten_every_node_forgets_within_a_heartbeat() {
    let redis = RedisServer::start();
    let nodes = [
        hearing_node(&redis.url(), |node| node).await,
        hearing_node(&redis.url(), |node| node).await,
    ];
    // A restart is noticed with the next connection.
    for (how, within) in [
        ("FLUSHALL", SOON),
        ("FLUSHDB ASYNC", SOON),
        ("a restart without its data", seconds(4)),
    ] {
        let values = (0..100).map(|n| (key(n), n));
        let _ = nodes[0].set_many(values, tagged("t")).await.unwrap();
        for node in &nodes {
            wait_until(SOON, "everything is in memory", async || {
                let mut in_memory = 0;
                for n in 0..100 {
                    let value = node.get::<u64>(&key(n)).await;
                    in_memory +=
                        u64::from(value.is_some_and(|value| value.outcome().tier == Some(Tier::Memory)));
                }
                in_memory == 100
            })
            .await;
        }
        if how.starts_with("FLUSH") {
            redis.command(&how.split(' ').collect::<Vec<_>>());
        } else {
            tokio::task::block_in_place(|| redis.restart());
        }
        for node in &nodes {
            wait_until(within, how, async || node.get::<u64>(&key(1)).await.is_none()).await;
            for n in 0..100 {
                assert!(node.get::<u64>(&key(n)).await.is_none(), "{how}");
            }
        }
        share_again(&nodes[0], &nodes[1], how).await;
        // What was loaded under the marks of before does not come back with new ones.
        let origin = Origin::default();
        origin.value.store(7, Ordering::SeqCst);
        assert_eq!(read(&nodes[0], &origin, 1, tagged("t")).await, 7, "{how}");
        nodes[0].invalidate_tag("t").await.unwrap();
        assert!(nodes[0].get::<u64>(&key(1)).await.is_none(), "{how}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_restored_from_an_older_copy_speaks_for_all_nodes() {
    let redis = RedisServer::start();
    let a = hearing_node(&redis.url(), |node| node).await;
    let b = hearing_node(&redis.url(), |node| node).await;
    let _ = a.set(&key(1), 1_u64, hours(1)).await.unwrap();
    let _ = a.set(&key(2), 1_u64, hours(1)).await.unwrap();
    redis.command(&["SAVE"]);
    let _ = a.set(&key(1), 2_u64, hours(1)).await.unwrap();
    a.remove(&key(2)).await.unwrap();
    for node in [&a, &b] {
        wait_until(SOON, "the new value is read", async || {
            node.get::<u64>(&key(1)).await.as_deref() == Some(&2)
        })
        .await;
    }
    let gaps = [&a, &b].map(|node| node.stats().counters.log_gaps);
    tokio::task::block_in_place(|| redis.restart());
    // The log is the same one, and ends earlier: nobody trusts what it kept.
    for (node, gaps) in [&a, &b].into_iter().zip(gaps) {
        wait_until(seconds(5), "the gap is noticed", async || {
            node.stats().counters.log_gaps > gaps
        })
        .await;
        wait_until(seconds(5), "all read what is stored", async || {
            let read = [node.get::<u64>(&key(1)).await, node.get::<u64>(&key(2)).await];
            read.iter().all(|value| value.as_deref() == Some(&1))
        })
        .await;
    }
    // And from here on, everything is as before.
    let _ = b.set(&key(1), 3_u64, hours(1)).await.unwrap();
    wait_until(SOON, "a hears b", async || {
        a.get::<u64>(&key(1)).await.as_deref() == Some(&3)
    })
    .await;
}

const SOON: Duration = Duration::from_secs(2);
