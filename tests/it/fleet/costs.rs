//! What operations cost: round trips and commands, counted at the server and on the way to it.

use cache_core::KeyPattern;
use support::FaultProxy;

use super::*;

/// Round trips of everything but the log's own connection, from here on.
struct Trips<'a> {
    proxy: &'a FaultProxy,
    before: u64,
}

impl<'a> Trips<'a> {
    fn count(proxy: &'a FaultProxy) -> Self {
        Self {
            proxy,
            before: Self::now(proxy),
        }
    }

    fn now(proxy: &FaultProxy) -> u64 {
        let ours = |connection: &support::proxy::Connection| !connection.has_sent("XREAD");
        let connections = proxy.connections().into_iter().filter(ours);
        connections.map(|connection| connection.round_trips()).sum()
    }

    fn so_far(&self) -> u64 {
        Self::now(self.proxy) - self.before
    }
}

/// B1.1, B1.2, B10.6
#[tokio::test(flavor = "multi_thread")]
async fn a_miss_takes_three_round_trips_a_shared_hit_one_and_a_hit_none() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(redis.address());
    let (a, b) = (
        hearing_node(&redis.url_via(proxy.address()), |node| node).await,
        hearing_node(&redis.url(), |node| node).await,
    );
    let origin = Origin::default();
    // Loads the scripts.
    read(&a, &origin, 0, tagged("t")).await;
    let mut n = 0;
    for (what, expected) in [
        ("a miss", 3),
        ("a miss with cold marks", 3),
        ("a miss after an invalidation", 3),
        ("a hit in the shared tier", 1),
        ("a hit", 0),
    ] {
        let mut fewest = u64::MAX;
        // On a busy machine two questions that are sent together may be seen as one after the other.
        for _ in 0..5 {
            n += 1;
            let mut tag = "t".to_owned();
            match what {
                "a miss with cold marks" => tag = format!("cold-{n}"),
                "a miss after an invalidation" => {
                    read(&a, &origin, n, tagged("t")).await;
                    a.invalidate_tag("t").await.unwrap();
                }
                "a hit in the shared tier" => {
                    read(&b, &origin, n, tagged("t")).await;
                }
                "a hit" => {
                    read(&a, &origin, n, tagged("t")).await;
                }
                _ => {}
            }
            let trips = Trips::count(&proxy);
            read(&a, &origin, n, tagged(&tag)).await;
            fewest = fewest.min(trips.so_far());
        }
        assert_eq!(fewest, expected, "{what}");
    }
}

/// B1.11
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_misses_takes_three_round_trips() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(redis.address());
    let a = hearing_node(&redis.url_via(proxy.address()), |node| node).await;
    let batch = async |range: std::ops::Range<u64>| {
        let keys: Vec<CacheKey> = range.map(key).collect();
        let loaded = a.get_or_load_many(&keys, tagged("t"), |keys| async move {
            Ok::<_, std::io::Error>(keys.into_iter().map(|key| (key, 1_u64)).collect())
        });
        assert!(loaded.await.unwrap().iter().all(Option::is_some));
    };
    batch(0..2).await;
    let trips = Trips::count(&proxy);
    batch(10..30).await;
    // A burst of replies that arrives in pieces counts as more than one.
    assert!(trips.so_far() <= 6, "{}", trips.so_far());
}

/// B10.2, B11.1
#[tokio::test(flavor = "multi_thread")]
async fn invalidating_many_entries_scans_and_deletes_nothing() {
    let redis = RedisServer::start();
    let a = hearing_node(&redis.url(), |node| node).await;
    let values = (0..500).map(|n| (key(n), n));
    let _ = a.set_many(values, tagged("t").stale_for(hours(1))).await.unwrap();
    let mut monitor = redis.monitor();
    a.invalidate_tag("t").await.unwrap();
    a.remove_prefix("item").await.unwrap();
    a.clear_soft().await.unwrap();
    a.clear().await.unwrap();
    let commands = monitor.take();
    let names: Vec<String> = commands
        .iter()
        .map(support::redis::MonitoredCommand::name)
        .collect();
    for forbidden in ["SCAN", "KEYS", "FLUSHDB", "FLUSHALL", "UNLINK"] {
        assert!(
            !names.iter().any(|name| name == forbidden),
            "{forbidden}: {names:?}"
        );
    }
    // The marks themselves are replaced; no entry is touched.
    let touched = commands
        .iter()
        .filter(|command| command.arguments.iter().any(|text| text.contains("item:")));
    assert_eq!(touched.count(), 0);
    assert!(commands.len() < 60, "{}", commands.len());
    assert!(a.get::<u64>(&key(1)).await.is_none());
}

/// B2.3
#[tokio::test(flavor = "multi_thread")]
async fn every_key_ends_by_itself_but_the_log() {
    let redis = RedisServer::start();
    let a = hearing_node(&redis.url(), |node| node).await;
    let origin = Origin::default();
    read(&a, &origin, 1, tagged("t")).await;
    let _ = a.set(&key(2), 1_u64, Duration::from_millis(1)).await.unwrap();
    a.remove(&key(3)).await.unwrap();
    a.expire(&key(4)).await.unwrap();
    a.invalidate_tag("t").hold(seconds(1)).await.unwrap();
    a.remove_prefix("item").await.unwrap();
    a.remove_matching(KeyPattern::new("item").unwrap().any())
        .await
        .unwrap();
    a.clear().await.unwrap();
    a.update(&key(5), hours(1), |_: Option<u64>| 1).await.unwrap();
    let lock = a.try_lock("l", seconds(30)).await.unwrap();
    let claim = a.claim(&key(6), seconds(30)).await.unwrap();
    let failing = |_| async { Err::<u64, _>(std::io::Error::other("down")) };
    let failed = a
        .get_or_load(&key(7), tagged("t").error_ttl(seconds(9)), failing)
        .await;
    assert!(failed.is_err() && lock.is_some() && claim.is_some());
    let endless = redis.keys_without_ttl();
    assert_eq!(endless.len(), 1, "{endless:?}");
}
