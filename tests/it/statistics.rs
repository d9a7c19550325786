//! Every call is counted once, as what it was; and the sums say so.

use std::collections::HashMap;

use cache_core::stats::Counters;
use cache_core::time::{minutes, seconds};
use cache_core::{Cache, EntryOptions, Redis, TagSet};
use support::{RedisServer, wait_until};

use crate::engine::{Answer, Broken, Origin, cache, cache_with, key, ms, poll_once, second_then_stale};

/// A call that loads what it is told to.
async fn load(cache: &Cache, n: u64, options: EntryOptions, answer: Answer) -> Answer {
    let loaded = cache.get_or_load(&key(n), options, |_| async { answer }).await;
    loaded.map(|value| *value).map_err(|_| Broken("no value"))
}

/// The sums that hold whenever no call and no load is under way.
#[track_caller]
fn check(cache: &Cache, calls: u64) -> Counters {
    let counters = cache.stats().counters;
    let reasons: u64 = counters
        .iter()
        .filter(|(name, _)| name.starts_with("misses_"))
        .map(|(_, count)| count)
        .sum();
    let ended = counters.loads_ok
        + counters.loads_failed
        + counters.loads_panicked
        + counters.loads_timed_out
        + counters.loads_dropped;
    assert_eq!(counters.calls(), calls, "{counters:#?}");
    assert_eq!(reasons, counters.misses(), "{counters:#?}");
    assert_eq!(ended, counters.loads_started, "{counters:#?}");
    counters
}

#[tokio::test]
async fn every_way_to_end_a_call_in_memory_is_counted_once() {
    let (cache, clock) = cache();
    let options = second_then_stale();
    let (one, two) = (key(1), key(2));
    let load = |answer| load(&cache, 1, options.clone(), answer);

    load(Ok(1)).await.unwrap();
    assert_eq!(check(&cache, 1).loaded, 1);
    load(Ok(2)).await.unwrap();
    cache.get::<u32>(&key(1)).await.unwrap();
    assert_eq!(check(&cache, 3).memory_hits_fresh, 2);

    clock.advance(seconds(2));
    assert!(cache.get::<u32>(&key(1)).await.is_none());
    assert!(cache.lookup::<u32>(&key(1)).await.value().is_some());
    let counters = check(&cache, 5);
    assert_eq!((counters.lookups_missed, counters.memory_hits_stale), (1, 1));

    load(Err(Broken("down"))).await.unwrap();
    load(Err(Broken("down"))).await.unwrap();
    let counters = check(&cache, 7);
    assert_eq!(
        (counters.stale_for_failed_loads, counters.stale_throttled),
        (1, 1)
    );
    assert_eq!((counters.memory_hits_stale, counters.loads_failed), (2, 1));

    clock.advance(minutes(5));
    load(Err(Broken("down"))).await.unwrap_err();
    assert_eq!(check(&cache, 8).failures, 1);
    let fallback = cache.get_or_load(&one, options.clone(), |context| async move {
        context.fall_back_to(9_u32);
        Err(Broken("down"))
    });
    assert_eq!(fallback.await.unwrap(), 9);
    assert_eq!(check(&cache, 9).fallbacks, 1);
    let panics = cache.get_or_load(&one, options.clone(), |_| async { panic!("on purpose") });
    let panicked: Result<_, cache_core::LoadError<Broken>> =
        panics.await.map(|value: cache_core::Loaded<u32>| *value);
    panicked.unwrap_err();
    let counters = check(&cache, 10);
    assert_eq!((counters.failures, counters.loads_panicked), (2, 1));

    let nothing =
        || cache.get_or_load_optional(&two, minutes(1), |_| async { Ok::<Option<u32>, Broken>(None) });
    assert!(nothing().await.unwrap().is_none() && nothing().await.unwrap().is_none());
    let counters = check(&cache, 12);
    assert_eq!((counters.loaded, counters.memory_hits_negative), (2, 1));

    cache.set(&key(1), 3_u32, minutes(1)).await.unwrap().is_stored();
    cache
        .refresh(&key(1), minutes(1), |_| async { Ok::<u32, Broken>(4) })
        .await
        .unwrap();
    assert_eq!(check(&cache, 13).misses_by_request, 1);
    assert!(cache.contains(&key(1)).await && cache.remaining_ttl(&key(1)).await.is_some());
    let counters = check(&cache, 13);
    assert!((counters.hit_ratio() - counters.hits() as f64 / 13.0).abs() < 1e-9);
}

#[tokio::test]
async fn callers_that_share_a_load_or_leave_it_are_counted_apart() {
    let (cache, _) = cache();
    let (one, origin) = (key(1), Origin::closed());
    let mut calls: Vec<_> = (0..5)
        .map(|_| Box::pin(cache.get_or_load(&one, minutes(1), origin.gives(Ok(7_u32)))))
        .collect();
    for call in &mut calls {
        assert!(poll_once(call).is_pending());
    }
    calls.truncate(3);
    assert_eq!(cache.stats().counters.abandoned, 2);
    origin.release();
    for call in calls {
        call.await.unwrap();
    }
    let counters = check(&cache, 5);
    assert_eq!((counters.loaded, counters.joined, counters.abandoned), (1, 2, 2));
    assert_eq!((counters.loads_started, counters.misses_absent), (1, 5));
}

#[tokio::test]
async fn a_borrowing_load_dropped_with_its_caller_is_one_dropped_load() {
    let (cache, _) = cache();
    let (one, origin) = (key(1), Origin::closed());
    let mut call = Box::pin(cache.get_or_load_borrowed(&one, minutes(1), origin.gives(Ok(7_u32))));
    assert!(poll_once(&mut call).is_pending());
    drop(call);
    let counters = check(&cache, 1);
    assert_eq!((counters.abandoned, counters.loads_dropped), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_slow_load_is_one_stale_answer_or_one_failed_call_and_one_load() {
    let cache = crate::engine::timed_cache(|builder| builder.max_load(seconds(60)));
    let options = second_then_stale().soft_timeout(ms(100)).hard_timeout(seconds(5));
    assert!(
        cache
            .set(&key(1), 1_u32, options.clone())
            .await
            .unwrap()
            .is_stored()
    );
    tokio::time::advance(seconds(2)).await;
    let keys = [0_u64, 1, 2].map(key);
    let slow = |n: usize| {
        cache.get_or_load(&keys[n], options.clone(), |_| async {
            tokio::time::sleep(seconds(20)).await;
            Ok::<u32, Broken>(2)
        })
    };
    assert_eq!(slow(1).await.unwrap(), 1);
    assert!(slow(2).await.unwrap_err().is_timeout());
    tokio::time::sleep(seconds(30)).await;
    let counters = check(&cache, 2);
    assert_eq!((counters.stale_for_slow_loads, counters.failures), (1, 1));
    assert_eq!(
        (
            counters.calls_timed_out,
            counters.loads_ok,
            counters.loads_timed_out
        ),
        (1, 2, 0)
    );
}

#[tokio::test]
async fn each_key_of_a_batch_is_a_call_and_its_load_is_one() {
    let (cache, _) = cache_with(|builder| builder);
    let keys: Vec<_> = (0..4_u64).map(key).collect();
    assert!(cache.set(&keys[0], 0_u32, minutes(1)).await.unwrap().is_stored());
    let found = cache.get_many::<u32>(&keys).await;
    assert_eq!(found.iter().flatten().count(), 1);
    let counters = check(&cache, 4);
    assert_eq!((counters.memory_hits_fresh, counters.lookups_missed), (1, 3));
    let load = |missing: Vec<cache_core::CacheKey>| async move {
        let values = missing.into_iter().take(2).map(|key| (key, 1_u32));
        Ok::<HashMap<_, _>, Broken>(values.collect())
    };
    cache.get_or_load_many(&keys, minutes(1), load).await.unwrap();
    let counters = check(&cache, 8);
    assert_eq!(
        (
            counters.loaded,
            counters.memory_hits_fresh,
            counters.loads_started
        ),
        (3, 2, 1)
    );
    let fail = |_| async { Err::<HashMap<_, u32>, _>(Broken("down")) };
    let others: Vec<_> = (0..6_u64).map(key).collect();
    cache
        .get_or_load_many(&others, minutes(1), fail)
        .await
        .unwrap_err();
    let counters = check(&cache, 14);
    assert_eq!((counters.failures, counters.memory_hits_negative), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_in_redis_is_a_hit_and_no_miss() {
    let redis = RedisServer::start();
    let node = || {
        Cache::builder("truth")
            .redis(Redis::from_url(&redis.url()).unwrap())
            .defaults(EntryOptions::ttl(minutes(1)).jitter(0.0))
            .build()
            .unwrap()
    };
    let (writer, reader) = (node(), node());
    for n in 0..20 {
        let tags = EntryOptions::new().tags(TagSet::new(["t"]).unwrap());
        load(&writer, n, tags, Ok(1)).await.unwrap();
    }
    let negative = |cache: &Cache| {
        let cache = cache.clone();
        async move {
            let load = |_| async { Ok::<Option<u32>, Broken>(None) };
            cache
                .get_or_load_optional(&key(99), minutes(1), load)
                .await
                .unwrap()
        }
    };
    assert!(negative(&writer).await.is_none());
    let counters = check(&writer, 21);
    assert_eq!(
        (counters.loaded, counters.misses_absent, counters.loads_ok),
        (21, 21, 21)
    );

    // The first event of the log makes a node forget what it read before; wait until it has come.
    wait_until(seconds(5), "the reader hears the log", async || {
        reader.get::<u32>(&key(0)).await;
        reader.get_in_process::<u32>(key(0).as_key()).is_some()
    })
    .await;
    let before = reader.stats().counters;
    for n in 1..10 {
        reader.get::<u32>(&key(n)).await.unwrap();
        let options = EntryOptions::ttl(minutes(1));
        load(&reader, 10 + n, options, Err(Broken("not needed")))
            .await
            .unwrap();
    }
    assert!(negative(&reader).await.is_none());
    let keys: Vec<_> = (1..=10).map(key).collect();
    assert_eq!(reader.get_many::<u32>(&keys).await.iter().flatten().count(), 10);
    assert!(reader.get::<u32>(&key(77)).await.is_none());
    let counters = check(&reader, before.calls() + 18 + 1 + 10 + 1);
    assert_eq!(counters.shared_hits_fresh - before.shared_hits_fresh, 19);
    assert_eq!(counters.shared_hits_negative, 1);
    assert_eq!(counters.memory_hits_fresh - before.memory_hits_fresh, 9);
    assert_eq!(counters.misses() - before.misses(), 1);
    assert_eq!(counters.loads_started, 0);
    assert_eq!(counters.log_gaps, 0, "beginning to hear is no gap");
    redis.flushall();
    wait_until(seconds(5), "the gap is noticed", async || {
        reader.stats().counters.log_gaps == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_redis_it_was_given_a_cache_counts_the_same() {
    let redis = RedisServer::start();
    let url = redis.url();
    drop(redis);
    let cache = Cache::builder("truth")
        .redis(Redis::from_url(&url).unwrap())
        .build()
        .unwrap();
    for n in 0..5 {
        load(&cache, n % 2, EntryOptions::ttl(minutes(1)), Ok(1))
            .await
            .unwrap();
    }
    assert!(cache.get::<u32>(&key(9)).await.is_none());
    let counters = check(&cache, 6);
    assert_eq!((counters.loaded, counters.memory_hits_fresh), (2, 3));
    assert_eq!(counters.shared_hits(), 0);
}
