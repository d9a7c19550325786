//! Several nodes on one Redis behave as one cache; and without Redis, each by itself.

mod cancelled;
mod costs;
mod failover;
mod fallback;
mod faults;
mod oracle;
mod permissions;
mod processes;
mod queued;
mod sharing;
mod signed;
mod soak;
mod states;
mod unclear;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::time::{hours, minutes, seconds};
use cache_core::{
    Cache, CacheKey, ClaimAttempt, Confirmation, EntryOptions, Error, ErrorKind, OutcomeKind, Redis, Stored,
    Tier,
};
use support::soak::fleet::{hearing_node, key, tagged};
use support::{RedisServer, hears, wait_until, wait_until_blocking};

fn node(redis: &RedisServer) -> Cache {
    Cache::builder("fleet")
        .redis(Redis::from_url(&redis.url()).unwrap())
        .build()
        .unwrap()
}

/// A loader that counts its runs and gives what it is told.
#[derive(Clone, Default)]
struct Origin {
    loads: Arc<AtomicU64>,
    value: Arc<AtomicU64>,
}

impl Origin {
    async fn load(self) -> Result<u64, std::io::Error> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        Ok(self.value.load(Ordering::SeqCst))
    }

    async fn load_slowly(self) -> Result<u64, std::io::Error> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let value = self.value.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(value)
    }

    fn loads(&self) -> u64 {
        self.loads.load(Ordering::SeqCst)
    }
}

async fn read(cache: &Cache, origin: &Origin, n: u64, options: EntryOptions) -> u64 {
    let origin = origin.clone();
    *cache
        .get_or_load(&key(n), options, move |_| origin.load())
        .await
        .unwrap()
}

/// All of them ask for one key at once, and each gets the value that the origin has in the beginning.
async fn ask_at_once<'a>(callers: impl Iterator<Item = &'a Cache>, item: u64, origin: &Origin) {
    let calls = callers.map(|cache| {
        let (cache, origin) = (cache.clone(), origin.clone());
        tokio::spawn(async move {
            let load = move |_| origin.load_slowly();
            cache
                .get_or_load(&key(item), minutes(5), load)
                .await
                .map(|value| *value)
        })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap().unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_loaded_another_finds() {
    let redis = RedisServer::start();
    let (a, b, origin) = (node(&redis), node(&redis), Origin::default());
    origin.value.store(7, Ordering::SeqCst);
    assert_eq!(read(&a, &origin, 1, tagged("t")).await, 7);
    let found = {
        let origin = origin.clone();
        b.get_or_load(&key(1), tagged("t"), move |_| origin.load())
            .await
            .unwrap()
    };
    assert_eq!((*found, found.outcome().tier), (7, Some(Tier::Shared)));
    assert_eq!(origin.loads(), 1);
    // A node that has just begun to hear the log forgets once what it read before.
    wait_until(Duration::from_secs(1), "the value is promoted", async || {
        b.get::<u64>(&key(1)).await.unwrap().outcome().tier == Some(Tier::Memory)
    })
    .await;
    assert!(b.remaining_ttl(&key(1)).await.unwrap() <= minutes(5));
    assert_eq!(
        redis.keys_without_ttl().len(),
        1,
        "only the log has no end: {:?}",
        redis.keys_without_ttl()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_miss_together_load_once() {
    let redis = RedisServer::start();
    let origin = Origin::default();
    let nodes: Vec<Cache> = (0..4).map(|_| node(&redis)).collect();
    let calls = nodes
        .iter()
        .flat_map(|cache| (0..50).map(move |_| cache.clone()))
        .map(|cache| {
            let origin = origin.clone();
            tokio::spawn(async move {
                *cache
                    .get_or_load(&key(1), minutes(5), move |_| origin.load_slowly())
                    .await
                    .unwrap()
            })
        });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert_eq!(origin.loads(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalidation_by_one_node_reaches_the_others() {
    let redis = RedisServer::start();
    let (a, b, origin) = (node(&redis), node(&redis), Origin::default());
    for how in ["key", "tag", "prefix", "pattern", "clear", "set"] {
        origin.value.store(1, Ordering::SeqCst);
        assert_eq!(read(&a, &origin, 1, tagged("t")).await, 1, "{how}");
        assert_eq!(read(&b, &origin, 1, tagged("t")).await, 1, "{how}");
        origin.value.store(2, Ordering::SeqCst);
        match how {
            "key" => a.remove(&key(1)).await.unwrap(),
            "tag" => a.invalidate_tag("t").await.unwrap(),
            "prefix" => a.remove_prefix("item").await.unwrap(),
            "pattern" => a
                .remove_matching(cache_core::KeyPattern::new("item").unwrap().part(1))
                .await
                .unwrap(),
            "clear" => a.clear().await.unwrap(),
            _ => assert!(a.set(&key(1), 2_u64, tagged("t")).await.unwrap().is_stored()),
        }
        assert_eq!(
            read(&a, &origin, 1, tagged("t")).await,
            2,
            "at once on the node itself, by {how}"
        );
        wait_until(Duration::from_secs(1), "the other node sees it", async || {
            read(&b, &origin, 1, tagged("t")).await == 2
        })
        .await;
        a.remove(&key(1)).await.unwrap();
        wait_until(Duration::from_secs(1), "the other node forgets it", async || {
            b.get::<u64>(&key(1)).await.is_none()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_began_before_an_invalidation_elsewhere_is_not_readable_after_it() {
    let redis = RedisServer::start();
    let (a, b) = (node(&redis), node(&redis));
    for how in ["key", "tag", "clear"] {
        let (began, proceed) = (
            Arc::new(tokio::sync::Notify::new()),
            Arc::new(tokio::sync::Notify::new()),
        );
        let slow = {
            let (b, began, proceed) = (b.clone(), began.clone(), proceed.clone());
            tokio::spawn(async move {
                b.get_or_load(&key(9), tagged("t"), move |_| async move {
                    began.notify_one();
                    proceed.notified().await;
                    Ok::<_, std::io::Error>(1_u64)
                })
                .await
                .map(|loaded| *loaded)
            })
        };
        began.notified().await;
        match how {
            "key" => a.remove(&key(9)).await.unwrap(),
            "tag" => a.invalidate_tag("t").await.unwrap(),
            _ => a.clear().await.unwrap(),
        }
        proceed.notify_one();
        assert_eq!(slow.await.unwrap().unwrap(), 1, "who waited gets the value");
        assert!(a.get::<u64>(&key(9)).await.is_none(), "{how}");
        wait_until(
            Duration::from_secs(1),
            "the loading node has heard of it",
            async || b.get::<u64>(&key(9)).await.is_none(),
        )
        .await;
    }
}

/// B16.3
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_updates_from_several_nodes_all_take_effect() {
    let redis = RedisServer::start();
    let nodes = [node(&redis), node(&redis), node(&redis)];
    let tasks: Vec<_> = nodes
        .iter()
        .map(|cache| {
            let cache = cache.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    cache
                        .update(&key(1), hours(1), |old: Option<u64>| old.unwrap_or(0) + 1)
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for cache in &nodes {
        wait_until(Duration::from_secs(1), "every node reads the sum", async || {
            cache.get::<u64>(&key(1)).await.is_some_and(|sum| *sum == 150)
        })
        .await;
    }
}

/// B16.1
#[tokio::test(flavor = "multi_thread")]
async fn claims_and_locks_hold_across_nodes() {
    let redis = RedisServer::start();
    let (a, b) = (node(&redis), node(&redis));
    let claim = a.claim(&key(1), seconds(30)).await.unwrap().unwrap();
    assert!(b.claim(&key(1), seconds(30)).await.unwrap().is_none());
    let refusal = |within: std::ops::Range<Duration>| {
        let b = b.clone();
        async move {
            let attempt = b.try_claim(&key(1), seconds(30)).await.unwrap();
            let told = matches!(attempt, ClaimAttempt::Refused { remaining } if within.contains(&remaining));
            assert!(told, "{attempt:?} is not within {within:?}");
        }
    };
    refusal(Duration::ZERO..seconds(31)).await;
    assert_eq!(claim.confirm(hours(1)).await, Confirmation::Kept);
    refusal(minutes(50)..minutes(61)).await;
    assert!(
        b.claim(&key(1), seconds(30)).await.unwrap().is_none(),
        "confirmed"
    );

    let first = a.try_lock("rebuild", seconds(30)).await.unwrap().unwrap();
    assert!(b.try_lock("rebuild", seconds(30)).await.unwrap().is_none());
    let fencing = first.fencing_token();
    assert!(first.release().await);
    let second = b.lock("rebuild", seconds(30), seconds(5)).await.unwrap();
    assert!(second.fencing_token() > fencing && second.is_held());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_entry_stands_in_on_every_node_while_the_loader_fails() {
    let redis = RedisServer::start();
    let (a, b, origin) = (node(&redis), node(&redis), Origin::default());
    let options = EntryOptions::ttl(minutes(5)).stale_for(hours(1));
    origin.value.store(3, Ordering::SeqCst);
    assert_eq!(read(&a, &origin, 1, options.clone()).await, 3);
    a.expire(&key(1)).await.unwrap();
    for cache in [&a, &b] {
        // A node that has just begun to hear the log believes nothing that it read before, stale values included.
        wait_until(
            Duration::from_secs(1),
            "a stale value answers for the failing loader",
            async || {
                let failing = |_| async { Err::<u64, _>(std::io::Error::other("down")) };
                let answer = cache.get_or_load(&key(1), options.clone(), failing).await;
                answer.is_ok_and(|answer| {
                    *answer == 3 && matches!(answer.outcome().kind, OutcomeKind::Stale(_))
                })
            },
        )
        .await;
        assert!(cache.get::<u64>(&key(1)).await.is_none(), "stale is not fresh");
        assert!(
            cache
                .lookup::<u64>(&key(1))
                .await
                .value()
                .unwrap()
                .outcome()
                .is_stale()
        );
    }
}

/// B9.7, B13.5, B14.7
#[tokio::test(flavor = "multi_thread")]
async fn without_redis_reads_go_on_and_invalidations_say_so_and_are_delivered_later() {
    let redis = RedisServer::start();
    let (a, b, origin) = (node(&redis), node(&redis), Origin::default());
    origin.value.store(1, Ordering::SeqCst);
    for n in 0..20 {
        assert_eq!(read(&a, &origin, n, tagged("t")).await, 1);
        assert_eq!(read(&b, &origin, n, tagged("t")).await, 1);
    }
    redis.kill();
    origin.value.store(2, Ordering::SeqCst);
    for n in 100..120 {
        assert_eq!(read(&a, &origin, n, tagged("t")).await, 2, "loads go on");
    }
    let refused: Result<(), Error> = a.invalidate_tag("t").await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidationUncertain);
    assert_eq!(
        read(&a, &origin, 1, tagged("t")).await,
        2,
        "it holds on this node at once"
    );
    assert!(
        a.claim(&key(1), seconds(1))
            .await
            .is_err_and(|error| error.is_unavailable())
    );

    redis.restart();
    wait_until(
        Duration::from_secs(10),
        "what was pending is delivered",
        async || a.flush_pending(Duration::from_secs(1)).await == 0,
    )
    .await;
    wait_until(
        Duration::from_secs(5),
        "the other node reads the new value",
        async || read(&b, &origin, 1, tagged("t")).await == 2,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_never_reaches_redis_works_in_memory() {
    let gone = {
        let redis = RedisServer::start();
        redis.url()
    };
    let cache = Cache::builder("alone")
        .redis(Redis::from_url(&gone).unwrap())
        .build()
        .unwrap();
    let origin = Origin::default();
    for _ in 0..3 {
        assert_eq!(read(&cache, &origin, 1, tagged("t")).await, 0);
    }
    assert_eq!(origin.loads(), 1);
    assert!(cache.set(&key(2), 5_u64, minutes(1)).await.unwrap().is_stored());
    assert_eq!(cache.get::<u64>(&key(2)).await.as_deref(), Some(&5));
    assert!(cache.invalidate_tag("t").await.is_err());
    assert_eq!(read(&cache, &origin, 1, tagged("t")).await, 0);
    assert_eq!(origin.loads(), 2, "the invalidation holds here");
}

/// B8.13: as many loads as nodes, and not as many as callers.
#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_node_loads_once_for_all_its_callers() {
    let redis = RedisServer::start();
    let nodes = [
        hearing_node(&redis.url(), |node| node).await,
        hearing_node(&redis.url(), |node| node).await,
        hearing_node(&redis.url(), |node| node).await,
    ];
    redis.kill();
    for round in 0..5 {
        let origin = Origin::default();
        ask_at_once((0..600).map(|caller| &nodes[caller % 3]), round, &origin).await;
        assert_eq!(origin.loads(), 3, "in round {round}");
    }
}
