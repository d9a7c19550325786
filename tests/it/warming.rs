//! Lists loaded ahead of traffic, and values kept fresh while they are used.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use cache_core::testing::ScriptedStore;
use cache_core::time::{Clock as _, SystemClock, TokioClock, minutes, seconds};
use cache_core::{Cache, CacheKey, EntryOptions, Redis, WarmReport, WarmStop};
use support::{RedisServer, wait_until};

use crate::engine::{Answer, Broken, Origin, cache, cache_with, key, ms, others_run, settle, timed_cache};

fn keys(count: u64) -> Vec<CacheKey> {
    (0..count).map(key).collect()
}

fn counts(report: &WarmReport) -> (u64, u64, u64, u64) {
    (report.loaded, report.skipped, report.failed, report.left)
}

/// B15.1
#[tokio::test]
async fn a_list_is_loaded_once_and_what_is_fresh_is_skipped() {
    let (cache, _) = cache();
    assert!(cache.set(&key(3), 3_u32, minutes(1)).await.unwrap().is_stored());
    let loads = Arc::new(AtomicUsize::new(0));
    let load = {
        let loads = loads.clone();
        move |key: CacheKey| {
            loads.fetch_add(1, Ordering::SeqCst);
            async move {
                if key.text() == "item:4" {
                    Err(Broken("down"))
                } else {
                    Ok(7_u32)
                }
            }
        }
    };
    let heard = Arc::new(Mutex::new(Vec::new()));
    let progress = {
        let heard = heard.clone();
        move |report: &WarmReport| heard.lock().unwrap().push(*report)
    };
    let report = cache
        .warm(keys(10), minutes(1), load.clone())
        .progress(progress)
        .await;
    assert_eq!((counts(&report), report.stopped), ((8, 1, 1, 0), None));
    assert_eq!(heard.lock().unwrap().len(), 10);
    assert_eq!(heard.lock().unwrap().last(), Some(&report));
    let again = cache.warm(keys(10), minutes(1), load).await;
    assert_eq!(counts(&again), (0, 9, 1, 0));
    assert_eq!(loads.load(Ordering::SeqCst), 10);
}

#[tokio::test]
async fn no_more_keys_than_permitted_are_under_way() {
    let (cache, _) = cache();
    let origin = Origin::closed();
    let load = {
        let origin = origin.clone();
        move |_| {
            let origin = origin.clone();
            async move {
                let answer: Answer = Ok(1);
                origin.answer(answer).await
            }
        }
    };
    let warming = tokio::spawn(
        cache
            .warm(keys(10), minutes(1), load)
            .concurrency(3)
            .into_future(),
    );
    origin.begun(3).await;
    others_run().await;
    assert_eq!(origin.loads(), 3);
    origin.let_through(1);
    origin.begun(1).await;
    others_run().await;
    assert_eq!(origin.loads(), 4);
    // Dropped, it begins nothing more; what is under way goes on.
    warming.abort();
    assert!(warming.await.unwrap_err().is_cancelled());
    origin.release();
    settle(&cache).await;
    assert_eq!(origin.loads(), 4);
    let stored = cache.get_many::<u32>(&keys(10)).await;
    assert_eq!(stored.iter().flatten().count(), 4);
}

#[tokio::test(start_paused = true)]
async fn keys_are_begun_at_the_rate_that_is_set() {
    let cache = timed_cache(|builder| builder);
    let began = TokioClock.now();
    let load = |_| async { Ok::<u32, Broken>(1) };
    let report = cache.warm(keys(21), minutes(1), load).per_second(10).await;
    assert_eq!(report.loaded, 21);
    let took = TokioClock.now().since(began);
    assert!(took >= seconds(2) && took < ms(2_100), "{took:?}");
}

/// B15.1
#[tokio::test]
async fn warming_stops_before_it_pushes_out_what_is_there() {
    let (cache, _) = cache_with(|builder| builder.memory_entries(1_000));
    for n in 0..100 {
        assert!(
            cache
                .set(&key(("hot", n)), 1_u32, minutes(5))
                .await
                .unwrap()
                .is_stored()
        );
    }
    let load = |_| async { Ok::<u32, Broken>(1) };
    let report = cache.warm(keys(5_000), minutes(5), load).await;
    assert_eq!(report.stopped, Some(WarmStop::MemoryFull));
    assert_eq!(report.loaded + report.left, 5_000);
    assert!(report.loaded >= 700, "{report:?}");
    for n in 0..100 {
        assert!(
            cache.get::<u32>(&key(("hot", n))).await.is_some(),
            "{n} was pushed out"
        );
    }
    let beyond = cache.warm(keys(5_000), minutes(5), load).beyond_memory().await;
    assert_eq!((beyond.left, beyond.stopped), (0, None));
    cache.close(seconds(1)).await.unwrap();
    let closed = cache.warm(keys(3), minutes(5), load).await;
    assert_eq!((closed.left, closed.stopped), (3, Some(WarmStop::Closing)));
}

async fn two_nodes_warm_one_list(nodes: [Cache; 2]) {
    let loaded = Arc::new(Mutex::new(Vec::new()));
    let warm = |cache: &Cache| {
        let loaded = loaded.clone();
        let load = move |key: CacheKey| {
            loaded.lock().unwrap().push(key.text().to_owned());
            async move {
                tokio::time::sleep(ms(5)).await;
                Ok::<u32, Broken>(7)
            }
        };
        cache.warm(keys(50), minutes(5), load).concurrency(8)
    };
    let (one, two) = tokio::join!(warm(&nodes[0]).into_future(), warm(&nodes[1]).into_future());
    let loaded = loaded.lock().unwrap();
    assert_eq!(loaded.len(), 50, "each key once");
    assert_eq!(loaded.iter().collect::<HashSet<_>>().len(), 50);
    assert_eq!(one.loaded + two.loaded, 50);
    assert_eq!((one.skipped + two.skipped, one.failed + two.failed), (50, 0));
}

/// B15.2
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_on_redis_that_warm_one_list_load_each_key_once() {
    let redis = RedisServer::start();
    let node = || {
        Cache::builder("warm")
            .redis(Redis::from_url(&redis.url()).unwrap())
            .build()
            .unwrap()
    };
    two_nodes_warm_one_list([node(), node()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_on_a_scripted_store_that_warm_one_list_load_each_key_once() {
    let store = ScriptedStore::new(SystemClock);
    let node = || Cache::builder("warm").shared(store.clone()).build().unwrap();
    two_nodes_warm_one_list([node(), node()]).await;
}

/// B5.11
#[tokio::test(start_paused = true)]
async fn a_value_in_use_is_refreshed_ahead_and_an_idle_one_is_not() {
    let cache = timed_cache(|builder| builder);
    let loads = Arc::new(AtomicU64::new(0));
    let load = {
        let loads = loads.clone();
        move || {
            let n = loads.fetch_add(1, Ordering::SeqCst) + 1;
            async move { Ok::<u64, Broken>(n) }
        }
    };
    let ahead = cache
        .refresh_ahead(key(1), seconds(10), seconds(35), load)
        .unwrap();
    assert!(!ahead.is_kept());
    assert_eq!(ahead.get().await.unwrap(), 1);
    assert!(ahead.is_kept());
    for turn in 1..=3_u64 {
        tokio::time::sleep(ms(8_500)).await;
        assert_eq!(loads.load(Ordering::SeqCst), turn + 1, "refreshed before its end");
        assert_eq!(cache.get::<u64>(&key(1)).await.unwrap(), turn + 1);
    }
    // Nobody has asked `ahead` for 35 seconds.
    tokio::time::sleep(seconds(60)).await;
    assert!(!ahead.is_kept());
    let before = loads.load(Ordering::SeqCst);
    tokio::time::sleep(seconds(60)).await;
    assert_eq!(loads.load(Ordering::SeqCst), before);
    assert_eq!(ahead.get().await.unwrap(), before + 1);
    assert!(ahead.is_kept());
    let refused = cache.refresh_ahead(
        key(2),
        EntryOptions::ttl(seconds(2)).hard_ttl(seconds(1)),
        seconds(1),
        || async { Ok::<u32, Broken>(1) },
    );
    assert!(refused.unwrap_err().is_invalid());
}

/// B5.11: one node loads, the other refills from the shared tier.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_keep_one_value_fresh_load_it_once_per_turn() {
    let redis = RedisServer::start();
    let node = || {
        Cache::builder("ahead")
            .redis(Redis::from_url(&redis.url()).unwrap())
            .defaults(EntryOptions::new().jitter(0.0))
            .build()
            .unwrap()
    };
    let nodes = [node(), node()];
    let loads = Arc::new(AtomicU64::new(0));
    let kept: Vec<_> = nodes
        .iter()
        .map(|cache| {
            let loads = loads.clone();
            let load = move || {
                let n = loads.fetch_add(1, Ordering::SeqCst) + 1;
                async move { Ok::<u64, Broken>(n) }
            };
            cache.refresh_ahead(key(1), seconds(1), minutes(1), load).unwrap()
        })
        .collect();
    for ahead in &kept {
        assert_eq!(ahead.get().await.unwrap(), 1);
    }
    for turn in 2..=4_u64 {
        wait_until(seconds(3), "both nodes have the next value", async || {
            let mut newest = Vec::new();
            for cache in &nodes {
                newest.push(cache.get::<u64>(&key(1)).await.map(|value| *value));
            }
            newest
                .iter()
                .all(|value| value.is_some_and(|value| value >= turn))
        })
        .await;
    }
    let turns = loads.load(Ordering::SeqCst);
    assert!(turns <= 6, "{turns} loads in about four turns of two nodes");
}
