//! Building, closing and dropping a cache; what its futures promise.

use std::sync::Arc;
use std::time::Duration;

use cache_core::time::{minutes, seconds};
use cache_core::{Cache, Eager, EntryOptions, ErrorKind, MemoryCache};
use support::wait_until;
use tokio::runtime::Builder;

use crate::engine::{
    Answer, Broken, Origin, cache, cache_with, key, ms, others_run, second_then_stale, settle, timed_cache,
};

/// B17.2
#[tokio::test(start_paused = true)]
async fn closing_waits_for_loads_that_run() {
    let cache = timed_cache(|builder| builder);
    let origin = Origin::closed();
    let call = tokio::spawn({
        let (cache, load) = (cache.clone(), origin.gives(Ok(1_u32)));
        async move { cache.get_or_load(&key(1), minutes(1), load).await }
    });
    origin.begun(1).await;
    let (closed, ()) = tokio::join!(cache.close(seconds(5)), async {
        tokio::time::sleep(seconds(1)).await;
        origin.release();
    });
    closed.unwrap();
    assert_eq!(call.await.unwrap().unwrap(), 1);
}

/// B17.2
#[tokio::test(start_paused = true)]
async fn closing_stops_what_does_not_end_in_time_and_says_how_much_that_was() {
    let cache = timed_cache(|builder| builder);
    let origin = Origin::closed();
    let calls: Vec<_> = (0..3_u32)
        .map(|n| {
            let (cache, load) = (cache.clone(), origin.gives(Ok(n)));
            tokio::spawn(async move { cache.get_or_load(&key(n), minutes(1), load).await })
        })
        .collect();
    origin.begun(3).await;
    let left = cache.close(seconds(2)).await.unwrap_err();
    assert_eq!(left.kind(), ErrorKind::Closed);
    assert!(left.to_string().contains('3'), "{left}");
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.cache().unwrap().kind(), ErrorKind::LoadAborted);
    }
    assert_eq!((cache.loads_in_flight(), origin.ended()), (0, 0));
    cache.close(seconds(1)).await.unwrap();
}

/// B17.2
#[tokio::test]
async fn a_closed_cache_still_serves_and_loads_in_its_callers() {
    let (cache, clock) = cache();
    let options = second_then_stale()
        .eager(Eager::After(0.5))
        .soft_timeout(Duration::ZERO);
    assert!(
        cache
            .set(&key(1), 1_u32, options.clone())
            .await
            .unwrap()
            .is_stored()
    );
    cache.close(seconds(1)).await.unwrap();
    assert_eq!(cache.get::<u32>(&key(1)).await.unwrap(), 1);
    clock.advance(ms(600));
    let origin = Origin::open();
    let got = cache
        .get_or_load(&key(1), options.clone(), origin.gives(Ok(2_u32)))
        .await;
    assert_eq!(got.unwrap(), 1);
    others_run().await;
    assert_eq!(origin.loads(), 0, "nothing is refreshed in the background");
    let got = cache
        .get_or_load(&key(2), options.clone(), origin.gives(Ok(2_u32)))
        .await;
    assert_eq!(got.unwrap(), 2);
    let many = cache
        .get_or_load_many(&[key(3)], options, |keys| async move {
            Ok::<_, Broken>(keys.into_iter().map(|key| (key, 3_u32)).collect())
        })
        .await;
    assert_eq!(*many.unwrap()[0].as_ref().unwrap(), 3);
    cache.remove(&key(1)).await.unwrap();
    assert!(cache.get::<u32>(&key(1)).await.is_none());
}

/// The last handle's drop ends everything: tasks hold the cache no longer than they run.
#[tokio::test(start_paused = true)]
async fn values_are_freed_with_the_last_handle() {
    struct Value(#[expect(dead_code, reason = "counts by being there")] Arc<()>);
    let alive = Arc::new(());
    let cache = MemoryCache::<Value>::new(100).unwrap();
    for n in 0..50_u32 {
        let value = Value(alive.clone());
        let load = |_| async move { Answer::Ok(value) };
        cache.get_or_load(&key(n), minutes(1), load).await.unwrap();
    }
    assert_eq!(Arc::strong_count(&alive), 51);
    drop(cache);
    others_run().await;
    assert_eq!(Arc::strong_count(&alive), 1);
}

/// Closed on a runtime other than that of its loads, and dropped after its runtime.
#[test]
fn a_cache_outlives_its_runtimes() {
    let (cache, _) = cache();
    for n in 0..3_u32 {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let got =
            runtime.block_on(cache.get_or_load(&key(n), minutes(1), move |_| async move { Answer::Ok(n) }));
        assert_eq!(got.unwrap(), n);
        drop(runtime);
    }
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        cache.close(seconds(1)).await.unwrap();
    });
    assert_eq!(cache.loads_in_flight(), 0);
}

/// A runtime that is dropped in the middle of everything.
#[test]
fn a_runtime_may_be_dropped_in_the_middle_of_loads_and_refreshes() {
    let (cache, clock) = cache();
    let options = EntryOptions::ttl(seconds(1))
        .stale_for(minutes(1))
        .eager(Eager::After(0.1));
    for round in 0..20_u32 {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let origin = Origin::closed();
        for n in 0..50_u32 {
            let (cache, options, load) = (cache.clone(), options.clone(), origin.gives(Ok(n + round)));
            runtime.spawn(async move { cache.get_or_load(&key(n), options, load).await });
        }
        runtime.block_on(origin.begun(10));
        origin.let_through(20);
        clock.advance(ms(500));
        drop(runtime);
        assert_eq!(
            (cache.loads_in_flight(), cache.stats().waiters),
            (0, 0),
            "in round {round}"
        );
        assert_eq!(cache.stats().loads_running, 0);
    }
}

/// B2.2: any number is a bound, or refused.
#[test]
fn absurd_settings_are_refused_or_mean_what_they_say() {
    let built = Cache::builder("absurd")
        .max_concurrent_loads(usize::MAX)
        .max_background_loads(usize::MAX)
        .max_load(Duration::MAX)
        .lock_wait(Duration::MAX)
        .build();
    let cache = built.unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let got = runtime.block_on(cache.get_or_load(&key(1), minutes(1), |_| async { Answer::Ok(1_u32) }));
    assert_eq!(got.unwrap(), 1);
    assert_eq!(cache.stats().loads_running, 0);
    for (bytes, entries) in [(1, 1), (1, u64::MAX), (1_000, 1)] {
        let (tiny, _) = cache_with(|builder| builder.memory_bytes(bytes).memory_entries(entries));
        runtime.block_on(async {
            for n in 0..100_u32 {
                let _ = tiny.set(&key(n), n, minutes(1)).await.unwrap();
            }
        });
        assert!(tiny.stats().weight <= bytes);
    }
}

/// B4.6, B4.7: refreshes and revalidations leave no task behind.
#[tokio::test]
async fn background_work_ends() {
    let (cache, clock) = cache();
    let options = second_then_stale()
        .eager(Eager::After(0.5))
        .soft_timeout(Duration::ZERO)
        .throttle(ms(1));
    for n in 0..20_u32 {
        assert!(cache.set(&key(n), n, options.clone()).await.unwrap().is_stored());
    }
    let origin = Origin::open();
    for _ in 0..20 {
        clock.advance(ms(300));
        for n in 0..20_u32 {
            let load = origin.gives(if n % 2 == 0 { Ok(n) } else { Err(Broken("odd")) });
            cache.get_or_load(&key(n), options.clone(), load).await.unwrap();
        }
        settle(&cache).await;
    }
    wait_until(seconds(5), "no load runs", async || {
        cache.stats().loads_running == 0
    })
    .await;
    cache.close(seconds(5)).await.unwrap();
}

fn is_send<T: Send>(_: T) {}

/// All public futures can move between threads.
#[test]
fn futures_are_send() {
    let (cache, _) = cache();
    let typed = cache.typed::<u32>("typed").unwrap();
    let memory = MemoryCache::<u32>::new(10).unwrap();
    let one = key(1);
    let load = |_| async { Answer::Ok(1_u32) };
    is_send(cache.get_or_load(&one, minutes(1), load));
    is_send(cache.get_or_load_borrowed(&one, minutes(1), load));
    is_send(cache.get_or_load_optional(&one, minutes(1), |_| async { Answer::Ok(Some(1_u32)) }));
    is_send(
        cache.get_or_load_many(std::slice::from_ref(&one), minutes(1), |_| async {
            Answer::Ok(std::collections::HashMap::<_, u32>::new())
        }),
    );
    is_send(cache.refresh(&one, minutes(1), load));
    is_send(cache.get::<u32>(&one));
    is_send(cache.get_many::<u32>(&[]));
    is_send(cache.lookup::<u32>(&one));
    is_send(cache.contains(&one));
    is_send(cache.remaining_ttl(&one));
    is_send(cache.set(&one, 1_u32, minutes(1)));
    is_send(cache.set_many([(one.clone(), 1_u32)], minutes(1)));
    is_send(cache.update(&one, minutes(1), |_| 1_u32).into_future());
    is_send(cache.remove(&one).into_future());
    is_send(cache.invalidate_tag("t").hold(seconds(1)).into_future());
    is_send(cache.remove_prefix("p").into_future());
    is_send(cache.clear().into_future());
    is_send(cache.expire(&one));
    is_send(cache.invalidate_tag_soft("t"));
    is_send(cache.clear_soft());
    is_send(cache.purge());
    is_send(cache.claim(&one, minutes(1)).into_future());
    is_send(cache.try_lock("l", minutes(1)).into_future());
    is_send(cache.lock("l", minutes(1), minutes(1)).into_future());
    is_send(cache.try_claim(&one, minutes(1)).into_future());
    is_send(cache.server());
    is_send(cache.close(minutes(1)));
    is_send(typed.get(1_u32));
    is_send(typed.lookup(1_u32));
    is_send(typed.get_or_load(1_u32, load));
    is_send(typed.set(1_u32, 1));
    is_send(typed.remove(1_u32).into_future());
    is_send(typed.clear().into_future());
    is_send(memory.get_or_load(&one, minutes(1), load));
    is_send(memory.get(&one));
    is_send(memory.lookup(&one));
    is_send(memory.set(&one, 1, minutes(1)));
    is_send(memory.clear().into_future());
}

/// Guards and claims too, and all handles between threads at once.
#[test]
fn handles_are_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<Cache>();
    check::<MemoryCache<u32>>();
    check::<cache_core::Typed<std::rc::Rc<u32>>>();
    check::<cache_core::Claim>();
    check::<cache_core::LockGuard>();
    check::<cache_core::Loaded<u32>>();
    check::<cache_core::LoadContext<u32>>();
    check::<cache_core::LoadError<Broken>>();
    check::<cache_core::Invalidation<'static>>();
    check::<cache_core::Error>();
}
