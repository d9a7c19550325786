//! Masters die and are replaced, slots move: calls go on.

use cache_core::testing::ManualClock;
use support::resp::RespClient;
use support::soak::hand_over;
use support::soak::traffic::shares;
use support::{Accepting, FaultProxy, RedisCluster, SentinelTrio, Stopwatch};

use super::*;

async fn on_cluster(cluster: &RedisCluster) -> Cache {
    let redis = Redis::cluster(cluster.urls()).unwrap();
    let cache = Cache::builder("fleet").redis(redis).build().unwrap();
    hears(&cache).await;
    cache
}

async fn on_sentinel(trio: &SentinelTrio) -> Cache {
    let redis = Redis::sentinel(SentinelTrio::SERVICE, trio.urls()).unwrap();
    let cache = Cache::builder("fleet").redis(redis).build().unwrap();
    hears(&cache).await;
    cache
}

/// The first key whose slot another master serves than the log's.
fn away_from_the_log(cluster: &RedisCluster) -> u64 {
    let log = cluster.master_of("{fleet}:log").port();
    (0..)
        .find(|n| cluster.master_of(&format!("fleet:item:{n}")).port() != log)
        .unwrap()
}

/// B12.1
#[tokio::test(flavor = "multi_thread")]
async fn on_a_cluster_a_copy_is_compared_with_the_original_once_a_minute() {
    let cluster = RedisCluster::start();
    let clock = ManualClock::new();
    let redis = Redis::cluster(cluster.urls()).unwrap();
    let builder = Cache::builder("fleet").redis(redis).clock(clock.clone());
    let (a, b) = (builder.build().unwrap(), on_cluster(&cluster).await);
    hears(&a).await;
    let tier = async || a.get::<u64>(&key(1)).await.unwrap().outcome().tier;
    let _ = b.set(&key(1), 1_u64, hours(1)).await.unwrap();
    wait_until(seconds(2), "it is promoted", async || {
        tier().await == Some(Tier::Memory)
    })
    .await;
    clock.advance(seconds(59));
    // The log is confirmed anew by the other clock; from then on the copy is good again.
    wait_until(seconds(4), "a copy of less than a minute", async || {
        tier().await == Some(Tier::Memory)
    })
    .await;
    clock.advance(seconds(61));
    // While no server answers, the copy stays in use; what ends that, a breaker's pause, goes by this clock too.
    wait_until(seconds(4), "a copy of more than a minute", async || {
        clock.advance(seconds(1));
        tier().await == Some(Tier::Shared)
    })
    .await;
    assert_eq!(tier().await, Some(Tier::Memory));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_master_of_a_cluster_costs_the_keys_of_the_others_nothing() {
    let cluster = RedisCluster::start();
    let (a, b) = (on_cluster(&cluster).await, on_cluster(&cluster).await);
    let values = (0..300).map(|n| (key(n), n));
    assert!(
        a.set_many(values, hours(1))
            .await
            .unwrap()
            .iter()
            .all(|stored| *stored == Stored::Yes)
    );
    let victim = away_from_the_log(&cluster);
    let dead = cluster.master_of(&format!("fleet:item:{victim}")).port();
    let (lost, others): (Vec<u64>, Vec<u64>) =
        (0..300).partition(|n| cluster.master_of(&format!("fleet:item:{n}")).port() == dead);
    cluster.master_of(&format!("fleet:item:{victim}")).freeze();
    // Far more failures at once than a breaker takes.
    let origin = Origin::default();
    let mut reads = tokio::task::JoinSet::new();
    for n in lost {
        let (b, origin) = (b.clone(), origin.clone());
        reads.spawn(async move { read(&b, &origin, n, hours(1).into()).await });
    }
    reads.join_all().await;
    for n in &others {
        let found = b.get::<u64>(&key(*n)).await;
        assert_eq!(found.as_deref(), Some(n), "its server is well");
        assert_eq!(found.unwrap().outcome().tier, Some(Tier::Shared));
    }
    assert!(origin.loads() > 0, "the frozen server's keys were loaded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_was_demoted_is_left_by_the_reader_of_its_log() {
    let first = RedisServer::start();
    let second = RedisServer::builder().replica_of(&first).start();
    second.wait_ready();
    let proxy = FaultProxy::start(first.address());
    // Without hearing the log nothing is served from memory.
    let a = hearing_node(&redis_via(&proxy), |node| {
        node.disconnected_cap(Duration::from_millis(1))
    })
    .await;
    let before = Stopwatch::start();
    tokio::task::block_in_place(|| hand_over(&first, &second));
    proxy.swap_backend(second.address());
    let _ = a.set(&key(1), 1_u64, hours(1)).await.unwrap();
    // By then it would have noticed that nobody confirms.
    tokio::time::sleep(Duration::from_millis(4_500).saturating_sub(before.elapsed())).await;
    let b = hearing_node(&second.url(), |node| node).await;
    wait_until(seconds(5), "the log is heard", async || {
        let _ = a.set(&key(1), 2_u64, hours(1)).await.unwrap();
        a.get::<u64>(&key(1)).await.unwrap().outcome().tier == Some(Tier::Memory)
    })
    .await;
    let _ = b.set(&key(1), 3_u64, hours(1)).await.unwrap();
    wait_until(seconds(2), "a hears b", async || {
        a.get::<u64>(&key(1)).await.as_deref() == Some(&3)
    })
    .await;
}

fn redis_via(proxy: &FaultProxy) -> String {
    format!("redis://{}/", proxy.address())
}

/// Redis confirms a write before its replicas have it. If the master dies then, what was written is gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_failover_has_lost_is_lost_for_all_nodes_alike() {
    let trio = SentinelTrio::start();
    let (a, b) = (on_sentinel(&trio).await, on_sentinel(&trio).await);
    let _ = a.set(&key(1), 1_u64, hours(1)).await.unwrap();
    let reads = async |node: &Cache| node.get::<u64>(&key(1)).await.map(|value| *value);
    wait_until(seconds(2), "b reads it", async || reads(&b).await == Some(1)).await;
    trio.master().command(&["WAIT", "2", "2000"]);
    for replica in trio.replicas() {
        replica.command(&["REPLICAOF", "127.0.0.1", "1"]);
    }
    assert_eq!(a.set(&key(1), 2_u64, hours(1)).await.unwrap(), Stored::Yes);
    let lock = a.try_lock("l", minutes(1)).await.unwrap().unwrap();
    wait_until(seconds(2), "b reads the newer one", async || {
        reads(&b).await == Some(2)
    })
    .await;
    tokio::task::block_in_place(|| {
        let dead = trio.kill_master();
        trio.wait_for_failover(dead);
    });
    wait_until(seconds(10), "the nodes share again", async || {
        shares(&a, &b).await
    })
    .await;
    // Their copies are newer than what is stored; nobody keeps them.
    for node in [&a, &b] {
        wait_until(seconds(5), "it reads what is stored", async || {
            reads(node).await == Some(1)
        })
        .await;
    }
    assert!(lock.is_held(), "it has not asked yet");
    assert!(!lock.renew(minutes(1)).await, "the lock was lost");
    assert!(!lock.is_held());
    assert!(b.try_lock("l", seconds(5)).await.unwrap().is_some());
    let _ = b.set(&key(1), 3_u64, hours(1)).await.unwrap();
    wait_until(seconds(2), "a hears b", async || reads(&a).await == Some(3)).await;
}

/// Nobody but the caches' user reaches the server any more: no sentinel, no replica.
fn isolate(server: &RedisServer, isolated: bool) {
    let mut client = RespClient::connect(server.address(), seconds(5)).unwrap();
    client.command(&["AUTH", "cache", "pw"]).unwrap();
    let state = if isolated { "off" } else { "on" };
    client.command(&["ACL", "SETUSER", "harness", state]).unwrap();
    if isolated {
        client
            .command(&["CLIENT", "KILL", "USER", "harness", "SKIPME", "yes"])
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_cut_off_with_a_deposed_master_distrusts_its_memory_and_forgets_it_afterwards() {
    let trio = SentinelTrio::start_with(|server| server.user("cache", "pw", "~* &* +@all"));
    let proxies: Vec<FaultProxy> = trio
        .sentinels()
        .iter()
        .map(|sentinel| FaultProxy::start(sentinel.address()))
        .collect();
    let open = |urls: Vec<String>| {
        let redis = Redis::sentinel(SentinelTrio::SERVICE, urls).unwrap();
        let redis = redis.username("cache").password("pw");
        let builder = Cache::builder("fleet").redis(redis);
        builder.disconnected_cap(seconds(1)).build().unwrap()
    };
    let cut = open(proxies.iter().map(redis_via).collect());
    hears(&cut).await;
    let _ = cut.set(&key(1), 1_u64, hours(1)).await.unwrap();
    let reads = async |n: u64| cut.get::<u64>(&key(n)).await.map(|value| *value);

    let old = trio.master();
    for proxy in &proxies {
        proxy.accept(Accepting::Refuse);
        proxy.reset_all();
    }
    tokio::task::block_in_place(|| {
        isolate(old, true);
        trio.wait_for_failover(old.port());
    });
    let other = open(trio.urls());
    hears(&other).await;
    assert_eq!(other.set(&key(1), 2_u64, hours(1)).await.unwrap(), Stored::Yes);
    // It goes on with the old one, alone, and believes nothing for longer than its cap.
    let _ = cut.set(&key(2), 1_u64, hours(1)).await.unwrap();
    wait_until(seconds(8), "its memory is not trusted", async || {
        let _ = cut.get::<u64>(&key(2)).await;
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        cut.get::<u64>(&key(2)).await.unwrap().outcome().tier == Some(Tier::Shared)
    })
    .await;

    isolate(old, false);
    proxies.iter().for_each(FaultProxy::heal);
    wait_until(seconds(30), "it reads what the others wrote", async || {
        reads(1).await == Some(2)
    })
    .await;
    wait_until(
        seconds(5),
        "what it wrote to the old master is gone",
        async || reads(2).await.is_none(),
    )
    .await;
    let _ = other.set(&key(1), 3_u64, hours(1)).await.unwrap();
    wait_until(seconds(5), "it hears the others", async || {
        reads(1).await == Some(3)
    })
    .await;
}

async fn on_sentinel_as_cache(trio: &SentinelTrio) -> Cache {
    let redis = Redis::sentinel(SentinelTrio::SERVICE, trio.urls()).unwrap();
    let redis = redis.username("cache").password("pw");
    let cache = Cache::builder("fleet").redis(redis).build().unwrap();
    hears(&cache).await;
    cache
}

/// B12.6: what a node writes to a master that others have replaced is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_was_deposed_is_left_although_it_still_answers() {
    let trio = SentinelTrio::start_with(|server| server.user("cache", "pw", "~* &* +@all"));
    let cache = on_sentinel_as_cache(&trio).await;
    let old = trio.master();
    let new = tokio::task::block_in_place(|| {
        isolate(old, true);
        trio.wait_for_failover(old.port())
    });
    let switched = Stopwatch::start();
    let mut written = 0;
    wait_until(seconds(10), "the new master has what is written", async || {
        written += 1;
        let _ = cache.set(&key(written), written, hours(1)).await.unwrap();
        let name = format!("fleet:item:{written}");
        tokio::task::block_in_place(|| new.command(&["EXISTS", &name]).integer() == Some(1))
    })
    .await;
    println!(
        "write {written} arrived, {:?} after the switch",
        switched.elapsed()
    );
    assert!(switched.elapsed() < seconds(2), "{:?}", switched.elapsed());
    let other = on_sentinel_as_cache(&trio).await;
    let _ = other.set(&key(written), 0_u64, hours(1)).await.unwrap();
    wait_until(seconds(5), "it hears what is announced there", async || {
        cache.get::<u64>(&key(written)).await.as_deref() == Some(&0)
    })
    .await;
}
