//! Redis dies, freezes, and cannot be reached: calls go on, and cost what they may.

use support::soak::traffic::{Readers, shares};
use support::{Accepting, Fault, FaultProxy, Stopwatch};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn redis_killed_again_and_again_fails_no_call() {
    let redis = RedisServer::start();
    let nodes = [node(&redis), node(&redis), node(&redis)];
    let readers = Readers::start(&nodes, 8);
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        redis.kill();
        tokio::time::sleep(Duration::from_millis(500)).await;
        redis.restart();
    }
    let back = Stopwatch::start();
    wait_until(seconds(5), "all nodes use Redis again", async || {
        shares(&nodes[0], &nodes[1]).await && shares(&nodes[1], &nodes[2]).await
    })
    .await;
    let back = back.elapsed();
    let tally = readers.stop().await;
    println!("{} calls, back after {back:?}", tally.calls());
    assert_eq!((tally.failed(), tally.foreign()), (0, 0));
    assert!(
        tally.slowest() < Duration::from_millis(1_500),
        "{:?}",
        tally.slowest()
    );
    for cache in &nodes {
        assert_eq!(cache.flush_pending(seconds(5)).await, 0);
    }
}

/// B1.7, B14.2
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_costs_a_call_the_budget_at_most_and_next_to_nothing_after_a_few() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(redis.address());
    let witness = hearing_node(&redis.url(), |node| node).await;
    let mut n = 0;
    for fault in ["frozen", "black hole", "silent", "tarpit", "refused", "killed"] {
        let cache = hearing_node(&redis.url_via(proxy.address()), |node| node).await;
        wait_until(SOON, "both nodes share", async || shares(&cache, &witness).await).await;
        match fault {
            "frozen" => redis.freeze(),
            "black hole" => proxy.set(Fault::BlackHole),
            "silent" => proxy.set(Fault::WithholdReplies),
            "tarpit" => {
                proxy.accept(Accepting::Tarpit);
                proxy.reset_all();
            }
            "refused" => {
                proxy.accept(Accepting::Refuse);
                proxy.reset_all();
            }
            _ => redis.kill(),
        }
        let mut took = Vec::new();
        for _ in 0..40 {
            n += 1;
            let began = Stopwatch::start();
            let item = key(n);
            let load = cache.get_or_load(&item, tagged("t"), |_| async { Ok::<_, std::io::Error>(1_u64) });
            assert_eq!(*load.await.unwrap(), 1);
            took.push(began.elapsed());
        }
        // The breaker is open now.
        let mut cheap: Vec<Duration> = took[took.len() - 20..].to_vec();
        cheap.sort_unstable();
        let invalidated = Stopwatch::start();
        assert!(cache.remove(&key(n)).await.is_err(), "{fault}");
        let invalidated = invalidated.elapsed();
        match fault {
            "frozen" => redis.thaw(),
            "killed" => redis.restart(),
            _ => proxy.heal(),
        }
        let back = Stopwatch::start();
        wait_until(seconds(8), "Redis is used again", async || {
            shares(&cache, &witness).await
        })
        .await;
        let (back, worst, median) = (back.elapsed(), took.iter().max().unwrap(), cheap[10]);
        println!(
            "{fault}: worst {worst:?}, then {median:?}, invalidation {invalidated:?}, back after {back:?}"
        );
        assert!(
            *worst <= Duration::from_millis(350),
            "{fault}: a call took {worst:?}"
        );
        assert!(
            median < Duration::from_millis(5),
            "{fault}: an open breaker costs {median:?}"
        );
        assert!(
            invalidated <= Duration::from_millis(350),
            "{fault}: {invalidated:?}"
        );
        assert!(
            back <= Duration::from_millis(2_500),
            "{fault}: back after {back:?}"
        );
        assert_eq!(cache.flush_pending(seconds(5)).await, 0, "{fault}");
    }
}

/// B8.13, B13.2
#[tokio::test(flavor = "multi_thread")]
async fn without_redis_for_a_life_nothing_grows_without_bound() {
    let gone = {
        let redis = RedisServer::start();
        redis.url()
    };
    let cache = Cache::builder("fleet")
        .redis(Redis::from_url(&gone).unwrap())
        .memory_entries(1_000)
        .build()
        .unwrap();
    for n in 0..12_000 {
        assert!(cache.set(&key(n), n, minutes(1)).await.unwrap().is_stored());
        if n % 3 == 0 {
            assert!(cache.remove(&key(n)).await.is_err());
        }
        if n % 100 == 0 {
            let origin = Origin::default();
            read(&cache, &origin, n, tagged(&format!("tag-{n}"))).await;
            assert!(cache.invalidate_tag(format!("tag-{n}")).await.is_err());
        }
    }
    let stats = cache.stats();
    assert!(stats.entries <= 1_000, "{stats:?}");
    assert_eq!(stats.counters.recovery_overflows, 1, "{stats:?}");
    let pending = cache.flush_pending(Duration::from_millis(1)).await;
    assert!((1..=10_000).contains(&pending), "{pending}");
    assert!(cache.close(seconds(1)).await.is_ok());
}

/// B13.1
#[tokio::test(flavor = "multi_thread")]
async fn an_invalidation_that_is_asked_for_again_while_it_is_delivered_is_delivered_again() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(redis.address());
    let a = hearing_node(&redis.url_via(proxy.address()), |node| node).await;
    let b = hearing_node(&redis.url(), |node| node).await;
    for round in 1..=5_u64 {
        proxy.set(Fault::BlackHole);
        assert!(a.remove(&key(1)).await.is_err());
        proxy.reset_all();
        // Carried out, and not answered: the delivery is under way when the key changes again.
        proxy.set(Fault::WithholdReplies);
        proxy.accept(Accepting::Relay);
        let flushing = {
            let a = a.clone();
            tokio::spawn(async move { a.flush_pending(Duration::from_millis(600)).await })
        };
        let _ = b.set(&key(1), round, minutes(5)).await.unwrap();
        assert!(a.remove(&key(1)).await.is_err());
        proxy.reset_all();
        proxy.heal();
        let _ = flushing.await.unwrap();
        wait_until(seconds(5), "the removal arrives", async || {
            b.get::<u64>(&key(1)).await.is_none()
        })
        .await;
        wait_until(seconds(5), "nothing is pending", async || {
            a.flush_pending(seconds(1)).await == 0
        })
        .await;
    }
}

/// B12.6
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hears_nothing_trusts_what_it_has_for_its_cap_only() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(redis.address());
    let cap = seconds(4);
    let a = hearing_node(&redis.url(), |node| node).await;
    let cut = hearing_node(&redis.url_via(proxy.address()), |node| node.disconnected_cap(cap)).await;
    let options = || EntryOptions::ttl(minutes(5)).stale_for(hours(1));
    let _ = a.set(&key(1), 1_u64, options()).await.unwrap();
    assert_eq!(cut.get::<u64>(&key(1)).await.as_deref(), Some(&1));
    proxy.connection_that_sent("XREAD").set(Fault::BlackHole);
    let began = Stopwatch::start();
    let _ = a.set(&key(1), 2_u64, options()).await.unwrap();
    wait_until(seconds(10), "the cut node reads the new value", async || {
        cut.get::<u64>(&key(1)).await.as_deref() == Some(&2)
    })
    .await;
    let late = began.elapsed();
    println!("a cut node is behind for {late:?}");
    assert!(late <= cap + Duration::from_millis(1_500), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_could_not_be_given_back_is_when_the_network_is_back() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(redis.address());
    let a = hearing_node(&redis.url_via(proxy.address()), |node| node).await;
    let b = hearing_node(&redis.url(), |node| node).await;
    let held = a.try_lock("l", hours(1)).await.unwrap().unwrap();
    let item = key(1);
    let loaded = a.get_or_load_borrowed(&item, hours(1), |_| async {
        proxy.accept(Accepting::Refuse);
        proxy.reset_all();
        Ok::<_, std::io::Error>(1_u64)
    });
    // Its end cannot be told to anybody.
    assert_eq!(*loaded.await.unwrap(), 1);
    drop(held);
    let waiting = {
        let b = b.clone();
        tokio::spawn(async move { read(&b, &Origin::default(), 1, hours(1).into()).await })
    };
    wait_until(SOON, "another node waits for it", async || {
        b.stats().counters.lease_waits > 0
    })
    .await;
    proxy.heal();
    let back = Stopwatch::start();
    waiting.await.unwrap();
    assert!(b.lock("l", hours(1), seconds(5)).await.is_ok());
    assert!(
        back.elapsed() < Duration::from_millis(2_500),
        "{:?}",
        back.elapsed()
    );
}

const SOON: Duration = Duration::from_secs(2);
