//! Nobody reads what was superseded: on the node that changed it never, on the others for moments at most. The world of
//! readers and writers is [`support::soak::world`].

use support::soak::world::{FROZEN, World};
use support::soak::{hand_over, trim};
use support::{Fault, FaultProxy};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_superseded_is_read_while_all_is_well() {
    let mut nodes = Vec::new();
    let redis = RedisServer::start();
    for _ in 0..3 {
        nodes.push(hearing_node(&redis.url(), |node| node).await);
    }
    let world = Arc::new(World::new(1, nodes));
    world.run(tokio::time::sleep(seconds(8))).await;
    world.findings(seconds(1)).assert_hold();
    let report = world.fleet();
    assert!(report.reads > 2_000, "{report}");
    // The bucket above 100 ms.
    assert!(report.quantile(0.999) <= Duration::from_millis(128), "{report}");
}

/// B10.6, B12.5
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_superseded_ends_within_the_cap_when_the_log_is_cut_trimmed_or_lost() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(redis.address());
    let cap = seconds(3);
    let nodes = vec![
        hearing_node(&redis.url(), |node| node).await,
        hearing_node(&redis.url(), |node| node).await,
        hearing_node(&redis.url_via(proxy.address()), |node| node.disconnected_cap(cap)).await,
    ];
    let world = Arc::new(World::new(2, nodes));
    let disturb = async {
        let pause = || tokio::time::sleep(Duration::from_millis(1_200));
        pause().await;
        redis.flushall();
        pause().await;
        trim(&redis);
        pause().await;
        proxy.connection_that_sent("XREAD").set(Fault::BlackHole);
        tokio::time::sleep(Duration::from_millis(5_500)).await;
        proxy.heal();
        redis.flushall();
        pause().await;
    };
    world.run(disturb).await;
    world.findings(cap + Duration::from_millis(1_500)).assert_hold();
}

/// B9.2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_superseded_is_read_although_a_node_freezes_over_its_loads() {
    let redis = RedisServer::start();
    let mut nodes = vec![hearing_node(&redis.url(), |node| node).await];
    // Leaked, since a runtime must not be dropped within another.
    let apart = Box::leak(Box::new(
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap(),
    ));
    let url = redis.url();
    let frozen = async move {
        let redis = Redis::from_url(&url).unwrap();
        // Its loads outlive their locks, and their permission to store.
        let builder = Cache::builder("fleet")
            .redis(redis)
            .max_load(FROZEN / 2)
            .lock_ttl(FROZEN / 3);
        let cache = builder.build().unwrap();
        // Starts its tasks where it runs.
        let _ = cache.get::<u64>(&key(u64::MAX)).await;
        cache
    };
    nodes.push(apart.spawn(frozen).await.unwrap());
    hears(&nodes[1]).await;
    nodes.push(hearing_node(&redis.url(), |node| node).await);
    let mut world = World::new(3, nodes);
    world.runs_apart(1, apart.handle().clone());
    let world = Arc::new(world);
    world.run(tokio::time::sleep(seconds(8))).await;
    world.findings(FROZEN + seconds(1)).assert_hold();
    assert!(world.freezes() > 0, "it was frozen");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_superseded_is_read_although_the_master_is_demoted_under_the_reader_of_its_log() {
    let first = RedisServer::start();
    let second = RedisServer::builder().replica_of(&first).start();
    second.wait_ready();
    let proxy = FaultProxy::start(first.address());
    let url = first.url_via(proxy.address());
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(hearing_node(&url, |node| node.disconnected_cap(seconds(3))).await);
    }
    let world = Arc::new(World::new(4, nodes));
    let disturb = async {
        for (from, to) in [(&first, &second), (&second, &first)] {
            tokio::time::sleep(seconds(1)).await;
            proxy.swap_backend(to.address());
            tokio::task::block_in_place(|| hand_over(from, to));
        }
        tokio::time::sleep(seconds(4)).await;
    };
    world.run(disturb).await;
    world.findings(Duration::from_millis(4_500)).assert_hold();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_racing_sets_all_nodes_read_the_same() {
    let redis = RedisServer::start();
    let (a, b) = (
        hearing_node(&redis.url(), |node| node).await,
        hearing_node(&redis.url(), |node| node).await,
    );
    for n in 0..300_u64 {
        let other = if n % 2 == 0 { &a } else { &b };
        let (k, hour) = (key(n), hours(1));
        let (one, two, _) = tokio::join!(
            a.set(&k, 1_u64, hour),
            other.set(&k, 2_u64, hour),
            a.get::<u64>(&k)
        );
        assert!(one.unwrap().is_stored() && two.unwrap().is_stored());
    }
    let fresh = hearing_node(&redis.url(), |node| node).await;
    let keys: Vec<_> = (0..300).map(key).collect();
    let stored: Vec<_> = fresh
        .get_many::<u64>(&keys)
        .await
        .into_iter()
        .map(|value| *value.unwrap())
        .collect();
    for node in [&a, &b] {
        wait_until(seconds(2), "the node reads what is stored", async || {
            let values = node.get_many::<u64>(&keys).await;
            values
                .iter()
                .zip(&stored)
                .all(|(value, stored)| value.as_deref() == Some(stored))
        })
        .await;
    }
}
