//! Many keys at once.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_core::time::{minutes, seconds};
use cache_core::{Cache, CacheKey, EntryOptions, LoadError, Loaded, Lookup};

use crate::engine::{
    Answer, Broken, Origin, cache, key, ms, others_run, second_then_stale, settle, timed_cache,
};

type Values = Result<Vec<Option<u32>>, LoadError<Broken>>;

/// Which keys batches asked for, call by call.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<Vec<u32>>>>);

impl Asked {
    fn calls(&self) -> Vec<Vec<u32>> {
        self.0.lock().unwrap().clone()
    }
}

fn number(key: &CacheKey) -> u32 {
    key.text().rsplit(':').next().unwrap().parse().unwrap()
}

fn keys(numbers: &[u32]) -> Vec<CacheKey> {
    numbers.iter().map(|n| key(*n)).collect()
}

/// Loads `10 * n` under each key `n`; keys above 100 do not exist.
async fn batch(
    cache: &Cache,
    numbers: &[u32],
    options: impl Into<EntryOptions> + Send,
    origin: &Origin,
    asked: &Asked,
) -> Values {
    let (origin, asked) = (origin.clone(), asked.clone());
    let load = move |keys: Vec<CacheKey>| {
        asked.0.lock().unwrap().push(keys.iter().map(number).collect());
        let origin = origin.clone();
        async move {
            origin.answer(Ok(())).await?;
            let found = keys.into_iter().filter(|key| number(key) <= 100);
            Ok(found.map(|key| (key.clone(), number(&key) * 10)).collect())
        }
    };
    let got = cache.get_or_load_many(&keys(numbers), options, load).await?;
    Ok(got
        .into_iter()
        .map(|loaded| loaded.map(Loaded::into_inner))
        .collect())
}

/// B1.11
#[tokio::test]
async fn one_call_loads_exactly_the_missing_keys_and_order_is_kept() {
    let (cache, _) = cache();
    let (origin, asked) = (Origin::open(), Asked::default());
    assert!(cache.set(&key(2), 2_u32, minutes(1)).await.unwrap().is_stored());
    let got = batch(&cache, &[3, 2, 200, 1, 3], minutes(1), &origin, &asked).await;
    assert_eq!(got.unwrap(), [Some(30), Some(2), None, Some(10), Some(30)]);
    assert_eq!(asked.calls(), [[3, 200, 1]]);
    assert!(matches!(
        cache.lookup::<u32>(&key(200)).await,
        Lookup::Negative(_)
    ));
    let got = batch(&cache, &[200, 1], minutes(1), &origin, &asked).await;
    assert_eq!(got.unwrap(), [None, Some(10)]);
    assert_eq!(asked.calls().len(), 1);
    assert!(
        batch(&cache, &[], minutes(1), &origin, &asked)
            .await
            .unwrap()
            .is_empty()
    );
}

/// B1.11
#[tokio::test]
async fn overlapping_batches_load_each_key_once_and_do_not_wait_before_they_load_their_own() {
    let (cache, _) = cache();
    let (first, second, asked) = (Origin::closed(), Origin::closed(), Asked::default());
    let one = tokio::spawn({
        let (cache, first, asked) = (cache.clone(), first.clone(), asked.clone());
        async move { batch(&cache, &[1, 2, 3], minutes(1), &first, &asked).await }
    });
    first.begun(1).await;
    let two = tokio::spawn({
        let (cache, second, asked) = (cache.clone(), second.clone(), asked.clone());
        async move { batch(&cache, &[3, 4, 1, 5], minutes(1), &second, &asked).await }
    });
    second.begun(1).await;
    let single = tokio::spawn({
        let (cache, second) = (cache.clone(), second.clone());
        async move {
            cache
                .get_or_load_optional(&key(4), minutes(1), second.gives(Ok(Some(0_u32))))
                .await
        }
    });
    others_run().await;
    second.release();
    others_run().await;
    assert_eq!(
        cache.get::<u32>(&key(4)).await.unwrap(),
        40,
        "own keys are stored while others are awaited"
    );
    assert!(!two.is_finished());
    first.release();
    assert_eq!(one.await.unwrap().unwrap(), [Some(10), Some(20), Some(30)]);
    assert_eq!(
        two.await.unwrap().unwrap(),
        [Some(30), Some(40), Some(10), Some(50)]
    );
    assert_eq!(single.await.unwrap().unwrap().unwrap(), 40);
    assert_eq!(asked.calls(), [vec![1, 2, 3], vec![4, 5]]);
}

/// B1.11
#[tokio::test]
async fn when_a_foreign_load_fails_the_loader_is_called_once_more_for_its_keys() {
    let (cache, _) = cache();
    let (foreign, own, asked) = (Origin::closed(), Origin::open(), Asked::default());
    let failing = tokio::spawn({
        let (cache, load) = (
            cache.clone(),
            foreign.gives(Err::<Option<u32>, _>(Broken("foreign"))),
        );
        async move { cache.get_or_load_optional(&key(1), minutes(1), load).await }
    });
    foreign.begun(1).await;
    let waiting = tokio::spawn({
        let (cache, asked) = (cache.clone(), asked.clone());
        async move { batch(&cache, &[1, 2], minutes(1), &own, &asked).await }
    });
    others_run().await;
    foreign.release();
    assert!(failing.await.unwrap().is_err());
    assert_eq!(waiting.await.unwrap().unwrap(), [Some(10), Some(20)]);
    assert_eq!(asked.calls(), [vec![2], vec![1]]);
}

async fn failing(cache: &Cache, numbers: &[u32], options: EntryOptions) -> Values {
    let load = |_| async { Err::<HashMap<CacheKey, u32>, _>(Broken("down")) };
    let got = cache.get_or_load_many(&keys(numbers), options, load).await?;
    Ok(got
        .into_iter()
        .map(|loaded| loaded.map(Loaded::into_inner))
        .collect())
}

#[tokio::test]
async fn a_failing_batch_shows_stale_values_if_every_missing_key_has_one() {
    let (cache, clock) = cache();
    for n in 1..=2_u32 {
        assert!(
            cache
                .set(&key(n), n, second_then_stale())
                .await
                .unwrap()
                .is_stored()
        );
    }
    clock.advance(seconds(1));
    let got = failing(&cache, &[1, 2], second_then_stale()).await;
    assert_eq!(got.unwrap(), [Some(1), Some(2)]);
    let got = failing(&cache, &[1, 3], second_then_stale()).await;
    assert_eq!(got.unwrap_err().loader(), Some(&Broken("down")));
    assert_eq!(cache.loads_in_flight(), 0);
}

#[tokio::test]
async fn a_batch_that_panics_is_an_error_and_leaves_no_flight() {
    let (cache, _) = cache();
    let load = |keys: Vec<CacheKey>| async move {
        assert!(keys.is_empty(), "on purpose");
        Answer::<HashMap<CacheKey, u32>>::Ok(HashMap::new())
    };
    let got = cache.get_or_load_many(&keys(&[1, 2]), minutes(1), load).await;
    assert!(got.unwrap_err().is_panic());
    assert_eq!((cache.loads_in_flight(), cache.stats().waiters), (0, 0));
}

/// B4.1: the soft timeout counts from the arrival of the batch, not once per key.
#[tokio::test(start_paused = true)]
async fn a_slow_batch_shows_all_its_stale_values_after_one_soft_timeout() {
    let cache = timed_cache(|builder| builder);
    let options = second_then_stale().soft_timeout(ms(100));
    let numbers: Vec<u32> = (0..50).collect();
    for n in &numbers {
        assert!(
            cache
                .set(&key(*n), *n, options.clone())
                .await
                .unwrap()
                .is_stored()
        );
    }
    tokio::time::sleep(seconds(1)).await;
    #[expect(clippy::disallowed_methods, reason = "the paused time of the runtime")]
    let started = tokio::time::Instant::now();
    let (origin, asked) = (Origin::closed(), Asked::default());
    let got = batch(&cache, &numbers, options, &origin, &asked).await.unwrap();
    assert_eq!(got, numbers.iter().map(|n| Some(*n)).collect::<Vec<_>>());
    assert!(started.elapsed() < ms(110), "{:?}", started.elapsed());
    origin.release();
    settle(&cache).await;
    assert_eq!(cache.get::<u32>(&key(7)).await.unwrap(), 70);
}

/// B4.3, B4.5
#[tokio::test(start_paused = true)]
async fn a_batch_that_hangs_ends_at_the_hard_timeout_with_stale_values_where_there_are_any() {
    let cache = timed_cache(|builder| builder);
    let options = second_then_stale().hard_timeout(seconds(2));
    for n in 0..5_u32 {
        assert!(cache.set(&key(n), n, options.clone()).await.unwrap().is_stored());
    }
    tokio::time::sleep(seconds(1)).await;
    let (origin, asked) = (Origin::closed(), Asked::default());
    #[expect(clippy::disallowed_methods, reason = "the paused time of the runtime")]
    let started = tokio::time::Instant::now();
    let got = batch(&cache, &[0, 1, 2, 3, 4], options.clone(), &origin, &asked).await;
    assert_eq!(got.unwrap(), [Some(0), Some(1), Some(2), Some(3), Some(4)]);
    assert_eq!(started.elapsed().as_secs(), 2);
    let got = batch(&cache, &[0, 9], options, &origin, &asked).await;
    assert!(got.unwrap_err().is_timeout());
    assert_eq!(started.elapsed().as_secs(), 4);
}

/// B4.3
#[tokio::test(start_paused = true)]
async fn a_batch_that_may_not_go_on_behind_its_caller_is_aborted_at_the_hard_timeout() {
    let cache = timed_cache(|builder| builder);
    let options = EntryOptions::ttl(minutes(1))
        .hard_timeout(seconds(2))
        .background_completion(false);
    let (origin, asked) = (Origin::closed(), Asked::default());
    let got = batch(&cache, &[1], options, &origin, &asked).await;
    assert!(got.unwrap_err().is_timeout());
    tokio::time::sleep(ms(10)).await;
    assert_eq!(cache.loads_in_flight(), 0);
}

/// B1.4: nobody is left who wants any of it.
#[tokio::test]
async fn an_abandoned_batch_completes_or_stops_as_its_options_say() {
    for stops in [false, true] {
        let (cache, _) = cache();
        let (origin, asked) = (Origin::closed(), Asked::default());
        let options = EntryOptions::ttl(minutes(1)).abort_when_abandoned(stops);
        let call = tokio::spawn({
            let (cache, origin) = (cache.clone(), origin.clone());
            async move { batch(&cache, &[1, 2], options, &origin, &asked).await }
        });
        origin.begun(1).await;
        let other = tokio::spawn({
            let (cache, load) = (cache.clone(), origin.gives(Ok(Some(0_u32))));
            async move { cache.get_or_load_optional(&key(2), minutes(1), load).await }
        });
        others_run().await;
        call.abort();
        others_run().await;
        assert_eq!(cache.loads_in_flight(), 2, "somebody wants the second key");
        other.abort();
        others_run().await;
        assert_eq!(cache.loads_in_flight(), if stops { 0 } else { 2 });
        origin.release();
        settle(&cache).await;
        assert_eq!(cache.get::<u32>(&key(1)).await.is_some(), !stops);
    }
}

/// B1.6: a batch waits for itself through any of its keys.
#[tokio::test(start_paused = true)]
async fn a_batch_that_asks_for_one_of_its_own_keys_is_told_so_at_once() {
    let cache = timed_cache(|builder| builder);
    for own in [1_u32, 2, 3] {
        let inner = cache.clone();
        let load = move |keys: Vec<CacheKey>| {
            let inner = inner.clone();
            async move {
                let again = inner
                    .get_or_load_optional(&key(own), minutes(1), |_| async { Answer::Ok(Some(0_u32)) })
                    .await;
                assert!(again.unwrap_err().is_reentrant());
                Answer::Ok(keys.into_iter().map(|key| (key, 1_u32)).collect())
            }
        };
        let got = cache.get_or_load_many(&keys(&[1, 2, 3]), minutes(1), load).await;
        assert!(got.unwrap().into_iter().all(|loaded| loaded.is_some()), "{own}");
        cache.clear().await.unwrap();
    }
}

/// B1.6
#[tokio::test(start_paused = true)]
async fn a_batch_within_a_load_needs_no_permit() {
    let cache = timed_cache(|builder| builder.max_concurrent_loads(1));
    let inner = cache.clone();
    let load = move |_| async move {
        let (origin, asked) = (Origin::open(), Asked::default());
        let parts = batch(&inner, &[1, 2], minutes(1), &origin, &asked).await;
        Answer::Ok(parts.unwrap().into_iter().flatten().sum::<u32>())
    };
    let got = cache.get_or_load(&key("sum"), minutes(1), load).await;
    assert_eq!(got.unwrap(), 30);
}

/// B7.2
#[tokio::test]
async fn a_batch_knows_recorded_errors() {
    let (cache, clock) = cache();
    let options = EntryOptions::ttl(minutes(1)).error_ttl(seconds(5));
    assert!(failing(&cache, &[1, 2], options.clone()).await.is_err());
    assert_eq!(cache.stats().counters.loads_started, 1);
    let (origin, asked) = (Origin::open(), Asked::default());
    let got = batch(&cache, &[1, 2], options.clone(), &origin, &asked).await;
    assert_eq!(got.unwrap_err().loader(), Some(&Broken("down")));
    assert!(asked.calls().is_empty());
    clock.advance(seconds(5));
    assert!(batch(&cache, &[1, 2], options, &origin, &asked).await.is_ok());
}

/// B9.2: each key of a batch is guarded by itself.
#[tokio::test]
async fn a_key_that_is_invalidated_while_its_batch_loads_is_not_stored_and_the_others_are() {
    let (cache, _) = cache();
    let (origin, asked) = (Origin::closed(), Asked::default());
    let call = tokio::spawn({
        let (cache, origin) = (cache.clone(), origin.clone());
        async move { batch(&cache, &[1, 2, 3], minutes(1), &origin, &asked).await }
    });
    origin.begun(1).await;
    cache.remove(&key(2)).await.unwrap();
    assert!(cache.set(&key(3), 3_u32, minutes(1)).await.unwrap().is_stored());
    origin.release();
    assert_eq!(call.await.unwrap().unwrap(), [Some(10), Some(20), Some(30)]);
    let got = cache.get_many::<u32>(&keys(&[1, 2, 3])).await;
    let got: Vec<_> = got
        .into_iter()
        .map(|loaded| loaded.map(Loaded::into_inner))
        .collect();
    assert_eq!(got, [Some(10), None, Some(3)]);
}

/// A caller of many keys that is answered by others' loads after an invalidation it came after asks again.
#[tokio::test]
async fn a_batch_does_not_take_a_foreign_value_that_is_older_than_an_invalidation_before_it() {
    let (cache, _) = cache();
    let (foreign, own, asked) = (Origin::closed(), Origin::open(), Asked::default());
    let other = tokio::spawn({
        let (cache, foreign) = (cache.clone(), foreign.clone());
        async move {
            let load = |load: cache_core::LoadContext<u32>| async move {
                load.tag("found-out").unwrap();
                foreign.answer(Ok(Some(1_u32))).await
            };
            cache.get_or_load_optional(&key(1), minutes(1), load).await
        }
    });
    foreign.begun(1).await;
    cache.invalidate_tag("found-out").await.unwrap();
    let later = tokio::spawn({
        let (cache, asked) = (cache.clone(), asked.clone());
        async move { batch(&cache, &[1], minutes(1), &own, &asked).await }
    });
    others_run().await;
    foreign.release();
    assert_eq!(other.await.unwrap().unwrap().unwrap(), 1);
    assert_eq!(later.await.unwrap().unwrap(), [Some(10)]);
}

/// Batches at random, with singles in between: every key has its own value and is loaded once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_on_many_threads_load_each_key_once() {
    let (cache, _) = cache();
    for round in 0..50_u32 {
        let loaded = Arc::new(Mutex::new(Vec::new()));
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..8_u32 {
            let (cache, loaded) = (cache.clone(), loaded.clone());
            callers.spawn(async move {
                let wanted: Vec<u32> = (0..10).map(|n| (n * 3 + caller) % 20).collect();
                let keys: Vec<_> = wanted.iter().map(|n| key((round, *n))).collect();
                let load = move |keys: Vec<CacheKey>| {
                    loaded.lock().unwrap().extend(keys.iter().map(number));
                    async move {
                        tokio::task::yield_now().await;
                        Answer::Ok(keys.into_iter().map(|key| (key.clone(), number(&key))).collect())
                    }
                };
                let got = cache.get_or_load_many(&keys, minutes(1), load).await.unwrap();
                let got: Vec<_> = got.into_iter().map(|loaded| *loaded.unwrap()).collect();
                assert_eq!(got, wanted);
            });
        }
        callers.join_all().await;
        let loaded = loaded.lock().unwrap();
        let distinct: HashSet<_> = loaded.iter().collect();
        assert_eq!(distinct.len(), loaded.len(), "{loaded:?}");
    }
    tokio::time::timeout(Duration::from_secs(10), settle(&cache))
        .await
        .unwrap();
}
