//! Everything works for a user who may do exactly what the documentation lists.

use std::collections::HashMap;

use cache_core::KeyPattern;
use support::RedisCluster;

use super::*;

/// The rules of docs/redis.md, which are for a cache named `m`.
fn rules() -> String {
    let page = include_str!("../../../docs/redis.md");
    let (_, after) = page.split_once("```text\n").unwrap();
    after.split_once("```").unwrap().0.replace('\n', " ")
}

/// Every operation once, and twice where the second takes another path.
async fn use_everything(a: &Cache, b: &Cache) {
    for cache in [a, b] {
        hears(cache).await;
    }
    let origin = Origin::default();
    for n in 0..2 {
        read(a, &origin, n, tagged("t").error_ttl(seconds(5))).await;
        read(b, &origin, n, tagged("t")).await;
    }
    assert_eq!(origin.loads(), 2);
    let failing = |_| async { Err::<u64, _>(std::io::Error::other("down")) };
    let failed = a
        .get_or_load(&key(7), tagged("t").error_ttl(seconds(5)), failing)
        .await;
    assert!(failed.is_err());
    let slow = [a, b].map(|cache| {
        let (cache, origin) = (cache.clone(), origin.clone());
        tokio::spawn(async move {
            let key = key(8);
            let load = cache.get_or_load(&key, minutes(5), move |_| origin.load_slowly());
            load.await.map(|value| *value)
        })
    });
    for load in slow {
        load.await.unwrap().unwrap();
    }
    assert_eq!(origin.loads(), 3, "one of them waited for the other");
    let keys: Vec<_> = (20..30).map(key).collect();
    let batch = a.get_or_load_many(&keys, tagged("t"), |keys| async move {
        Ok::<_, std::io::Error>(
            keys.into_iter()
                .map(|key| (key, 1_u64))
                .collect::<HashMap<_, _>>(),
        )
    });
    assert_eq!(batch.await.unwrap().len(), 10);
    assert!(b.get_many::<u64>(&keys).await.iter().all(Option::is_some));

    assert_eq!(a.set(&key(1), 5_u64, tagged("t")).await.unwrap(), Stored::Yes);
    let permit = a.store_permit();
    assert_eq!(
        permit.store(&key(2), 5_u64, tagged("t")).await.unwrap(),
        Stored::Yes
    );
    let one = key(1);
    let updated = a.update(&one, hours(1), |old: Option<u64>| old.unwrap_or(0) + 1);
    assert_eq!(*updated.await.unwrap(), 6);
    assert!(a.remaining_ttl(&key(1)).await.is_some());
    a.refresh(&key(1), tagged("t"), |_| async { Ok::<_, std::io::Error>(1_u64) })
        .await
        .unwrap();

    let within = a.namespace("eu").unwrap();
    assert_eq!(
        within.set(&key(1), 1_u64, tagged("t")).await.unwrap(),
        Stored::Yes
    );
    within.clear().await.unwrap();
    a.expire(&key(1)).await.unwrap();
    a.remove(&key(1)).hold(Duration::from_millis(1)).await.unwrap();
    a.invalidate_tag_soft("t").await.unwrap();
    a.invalidate_tag("t")
        .hold(Duration::from_millis(1))
        .await
        .unwrap();
    a.remove_prefix("item").await.unwrap();
    a.remove_matching(KeyPattern::new("item").unwrap().any())
        .await
        .unwrap();
    a.clear_soft().await.unwrap();
    a.clear().await.unwrap();
    a.purge().await;

    let claim = a.claim(&key(1), seconds(5)).await.unwrap().unwrap();
    assert!(b.claim(&key(1), seconds(5)).await.unwrap().is_none());
    assert_eq!(claim.confirm(seconds(5)).await, Confirmation::Kept);
    let lock = a.try_lock("l", seconds(5)).await.unwrap().unwrap();
    assert!(lock.renew(seconds(5)).await && lock.release().await);
    assert!(b.lock("l", seconds(5), seconds(5)).await.is_ok());
    for cache in [a, b] {
        assert_eq!(cache.flush_pending(seconds(1)).await, 0);
        assert_eq!(cache.stats().counters.degraded, 0, "{:?}", cache.stats().counters);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_permissions_are_enough_for_all_that_a_cache_does() {
    let redis = RedisServer::builder().user("cache", "pw", &rules()).start();
    let open = || {
        let redis = Redis::from_url(&redis.url()).unwrap();
        Cache::builder("m").redis(redis).build().unwrap()
    };
    use_everything(&open(), &open()).await;
    let refused = redis.command(&["ACL", "LOG"]);
    assert!(refused.items().is_empty(), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_permissions_are_enough_on_a_cluster() {
    let rules = format!("{} +cluster|slots +asking", rules());
    let cluster = RedisCluster::start_with(|node| node.user("cache", "pw", &rules));
    let open = || {
        let redis = Redis::cluster(cluster.urls()).unwrap();
        Cache::builder("m").redis(redis).build().unwrap()
    };
    use_everything(&open(), &open()).await;
    for node in cluster.nodes() {
        let refused = node.command(&["ACL", "LOG"]);
        assert!(refused.items().is_empty(), "{refused:?}");
    }
}

/// B8.6: who may neither say nor hear how a load ends asks again, and loads once all the same.
#[tokio::test(flavor = "multi_thread")]
async fn without_pub_sub_nodes_that_miss_together_load_once() {
    let redis = RedisServer::builder()
        .user(
            "cache",
            "pw",
            "~* +@all resetchannels -subscribe -psubscribe -publish",
        )
        .start();
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(hearing_node(&redis.url(), |node| node).await);
    }
    for round in 0..3 {
        let origin = Origin::default();
        ask_at_once(nodes.iter(), round, &origin).await;
        assert_eq!(origin.loads(), 1);
    }
    // A lock is waited for in the same way.
    let held = nodes[0].try_lock("l", hours(1)).await.unwrap().unwrap();
    let (waiting, _) = tokio::join!(nodes[1].lock("l", hours(1), seconds(5)), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(held.release().await);
    });
    assert!(waiting.unwrap().is_held());
}
