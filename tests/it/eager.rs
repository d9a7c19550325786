//! Refresh ahead of expiry.

use std::time::Duration;

use cache_core::testing::ManualClock;
use cache_core::time::{minutes, seconds};
use cache_core::{Cache, Eager, EntryOptions, Loaded, OutcomeKind};
use tokio::task::JoinSet;

use crate::engine::{Answer, Broken, Origin, cache, cache_with, key, ms, others_run, settle};

/// Fresh for ten seconds, refreshed from the eighth on, without a stale window.
fn after_eight_of_ten() -> EntryOptions {
    EntryOptions::ttl(seconds(10)).eager(Eager::After(0.8))
}

async fn filled() -> (Cache, ManualClock) {
    let (cache, clock) = cache();
    assert!(
        cache
            .set(&key(1), 1_u32, after_eight_of_ten())
            .await
            .unwrap()
            .is_stored()
    );
    (cache, clock)
}

async fn ask(cache: &Cache, origin: &Origin, answer: Answer) -> Loaded<u32> {
    cache
        .get_or_load(&key(1), after_eight_of_ten(), origin.gives(answer))
        .await
        .unwrap()
}

async fn value(cache: &Cache) -> Option<u32> {
    cache.get::<u32>(&key(1)).await.map(Loaded::into_inner)
}

/// B5.1, B5.2, B5.4, B5.5
#[tokio::test]
async fn the_first_hit_after_the_threshold_starts_one_refresh_and_answers_at_once() {
    let (cache, clock) = filled().await;
    let origin = Origin::closed();
    clock.advance(ms(7_999));
    assert_eq!(ask(&cache, &origin, Ok(2)).await, 1);
    clock.advance(ms(1));
    assert_eq!(value(&cache).await, Some(1));
    others_run().await;
    assert_eq!(
        origin.loads(),
        0,
        "without a loader there is nothing to refresh with"
    );
    for _ in 0..100 {
        let got = ask(&cache, &origin, Ok(2)).await;
        assert_eq!((*got, got.outcome().kind), (1, OutcomeKind::Fresh));
    }
    others_run().await;
    assert_eq!((origin.loads(), cache.stats().counters.refreshes), (1, 1));
    origin.release();
    settle(&cache).await;
    assert_eq!(value(&cache).await, Some(2));
    assert_eq!(cache.remaining_ttl(&key(1)).await, Some(seconds(10)));
}

/// B5.7
#[tokio::test]
async fn a_refresh_that_fails_or_panics_leaves_the_value_and_is_tried_again_ever_later() {
    let (cache, clock) = filled().await;
    let origin = Origin::open();
    clock.advance(seconds(8));
    let mut due = Vec::new();
    for step in 0..180 {
        let before = origin.loads();
        if step % 2 == 0 {
            assert_eq!(ask(&cache, &origin, Err(Broken("down"))).await, 1);
        } else {
            let origin = origin.clone();
            let panics = |_| async move {
                let _ = origin.answer(Ok(0_u32)).await;
                panic!("also a failure");
            };
            let got = cache
                .get_or_load::<u32, Broken, _, _>(&key(1), after_eight_of_ten(), panics)
                .await;
            assert_eq!(got.unwrap(), 1);
        }
        settle(&cache).await;
        others_run().await;
        if origin.loads() > before {
            due.push(step * 10);
        }
        clock.advance(ms(10));
    }
    assert_eq!(due, [0, 100, 300, 700, 1_500]);
    assert_eq!(value(&cache).await, Some(1));
    assert_eq!(ask(&cache, &origin, Ok(2)).await, 1);
    clock.advance(ms(199));
    assert_eq!(value(&cache).await, Some(1), "its end is where it was");
    clock.advance(ms(1));
    assert_eq!(value(&cache).await, None);
}

/// B5.8, B9.2
#[tokio::test]
async fn a_refresh_never_overwrites_what_was_set_or_invalidated_meanwhile() {
    for how in ["set", "remove", "clear", "expire", "refresh"] {
        let (cache, clock) = filled().await;
        let origin = Origin::closed();
        clock.advance(seconds(8));
        ask(&cache, &origin, Ok(2)).await;
        origin.begun(1).await;
        let expected = match how {
            "set" => cache.set(&key(1), 3_u32, minutes(1)).await.map(|_| Some(3)),
            "remove" => cache.remove(&key(1)).await.map(|()| None),
            "clear" => cache.clear().await.map(|()| None),
            "expire" => cache.expire(&key(1)).await.map(|()| None),
            _ => {
                let open = Origin::open();
                let fresh = cache.refresh(&key(1), minutes(1), open.gives(Ok(4_u32))).await;
                Ok(Some(fresh.unwrap().into_inner()))
            }
        };
        origin.release();
        while origin.ended() == 0 {
            tokio::task::yield_now().await;
        }
        others_run().await;
        assert_eq!(value(&cache).await, expected.unwrap(), "after {how}");
    }
}

/// B5.8: not even what an ordinary load of other callers has put there.
#[tokio::test]
async fn a_refresh_does_not_replace_the_value_of_a_later_load() {
    let (cache, clock) = filled().await;
    let (refresh, later) = (Origin::closed(), Origin::open());
    clock.advance(seconds(8));
    ask(&cache, &refresh, Ok(2)).await;
    refresh.begun(1).await;
    clock.advance(seconds(3));
    let loaded = cache
        .get_or_load_optional(&key(1), minutes(1), later.gives(Ok(Some(3_u32))))
        .await;
    assert_eq!(loaded.unwrap().unwrap(), 3);
    refresh.release();
    settle(&cache).await;
    assert_eq!(value(&cache).await, Some(3));
}

/// B5.9
#[tokio::test]
async fn a_miss_while_a_refresh_runs_joins_it() {
    let (cache, clock) = filled().await;
    let origin = Origin::closed();
    clock.advance(seconds(8));
    ask(&cache, &origin, Ok(2)).await;
    origin.begun(1).await;
    clock.advance(seconds(2));
    let mut late = JoinSet::new();
    for _ in 0..5 {
        let (cache, origin) = (cache.clone(), origin.clone());
        late.spawn(async move { ask(&cache, &origin, Ok(3)).await });
    }
    others_run().await;
    origin.release();
    for got in late.join_all().await {
        assert_eq!((*got, got.outcome().kind), (2, OutcomeKind::Shared));
    }
    assert_eq!(origin.loads(), 1);
}

/// B5.9, B3.2: whoever joined a refresh that fails has had a failed load.
#[tokio::test]
async fn a_refresh_that_fails_when_the_value_is_stale_throttles_further_loads() {
    let one = key(1);
    let (cache, clock) = cache();
    let options = after_eight_of_ten().stale_for(minutes(5));
    assert!(cache.set(&one, 1_u32, options.clone()).await.unwrap().is_stored());
    let origin = Origin::closed();
    let ask = || cache.get_or_load(&one, options.clone(), origin.gives(Err::<u32, _>(Broken("down"))));
    clock.advance(seconds(8));
    ask().await.unwrap();
    origin.begun(1).await;
    clock.advance(seconds(2));
    let (got, ()) = tokio::join!(ask(), async {
        others_run().await;
        origin.release();
    });
    assert!(got.unwrap().outcome().is_stale());
    assert!(ask().await.unwrap().outcome().is_stale());
    assert_eq!(origin.loads(), 1);
}

/// B5.10
#[tokio::test]
async fn no_more_refreshes_run_at_once_than_permitted_and_the_others_are_dropped() {
    let (cache, clock) = cache_with(|builder| builder.max_background_loads(3));
    for n in 0..10_u32 {
        assert!(
            cache
                .set(&key(n), n, after_eight_of_ten())
                .await
                .unwrap()
                .is_stored()
        );
    }
    clock.advance(seconds(8));
    let origin = Origin::closed();
    let hit_all = async || {
        for n in 0..10_u32 {
            let got = cache
                .get_or_load(&key(n), after_eight_of_ten(), origin.gives(Ok(n + 100)))
                .await;
            got.unwrap();
        }
        others_run().await;
    };
    hit_all().await;
    assert_eq!((origin.loads(), cache.stats().counters.refreshes_dropped), (3, 7));
    origin.release();
    settle(&cache).await;
    clock.advance(ms(100));
    hit_all().await;
    settle(&cache).await;
    assert_eq!(origin.loads(), 6, "what was dropped is due again soon");
}

/// A refresh that could not start because the key is being loaded gives its turn back.
#[tokio::test]
async fn a_refresh_that_finds_a_load_under_way_is_due_again_soon() {
    let (cache, clock) = filled().await;
    clock.advance(seconds(8));
    let forced = Origin::closed();
    let other = tokio::spawn({
        let (cache, load) = (cache.clone(), forced.gives(Err::<u32, _>(Broken("down"))));
        async move { cache.refresh(&key(1), minutes(1), load).await }
    });
    forced.begun(1).await;
    let origin = Origin::open();
    ask(&cache, &origin, Ok(2)).await;
    forced.release();
    assert!(other.await.unwrap().is_err());
    clock.advance(ms(200));
    ask(&cache, &origin, Ok(2)).await;
    settle(&cache).await;
    assert_eq!((origin.loads(), value(&cache).await), (1, Some(2)));
}

/// A refresh that gives nothing to store, or was dropped with its runtime, is due again as well.
#[tokio::test]
async fn a_refresh_that_replaces_nothing_is_due_again() {
    let (cache, clock) = filled().await;
    clock.advance(seconds(8));
    let origin = Origin::open();
    let load = {
        let origin = origin.clone();
        |load: cache_core::LoadContext<u32>| async move {
            load.do_not_store();
            origin.answer(Ok(2_u32)).await
        }
    };
    cache
        .get_or_load(&key(1), after_eight_of_ten(), load)
        .await
        .unwrap();
    settle(&cache).await;
    clock.advance(ms(200));
    ask(&cache, &origin, Ok(3)).await;
    settle(&cache).await;
    assert_eq!((origin.loads(), value(&cache).await), (2, Some(3)));

    clock.advance(seconds(8));
    let gone = Origin::closed();
    let elsewhere = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let hit = elsewhere.spawn({
        let (cache, gone) = (cache.clone(), gone.clone());
        async move { ask(&cache, &gone, Ok(4)).await }
    });
    assert_eq!(hit.await.unwrap(), 3);
    gone.begun(1).await;
    // Returns when its workers have dropped their tasks.
    tokio::task::spawn_blocking(move || drop(elsewhere))
        .await
        .unwrap();
    assert_eq!(cache.loads_in_flight(), 0);
    clock.advance(ms(200));
    ask(&cache, &origin, Ok(5)).await;
    settle(&cache).await;
    assert_eq!(value(&cache).await, Some(5));
}

/// Nobody waits for a refresh, so nobody can abandon it.
#[tokio::test]
async fn a_refresh_does_not_stop_for_want_of_callers() {
    let (cache, clock) = cache();
    let options = after_eight_of_ten().abort_when_abandoned(true);
    assert!(
        cache
            .set(&key(1), 1_u32, options.clone())
            .await
            .unwrap()
            .is_stored()
    );
    clock.advance(seconds(8));
    let origin = Origin::closed();
    let got = cache.get_or_load(&key(1), options, origin.gives(Ok(2_u32))).await;
    assert_eq!(got.unwrap(), 1);
    origin.begun(1).await;
    others_run().await;
    origin.release();
    settle(&cache).await;
    assert_eq!(value(&cache).await, Some(2));
}

/// B5.3, end to end: how often a hit at a given distance from the end starts a refresh.
#[tokio::test]
async fn xfetch_starts_refreshes_with_the_probability_of_the_paper() {
    const KEYS: u32 = 3_000;
    let beta = 1.5;
    let options = EntryOptions::ttl(seconds(60)).eager(Eager::XFetch(beta));
    let (cache, clock) = cache_with(|builder| {
        builder
            .max_background_loads(KEYS as usize)
            .max_concurrent_loads(2 * KEYS as usize)
    });
    let load_all = async |before: Duration| {
        let origin = Origin::closed();
        cache.clear().await.unwrap();
        for n in 0..KEYS {
            let slow = clock.clone();
            let load = move |_| async move {
                slow.advance(ms(200));
                Answer::Ok(n)
            };
            cache.get_or_load(&key(n), options.clone(), load).await.unwrap();
            // Asked at the wanted distance from its end, and never again.
            let left = cache.remaining_ttl(&key(n)).await.unwrap();
            clock.advance(left - before);
            cache
                .get_or_load(&key(n), options.clone(), origin.gives(Ok(n)))
                .await
                .unwrap();
        }
        others_run().await;
        let started = cache.stats().counters.refreshes;
        origin.release();
        settle(&cache).await;
        started
    };
    let mut seen = 0;
    for before in [ms(100), ms(300), ms(600)] {
        let started = load_all(before).await;
        let measured = (started - seen) as f64 / f64::from(KEYS);
        seen = started;
        let expected = (-before.as_secs_f64() / (beta * 0.2)).exp();
        assert!(
            (measured - expected).abs() < 0.05,
            "{before:?} before the end: {measured:.3} instead of {expected:.3}"
        );
    }
}

/// B5.3: never without chance, B5.2: never after a threshold that is off.
#[tokio::test]
async fn without_eager_refresh_a_hit_starts_none() {
    let (cache, clock) = cache();
    let origin = Origin::open();
    for eager in [Eager::Off, Eager::XFetch(0.0)] {
        let options = EntryOptions::ttl(seconds(10)).eager(eager);
        assert!(
            cache
                .set(&key(1), 1_u32, options.clone())
                .await
                .unwrap()
                .is_stored()
        );
        clock.advance(ms(9_999));
        for _ in 0..100 {
            let got = cache
                .get_or_load(&key(1), options.clone(), origin.gives(Ok(2_u32)))
                .await;
            assert_eq!(got.unwrap(), 1);
        }
        others_run().await;
    }
    assert_eq!(origin.loads(), 0);
}

/// B9.2: a refresh belongs to the flight of its key.
#[tokio::test]
async fn who_comes_after_an_invalidation_does_not_join_a_refresh_that_began_before() {
    let (cache, clock) = filled().await;
    let (refresh, later) = (Origin::closed(), Origin::open());
    clock.advance(seconds(8));
    ask(&cache, &refresh, Ok(2)).await;
    refresh.begun(1).await;
    cache.remove(&key(1)).await.unwrap();
    assert_eq!(ask(&cache, &later, Ok(3)).await, 3);
    refresh.release();
    settle(&cache).await;
    while refresh.ended() == 0 {
        tokio::task::yield_now().await;
    }
    others_run().await;
    assert_eq!(value(&cache).await, Some(3));
}
