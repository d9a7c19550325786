//! What nodes share besides plain values: batches, permits, "no such value", failures, hold-offs, schemas, names.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use cache_core::{Eager, KeyPattern, LoadContext, LoadError, Lookup};
use tokio::sync::Notify;

use super::*;

const SOON: Duration = Duration::from_secs(1);

async fn two(redis: &RedisServer) -> (Cache, Cache) {
    (
        hearing_node(&redis.url(), |node| node).await,
        hearing_node(&redis.url(), |node| node).await,
    )
}

/// A batch loader that notes for which keys it was called, and knows no odd ones.
#[derive(Clone, Default)]
struct Batches(Arc<Mutex<Vec<Vec<u64>>>>);

impl Batches {
    async fn load(self, keys: Vec<CacheKey>) -> Result<HashMap<CacheKey, u64>, std::io::Error> {
        let number = |key: &CacheKey| key.text().rsplit(':').next().unwrap().parse::<u64>().unwrap();
        let mut asked: Vec<u64> = keys.iter().map(number).collect();
        asked.sort_unstable();
        self.0.lock().unwrap().push(asked);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let known = keys.into_iter().filter(|key| number(key) % 2 == 0);
        Ok(known.map(|key| (key.clone(), number(&key))).collect())
    }

    fn calls(&self) -> Vec<Vec<u64>> {
        self.0.lock().unwrap().clone()
    }
}

async fn read_many(cache: &Cache, batches: &Batches, range: std::ops::Range<u64>) -> Vec<Option<u64>> {
    let keys: Vec<CacheKey> = range.map(key).collect();
    let batches = batches.clone();
    let values = cache
        .get_or_load_many(&keys, tagged("t"), move |keys| batches.clone().load(keys))
        .await
        .unwrap();
    values
        .into_iter()
        .map(|value| value.map(|value| *value))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_loads_what_no_node_has_and_another_node_finds_it() {
    let redis = RedisServer::start();
    let (a, b) = two(&redis).await;
    let batches = Batches::default();
    let expected: Vec<_> = (0..6).map(|n| (n % 2 == 0).then_some(n)).collect();
    assert_eq!(read_many(&a, &batches, 0..6).await, expected);
    assert_eq!(read_many(&b, &batches, 0..6).await, expected);
    assert_eq!(
        batches.calls(),
        [[0, 1, 2, 3, 4, 5]],
        "negative answers are shared too"
    );
    a.invalidate_tag("t").await.unwrap();
    assert_eq!(read_many(&a, &batches, 0..2).await, expected[..2]);
    assert_eq!(batches.calls().len(), 2, "an invalidated batch is loaded anew");
    wait_until(SOON, "b reads what a loaded", async || {
        b.get::<u64>(&key(0)).await.is_some()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_batches_of_two_nodes_load_each_key_once() {
    let redis = RedisServer::start();
    let (a, b) = two(&redis).await;
    let batches = Batches::default();
    let (one, other) = tokio::join!(read_many(&a, &batches, 0..6), read_many(&b, &batches, 4..10));
    assert_eq!((one[4], other[0], other[4]), (Some(4), Some(4), Some(8)));
    let mut loaded: Vec<u64> = batches.calls().concat();
    loaded.sort_unstable();
    assert_eq!(loaded, (0..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_by_permit_is_shared() {
    let redis = RedisServer::start();
    let (a, b) = two(&redis).await;
    let permit = a.store_permit();
    assert_eq!(
        permit.store(&key(1), 7_u64, tagged("t")).await.unwrap(),
        Stored::Yes
    );
    let found = b.get::<u64>(&key(1)).await.unwrap();
    assert_eq!((*found, found.outcome().tier), (7, Some(Tier::Shared)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_refuses_what_another_node_changed_since() {
    let redis = RedisServer::start();
    let (a, b) = two(&redis).await;
    for how in ["remove", "set", "tag", "prefix", "clear", "expire", "pattern"] {
        let permit = a.store_permit();
        match how {
            "remove" => b.remove(&key(1)).await.unwrap(),
            "set" => assert!(b.set(&key(1), 2_u64, tagged("t")).await.unwrap().is_stored()),
            "tag" => b.invalidate_tag("t").await.unwrap(),
            "prefix" => b.remove_prefix("item").await.unwrap(),
            "expire" => b.expire(&key(1)).await.unwrap(),
            "pattern" => {
                let item = KeyPattern::new("item").unwrap().part(1);
                b.remove_matching(item).await.unwrap();
            }
            _ => b.clear().await.unwrap(),
        }
        // At once: the notice may still be on its way.
        let stored = permit.store(&key(1), 1_u64, tagged("t")).await.unwrap();
        assert_eq!(stored, Stored::Superseded, "after {how}");
        for node in [&a, &b] {
            assert_ne!(node.get::<u64>(&key(1)).await.as_deref(), Some(&1), "after {how}");
        }
    }
    // What is heard only now may have happened after the permit.
    wait_until(SOON, "a has heard of everything", async || {
        let permit = a.store_permit();
        permit.store(&key(1), 1_u64, tagged("t")).await.unwrap() == Stored::Yes
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_such_value_is_shared_and_ends_with_a_set_a_remove_and_its_tag() {
    let redis = RedisServer::start();
    let (a, b) = two(&redis).await;
    let loads = Arc::new(AtomicU64::new(0));
    let absent = |cache: &Cache| {
        let (cache, loads) = (cache.clone(), loads.clone());
        async move {
            let key = key(1);
            let found = cache.get_or_load_optional(&key, tagged("t"), move |_| async move {
                loads.fetch_add(1, Ordering::SeqCst);
                Ok::<_, std::io::Error>(None::<u64>)
            });
            assert!(found.await.unwrap().is_none());
        }
    };
    absent(&a).await;
    absent(&b).await;
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    assert!(matches!(b.lookup::<u64>(&key(1)).await, Lookup::Negative(_)));
    assert!(b.contains(&key(1)).await);
    for (round, how) in ["remove", "tag"].into_iter().enumerate() {
        match how {
            "remove" => a.remove(&key(1)).await.unwrap(),
            _ => a.invalidate_tag("t").await.unwrap(),
        }
        wait_until(SOON, "b forgets it", async || !b.contains(&key(1)).await).await;
        absent(&b).await;
        absent(&a).await;
        assert_eq!(loads.load(Ordering::SeqCst), 2 + round as u64, "{how}");
    }
    let _ = a.set(&key(1), 5_u64, tagged("t")).await.unwrap();
    wait_until(SOON, "b reads the value", async || {
        b.get::<u64>(&key(1)).await.as_deref() == Some(&5)
    })
    .await;
}

async fn failing(cache: &Cache, options: EntryOptions, loads: &Arc<AtomicU64>) -> Result<u64, ErrorKind> {
    let loads = loads.clone();
    let key = key(1);
    let answer = cache.get_or_load(&key, options, move |_| async move {
        loads.fetch_add(1, Ordering::SeqCst);
        Err::<u64, _>(std::io::Error::other("down"))
    });
    match answer.await {
        Ok(value) => Ok(*value),
        Err(LoadError::Cache(error)) => Err(error.kind()),
        Err(_) => Err(ErrorKind::LoadAborted),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_failure_answers_on_every_node_until_its_key_or_tag_changes() {
    let redis = RedisServer::start();
    let (a, b) = two(&redis).await;
    let loads = Arc::new(AtomicU64::new(0));
    let options = || tagged("t").error_ttl(seconds(60));
    let mut expected = 0;
    for how in ["tag", "key", "clear", "prefix"] {
        expected += 1;
        let record = || format!("{:?}", redis.command(&["GET", "{fleet:item:1}:e"]));
        let before = record();
        let _ = failing(&a, options(), &loads).await.unwrap_err();
        wait_until(SOON, "the failure is recorded", async || {
            let now = record();
            now != before && !now.contains("Null")
        })
        .await;
        assert_eq!(
            failing(&b, options(), &loads).await,
            Err(ErrorKind::RecordedFailure),
            "{how}"
        );
        assert_eq!(loads.load(Ordering::SeqCst), expected, "{how}");
        let notices = a.stats().counters.notices;
        match how {
            "tag" => b.invalidate_tag("t").await.unwrap(),
            "key" => b.remove(&key(1)).await.unwrap(),
            "clear" => b.clear().await.unwrap(),
            _ => b.remove_prefix("item").await.unwrap(),
        }
        wait_until(SOON, "a has heard of it", async || {
            a.stats().counters.notices > notices
        })
        .await;
    }
    let _ = failing(&b, options(), &loads).await.unwrap_err();
    assert_eq!(loads.load(Ordering::SeqCst), expected + 1);
    let refreshed = b
        .refresh(&key(1), options(), |_| async { Ok::<_, std::io::Error>(4_u64) })
        .await
        .unwrap();
    assert_eq!(*refreshed, 4, "a forced load asks for itself");
}

/// B8.8
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_another_nodes_load_shares_its_failure_or_serves_stale() {
    let redis = RedisServer::start();
    let (a, b) = two(&redis).await;
    let options = || tagged("t").stale_for(hours(1));
    for forbid_stale in [false, true] {
        let _ = a.set(&key(1), 3_u64, options()).await.unwrap();
        a.expire(&key(1)).await.unwrap();
        wait_until(SOON, "b has heard of it", async || {
            b.lookup::<u64>(&key(1))
                .await
                .value()
                .is_some_and(|value| value.outcome().is_stale())
        })
        .await;
        let (began, proceed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let loading = {
            let (a, began, proceed) = (a.clone(), began.clone(), proceed.clone());
            tokio::spawn(async move {
                let key = key(1);
                let load = a.get_or_load(&key, options(), move |load| async move {
                    if forbid_stale {
                        load.forbid_stale();
                    }
                    began.notify_one();
                    proceed.notified().await;
                    Err::<u64, _>(std::io::Error::other("down"))
                });
                load.await.map(|value| *value)
            })
        };
        began.notified().await;
        let loads = Arc::new(AtomicU64::new(0));
        let waits = b.stats().counters.lease_waits;
        let waiting = {
            let (b, loads) = (b.clone(), loads.clone());
            tokio::spawn(async move { failing(&b, options(), &loads).await })
        };
        wait_until(SOON, "b waits for a", async || {
            b.stats().counters.lease_waits > waits + 1
        })
        .await;
        proceed.notify_one();
        let (loaded, waited) = (loading.await.unwrap(), waiting.await.unwrap());
        match forbid_stale {
            false => assert_eq!((loaded.ok(), waited), (Some(3), Ok(3))),
            true => assert!(
                loaded.is_err() && waited == Err(ErrorKind::RecordedFailure),
                "{waited:?}"
            ),
        }
        assert_eq!(loads.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_off_refuses_stores_on_every_node_also_on_one_that_comes_later() {
    let redis = RedisServer::start();
    let (a, b) = two(&redis).await;
    a.remove(&key(1)).hold(seconds(30)).await.unwrap();
    a.invalidate_tag("held").hold(seconds(30)).await.unwrap();
    let late = hearing_node(&redis.url(), |node| node).await;
    let origin = Origin::default();
    for node in [&a, &b, &late] {
        assert_eq!(
            node.set(&key(1), 1_u64, minutes(5)).await.unwrap(),
            Stored::HeldOff
        );
        assert_eq!(
            node.set(&key(2), 1_u64, tagged("held")).await.unwrap(),
            Stored::HeldOff
        );
        assert_eq!(
            node.store_permit()
                .store(&key(3), 1_u64, tagged("held"))
                .await
                .unwrap(),
            Stored::HeldOff
        );
        read(node, &origin, 1, tagged("t")).await;
        read(node, &origin, 2, tagged("held")).await;
        let keys: Vec<_> = [1, 2].into_iter().map(key).collect();
        let loads = Batches::default();
        let batch = node.get_or_load_many(&keys, tagged("held"), move |keys| loads.clone().load(keys));
        assert_eq!(batch.await.unwrap().len(), 2);
    }
    for node in [&a, &b, &late] {
        for n in 1..=3 {
            assert!(
                node.get::<u64>(&key(n)).await.is_none(),
                "nothing is stored under {n}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_removes_what_it_names_and_nothing_else() {
    let redis = RedisServer::start();
    let (a, b) = two(&redis).await;
    let quote = |last: &str| CacheKey::build("quote", ("GOOG", last)).unwrap();
    for last in ["1h", "1hour"] {
        let _ = a.set(&quote(last), 1_u64, hours(1)).await.unwrap();
    }
    let hourly = KeyPattern::new("quote").unwrap().any().part("1h");
    a.remove_matching(hourly).await.unwrap();
    assert!(a.get::<u64>(&quote("1h")).await.is_none());
    wait_until(SOON, "b has forgotten the one", async || {
        b.get::<u64>(&quote("1h")).await.is_none()
    })
    .await;
    for node in [&a, &b] {
        assert_eq!(node.get::<u64>(&quote("1hour")).await.as_deref(), Some(&1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_is_announced_like_a_set_and_kept_here() {
    let redis = RedisServer::start();
    let (a, b) = two(&redis).await;
    let origin = Origin::default();
    read(&a, &origin, 1, tagged("t")).await;
    read(&b, &origin, 1, tagged("t")).await;
    for n in 1..20 {
        origin.value.store(n, Ordering::SeqCst);
        let load = origin.clone();
        a.refresh(&key(1), tagged("t"), move |_| load.load())
            .await
            .unwrap();
        assert_eq!(*a.get::<u64>(&key(1)).await.unwrap(), n);
        wait_until(SOON, "b reads the new value", async || {
            b.get::<u64>(&key(1)).await.as_deref() == Some(&n)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_through_a_slow_network_returns_when_the_old_value_is_gone() {
    let redis = RedisServer::start();
    let proxy = support::FaultProxy::start(redis.address());
    let a = hearing_node(&redis.url_via(proxy.address()), |node| node).await;
    let _ = a.set(&key(1), 1_u64, hours(1)).await.unwrap();
    proxy.set(support::Fault::DelayReplies(Duration::from_millis(60)));
    let load = |_| async { Ok::<_, std::io::Error>(2_u64) };
    assert_eq!(*a.refresh(&key(1), hours(1), load).await.unwrap(), 2);
    assert_eq!(a.get::<u64>(&key(1)).await.as_deref(), Some(&2));
}

/// What a load that takes so long is limited by.
fn short() -> EntryOptions {
    EntryOptions::ttl(minutes(5))
        .hard_timeout(Duration::from_millis(30))
        .background_completion(false)
}

/// A value that cannot be written.
#[derive(Debug, Clone, serde::Deserialize)]
struct Unwritable;

impl serde::Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("cannot be written"))
    }
}

/// B8.3
#[tokio::test(flavor = "multi_thread")]
async fn however_a_load_ends_its_lock_is_given_back() {
    let redis = RedisServer::start();
    let a = hearing_node(&redis.url(), |node| node).await;
    let (node, item) = (&a, &key(1));
    let is_free = async || redis.command(&["EXISTS", "{fleet:item:1}:l"]).integer() == Some(0);
    for way in [
        "loads",
        "fails",
        "panics",
        "hangs",
        "keeps it",
        "leaves",
        "invalidated",
    ] {
        let load = |load: LoadContext<u64>| async move {
            match way {
                "fails" => Err(std::io::Error::other("down")),
                "panics" => panic!("as it should"),
                "hangs" => std::future::pending().await,
                "leaves" => {
                    tokio::time::sleep(seconds(5)).await;
                    Ok(1)
                }
                "keeps it" => {
                    load.do_not_store();
                    Ok(1)
                }
                "invalidated" => node.remove(item).await.map(|()| 1).map_err(std::io::Error::other),
                _ => Ok(1),
            }
        };
        let call = a.get_or_load_borrowed(item, short(), load);
        let _ = match way {
            "leaves" => tokio::time::timeout(Duration::from_millis(20), call).await.ok(),
            _ => Some(call.await),
        };
        wait_until(Duration::from_millis(500), way, is_free).await;
        a.remove(item).await.unwrap();
    }
    let load = |_| async { Ok::<_, std::io::Error>(Unwritable) };
    assert!(a.get_or_load(item, short(), load).await.is_ok());
    wait_until(Duration::from_millis(500), "cannot be written", is_free).await;
}

/// B13.8
#[tokio::test(flavor = "multi_thread")]
async fn ten_nodes_agree_after_an_outage() {
    let redis = RedisServer::start();
    let mut nodes = Vec::new();
    for _ in 0..10 {
        nodes.push(hearing_node(&redis.url(), |node| node).await);
    }
    for node in &nodes {
        for n in 0..20 {
            read(node, &Origin::default(), n, tagged("t")).await;
        }
    }
    redis.kill();
    // Every node changes something of its own; the origin is newer than what anybody has.
    let origin = Origin::default();
    origin.value.store(2, Ordering::SeqCst);
    for (node, n) in nodes.iter().zip(0..) {
        assert!(node.remove(&key(n)).await.is_err());
        let _ = node.set(&key(10 + n), 2_u64, tagged("t")).await.unwrap();
    }
    redis.restart();
    for node in &nodes {
        wait_until(seconds(10), "its changes are delivered", async || {
            node.flush_pending(seconds(1)).await == 0
        })
        .await;
    }
    for node in &nodes {
        for n in 0..20 {
            wait_until(seconds(5), "it reads what is new", async || {
                read(node, &origin, n, tagged("t")).await == 2
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_lock_of_another_node_is_woken_by_its_release() {
    let redis = RedisServer::start();
    let (a, b) = two(&redis).await;
    for _ in 0..10 {
        let held = a.try_lock("l", hours(1)).await.unwrap().unwrap();
        let waiting = {
            let b = b.clone();
            tokio::spawn(async move { b.lock("l", hours(1), seconds(5)).await.unwrap() })
        };
        // By now it polls four times a second.
        tokio::time::sleep(Duration::from_millis(400)).await;
        let released = support::Stopwatch::start();
        assert!(held.release().await);
        waiting.await.unwrap().release().await;
        let took = released.elapsed();
        assert!(took < Duration::from_millis(50), "{took:?}");
    }
}

/// B12.2
#[tokio::test(flavor = "multi_thread")]
async fn many_sets_are_one_notice_per_hundred() {
    let redis = RedisServer::start();
    let (a, b) = two(&redis).await;
    let before = b.stats().counters.notices;
    let values = (0..250).map(|n| (key(n), n));
    let stored = a.set_many(values, hours(1)).await.unwrap();
    assert!(stored.len() == 250 && stored.iter().all(|stored| *stored == Stored::Yes));
    a.remove(&key(1_000)).await.unwrap();
    wait_until(SOON, "b hears them", async || {
        b.stats().counters.notices >= before + 4
    })
    .await;
    assert_eq!(
        b.stats().counters.notices,
        before + 4,
        "three for the sets, one for the remove"
    );
    let keys: Vec<_> = (0..250).map(key).collect();
    for node in [&a, &b] {
        let values = node.get_many::<u64>(&keys).await;
        assert!(
            values
                .iter()
                .zip(0..)
                .all(|(value, n)| value.as_deref() == Some(&n))
        );
    }
}

/// B5.5, B5.6
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_ahead_of_expiry_runs_once_in_the_fleet() {
    let redis = RedisServer::start();
    let (a, b) = two(&redis).await;
    let origin = Origin::default();
    let options = || EntryOptions::ttl(seconds(2)).jitter(0.0).eager(Eager::After(0.2));
    read(&a, &origin, 1, options()).await;
    read(&b, &origin, 1, options()).await;
    assert_eq!(origin.loads(), 1);
    let is_old = async || a.remaining_ttl(&key(1)).await.unwrap() < Duration::from_millis(1_550);
    wait_until(seconds(2), "the value is in its eager window", is_old).await;
    origin.value.store(9, Ordering::SeqCst);
    wait_until(SOON, "both nodes have the new value", async || {
        let values = tokio::join!(read(&a, &origin, 1, options()), read(&b, &origin, 1, options()));
        values == (9, 9)
    })
    .await;
    assert_eq!(origin.loads(), 2, "one refresh, adopted by the other node");
}

/// B0.6
#[tokio::test(flavor = "multi_thread")]
async fn builds_of_two_schemas_leave_each_others_values_alone() {
    let redis = RedisServer::start();
    let old = hearing_node(&redis.url(), |node| node.schema(1)).await;
    let new = hearing_node(&redis.url(), |node| node.schema(2)).await;
    let (old_origin, new_origin) = (Origin::default(), Origin::default());
    new_origin.value.store(2, Ordering::SeqCst);
    read(&old, &old_origin, 1, tagged("t")).await;
    for _ in 0..5 {
        assert_eq!(read(&new, &new_origin, 1, tagged("t")).await, 2);
        assert_eq!(read(&old, &old_origin, 1, tagged("t")).await, 0);
        let newer = hearing_node(&redis.url(), |node| node.schema(2)).await;
        assert_eq!(read(&newer, &new_origin, 1, tagged("t")).await, 2);
    }
    assert_eq!(new_origin.loads(), 1, "the newer build's value stands");
    // An explicit change is everybody's.
    old.remove(&key(1)).await.unwrap();
    wait_until(SOON, "the newer build hears it", async || {
        new.get::<u64>(&key(1)).await.is_none()
    })
    .await;
}

/// B11.1
#[tokio::test(flavor = "multi_thread")]
async fn caches_of_different_names_never_meet() {
    let redis = RedisServer::start();
    let open = |name: &str| {
        Cache::builder(name)
            .redis(Redis::from_url(&redis.url()).unwrap())
            .build()
            .unwrap()
    };
    let (a, b, c) = (open("fleet"), open("fleet-2"), open("fleet.2"));
    redis.command(&["SET", "foreign", "untouched"]);
    for cache in [&a, &b, &c] {
        hears(cache).await;
        for n in 0..10 {
            let _ = cache.set(&key(n), n, tagged("t")).await.unwrap();
        }
    }
    a.invalidate_tag("t").await.unwrap();
    a.remove_prefix("item").await.unwrap();
    a.remove_matching(KeyPattern::new("item").unwrap().any())
        .await
        .unwrap();
    a.clear().await.unwrap();
    a.purge().await;
    for cache in [&b, &c] {
        for n in 0..10 {
            assert_eq!(cache.get::<u64>(&key(n)).await.as_deref(), Some(&n));
        }
        assert!(cache.try_lock("l", seconds(5)).await.unwrap().is_some());
    }
    assert_eq!(redis.command(&["GET", "foreign"]).text(), "untouched");
    assert!(b.get::<u64>(&key(0)).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_of_zero_ttl_is_not_written_and_a_set_of_it_removes() {
    let redis = RedisServer::start();
    let (a, b) = two(&redis).await;
    let key_1 = key(1);
    let loaded = a.get_or_load(&key_1, hours(1), |load| async move {
        load.set_ttl(Duration::ZERO);
        Ok::<_, std::io::Error>(1_u64)
    });
    assert_eq!(*loaded.await.unwrap(), 1);
    assert!(b.get::<u64>(&key(1)).await.is_none());
    let _ = a.set(&key(1), 2_u64, hours(1)).await.unwrap();
    assert_eq!(b.get::<u64>(&key(1)).await.as_deref(), Some(&2));
    assert_eq!(
        a.set(&key(1), 3_u64, Duration::ZERO).await.unwrap(),
        Stored::ZeroTtl
    );
    assert!(a.get::<u64>(&key(1)).await.is_none());
    wait_until(SOON, "b forgets it", async || {
        b.get::<u64>(&key(1)).await.is_none()
    })
    .await;
}

/// B8.8, B11.1: wake-ups have no databases, so those of another cache of this name in another one arrive as well.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_in_another_database_or_by_anybody_ends_nobodys_wait() {
    let redis = RedisServer::start();
    let (a, b) = two(&redis).await;
    let elsewhere = hearing_node(&format!("{}1", redis.url()), |node| node).await;
    let (began, proceed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let loading = {
        let (a, began, proceed) = (a.clone(), began.clone(), proceed.clone());
        tokio::spawn(async move {
            let key = key(1);
            let load = a.get_or_load(&key, tagged("t"), move |_| async move {
                began.notify_one();
                proceed.notified().await;
                Ok::<_, std::io::Error>(7_u64)
            });
            load.await.map(|value| *value)
        })
    };
    began.notified().await;
    let loads = Arc::new(AtomicU64::new(0));
    let waits = b.stats().counters.lease_waits;
    let waiting = {
        let (b, loads) = (b.clone(), loads.clone());
        tokio::spawn(async move { failing(&b, tagged("t"), &loads).await })
    };
    wait_until(SOON, "b waits for a", async || {
        b.stats().counters.lease_waits > waits + 1
    })
    .await;
    let _ = failing(&elsewhere, tagged("t"), &Arc::default())
        .await
        .unwrap_err();
    for junk in ["", "d", "dd", "r", "f", "ferror", "f\u{0}\r\n", "{}", "hello"] {
        redis.command(&["PUBLISH", "fleet:item:1", junk]);
    }
    // Whatever woke it, it asks again, and goes on waiting.
    let waits = b.stats().counters.lease_waits;
    wait_until(SOON, "b has looked again", async || {
        b.stats().counters.lease_waits > waits + 1 || waiting.is_finished()
    })
    .await;
    proceed.notify_one();
    assert_eq!(loading.await.unwrap().unwrap(), 7);
    assert_eq!(waiting.await.unwrap(), Ok(7));
    assert_eq!(loads.load(Ordering::SeqCst), 0);
}

/// B8.9
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_load_elsewhere_is_waited_for_no_longer_than_a_stale_value_allows() {
    let redis = RedisServer::start();
    let a = hearing_node(&redis.url(), |node| node).await;
    let b = hearing_node(&redis.url(), |node| node.lock_wait(Duration::from_millis(200))).await;
    let options = || EntryOptions::ttl(minutes(5)).stale_for(hours(1));
    let _ = a.set(&key(1), 3_u64, options()).await.unwrap();
    a.expire(&key(1)).await.unwrap();
    let (began, proceed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let released = Arc::new(AtomicBool::new(false));
    let loading = {
        let (a, began, proceed, released) = (a.clone(), began.clone(), proceed.clone(), released.clone());
        tokio::spawn(async move {
            let key = key(1);
            let load = a.get_or_load(&key, options(), move |_| async move {
                began.notify_one();
                proceed.notified().await;
                assert!(released.load(Ordering::SeqCst), "nobody ended the load before");
                Ok::<_, std::io::Error>(4_u64)
            });
            load.await.map(|value| *value)
        })
    };
    began.notified().await;
    wait_until(SOON, "b has heard of it", async || {
        b.lookup::<u64>(&key(1))
            .await
            .value()
            .is_some_and(|value| value.outcome().is_stale())
    })
    .await;
    let loads = Arc::new(AtomicU64::new(0));
    assert_eq!(failing(&b, options(), &loads).await, Ok(3));
    assert_eq!(loads.load(Ordering::SeqCst), 0);
    released.store(true, Ordering::SeqCst);
    proceed.notify_one();
    assert_eq!(loading.await.unwrap().unwrap(), 4);
}

/// B11.4
#[tokio::test(flavor = "multi_thread")]
async fn purge_gives_back_what_is_dead_for_good_and_keeps_the_rest() {
    let redis = RedisServer::start();
    // What is younger than the longest load may still be compared with.
    let a = hearing_node(&redis.url(), |node| node.max_load(Duration::from_millis(1))).await;
    for n in 0..50 {
        let _ = a.set(&key(n), n, tagged("dead")).await.unwrap();
        let _ = a.set(&key(100 + n), n, tagged("alive")).await.unwrap();
    }
    a.remove(&key(200)).await.unwrap();
    a.invalidate_tag("dead").await.unwrap();
    let entries = || redis.command(&["KEYS", "fleet:item:*"]).items().len();
    let before = entries();
    a.purge().await;
    assert_eq!(entries(), before, "everything is younger than the longest load");
    // Ages them: what remains of a key tells how old it is.
    for n in 0..50 {
        redis.command(&["PEXPIRE", &format!("fleet:item:{n}"), "200000"]);
    }
    let purged = a.purge().await;
    assert_eq!(
        purged,
        50,
        "{:?} {:?}",
        a.stats().counters,
        redis.command(&["PTTL", "fleet:item:3"])
    );
    assert_eq!(entries(), before - 50);
    assert_eq!(a.get::<u64>(&key(100)).await.as_deref(), Some(&0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_expired_away_can_be_updated_and_stored_again() {
    let redis = RedisServer::start();
    let (a, b) = two(&redis).await;
    let _ = a.set(&key(1), 1_u64, hours(1)).await.unwrap();
    a.expire(&key(1)).await.unwrap();
    b.expire(&key(2)).await.unwrap();
    for n in [1, 2] {
        let item = key(n);
        let updated = a.update(&item, hours(1), |old: Option<u64>| old.unwrap_or(10) + 1);
        assert_eq!(*updated.await.unwrap(), 11);
    }
    a.expire(&key(1)).await.unwrap();
    let permit = a.store_permit();
    assert_eq!(permit.store(&key(1), 5_u64, hours(1)).await.unwrap(), Stored::Yes);
}

/// B9.4
#[tokio::test]
async fn a_waiter_that_came_after_an_invalidation_is_not_fooled_by_a_second_one() {
    let cache = Cache::builder("alone").build().unwrap();
    let (began, proceed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (cache, began, proceed) = (cache.clone(), began.clone(), proceed.clone());
        tokio::spawn(async move {
            let item = key(1);
            let load = cache.get_or_load(&item, hours(1), move |load| async move {
                began.notify_one();
                proceed.notified().await;
                load.tag("found").unwrap();
                Ok::<_, std::io::Error>(1_u64)
            });
            *load.await.unwrap()
        })
    };
    began.notified().await;
    cache.invalidate_tag("found").await.unwrap();
    let waiting = {
        let cache = cache.clone();
        tokio::spawn(async move {
            let load = |_| async { Ok::<_, std::io::Error>(2_u64) };
            *cache.get_or_load(&key(1), hours(1), load).await.unwrap()
        })
    };
    wait_until(SOON, "it waits for the load", async || cache.stats().waiters == 2).await;
    cache.invalidate_tag("found").await.unwrap();
    proceed.notify_one();
    assert_eq!((slow.await.unwrap(), waiting.await.unwrap()), (1, 2));
}
