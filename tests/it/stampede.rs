//! Single flight: many callers, one load, whatever the load does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_core::time::{minutes, seconds};
use cache_core::{Cache, EntryOptions, ErrorKind, LoadError, Loaded, OutcomeKind};
use tokio::task::JoinSet;

use crate::engine::{
    Answer, Broken, Origin, cache, cache_with, key, ms, others_run, poll_once, settle, timed_cache,
};

type Got = Result<Loaded<u32>, LoadError<Broken>>;

/// `callers` that all want one key, each with a loader of its own.
fn crowd(
    cache: &Cache,
    callers: usize,
    origin: &Origin,
    options: &EntryOptions,
    answer: fn() -> Answer,
) -> JoinSet<Got> {
    let mut crowd = JoinSet::new();
    for _ in 0..callers {
        let (cache, origin, options) = (cache.clone(), origin.clone(), options.clone());
        crowd.spawn(async move { cache.get_or_load(&key(1), options, origin.gives(answer())).await });
    }
    crowd
}

/// B1.2
#[tokio::test(start_paused = true)]
async fn a_thousand_callers_of_a_slow_loader_share_one_load_and_one_value() {
    let cache = timed_cache(|builder| builder);
    let loads = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    #[expect(clippy::disallowed_methods, reason = "the paused time of the runtime")]
    let started = tokio::time::Instant::now();
    for _ in 0..1_000 {
        let (cache, loads) = (cache.clone(), loads.clone());
        callers.spawn(async move {
            let load = |_| async move {
                loads.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(ms(100)).await;
                Answer::Ok(7_u32)
            };
            cache.get_or_load(&key(1), minutes(1), load).await.unwrap()
        });
    }
    let got = callers.join_all().await;
    assert!(started.elapsed() <= ms(105), "{:?}", started.elapsed());
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    assert!(got.iter().all(|loaded| Loaded::ptr_eq(loaded, &got[0])));
    let led = got
        .iter()
        .filter(|loaded| loaded.outcome().kind == OutcomeKind::Loaded);
    assert_eq!(led.count(), 1);
    let shared = got
        .iter()
        .filter(|loaded| loaded.outcome().kind == OutcomeKind::Shared);
    assert_eq!(shared.count(), 999);
}

/// B1.2, on threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_on_many_threads_share_one_load() {
    let (cache, _) = cache();
    for round in 0..200_u32 {
        let origin = Origin::closed();
        let mut callers = JoinSet::new();
        for n in 0..16 {
            let (cache, origin) = (cache.clone(), origin.clone());
            callers.spawn(async move {
                let loaded = cache
                    .get_or_load(&key(round), minutes(1), origin.gives(Ok(n)))
                    .await;
                loaded.unwrap().into_inner()
            });
        }
        origin.begun(1).await;
        origin.release();
        let got = callers.join_all().await;
        assert!(got.iter().all(|n| *n == got[0]), "{got:?}");
        assert_eq!(origin.loads(), 1, "in round {round}");
    }
    assert_eq!((cache.loads_in_flight(), cache.stats().waiters), (0, 0));
}

#[tokio::test]
async fn fifty_callers_of_a_failing_loader_share_one_load_and_its_error() {
    let (cache, _) = cache();
    let origin = Origin::closed();
    let callers = crowd(&cache, 50, &origin, &minutes(1).into(), || Err(Broken("down")));
    others_run().await;
    assert_eq!(cache.stats().waiters, 50);
    origin.release();
    for got in callers.join_all().await {
        assert_eq!(got.unwrap_err().loader(), Some(&Broken("down")));
    }
    assert_eq!(origin.loads(), 1);
}

/// B1.5
#[tokio::test]
async fn a_loader_that_panics_fails_its_waiters_and_leaves_the_key_usable() {
    let (cache, _) = cache();
    let origin = Origin::closed();
    let callers = {
        let mut callers = JoinSet::new();
        for _ in 0..100 {
            let (cache, origin) = (cache.clone(), origin.clone());
            callers.spawn(async move {
                let load = |_| async move {
                    let _ = origin.answer(Ok(0_u32)).await;
                    panic!("seven is not a number")
                };
                cache
                    .get_or_load::<u32, Broken, _, _>(&key(1), minutes(1), load)
                    .await
            });
        }
        callers
    };
    others_run().await;
    origin.release();
    for got in callers.join_all().await {
        let error = got.unwrap_err();
        assert!(error.is_panic(), "{error}");
        assert!(error.to_string().contains("seven is not a number"), "{error}");
    }
    assert_eq!((origin.loads(), cache.loads_in_flight()), (1, 0));
    let again = cache
        .get_or_load(&key(1), minutes(1), origin.gives(Ok(7_u32)))
        .await;
    assert_eq!(again.unwrap(), 7);
}

/// B1.5: also when the closure panics before there is a future.
#[tokio::test]
async fn a_loader_that_panics_before_it_returns_its_future_is_caught_as_well() {
    let (cache, _) = cache();
    async fn never() -> Answer {
        Ok(1)
    }
    let ready = std::hint::black_box(false);
    let panics = move |_| {
        assert!(ready, "at once");
        never()
    };
    let got = cache.get_or_load(&key(1), minutes(1), panics).await;
    assert!(got.unwrap_err().is_panic());
    let borrowed = cache.get_or_load_borrowed(&key(1), minutes(1), panics).await;
    assert!(borrowed.unwrap_err().is_panic());
    assert_eq!(cache.loads_in_flight(), 0);
}

/// B4.3, B4.5
#[tokio::test(start_paused = true)]
async fn a_loader_that_hangs_is_waited_for_until_the_hard_timeout_and_aborted_at_the_longest_load() {
    let cache = timed_cache(|builder| builder.max_load(seconds(30)));
    let origin = Origin::closed();
    let options = EntryOptions::ttl(minutes(1)).hard_timeout(seconds(10));
    let first = crowd(&cache, 5, &origin, &options, || Ok(1));
    tokio::time::sleep(seconds(4)).await;
    let later = crowd(&cache, 1, &origin, &options, || Ok(1));
    for got in first.join_all().await {
        assert!(got.unwrap_err().is_timeout());
    }
    #[expect(clippy::disallowed_methods, reason = "the paused time of the runtime")]
    let now = tokio::time::Instant::now();
    for got in later.join_all().await {
        assert!(got.unwrap_err().is_timeout());
    }
    assert_eq!(
        now.elapsed().as_secs(),
        4,
        "everyone waits from their own arrival on"
    );
    assert_eq!((origin.loads(), cache.loads_in_flight()), (1, 1));
    tokio::time::sleep(seconds(17)).await;
    assert_eq!((cache.loads_in_flight(), cache.stats().loads_running), (0, 0));
    assert_eq!(origin.ended(), 0);
}

/// B4.3
#[tokio::test(start_paused = true)]
async fn a_load_goes_on_after_the_hard_timeout_and_stores_unless_it_may_not() {
    for (goes_on, kept) in [(true, Some(7)), (false, None)] {
        let cache = timed_cache(|builder| builder);
        let origin = Origin::closed();
        let options = EntryOptions::ttl(minutes(5))
            .hard_timeout(seconds(1))
            .background_completion(goes_on);
        let got = cache.get_or_load(&key(1), options, origin.gives(Ok(7_u32))).await;
        assert!(got.unwrap_err().is_timeout());
        tokio::time::sleep(ms(10)).await;
        assert_eq!(cache.loads_in_flight(), usize::from(goes_on));
        origin.release();
        settle(&cache).await;
        assert_eq!(cache.get::<u32>(&key(1)).await.map(Loaded::into_inner), kept);
        assert_eq!(origin.ended(), usize::from(goes_on));
    }
}

/// B1.6
#[tokio::test(start_paused = true)]
async fn a_loader_that_asks_for_its_own_key_is_told_so_at_once() {
    let cache = timed_cache(|builder| builder);
    let again = cache.clone();
    let got = cache
        .get_or_load(&key(1), minutes(1), move |_| async move {
            let own = again
                .get_or_load(&key(1), minutes(1), |_| async { Answer::Ok(1_u32) })
                .await;
            let error = own.unwrap_err();
            assert!(error.is_reentrant(), "{error}");
            Answer::Ok(2_u32)
        })
        .await;
    assert_eq!(got.unwrap(), 2);
    assert_eq!(cache.stats().counters.reentrant, 1);
}

/// B1.6: through another key, and through another cache.
#[tokio::test(start_paused = true)]
async fn a_circle_of_loads_is_refused_where_it_would_close() {
    let (here, there) = (timed_cache(|builder| builder), timed_cache(|builder| builder));
    for other in [here.clone(), there] {
        let home = here.clone();
        let got = here
            .get_or_load(&key("a"), minutes(1), move |_| async move {
                let middle = move |_| async move {
                    let back = home
                        .get_or_load(&key("a"), minutes(1), |_| async { Answer::Ok(1_u32) })
                        .await;
                    assert!(back.unwrap_err().is_reentrant());
                    Answer::Ok(2_u32)
                };
                let middle = other.get_or_load(&key("b"), minutes(1), middle).await;
                middle.map(Loaded::into_inner).map_err(|_| Broken("middle"))
            })
            .await;
        assert_eq!(got.unwrap(), 2);
        here.clear().await.unwrap();
    }
}

/// B1.6: each task waits for the other's load.
#[tokio::test(start_paused = true)]
async fn two_tasks_whose_loads_want_each_other_both_get_an_answer() {
    let cache = timed_cache(|builder| builder);
    let met = Arc::new(tokio::sync::Barrier::new(2));
    let mut tasks = JoinSet::new();
    for (own, other) in [("a", "b"), ("b", "a")] {
        let (cache, met) = (cache.clone(), met.clone());
        tasks.spawn(async move {
            let inner = cache.clone();
            let load = move |_| async move {
                met.wait().await;
                let wanted = inner
                    .get_or_load(&key(other), minutes(1), |_| async { Answer::Ok(0_u32) })
                    .await;
                match wanted {
                    Ok(loaded) => Answer::Ok(loaded.into_inner() + 1),
                    Err(error) => {
                        assert!(error.is_reentrant(), "{error}");
                        Ok(10)
                    }
                }
            };
            cache
                .get_or_load(&key(own), minutes(1), load)
                .await
                .unwrap()
                .into_inner()
        });
    }
    let mut got = tasks.join_all().await;
    got.sort_unstable();
    assert_eq!(got, [10, 11], "one is refused and answers the other");
}

/// B1.6: a load inside a load takes no load permit.
#[tokio::test(start_paused = true)]
async fn loads_within_loads_need_no_permit_of_their_own() {
    let cache = timed_cache(|builder| builder.max_concurrent_loads(2));
    let mut callers = JoinSet::new();
    for n in 0..10_u32 {
        let cache = cache.clone();
        callers.spawn(async move {
            let inner = cache.clone();
            let load = move |_| async move {
                let part = async |part: &'static str| {
                    let load = move |_| async move {
                        tokio::time::sleep(ms(10)).await;
                        Answer::Ok(n)
                    };
                    inner.get_or_load(&key((part, n)), minutes(1), load).await
                };
                let (left, right) = tokio::join!(part("left"), part("right"));
                Answer::Ok(left.unwrap().into_inner() + right.unwrap().into_inner())
            };
            cache
                .get_or_load(&key(n), minutes(1), load)
                .await
                .unwrap()
                .into_inner()
        });
    }
    let mut got = callers.join_all().await;
    got.sort_unstable();
    assert_eq!(got, (0..10).map(|n| 2 * n).collect::<Vec<_>>());
}

/// B1.6: what a load waits for cannot queue behind that load.
#[tokio::test(start_paused = true)]
async fn a_queued_load_that_a_running_one_waits_for_goes_ahead() {
    let cache = timed_cache(|builder| builder.max_concurrent_loads(1));
    let (outer, inner) = (Origin::closed(), Origin::open());
    let part = |cache: &Cache| {
        let (cache, inner) = (cache.clone(), inner.clone());
        async move {
            cache
                .get_or_load(&key("part"), minutes(1), inner.gives(Ok(1_u32)))
                .await
        }
    };
    let whole = tokio::spawn({
        let (cache, part, outer) = (cache.clone(), part(&cache), outer.clone());
        async move {
            let load = |_| async move {
                outer.answer(Ok(())).await?;
                part.await.map(Loaded::into_inner).map_err(|_| Broken("part"))
            };
            cache.get_or_load(&key("whole"), minutes(1), load).await
        }
    });
    outer.begun(1).await;
    let queued = tokio::spawn(part(&cache));
    others_run().await;
    assert_eq!(inner.loads(), 0, "the only permit is taken");
    outer.release();
    assert_eq!(whole.await.unwrap().unwrap(), 1);
    assert_eq!(queued.await.unwrap().unwrap(), 1);
    assert_eq!(inner.loads(), 1);
}

#[tokio::test]
async fn no_more_loaders_run_at_once_than_permitted_and_the_others_queue() {
    let (cache, _) = cache_with(|builder| builder.max_concurrent_loads(8));
    let origin = Origin::closed();
    let mut callers = JoinSet::new();
    for n in 0..100_u32 {
        let (cache, origin) = (cache.clone(), origin.clone());
        callers.spawn(async move { cache.get_or_load(&key(n), minutes(1), origin.gives(Ok(n))).await });
    }
    others_run().await;
    assert_eq!((origin.loads(), cache.stats().loads_running), (8, 8));
    for passed in 1..=92 {
        origin.let_through(1);
        others_run().await;
        assert_eq!(origin.loads(), 8 + passed);
    }
    origin.release();
    assert!(callers.join_all().await.iter().all(Result::is_ok));
    assert_eq!(cache.stats().loads_running, 0);
}

/// B1.9
#[tokio::test]
async fn a_refresh_loads_although_the_value_is_fresh_and_shares_nothing_that_began_before() {
    let (cache, clock) = cache();
    let (slow, quick) = (Origin::closed(), Origin::open());
    let before = tokio::spawn({
        let (cache, slow) = (cache.clone(), slow.clone());
        async move {
            cache
                .get_or_load(&key(1), minutes(1), slow.gives(Ok(1_u32)))
                .await
        }
    });
    slow.begun(1).await;
    let refreshed = cache.refresh(&key(1), minutes(1), quick.gives(Ok(2_u32))).await;
    assert_eq!(refreshed.unwrap(), 2);
    slow.release();
    assert_eq!(
        before.await.unwrap().unwrap(),
        1,
        "who joined before gets what they joined"
    );
    assert_eq!(
        cache.get::<u32>(&key(1)).await.unwrap(),
        2,
        "and it does not replace what was asked for later"
    );
    let again = cache.refresh(&key(1), minutes(1), quick.gives(Ok(3_u32))).await;
    assert_eq!(again.unwrap(), 3);
    let failed = cache
        .refresh(&key(1), minutes(1), quick.gives(Err::<u32, _>(Broken("down"))))
        .await;
    assert_eq!(failed.unwrap_err().loader(), Some(&Broken("down")));
    assert_eq!(cache.get::<u32>(&key(1)).await.unwrap(), 3, "the old entry stays");
    clock.advance(minutes(1));
    assert!(cache.get::<u32>(&key(1)).await.is_none());
}

/// B1.9, B9.4: who arrives after a refresh does not join a load that began before it, whatever that load gives.
#[tokio::test]
async fn a_refresh_ends_older_flights_for_those_who_come_later() {
    let (cache, _) = cache();
    let (slow, quick) = (Origin::closed(), Origin::open());
    let optional = |origin: &Origin, n: u32| {
        let (cache, load) = (cache.clone(), origin.gives(Ok(Some(n))));
        tokio::spawn(async move { cache.get_or_load_optional(&key(1), minutes(1), load).await })
    };
    let before = optional(&slow, 1);
    slow.begun(1).await;
    cache
        .refresh(&key(1), EntryOptions::ttl(ms(1)), quick.gives(Ok(2_u32)))
        .await
        .unwrap();
    cache.remove(&key(2)).await.unwrap();
    // The refreshed value is of no use to this one: it asks for another type under the same key.
    let later = {
        let (cache, load) = (cache.clone(), quick.gives(Ok(Some("three"))));
        let text = |loaded: Option<Loaded<String>>| loaded.map(Loaded::into_inner);
        let load = move |context| async move { load(context).await.map(|found| found.map(str::to_owned)) };
        tokio::spawn(async move {
            cache
                .get_or_load_optional::<String, Broken, _, _>(&key(1), minutes(1), load)
                .await
                .map(text)
        })
    };
    assert_eq!(later.await.unwrap().unwrap().as_deref(), Some("three"));
    slow.release();
    assert_eq!(before.await.unwrap().unwrap().unwrap(), 1);
}

/// B1.2: who joins just as a flight ends gets the value that it stored.
#[tokio::test]
async fn who_comes_when_the_load_has_just_ended_loads_nothing() {
    let (cache, _) = cache();
    let origin = Origin::open();
    for round in 0..100_u32 {
        let calls = (0..3).map(|_| {
            let (cache, load) = (cache.clone(), origin.gives(Ok(round)));
            tokio::spawn(async move { cache.get_or_load(&key(round), minutes(1), load).await })
        });
        for call in calls.collect::<Vec<_>>() {
            assert_eq!(call.await.unwrap().unwrap(), round);
        }
    }
    assert_eq!(origin.loads(), 100);
}

/// B1.3: an error of the cache itself says what it is.
#[tokio::test(start_paused = true)]
async fn a_hard_timeout_of_nothing_waits_for_nothing_and_the_load_goes_on() {
    let cache = timed_cache(|builder| builder);
    let origin = Origin::closed();
    let options = EntryOptions::ttl(minutes(1)).hard_timeout(Duration::ZERO);
    let got = cache.get_or_load(&key(1), options, origin.gives(Ok(1_u32))).await;
    assert_eq!(got.unwrap_err().cache().unwrap().kind(), ErrorKind::LoadTimeout);
    origin.release();
    settle(&cache).await;
    assert_eq!(cache.get::<u32>(&key(1)).await.unwrap(), 1);
}

/// B1.9
#[tokio::test]
async fn refreshes_share_a_load_that_has_yet_to_begin_and_none_that_has() {
    let one = key(1);
    let (cache, _) = cache();
    let origin = Origin::closed();
    let refresh = || Box::pin(cache.refresh(&one, minutes(1), origin.gives(Ok(7_u32))));
    let mut early: Vec<_> = (0..5).map(|_| refresh()).collect();
    for call in &mut early {
        assert!(poll_once(call).is_pending());
    }
    origin.begun(1).await;
    let mut late: Vec<_> = (0..5).map(|_| refresh()).collect();
    for call in &mut late {
        assert!(poll_once(call).is_pending());
    }
    origin.begun(1).await;
    origin.release();
    for call in early.into_iter().chain(late) {
        assert_eq!(call.await.unwrap(), 7);
    }
    assert_eq!(
        origin.loads(),
        2,
        "one for those before the first began, one for those after"
    );
}
