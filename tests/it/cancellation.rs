//! Callers that are dropped: the ordinary case when clients disconnect.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use cache_core::time::{minutes, seconds};
use cache_core::{Cache, EntryOptions, ErrorKind, Loaded, OutcomeKind};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use support::{wait_until, wait_until_blocking};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::engine::{
    Answer, Broken, Origin, block_on, cache, cache_with, key, ms, others_run, poll_once, second_then_stale,
    settle, timed_cache,
};

/// B1.4
#[tokio::test]
async fn a_load_whose_caller_is_dropped_runs_once_and_stores() {
    let one = key(1);
    let (cache, _) = cache();
    let origin = Origin::closed();
    for dropped in 0..5 {
        let mut call = Box::pin(cache.get_or_load(&one, minutes(1), origin.gives(Ok(7_u32))));
        assert!(poll_once(&mut call).is_pending(), "{dropped}");
        others_run().await;
        drop(call);
    }
    let stays = tokio::spawn({
        let (cache, load) = (cache.clone(), origin.gives(Ok(8_u32)));
        async move { cache.get_or_load(&key(1), minutes(1), load).await }
    });
    others_run().await;
    origin.release();
    let got = stays.await.unwrap().unwrap();
    assert_eq!((*got, got.outcome().kind), (7, OutcomeKind::Shared));
    assert_eq!((origin.loads(), origin.ended()), (1, 1));
    assert_eq!(cache.get::<u32>(&one).await.unwrap(), 7);
}

/// B1.4, B4.6
#[tokio::test]
async fn a_load_that_everyone_left_completes_and_is_no_error() {
    let one = key(1);
    let (cache, _) = cache();
    let origin = Origin::closed();
    let mut calls: Vec<_> = (0..10)
        .map(|_| Box::pin(cache.get_or_load(&one, minutes(1), origin.gives(Ok(7_u32)))))
        .collect();
    for call in &mut calls {
        assert!(poll_once(call).is_pending());
    }
    drop(calls);
    assert_eq!((cache.loads_in_flight(), cache.stats().waiters), (1, 0));
    origin.release();
    settle(&cache).await;
    assert_eq!(cache.get::<u32>(&one).await.unwrap(), 7);
    let counters = cache.stats().counters;
    let failures = counters.loads_failed + counters.loads_timed_out + counters.loads_panicked;
    assert_eq!((origin.loads(), failures), (1, 0));
}

/// B1.4: the option.
#[tokio::test]
async fn a_load_that_is_to_stop_with_its_last_caller_stops_then_and_not_before() {
    let one = key(1);
    let (cache, _) = cache();
    let origin = Origin::closed();
    let options = EntryOptions::ttl(minutes(1)).abort_when_abandoned(true);
    let call = || Box::pin(cache.get_or_load(&one, options.clone(), origin.gives(Ok(7_u32))));
    let (mut first, mut second) = (call(), call());
    assert!(poll_once(&mut first).is_pending() && poll_once(&mut second).is_pending());
    origin.begun(1).await;
    drop(first);
    others_run().await;
    assert_eq!(cache.loads_in_flight(), 1, "somebody still waits");
    drop(second);
    settle(&cache).await;
    assert_eq!((origin.loads(), origin.ended()), (1, 0));
    origin.release();
    assert_eq!(call().await.unwrap(), 7);
    assert_eq!(origin.loads(), 2);
}

/// A load that runs in its caller has no other caller to lose.
#[tokio::test]
async fn a_borrowing_load_does_not_stop_for_want_of_followers() {
    let (cache, _) = cache();
    let options = EntryOptions::ttl(minutes(1)).abort_when_abandoned(true);
    let load = |_| async {
        tokio::task::yield_now().await;
        Answer::Ok(7_u32)
    };
    let got = cache.get_or_load_borrowed(&key(1), options, load).await;
    assert_eq!(got.unwrap(), 7);
}

/// B4.2: who was shown the stale value has not given the new one up.
#[tokio::test(start_paused = true)]
async fn a_load_behind_a_stale_answer_does_not_count_as_abandoned() {
    let cache = timed_cache(|builder| builder);
    let options = second_then_stale()
        .abort_when_abandoned(true)
        .soft_timeout(Duration::ZERO);
    assert!(
        cache
            .set(&key(1), 1_u32, options.clone())
            .await
            .unwrap()
            .is_stored()
    );
    tokio::time::advance(seconds(2)).await;
    let origin = Origin::closed();
    let got = cache.get_or_load(&key(1), options, origin.gives(Ok(2_u32))).await;
    assert_eq!(got.unwrap(), 1);
    origin.begun(1).await;
    others_run().await;
    origin.release();
    settle(&cache).await;
    assert_eq!(cache.get::<u32>(&key(1)).await.unwrap(), 2);
}

/// B1.4
#[tokio::test]
async fn a_borrowing_leader_that_is_dropped_hands_over_to_the_next_in_line() {
    let one = key(1);
    let (cache, _) = cache();
    let (first, second) = (Origin::closed(), Origin::closed());
    let text = String::from("borrowed");
    let mut leader = Box::pin(cache.get_or_load_borrowed(&one, minutes(1), |_| async {
        first.answer(Ok(text.len() as u32)).await
    }));
    assert!(poll_once(&mut leader).is_pending());
    let waiter = tokio::spawn({
        let (cache, load) = (cache.clone(), second.gives(Ok(2_u32)));
        async move { cache.get_or_load(&key(1), minutes(1), load).await }
    });
    others_run().await;
    assert_eq!((first.loads(), second.loads()), (1, 0));
    drop(leader);
    second.begun(1).await;
    second.release();
    let got = waiter.await.unwrap().unwrap();
    assert_eq!((*got, got.outcome().kind), (2, OutcomeKind::Loaded));
    assert_eq!((first.ended(), cache.loads_in_flight()), (0, 0));
}

/// B1.4
#[tokio::test]
async fn of_many_borrowing_callers_that_are_dropped_one_after_another_the_last_one_loads() {
    let one = key(1);
    let (cache, _) = cache();
    let origin = Origin::closed();
    let mut calls: Vec<_> = (0..10_u32)
        .map(|n| {
            let origin = &origin;
            Box::pin(cache.get_or_load_borrowed(&one, minutes(1), move |_| async move {
                origin.answer(Ok(n)).await
            }))
        })
        .collect();
    for call in &mut calls {
        assert!(poll_once(call).is_pending());
    }
    while calls.len() > 1 {
        drop(calls.remove(0));
        assert!(poll_once(&mut calls[0]).is_pending());
    }
    origin.release();
    assert_eq!(calls.pop().unwrap().await.unwrap(), 9);
    assert_eq!((origin.loads(), origin.ended()), (10, 1));
    assert_eq!((cache.loads_in_flight(), cache.stats().waiters), (0, 0));
}

/// B1.4: alive, but not polled.
#[tokio::test(start_paused = true)]
async fn a_borrowing_leader_that_nobody_polls_is_waited_for_until_patience_ends_and_one_takes_over() {
    let one = key(1);
    let cache = timed_cache(|builder| builder.lock_wait(seconds(2)));
    let idle = Origin::open();
    let mut leader = Box::pin(cache.get_or_load_borrowed(&one, minutes(1), |_| async {
        tokio::task::yield_now().await;
        idle.answer(Ok(1_u32)).await
    }));
    assert!(poll_once(&mut leader).is_pending());
    let origin = Origin::open();
    #[expect(clippy::disallowed_methods, reason = "the paused time of the runtime")]
    let started = tokio::time::Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let (cache, load) = (cache.clone(), origin.gives(Ok(2_u32)));
        callers.spawn(async move { cache.get_or_load(&key(1), minutes(1), load).await });
    }
    for got in callers.join_all().await {
        assert_eq!(got.unwrap(), 2);
    }
    assert_eq!(started.elapsed().as_secs(), 2);
    assert_eq!((origin.loads(), idle.loads()), (1, 0));
    assert_eq!(leader.await.unwrap(), 1, "its caller still gets what it loads");
}

/// B1.4: whoever leads now decides whether it is waited for without end.
#[tokio::test]
async fn patience_holds_also_for_a_borrowing_leader_that_took_over_from_a_task() {
    let one = key(1);
    let (cache, _) = cache_with(|builder| builder.lock_wait(ms(50)));
    let first = Runtime::new().unwrap();
    let gone = Origin::closed();
    let handle = first.spawn({
        let (cache, load) = (cache.clone(), gone.gives(Ok(0_u32)));
        async move { cache.get_or_load(&key(1), minutes(1), load).await }
    });
    gone.begun(1).await;
    let mut borrowing = Box::pin(cache.get_or_load_borrowed(&one, minutes(1), |_| async {
        tokio::task::yield_now().await;
        Answer::Ok(1_u32)
    }));
    assert!(poll_once(&mut borrowing).is_pending());
    let origin = Origin::open();
    let waiter = tokio::spawn({
        let (cache, load) = (cache.clone(), origin.gives(Ok(2_u32)));
        async move {
            cache
                .get_or_load(
                    &key(1),
                    EntryOptions::ttl(minutes(1)).hard_timeout(seconds(30)),
                    load,
                )
                .await
        }
    });
    others_run().await;
    first.shutdown_background();
    // Blocks this thread, so that the other waiter does not look first.
    wait_until_blocking(seconds(10), "the load and its caller are gone", || {
        cache.stats().waiters == 2
    });
    assert!(
        poll_once(&mut borrowing).is_pending(),
        "the first to look leads, and is then left alone"
    );
    let got = waiter.await.unwrap().unwrap();
    assert_eq!(*got, 2);
    let _ = handle.await;
    drop(borrowing);
    assert_eq!(cache.loads_in_flight(), 0);
}

/// B1.4
#[test]
fn a_runtime_that_shuts_down_under_waiters_of_another_hands_its_load_over() {
    let (cache, _) = cache();
    let (here, there) = (runtime(), runtime());
    let (doomed, origin) = (Origin::closed(), Origin::open());
    here.spawn({
        let (cache, load) = (cache.clone(), doomed.gives(Ok(1_u32)));
        async move { cache.get_or_load(&key(1), minutes(1), load).await }
    });
    there.block_on(doomed.begun(1));
    let waiters: Vec<_> = (0..10)
        .map(|_| {
            let (cache, load) = (cache.clone(), origin.gives(Ok(2_u32)));
            there.spawn(async move { cache.get_or_load(&key(1), minutes(1), load).await })
        })
        .collect();
    there.block_on(wait_until(seconds(10), "everyone waits", async || {
        cache.stats().waiters == 11
    }));
    // Returns when its worker has dropped the load and its caller.
    drop(here);
    for waiter in waiters {
        assert_eq!(there.block_on(waiter).unwrap().unwrap(), 2);
    }
    assert_eq!((doomed.ended(), origin.loads()), (0, 1));
    assert_eq!((cache.loads_in_flight(), cache.stats().waiters), (0, 0));
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// Without waiters elsewhere, the caller is told.
#[test]
fn a_caller_whose_load_was_dropped_with_its_runtime_gets_an_error() {
    let (cache, _) = cache();
    let here = runtime();
    let doomed = Origin::closed();
    let call = {
        let _guard = here.enter();
        let mut call = Box::pin({
            let (cache, load) = (cache.clone(), doomed.gives(Ok(1_u32)));
            async move { cache.get_or_load(&key(1), minutes(1), load).await }
        });
        assert!(poll_once(&mut call).is_pending());
        call
    };
    here.block_on(doomed.begun(1));
    here.shutdown_background();
    let there = runtime();
    let error = there.block_on(call).unwrap_err();
    assert_eq!(error.cache().unwrap().kind(), ErrorKind::LoadAborted);
    assert_eq!(cache.loads_in_flight(), 0);
}

#[test]
fn everything_works_without_a_runtime() {
    let (cache, clock) = cache();
    let origin = Origin::open();
    let options = second_then_stale()
        .soft_timeout(Duration::ZERO)
        .eager(cache_core::Eager::After(0.5));
    let load = |n: u32| block_on(cache.get_or_load(&key(1), options.clone(), origin.gives(Ok(n))));
    assert_eq!(load(1).unwrap(), 1);
    clock.advance(ms(600));
    assert_eq!(load(2).unwrap(), 1, "eager refresh needs a runtime");
    clock.advance(ms(600));
    assert_eq!(load(3).unwrap(), 3, "there is no background to load in");
    assert_eq!(
        block_on(cache.refresh(&key(1), options.clone(), origin.gives(Ok(4_u32)))).unwrap(),
        4
    );
    let many = block_on(
        cache.get_or_load_many(&[key(2), key(3)], options.clone(), |keys| async move {
            Ok::<_, Broken>(keys.into_iter().map(|key| (key, 5_u32)).collect())
        }),
    );
    assert!(many.unwrap().into_iter().all(|loaded| loaded.unwrap() == 5));
    block_on(async {
        assert!(cache.set(&key(4), 1_u32, minutes(1)).await.unwrap().is_stored());
        assert_eq!(
            cache
                .update(&key(4), minutes(1), |old| old.unwrap_or(0) + 1_u32)
                .await
                .unwrap(),
            2
        );
        let held = cache.lock("l", minutes(1), minutes(1)).await.unwrap();
        assert!(
            cache.lock("l", minutes(1), ms(10)).await.is_err(),
            "nobody can wait without timers"
        );
        assert!(held.release().await);
        cache.close(seconds(1)).await.unwrap();
    });
}

/// Two threads without a runtime share a load.
#[test]
fn threads_without_a_runtime_share_a_load_and_hand_it_over() {
    let one = key(1);
    let (cache, _) = cache();
    let origin = Origin::closed();
    let mut dropped = Box::pin(cache.get_or_load(&one, minutes(1), origin.gives(Ok(1_u32))));
    assert!(poll_once(&mut dropped).is_pending());
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                let (cache, origin) = (&cache, &origin);
                scope.spawn(move || {
                    block_on(cache.get_or_load(&key(1), minutes(1), origin.gives(Ok(2_u32)))).unwrap()
                })
            })
            .collect();
        while cache.stats().waiters < 4 {
            std::thread::yield_now();
        }
        drop(dropped);
        origin.release();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), 2);
        }
    });
    assert_eq!(origin.loads(), 2);
}

/// The loader's future is dropped with its load: no task goes on unowned.
#[tokio::test(start_paused = true)]
async fn an_aborted_load_drops_its_loader() {
    struct Flag(Arc<AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let cache = timed_cache(|builder| builder.max_load(seconds(20)));
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = Flag(dropped.clone());
    let got = cache
        .get_or_load(&key(1), minutes(1), |_| async move {
            let _flag = flag;
            std::future::pending::<Answer>().await
        })
        .await;
    assert!(got.unwrap_err().is_timeout());
    assert!(!dropped.load(Ordering::SeqCst));
    tokio::time::sleep(seconds(11)).await;
    assert!(dropped.load(Ordering::SeqCst));
}

/// One caller of the storm: it loads, waits or is dropped, and never gets a value of another key.
async fn storm_caller(cache: Cache, mut rng: SmallRng, wrong: Arc<AtomicUsize>) {
    let n = rng.random_range(0..64_u32);
    let (fails, panics, steps) = (
        rng.random_bool(0.05),
        rng.random_bool(0.01),
        rng.random_range(0..4_u32),
    );
    let work = move || async move {
        for _ in 0..steps {
            tokio::task::yield_now().await;
        }
        assert!(!panics, "on purpose");
        if fails { Err(Broken("storm")) } else { Ok(n) }
    };
    let options = EntryOptions::ttl(minutes(1)).abort_when_abandoned(rng.random_bool(0.5));
    let give_up = rng.random_range(0..6_u32);
    let borrowed = rng.random_bool(0.5);
    let key = key(n);
    let call = async {
        if borrowed {
            cache.get_or_load_borrowed(&key, options, |_| work()).await
        } else {
            cache.get_or_load(&key, options, move |_| work()).await
        }
    };
    let mut call = pin!(call);
    for _ in 0..=give_up {
        let polled = std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
        if let Poll::Ready(got) = polled {
            if got.is_ok_and(|loaded| *loaded != n) {
                wrong.fetch_add(1, Ordering::SeqCst);
            }
            break;
        }
        tokio::task::yield_now().await;
    }
    if rng.random_bool(0.3) {
        let _ = cache.remove(&key).await;
    }
}

/// 100,000 calls on one runtime; most of them are dropped somewhere.
fn storm(runtime: &Runtime) {
    let (cache, _) = cache();
    let wrong = Arc::new(AtomicUsize::new(0));
    let mut seeds = SmallRng::seed_from_u64(11);
    runtime.block_on(async {
        for _ in 0..100 {
            let mut callers = JoinSet::new();
            for _ in 0..1_000 {
                let rng = SmallRng::seed_from_u64(seeds.random());
                callers.spawn(storm_caller(cache.clone(), rng, wrong.clone()));
            }
            while callers.join_next().await.is_some() {}
        }
        wait_until(seconds(1), "the map of flights is empty", async || {
            cache.loads_in_flight() == 0 && cache.stats().waiters == 0 && cache.stats().loads_running == 0
        })
        .await;
    });
    assert_eq!(wrong.load(Ordering::SeqCst), 0, "values of other keys");
    assert!(cache.stats().counters.loads_started > 1_000);
    let after = runtime.block_on(cache.get_or_load(&key(1_000), minutes(1), |_| async { Answer::Ok(1_u32) }));
    assert_eq!(after.unwrap(), 1);
}

#[test]
fn a_storm_of_dropped_calls_leaves_nothing_behind_on_one_thread() {
    storm(&Builder::new_current_thread().enable_all().build().unwrap());
}

#[test]
fn a_storm_of_dropped_calls_leaves_nothing_behind_on_many_threads() {
    storm(
        &Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .unwrap(),
    );
}

/// A caller may be dropped before it was ever polled, and after it was answered.
#[tokio::test]
async fn a_call_that_is_never_polled_does_nothing() {
    let one = key(1);
    let (cache, _) = cache();
    let origin = Origin::open();
    drop(cache.get_or_load(&one, minutes(1), origin.gives(Ok(7_u32))));
    drop(cache.remove(&one));
    assert_eq!((origin.loads(), cache.loads_in_flight()), (0, 0));
    let (send, receive) = oneshot::channel();
    let mut call = Box::pin(cache.get_or_load(&one, minutes(1), |_| async move {
        receive.await.map_err(|_| Broken("sender"))
    }));
    assert!(poll_once(&mut call).is_pending());
    send.send(7_u32).unwrap();
    settle(&cache).await;
    drop(call);
    assert_eq!(cache.get::<u32>(&one).await.map(Loaded::into_inner), Some(7));
    assert_eq!(cache.stats().waiters, 0);
}
