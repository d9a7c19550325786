//! Stale values: in place of errors, in place of waiting, and never beyond their end.

use std::time::Duration;

use cache_core::tag::TagSet;
use cache_core::time::{minutes, seconds};
use cache_core::{Cache, EntryOptions, Loaded, OutcomeKind, StaleReason};

use crate::engine::{
    Answer, Broken, Origin, cache, cache_with, key, ms, others_run, second_then_stale, settle, timed_cache,
};

/// A cache under a standing clock with a value that has just gone stale.
async fn with_stale_value() -> (Cache, cache_core::testing::ManualClock) {
    let (cache, clock) = cache();
    assert!(cache.set(&key(1), 1_u32, tagged()).await.unwrap().is_stored());
    clock.advance(seconds(1));
    (cache, clock)
}

fn tagged() -> EntryOptions {
    second_then_stale().tags(TagSet::new(["t"]).unwrap())
}

fn kind(loaded: &Loaded<u32>) -> (u32, OutcomeKind) {
    (**loaded, loaded.outcome().kind)
}

const FAILED: OutcomeKind = OutcomeKind::Stale(StaleReason::LoadFailed);
const THROTTLED: OutcomeKind = OutcomeKind::Stale(StaleReason::Throttled);
const SLOW: OutcomeKind = OutcomeKind::Stale(StaleReason::SlowLoad);

async fn failing(cache: &Cache, origin: &Origin) -> Result<Loaded<u32>, cache_core::LoadError<Broken>> {
    cache
        .get_or_load(&key(1), tagged(), origin.gives(Err(Broken("down"))))
        .await
}

/// B3.1, B3.2
#[tokio::test]
async fn a_failing_load_shows_the_stale_value_and_is_not_tried_again_for_a_while() {
    let (cache, clock) = with_stale_value().await;
    let origin = Origin::open();
    assert_eq!(kind(&failing(&cache, &origin).await.unwrap()), (1, FAILED));
    for _ in 0..3 {
        clock.advance(ms(9_999));
        assert_eq!(kind(&failing(&cache, &origin).await.unwrap()), (1, THROTTLED));
    }
    assert_eq!(origin.loads(), 1);
    clock.advance(ms(3));
    assert_eq!(kind(&failing(&cache, &origin).await.unwrap()), (1, FAILED));
    assert_eq!(origin.loads(), 2);
    assert_eq!(cache.stats().counters.stale_on_error(), 5);
}

/// B3.6
#[tokio::test]
async fn a_stale_value_is_never_shown_beyond_its_hard_end() {
    let one = key(1);
    let (cache, clock) = cache();
    let options = EntryOptions::ttl(seconds(1)).hard_ttl(seconds(3)).throttle(ms(1));
    assert!(cache.set(&one, 1_u32, options.clone()).await.unwrap().is_stored());
    let ask = || cache.get_or_load(&one, options.clone(), |_| async { Err::<u32, _>(Broken("down")) });
    clock.advance(ms(2_999));
    assert_eq!(ask().await.unwrap(), 1);
    clock.advance(ms(1));
    assert_eq!(ask().await.unwrap_err().loader(), Some(&Broken("down")));
}

/// B3.6: also when it ends while the load runs, and while it is throttled.
#[tokio::test(start_paused = true)]
async fn a_stale_value_that_ends_while_the_load_runs_is_not_shown() {
    let one = key(1);
    let (cache, clock) = cache();
    let options = EntryOptions::ttl(seconds(1)).hard_ttl(seconds(3));
    assert!(cache.set(&one, 1_u32, options.clone()).await.unwrap().is_stored());
    clock.advance(seconds(2));
    let origin = Origin::closed();
    let call = tokio::spawn({
        let (cache, options, load) = (
            cache.clone(),
            options.clone().soft_timeout(seconds(1)),
            origin.gives(Err::<u32, _>(Broken("down"))),
        );
        async move { cache.get_or_load(&key(1), options, load).await }
    });
    origin.begun(1).await;
    clock.advance(seconds(1));
    tokio::time::sleep(seconds(2)).await;
    assert!(
        !call.is_finished(),
        "past its end it is no answer to a slow load either"
    );
    origin.release();
    assert!(call.await.unwrap().is_err());

    assert!(cache.set(&one, 1_u32, options.clone()).await.unwrap().is_stored());
    clock.advance(seconds(2));
    let ask = || cache.get_or_load(&one, options.clone(), |_| async { Err::<u32, _>(Broken("down")) });
    assert_eq!(kind(&ask().await.unwrap()), (1, FAILED));
    assert_eq!(kind(&ask().await.unwrap()), (1, THROTTLED));
    clock.advance(seconds(1));
    assert!(ask().await.is_err());
}

/// B3.3
#[tokio::test]
async fn throttling_ends_early_by_set_invalidation_and_expiry_on_request() {
    for how in [
        "set",
        "remove",
        "tag",
        "tag_soft",
        "clear_soft",
        "expire",
        "refresh",
    ] {
        let (cache, clock) = with_stale_value().await;
        let origin = Origin::open();
        assert!(failing(&cache, &origin).await.is_ok());
        assert_eq!(kind(&failing(&cache, &origin).await.unwrap()).1, THROTTLED);
        match how {
            "set" => assert!(cache.set(&key(1), 2_u32, tagged()).await.unwrap().is_stored()),
            "remove" => cache.remove(&key(1)).await.unwrap(),
            "tag" => cache.invalidate_tag("t").await.unwrap(),
            "tag_soft" => cache.invalidate_tag_soft("t").await.unwrap(),
            "clear_soft" => cache.clear_soft().await.unwrap(),
            "expire" => cache.expire(&key(1)).await.unwrap(),
            _ => assert_eq!(
                cache
                    .refresh(&key(1), tagged(), origin.gives(Ok(2_u32)))
                    .await
                    .unwrap(),
                2
            ),
        }
        clock.advance(seconds(1));
        let before = origin.loads();
        let _ = failing(&cache, &origin).await;
        assert_eq!(origin.loads(), before + 1, "after {how}");
    }
}

/// B3.3: a load that began before says nothing about what came after.
#[tokio::test]
async fn a_load_that_fails_late_does_not_throttle_what_was_set_or_expired_meanwhile() {
    for how in ["set", "expire", "tag_soft"] {
        let (cache, clock) = with_stale_value().await;
        let late = Origin::closed();
        let call = tokio::spawn({
            let (cache, load) = (cache.clone(), late.gives(Err::<u32, _>(Broken("late"))));
            async move { cache.get_or_load(&key(1), tagged(), load).await }
        });
        late.begun(1).await;
        match how {
            "set" => assert!(cache.set(&key(1), 2_u32, tagged()).await.unwrap().is_stored()),
            "expire" => cache.expire(&key(1)).await.unwrap(),
            _ => cache.invalidate_tag_soft("t").await.unwrap(),
        }
        late.release();
        let _ = call.await.unwrap();
        clock.advance(seconds(1));
        let origin = Origin::open();
        let _ = failing(&cache, &origin).await;
        assert_eq!(origin.loads(), 1, "after {how}");
    }
}

/// B3.5
#[tokio::test]
async fn what_was_invalidated_is_never_shown_stale() {
    for how in ["remove", "tag", "prefix", "pattern", "clear"] {
        for moment in ["before", "during"] {
            let (cache, _) = with_stale_value().await;
            let origin = Origin::closed();
            let call = tokio::spawn({
                let (cache, load) = (cache.clone(), origin.gives(Err::<u32, _>(Broken("down"))));
                async move { cache.get_or_load(&key(1), tagged(), load).await }
            });
            if moment == "during" {
                origin.begun(1).await;
            }
            match how {
                "remove" => cache.remove(&key(1)).await.unwrap(),
                "tag" => cache.invalidate_tag("t").await.unwrap(),
                "prefix" => cache.remove_prefix("item").await.unwrap(),
                "pattern" => {
                    let pattern = cache_core::KeyPattern::new("item").unwrap().any();
                    cache.remove_matching(pattern).await.unwrap();
                }
                _ => cache.clear().await.unwrap(),
            }
            origin.release();
            let got = call.await.unwrap();
            assert!(got.is_err(), "{how} {moment} the load: {got:?}");
        }
    }
}

/// B3.5, B10.10
#[tokio::test]
async fn what_was_made_stale_on_request_may_still_stand_in() {
    for how in ["expire", "tag", "clear"] {
        let (cache, _) = cache();
        assert!(cache.set(&key(1), 1_u32, tagged()).await.unwrap().is_stored());
        match how {
            "expire" => cache.expire(&key(1)).await.unwrap(),
            "tag" => cache.invalidate_tag_soft("t").await.unwrap(),
            _ => cache.clear_soft().await.unwrap(),
        }
        assert!(cache.get::<u32>(&key(1)).await.is_none(), "after {how}");
        assert_eq!(cache.remaining_ttl(&key(1)).await, None);
        let origin = Origin::open();
        assert_eq!(
            kind(&failing(&cache, &origin).await.unwrap()),
            (1, FAILED),
            "after {how}"
        );
        cache.clear_soft().await.unwrap();
        let loaded = cache
            .get_or_load(&key(1), tagged(), origin.gives(Ok(2_u32)))
            .await
            .unwrap();
        assert_eq!(kind(&loaded), (2, OutcomeKind::Loaded));
        assert_eq!(cache.get::<u32>(&key(1)).await.unwrap(), 2);
    }
}

/// B3.5: also while a load of it is under way.
#[tokio::test]
async fn a_value_that_is_expired_while_its_load_runs_may_still_stand_in() {
    let (cache, _) = with_stale_value().await;
    let origin = Origin::closed();
    let call = tokio::spawn({
        let (cache, load) = (cache.clone(), origin.gives(Err::<u32, _>(Broken("down"))));
        async move { cache.get_or_load(&key(1), tagged(), load).await }
    });
    origin.begun(1).await;
    cache.expire(&key(1)).await.unwrap();
    origin.release();
    assert_eq!(kind(&call.await.unwrap().unwrap()), (1, FAILED));
}

/// B3.1: a value that a refresh put there is as good as any.
#[tokio::test]
async fn a_refreshed_value_stands_in_as_well() {
    let (cache, clock) = cache();
    let origin = Origin::open();
    for _ in 0..2 {
        cache
            .refresh(&key(1), tagged(), origin.gives(Ok(5_u32)))
            .await
            .unwrap();
    }
    clock.advance(seconds(1));
    assert_eq!(kind(&failing(&cache, &origin).await.unwrap()), (5, FAILED));
}

/// B3.1: however many other keys were mutated since.
#[tokio::test]
async fn a_stale_value_stands_in_after_any_number_of_other_mutations() {
    let (cache, clock) = cache_with(|builder| builder.memory_entries(1_000_000));
    assert!(cache.set(&key(1), 1_u32, tagged()).await.unwrap().is_stored());
    for n in 0..150_000_u32 {
        cache.remove(&key(("other", n))).await.unwrap();
    }
    let pattern = cache_core::KeyPattern::new("elsewhere").unwrap();
    cache.remove_matching(pattern).await.unwrap();
    clock.advance(seconds(1));
    let origin = Origin::open();
    assert_eq!(kind(&failing(&cache, &origin).await.unwrap()), (1, FAILED));
}

/// B3.4
#[tokio::test]
async fn a_loaders_fallback_answers_for_its_failure_and_is_not_stored() {
    let one = key(1);
    let (cache, clock) = with_stale_value().await;
    let ask = || {
        cache.get_or_load(&one, tagged().throttle(ms(1)), |load| async move {
            load.fall_back_to(9_u32);
            Err::<u32, _>(Broken("down"))
        })
    };
    assert_eq!(
        kind(&ask().await.unwrap()),
        (1, FAILED),
        "a stale value is preferred"
    );
    clock.advance(minutes(2));
    assert_eq!(kind(&ask().await.unwrap()), (9, OutcomeKind::Fallback));
    assert!(cache.get::<u32>(&one).await.is_none());
}

/// B3.4: a fallback is for a load that is too slow, too.
#[tokio::test(start_paused = true)]
async fn a_loaders_fallback_answers_when_the_load_times_out() {
    for goes_on in [true, false] {
        let cache = timed_cache(|builder| builder);
        let options = EntryOptions::ttl(minutes(1))
            .hard_timeout(seconds(1))
            .background_completion(goes_on);
        let callers: Vec<_> = (0..3)
            .map(|_| {
                let (cache, options) = (cache.clone(), options.clone());
                tokio::spawn(async move {
                    let load = |load: cache_core::LoadContext<u32>| async move {
                        load.fall_back_to(9_u32);
                        std::future::pending::<Answer>().await
                    };
                    cache.get_or_load(&key(1), options, load).await
                })
            })
            .collect();
        for caller in callers {
            assert_eq!(kind(&caller.await.unwrap().unwrap()), (9, OutcomeKind::Fallback));
        }
    }
}

/// B3.7
#[tokio::test]
async fn a_loader_may_call_its_load_failed_and_still_give_a_value() {
    let one = key(1);
    let (cache, clock) = with_stale_value().await;
    let origin = Origin::open();
    let doubtful = || {
        let origin = origin.clone();
        cache.get_or_load(&one, tagged(), |load| async move {
            load.fail("half of it is missing");
            origin.answer(Ok(2_u32)).await
        })
    };
    assert_eq!(kind(&doubtful().await.unwrap()), (1, FAILED));
    assert_eq!(kind(&doubtful().await.unwrap()), (1, THROTTLED));
    clock.advance(minutes(2));
    assert_eq!(
        kind(&doubtful().await.unwrap()),
        (2, OutcomeKind::Loaded),
        "better than nothing"
    );
    assert!(cache.get::<u32>(&one).await.is_none(), "but not stored");
    assert_eq!(origin.loads(), 2);
}

/// B3.7
#[tokio::test]
async fn a_loader_may_forbid_that_a_stale_value_stands_in() {
    let (cache, _) = with_stale_value().await;
    let forbidden = cache
        .get_or_load(&key(1), tagged(), |load| async move {
            load.forbid_stale();
            Err::<u32, _>(Broken("forbidden"))
        })
        .await;
    assert_eq!(forbidden.unwrap_err().loader(), Some(&Broken("forbidden")));
    let doubtful = cache
        .get_or_load(&key(1), tagged(), |load| async move {
            load.forbid_stale();
            load.fail("partial, and the old one is wrong");
            Answer::Ok(2_u32)
        })
        .await;
    assert_eq!(kind(&doubtful.unwrap()), (2, OutcomeKind::Loaded));
    let origin = Origin::open();
    assert_eq!(kind(&failing(&cache, &origin).await.unwrap()), (1, FAILED));
    assert_eq!(origin.loads(), 1, "neither was throttled");
}

/// B3.1
#[tokio::test]
async fn with_fail_safe_off_nothing_stale_is_shown() {
    let (cache, _) = with_stale_value().await;
    let origin = Origin::open();
    let off = tagged().fail_safe(false).soft_timeout(Duration::ZERO);
    for n in 1..=2 {
        let got = cache
            .get_or_load(&key(1), off.clone(), origin.gives(Err::<u32, _>(Broken("down"))))
            .await;
        assert!(got.is_err());
        assert_eq!(origin.loads(), n);
    }
}

#[tokio::test]
async fn a_loader_sees_the_stale_value_that_it_may_revalidate() {
    let (cache, _) = with_stale_value().await;
    let loaded = cache
        .get_or_load(&key(1), tagged(), |load| async move {
            Answer::Ok(load.stale().copied().unwrap_or(0_u32) + 10)
        })
        .await;
    assert_eq!(loaded.unwrap(), 11);
}

/// B4.1, B4.2
#[tokio::test(start_paused = true)]
async fn a_slow_load_shows_the_stale_value_after_the_soft_timeout_and_goes_on() {
    let one = key(1);
    let cache = timed_cache(|builder| builder);
    let options = second_then_stale().soft_timeout(ms(100));
    assert!(cache.set(&one, 1_u32, options.clone()).await.unwrap().is_stored());
    tokio::time::sleep(seconds(1)).await;
    let origin = Origin::closed();
    let ask = || cache.get_or_load(&one, options.clone(), origin.gives(Ok(2_u32)));
    assert_eq!(kind(&took(ms(100), ask()).await.unwrap()), (1, SLOW));
    for _ in 0..10 {
        let got = took(Duration::ZERO, ask()).await.unwrap();
        assert_eq!(
            kind(&got),
            (1, SLOW),
            "others need not wait for a load that is known to be slow"
        );
    }
    assert_eq!((origin.loads(), cache.loads_in_flight()), (1, 1));
    origin.release();
    settle(&cache).await;
    assert_eq!(kind(&ask().await.unwrap()), (2, OutcomeKind::Fresh));
}

/// Asserts how long a call takes, in the paused time of the runtime.
async fn took<F: Future>(expected: Duration, call: F) -> F::Output {
    #[expect(clippy::disallowed_methods, reason = "the paused time of the runtime")]
    let started = tokio::time::Instant::now();
    let output = call.await;
    let elapsed = started.elapsed();
    assert!(
        elapsed >= expected && elapsed <= expected + ms(2),
        "{elapsed:?} instead of {expected:?}"
    );
    output
}

/// B4.1: without anything to show, the soft timeout means nothing.
#[tokio::test(start_paused = true)]
async fn the_soft_timeout_applies_only_to_those_who_have_something_to_show() {
    let one = key(1);
    let cache = timed_cache(|builder| builder);
    let options = second_then_stale().soft_timeout(ms(100)).hard_timeout(seconds(2));
    let origin = Origin::closed();
    let ask = cache.get_or_load(&one, options, origin.gives(Ok(2_u32)));
    assert!(took(seconds(2), ask).await.unwrap_err().is_timeout());
}

/// B4.1: the smaller one wins; B4.3: a stale value is better than the error.
#[tokio::test(start_paused = true)]
async fn a_hard_timeout_below_the_soft_one_wins() {
    let cache = timed_cache(|builder| builder);
    let options = second_then_stale()
        .soft_timeout(seconds(5))
        .hard_timeout(seconds(2));
    assert!(
        cache
            .set(&key(1), 1_u32, options.clone())
            .await
            .unwrap()
            .is_stored()
    );
    tokio::time::sleep(seconds(1)).await;
    let origin = Origin::closed();
    let got = took(
        seconds(2),
        cache.get_or_load(&key(1), options, origin.gives(Ok(2_u32))),
    )
    .await;
    assert!(got.unwrap().outcome().is_stale());
}

/// B4.4
#[tokio::test(start_paused = true)]
async fn a_soft_timeout_of_zero_revalidates_behind_the_stale_value() {
    let one = key(1);
    let cache = timed_cache(|builder| builder);
    let options = second_then_stale().soft_timeout(Duration::ZERO);
    assert!(cache.set(&one, 1_u32, options.clone()).await.unwrap().is_stored());
    tokio::time::sleep(seconds(1)).await;
    let origin = Origin::closed();
    for _ in 0..20 {
        let ask = cache.get_or_load(&one, options.clone(), origin.gives(Ok(2_u32)));
        assert_eq!(kind(&took(Duration::ZERO, ask).await.unwrap()), (1, SLOW));
    }
    others_run().await;
    assert_eq!(origin.loads(), 1);
    origin.release();
    settle(&cache).await;
    assert_eq!(cache.get::<u32>(&one).await.unwrap(), 2);
}

/// B4.4, B3.2: a background load that fails is not tried again with every call.
#[tokio::test(start_paused = true)]
async fn a_failing_revalidation_is_throttled() {
    let cache = timed_cache(|builder| builder);
    let options = second_then_stale()
        .soft_timeout(Duration::ZERO)
        .throttle(seconds(10));
    assert!(
        cache
            .set(&key(1), 1_u32, options.clone())
            .await
            .unwrap()
            .is_stored()
    );
    tokio::time::sleep(seconds(1)).await;
    let origin = Origin::open();
    for round in 1..=3 {
        for _ in 0..20 {
            let load = origin.gives(Err::<u32, _>(Broken("down")));
            assert_eq!(
                cache.get_or_load(&key(1), options.clone(), load).await.unwrap(),
                1
            );
            others_run().await;
        }
        assert_eq!(origin.loads(), round);
        tokio::time::sleep(seconds(10)).await;
    }
}

/// B9.2, B4.2: the background load is guarded like any other.
#[tokio::test(start_paused = true)]
async fn a_revalidation_that_began_before_an_invalidation_is_not_stored() {
    let cache = timed_cache(|builder| builder);
    let options = tagged().soft_timeout(Duration::ZERO);
    for how in ["remove", "tag", "set"] {
        assert!(
            cache
                .set(&key(1), 1_u32, options.clone())
                .await
                .unwrap()
                .is_stored()
        );
        tokio::time::sleep(seconds(1)).await;
        let origin = Origin::closed();
        let got = cache
            .get_or_load(&key(1), options.clone(), origin.gives(Ok(2_u32)))
            .await;
        assert_eq!(got.unwrap(), 1);
        origin.begun(1).await;
        let expected = match how {
            "remove" => cache.remove(&key(1)).await.map(|()| None),
            "tag" => cache.invalidate_tag("t").await.map(|()| None),
            _ => cache.set(&key(1), 3_u32, options.clone()).await.map(|_| Some(3)),
        };
        origin.release();
        while origin.ended() == 0 {
            tokio::task::yield_now().await;
        }
        others_run().await;
        assert_eq!(
            cache.get::<u32>(&key(1)).await.map(Loaded::into_inner),
            expected.unwrap(),
            "after {how}"
        );
        cache.remove(&key(1)).await.unwrap();
    }
}
