//! Lists loaded ahead of traffic, and values kept fresh while they are used.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use cache_core::config::Config;
use cache_core::testing::ScriptedStore;
use cache_core::time::{Clock as _, SystemClock, TokioClock, minutes, seconds};
use cache_core::warm::{WarmCause, WarmReport, WarmResult, WarmStop, Warmer};
use cache_core::{Cache, CacheKey, EntryOptions, ErrorKind, Redis};
use futures_util::StreamExt;
use support::{LogCapture, RedisServer, wait_until};
use tokio::time::Instant;

use crate::engine::{
    Answer, Broken, Load, Origin, cache, cache_with, key, ms, others_run, settle, timed_cache,
};

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

/// However much is warmed, by however many warmers, a call that comes meanwhile does not queue behind it.
#[tokio::test]
async fn warming_leaves_room_for_loads_that_somebody_waits_for() {
    let (cache, _) = cache_with(|builder| builder.max_concurrent_loads(16));
    let origin = Origin::closed();
    for name in ["one", "two"] {
        let origin = origin.clone();
        let load = move |_| {
            let origin = origin.clone();
            async move { origin.answer::<u32>(Ok(1)).await }
        };
        let keys: Vec<_> = (0..100).map(|n| key((name, n))).collect();
        let warmer = Warmer::keys(name, keys, minutes(5), load).concurrency(50);
        cache.add_warmer(warmer).unwrap();
    }
    origin.begun(14).await;
    others_run().await;
    assert_eq!(origin.loads(), 14, "an eighth of 16 stays free");
    let live = key("live");
    let call = cache.get_or_load(&live, minutes(5), Origin::open().gives(Ok(1_u32)));
    assert!(call.await.is_ok());
    origin.release();
    for warmer in cache.warmers() {
        assert_eq!(warmer.settled().await.unwrap().report.loaded, 100);
    }
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

/// A loader that counts how often each key was loaded.
#[derive(Clone, Default)]
struct Counted(Arc<Mutex<HashMap<String, u64>>>);

impl Counted {
    fn load(&self) -> impl Fn(CacheKey) -> Load<u64> + Clone + Send + Sync + 'static {
        let counted = self.clone();
        move |key| {
            let loads = {
                let mut loads = counted.0.lock().unwrap();
                let loads = loads.entry(key.text().to_owned()).or_default();
                *loads += 1;
                *loads
            };
            Box::pin(async move { Ok(loads) })
        }
    }

    fn loads(&self) -> u64 {
        self.0.lock().unwrap().values().sum()
    }

    /// That each of so many keys was loaded so often.
    #[track_caller]
    fn assert_each(&self, keys: usize, times: u64) {
        let loads = self.0.lock().unwrap();
        let others: Vec<_> = loads.iter().filter(|(_, loads)| **loads != times).collect();
        assert!(others.is_empty(), "not {times} times: {others:?}");
        assert_eq!(loads.len(), keys);
    }
}

#[tokio::test(start_paused = true)]
async fn a_warmer_runs_at_start_and_at_its_interval_until_the_cache_is_closed() {
    let cache = timed_cache(|builder| builder);
    let counted = Counted::default();
    let warmer = Warmer::keys("list", keys(10), minutes(8), counted.load()).every(minutes(5));
    let warmer = cache.add_warmer(warmer).unwrap();
    assert_eq!(counted.loads(), 0, "adding it waits for nothing");
    let first = warmer.settled().await.unwrap();
    assert_eq!(
        (first.cause, first.result, first.error),
        (WarmCause::Start, WarmResult::Done, None)
    );
    assert_eq!(counts(&first.report), (10, 0, 0, 0));
    assert_eq!(first.report.expected, Some(10));
    // Fresh for three minutes more: not for as long as until the next run.
    tokio::time::sleep(minutes(5) + seconds(1)).await;
    let second = warmer.settled().await.unwrap();
    assert_eq!(
        (second.cause, counts(&second.report)),
        (WarmCause::Interval, (10, 0, 0, 0))
    );
    counted.assert_each(10, 2);
    assert_eq!(cache.get::<u64>(&key(3_u64)).await.unwrap(), 2);
    let stats = cache.stats();
    assert_eq!(
        (stats.counters.warmers_done, stats.counters.warmed_loaded),
        (2, 20)
    );
    cache.close(seconds(1)).await.unwrap();
    tokio::time::sleep(minutes(60)).await;
    counted.assert_each(10, 2);
    assert_eq!(warmer.start().unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "the paused time of the runtime")]
async fn what_lasts_until_the_next_run_is_left_alone() {
    let cache = timed_cache(|builder| builder);
    let counted = Counted::default();
    let warmer = Warmer::keys("list", keys(10), minutes(14), counted.load()).every(minutes(5));
    let warmer = cache.add_warmer(warmer).unwrap();
    let began = Instant::now();
    for (at, loads) in [(6, 1), (11, 2), (16, 2), (21, 3)] {
        tokio::time::sleep_until(began + minutes(at)).await;
        warmer.settled().await.unwrap();
        counted.assert_each(10, loads);
    }
}

#[tokio::test]
async fn a_run_that_fails_panics_or_hangs_says_so_and_the_next_one_begins_anew() {
    let (cache, _) = cache();
    let add = |warmer: Warmer| cache.add_warmer(warmer.at_start(false)).unwrap();
    let fails = add(Warmer::new("fails", |_| async {
        Err::<(), _>("the list is away")
    }));
    let panics = add(Warmer::new("panics", |_| async {
        assert!(std::hint::black_box(false), "on purpose");
    }));
    let hangs = add(Warmer::new("hangs", |_| std::future::pending::<()>()).timeout(ms(1)));
    assert!(fails.settled().await.is_none(), "none of them ran");
    for (warmer, result, why) in [
        (fails, WarmResult::Failed, Some("the list is away")),
        (panics, WarmResult::Panicked, Some("on purpose")),
        (hangs, WarmResult::TimedOut, None),
    ] {
        for _ in 0..2 {
            let run = warmer.run().await.unwrap();
            assert_eq!(
                (run.result, run.error.as_deref(), run.cause),
                (result, why, WarmCause::Demand)
            );
        }
    }
    assert_eq!(cache.stats().counters.warmers_failed, 6);
}

#[tokio::test]
async fn one_run_at_a_time_tells_how_far_it_is_and_ends_when_the_cache_closes() {
    let (cache, _) = cache();
    let origin = Origin::closed();
    let load = {
        let origin = origin.clone();
        move |_| {
            let origin = origin.clone();
            async move { origin.answer::<u32>(Ok(1)).await }
        }
    };
    let warmer = Warmer::keys("list", keys(10), minutes(5), load).concurrency(2);
    let warmer = cache.add_warmer(warmer).unwrap();
    origin.begun(2).await;
    assert_eq!(warmer.start().unwrap_err().kind(), ErrorKind::Contended);
    origin.let_through(3);
    origin.begun(3).await;
    let running = warmer.status().running.unwrap();
    assert_eq!((running.loaded, running.expected), (3, Some(10)));
    let logs = LogCapture::start();
    let closing = {
        let cache = cache.clone();
        tokio::spawn(async move { cache.close(seconds(60)).await })
    };
    let run = warmer.settled().await.unwrap();
    assert_eq!(
        (run.result, run.report.stopped),
        (WarmResult::Dropped, Some(WarmStop::Closing))
    );
    let said = logs.text();
    assert!(
        said.contains("warming ended with its cache") && !said.contains("warming failed"),
        "{said}"
    );
    origin.release();
    closing.await.unwrap().unwrap();
    assert_eq!((origin.loads(), origin.ended()), (5, 5), "what had begun went on");
    assert_eq!(cache.get_many::<u32>(&keys(10)).await.iter().flatten().count(), 5);
}

/// Pages of a query, and users of a `#[cached]` function.
#[tokio::test]
async fn closures_and_streams_are_warmed_like_lists() {
    let (cache, _) = cache();
    let counted = Counted::default();
    let pages = || futures_util::stream::iter([keys(3), keys(6)]).flat_map(futures_util::stream::iter);
    let stream = Warmer::stream("stream", pages, minutes(5), counted.load()).concurrency(1);
    let run = cache.add_warmer(stream).unwrap().settled().await.unwrap();
    assert_eq!(counts(&run.report), (6, 3, 0, 0));
    let load = counted.load();
    let closure = Warmer::new("closure", move |mut run| {
        let load = load.clone();
        async move {
            let cache = run.cache().clone();
            let rows = [(7_u64, "seven"), (1, "one")];
            run.each(rows, |(id, row)| {
                let (cache, key) = (cache.clone(), key(id));
                async move {
                    let stored = move |_| async move { Ok::<_, Broken>(row.to_owned()) };
                    cache
                        .get_or_load::<String, _, _, _>(&key, minutes(5), stored)
                        .await
                }
            })
            .await;
            run.keys(keys(9), minutes(5), load).await
        }
    });
    let run = cache.add_warmer(closure).unwrap().settled().await.unwrap();
    // Of the rows, one is new and one has another type; of the keys, two are new, and two have another type now.
    assert_eq!((run.report.tried(), run.report.failed), (11, 0), "{run:?}");
    let row = cache.get::<String>(&key(7_u64)).await;
    assert!(row.is_none(), "overwritten by the list");
}

#[test]
fn without_a_runtime_a_warmer_starts_with_the_first_load() {
    let (cache, _) = cache();
    let counted = Counted::default();
    let warmer = Warmer::keys("list", keys(4), minutes(5), counted.load());
    let warmer = cache.add_warmer(warmer).unwrap();
    assert_eq!(warmer.start().unwrap_err().kind(), ErrorKind::Unavailable);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let key = key(99_u64);
        let first = cache.get_or_load(&key, minutes(5), Origin::open().gives(Ok(1_u32)));
        assert!(first.await.is_ok());
        assert_eq!(warmer.settled().await.unwrap().report.loaded, 4);
    });
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_and_names_are_unique() {
    let (cache, _) = cache();
    let refused = |warmer: Warmer, words: &[&str]| {
        let error = cache.add_warmer(warmer).unwrap_err();
        assert!(error.is_invalid());
        for word in words {
            assert!(error.to_string().contains(word), "{error} does not say {word}");
        }
    };
    let warmer = |name: &str| Warmer::new(name, |_| async {});
    refused(warmer("a b"), &["warmer's name", "' '", "ASCII"]);
    refused(
        warmer("w").concurrency(0),
        &["`concurrency`", "`w`", "at least one"],
    );
    refused(warmer("w").per_second(0.0), &["`per_second`", "leave it out"]);
    refused(warmer("w").per_second(f64::NAN), &["`per_second`"]);
    refused(warmer("w").every(ms(10)), &["`every`", "a second"]);
    refused(warmer("w").timeout(ms(0)), &["`timeout`", "zero"]);
    cache.add_warmer(warmer("w")).unwrap();
    refused(warmer("w"), &["`w` already"]);
    assert_eq!(cache.warmers().len(), 1);
}

/// What the configuration says wins over the code.
#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "the paused time of the runtime")]
async fn the_configuration_of_a_warmer_drives_it() {
    let json = r#"{
        "caches": {"market": {}, "other": {}},
        "warmers": {
            "list": {"cache": "market", "every": "30s", "concurrency": 2, "rate": 10},
            "off": {"cache": "market", "enabled": false},
            "nobody": {"cache": "other"}
        }
    }"#;
    let caches = Config::sources()
        .json(json)
        .unwrap()
        .read()
        .unwrap()
        .build()
        .unwrap();
    let began = Instant::now();
    let slow = |_| async {
        tokio::time::sleep(seconds(1)).await;
        Ok::<u32, Broken>(1)
    };
    let list = Warmer::keys("list", keys(20), minutes(5), slow)
        .every(minutes(9))
        .concurrency(20);
    let list = caches.add_warmer(list).unwrap();
    assert_eq!(list.status().cache, "market");
    assert_eq!(list.status().every, Some(seconds(30)));
    let run = list.settled().await.unwrap();
    assert_eq!(run.report.loaded, 20);
    assert_eq!(began.elapsed().as_secs(), 10, "two at a time, a second each");
    tokio::time::sleep_until(began + ms(30_500)).await;
    assert_eq!(list.settled().await.unwrap().cause, WarmCause::Interval);
    let off = caches
        .add_warmer(Warmer::keys("off", keys(3), minutes(5), slow))
        .unwrap();
    assert!(off.settled().await.is_none() && !off.status().enabled);
    assert_eq!(off.run().await.unwrap().report.skipped, 3, "on demand it runs");
    let unknown = caches
        .add_warmer(Warmer::new("lost", |_| async {}))
        .unwrap_err()
        .to_string();
    assert!(
        unknown.contains("`lost`") && unknown.contains("`list`"),
        "{unknown}"
    );
    assert_eq!(caches.get("other").unwrap().missing_warmers(), ["nobody"]);
    let diagnosis = caches.get("other").unwrap().doctor().await;
    let found = diagnosis
        .findings
        .iter()
        .find(|finding| finding.code == "warmer_missing");
    assert!(found.unwrap().what.contains("`nobody`"));
    assert!(caches.get("market").unwrap().missing_warmers().is_empty());
}

/// A node that believes in its Redis for longer than a starved machine takes to answer: what is counted here is who loads,
/// not what happens without a shared tier.
fn node_on(redis: &RedisServer) -> Cache {
    let redis = Redis::from_url(&redis.url()).unwrap();
    Cache::builder("warm")
        .redis(redis.operation_timeout(seconds(30)).unwrap())
        .build()
        .unwrap()
}

/// At start one node loads, and the other one finds what it loaded; so it is when both run on demand.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_with_one_warmer_load_each_key_once() {
    let redis = RedisServer::start();
    for (at_start, each_node) in [(true, false), (true, true), (false, false)] {
        let nodes = [node_on(&redis), node_on(&redis)];
        nodes[0].clear().await.unwrap();
        let counted = Counted::default();
        let added = nodes.each_ref().map(|cache| {
            let warmer = Warmer::keys("list", keys(200), minutes(5), counted.load());
            let warmer = warmer.concurrency(20).at_start(at_start);
            let warmer = if each_node { warmer.each_node() } else { warmer };
            cache.add_warmer(warmer).unwrap()
        });
        let runs = if at_start {
            tokio::join!(added[0].settled(), added[1].settled()).into()
        } else {
            let (one, two) = tokio::join!(added[0].run(), added[1].run());
            [one.ok(), two.ok()]
        };
        counted.assert_each(200, 1);
        let reports = runs.map(|run| run.unwrap().report);
        assert_eq!(reports[0].loaded + reports[1].loaded, 200);
        assert_eq!(reports[0].skipped + reports[1].skipped, 200);
        for cache in &nodes {
            let there = cache.get_many::<u64>(&keys(200)).await;
            assert_eq!(there.iter().flatten().count(), 200);
        }
        for cache in &nodes {
            cache.close(seconds(5)).await.unwrap();
        }
    }
}

/// At the size of a service, both at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_keys_are_loaded_once_by_two_nodes_at_once() {
    let redis = RedisServer::start();
    let counted = Counted::default();
    let nodes = [node_on(&redis), node_on(&redis)];
    let added = nodes.each_ref().map(|cache| {
        let load = counted.load();
        let slow = move |key| {
            let load = load(key);
            async move {
                tokio::time::sleep(ms(10)).await;
                load.await
            }
        };
        let warmer = Warmer::keys("list", keys(10_000), minutes(5), slow).concurrency(50);
        cache.add_warmer(warmer.each_node()).unwrap()
    });
    let mut loaded = 0;
    for warmer in &added {
        let run = warmer.settled().await.unwrap();
        assert_eq!((run.report.failed, run.report.tried()), (0, 10_000), "{run:?}");
        loaded += run.report.loaded;
    }
    assert_eq!(loaded, 10_000);
    counted.assert_each(10_000, 1);
}

/// At an interval one node of the fleet runs, and the others leave it at that.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_share_the_runs_of_an_interval() {
    let redis = RedisServer::start();
    let nodes = [node_on(&redis), node_on(&redis)];
    let runs = Arc::new(AtomicUsize::new(0));
    let added = nodes.each_ref().map(|cache| {
        let runs = runs.clone();
        let warmer = Warmer::new("list", move |_| {
            runs.fetch_add(1, Ordering::SeqCst);
            async {}
        });
        cache
            .add_warmer(warmer.at_start(false).every(seconds(1)))
            .unwrap()
    });
    let intervals = || {
        let ran = |cache: &Cache| {
            let c = cache.stats().counters;
            (c.warmers_done, c.warmers_elsewhere)
        };
        nodes.each_ref().map(ran)
    };
    wait_until(seconds(20), "each node came to four intervals", async || {
        intervals().iter().all(|(ran, left)| ran + left >= 4)
    })
    .await;
    let [one, two] = intervals();
    let (ran, left) = (one.0 + two.0, one.1 + two.1);
    assert!(
        left >= 3,
        "of about eight, half are left to the other: {ran} ran, {left} did not"
    );
    assert!((3..=6).contains(&ran), "{ran} ran, {left} did not");
    assert_eq!(runs.load(Ordering::SeqCst) as u64, ran);
    for (cache, warmer) in nodes.iter().zip(added) {
        cache.close(seconds(5)).await.unwrap();
        drop(warmer);
    }
}

/// A node that dies in the middle gives its turn up; without Redis each node warms for itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_warmer_runs_without_redis_too() {
    let redis = RedisServer::start();
    let nodes = [node_on(&redis), node_on(&redis)];
    redis.kill();
    let counted = Counted::default();
    let added = nodes.each_ref().map(|cache| {
        let warmer = Warmer::keys("list", keys(50), minutes(5), counted.load());
        cache.add_warmer(warmer).unwrap()
    });
    for warmer in &added {
        let run = warmer.settled().await.unwrap();
        assert_eq!((run.result, run.report.loaded), (WarmResult::Done, 50));
    }
    counted.assert_each(50, 2);
}
