//! Claims and locks: time-bound ownership.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_core::time::{hours, minutes, seconds};
use cache_core::{Cache, CacheKey, ClaimAttempt, Confirmation, ErrorKind};
use tokio::task::JoinSet;

use crate::engine::{cache, key, ms, others_run, poll_once, timed_cache};

/// Whether nobody else can claim the item now.
async fn is_claimed(cache: &Cache, item: &CacheKey) -> bool {
    match cache.claim(item, ms(1)).await.unwrap() {
        None => true,
        Some(claim) => !claim.release().await,
    }
}

/// B16.1
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_callers_one_claims_an_item() {
    let (cache, _) = cache();
    for item in 0..100_u32 {
        let mut callers = JoinSet::new();
        for _ in 0..16 {
            let cache = cache.clone();
            callers.spawn(async move { cache.claim(&key(item), minutes(1)).await.unwrap() });
        }
        let claims: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
        assert_eq!(claims.len(), 1);
    }
}

/// B16.1
#[tokio::test]
async fn a_claim_without_confirmation_ends_with_its_lease_and_a_confirmed_one_does_not() {
    let (cache, clock) = cache();
    let claim = cache.claim(&key(1), seconds(30)).await.unwrap().unwrap();
    assert!(is_claimed(&cache, &key(1)).await);
    drop(claim);
    assert!(
        cache.claim(&key(1), seconds(30)).await.unwrap().is_none(),
        "the effect may have happened"
    );
    clock.advance(seconds(30));
    let retried = cache.claim(&key(1), seconds(30)).await.unwrap().unwrap();
    assert_eq!(retried.confirm(hours(1)).await, Confirmation::Kept);
    clock.advance(minutes(59));
    assert!(cache.claim(&key(1), seconds(30)).await.unwrap().is_none());
    clock.advance(minutes(1));
    assert!(!is_claimed(&cache, &key(1)).await);
}

#[tokio::test]
async fn a_refused_attempt_tells_work_under_way_from_work_that_is_done() {
    let (cache, clock) = cache();
    let lease = seconds(30);
    let remaining = async || match cache.try_claim(&key(1), lease).await.unwrap() {
        ClaimAttempt::Claimed(_) => panic!("it is claimed already"),
        ClaimAttempt::Refused { remaining } => remaining,
    };
    let claim = cache.claim(&key(1), lease).await.unwrap().unwrap();
    clock.advance(seconds(10));
    assert_eq!(remaining().await, seconds(20), "what is left of the lease");
    assert_eq!(claim.confirm(hours(1)).await, Confirmation::Kept);
    clock.advance(seconds(10));
    assert_eq!(
        remaining().await,
        hours(1) - seconds(10),
        "what is left of the confirmation"
    );
    clock.advance(hours(1) - seconds(10));
    let attempt = cache.try_claim(&key(1), lease).await.unwrap();
    assert!(matches!(attempt, ClaimAttempt::Claimed(_)), "{attempt:?}");
}

/// B16.1
#[tokio::test]
async fn a_claim_that_came_to_its_end_confirms_and_frees_nothing() {
    let (cache, clock) = cache();
    let late = cache.claim(&key(1), seconds(1)).await.unwrap().unwrap();
    let later = cache.claim(&key(2), seconds(1)).await.unwrap().unwrap();
    clock.advance(seconds(1));
    let current = cache.claim(&key(1), seconds(30)).await.unwrap().unwrap();
    assert_eq!(late.confirm(hours(1)).await, Confirmation::Ended);
    assert!(!later.release().await);
    assert!(current.release().await, "the current one was not touched");
    assert!(!is_claimed(&cache, &key(1)).await);
}

#[tokio::test]
async fn claims_locks_values_and_namespaces_of_one_name_do_not_meet() {
    let (cache, _) = cache();
    let inner = cache.namespace("inner").unwrap();
    let name = key(1);
    let _claim = cache.claim(&name, minutes(1)).await.unwrap().unwrap();
    let _lock = cache.try_lock(name.text(), minutes(1)).await.unwrap().unwrap();
    let _other = inner.claim(&name, minutes(1)).await.unwrap().unwrap();
    cache.clear().await.unwrap();
    assert!(is_claimed(&cache, &name).await, "clearing values frees no claim");
    assert!(!cache.contains(&name).await);
}

#[tokio::test]
async fn a_late_release_frees_nothing_that_another_holds() {
    let (cache, clock) = cache();
    let first = cache.try_lock("job", seconds(1)).await.unwrap().unwrap();
    clock.advance(seconds(1));
    assert!(!first.is_held());
    let second = cache.try_lock("job", seconds(10)).await.unwrap().unwrap();
    assert!(second.fencing_token() > first.fencing_token());
    assert!(!first.renew(seconds(10)).await);
    assert!(!first.release().await);
    assert!(second.is_held());
    assert!(cache.try_lock("job", seconds(1)).await.unwrap().is_none());
    assert!(second.renew(minutes(1)).await);
    clock.advance(seconds(59));
    assert!(second.is_held());
    drop(second);
    assert!(
        cache.try_lock("job", seconds(1)).await.unwrap().is_some(),
        "dropped is released"
    );
}

#[tokio::test]
async fn leases_of_no_time_are_refused() {
    let (cache, _) = cache();
    assert!(
        cache
            .claim(&key(1), Duration::ZERO)
            .await
            .unwrap_err()
            .is_invalid()
    );
    assert!(
        cache
            .try_lock("l", Duration::ZERO)
            .await
            .unwrap_err()
            .is_invalid()
    );
    assert!(
        cache
            .lock("l", Duration::ZERO, seconds(1))
            .await
            .unwrap_err()
            .is_invalid()
    );
    let _longest = cache.try_lock("l", Duration::MAX).await.unwrap().unwrap();
    assert!(cache.try_lock("l", Duration::MAX).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_waited_for_until_it_is_released_ends_or_patience_does() {
    let cache = timed_cache(|builder| builder);
    let held = cache.lock("job", minutes(1), Duration::ZERO).await.unwrap();
    let refused = cache.lock("job", minutes(1), seconds(5)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Contended);
    let mut waits = cache.lock("job", seconds(3), minutes(5)).into_future();
    assert!(poll_once(&mut waits).is_pending());
    held.release().await;
    let dies = waits.await.unwrap();
    std::mem::forget(dies);
    #[expect(clippy::disallowed_methods, reason = "the paused time of the runtime")]
    let started = tokio::time::Instant::now();
    let _next = cache.lock("job", seconds(3), minutes(5)).await.unwrap();
    assert_eq!(
        started.elapsed().as_secs(),
        3,
        "a holder that dies blocks nobody beyond its lease"
    );
}

#[tokio::test]
async fn a_waiter_that_is_dropped_holds_nothing() {
    let (cache, _) = cache();
    let held = cache.try_lock("job", minutes(1)).await.unwrap().unwrap();
    for _ in 0..10 {
        let mut waits = cache.lock("job", minutes(1), minutes(1)).into_future();
        assert!(poll_once(&mut waits).is_pending());
    }
    drop(held);
    others_run().await;
    assert!(cache.try_lock("job", minutes(1)).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lock_is_held_by_one_at_a_time_and_everyone_has_their_turn() {
    let (cache, _) = cache();
    let inside = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let (cache, inside) = (cache.clone(), inside.clone());
        callers.spawn(async move {
            let mut tokens = Vec::new();
            for _ in 0..20 {
                let held = cache.lock("job", minutes(1), minutes(1)).await.unwrap();
                assert_eq!(
                    inside.fetch_add(1, Ordering::SeqCst),
                    0,
                    "somebody else is inside"
                );
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                tokens.push(held.fencing_token());
            }
            assert!(tokens.is_sorted());
        });
    }
    callers.join_all().await;
}

/// The holder learns that it lost the lock before it believes that it holds it.
#[tokio::test(start_paused = true)]
async fn a_guard_knows_that_its_time_has_ended() {
    let cache = timed_cache(|builder| builder);
    let held = cache.try_lock("job", ms(100)).await.unwrap().unwrap();
    assert!(held.is_held());
    tokio::time::sleep(ms(99)).await;
    assert!(held.is_held() && held.renew(ms(100)).await);
    tokio::time::sleep(ms(101)).await;
    assert!(!held.is_held());
}

/// B16.3
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_concurrent_updates_none_is_lost() {
    let (cache, _) = cache();
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let cache = cache.clone();
        callers.spawn(async move {
            for _ in 0..500 {
                let add = |old: Option<u64>| old.unwrap_or(0) + 1;
                cache.update(&key(1), hours(1), add).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    assert_eq!(cache.get::<u64>(&key(1)).await.unwrap(), 16 * 500);
}

/// B16.3
#[tokio::test]
async fn an_update_starts_anew_where_there_is_no_fresh_value() {
    let one = key(1);
    let two = key(2);
    let (cache, clock) = cache();
    let add = |old: Option<u32>| old.map_or(100, |old| old + 1);
    let options = crate::engine::second_then_stale();
    let update = || cache.update(&one, options.clone(), add);
    assert_eq!(update().await.unwrap(), 100);
    assert_eq!(update().await.unwrap(), 101);
    clock.advance(seconds(1));
    assert_eq!(update().await.unwrap(), 100, "a stale value is none");
    cache.remove(&one).await.unwrap();
    assert_eq!(update().await.unwrap(), 100);
    assert!(
        cache
            .set(&one, "text".to_owned(), minutes(1))
            .await
            .unwrap()
            .is_stored()
    );
    assert_eq!(update().await.unwrap(), 100, "one of another type is none");
    let missing = cache
        .get_or_load_optional(&two, minutes(1), |_| async {
            crate::engine::Answer::<Option<u32>>::Ok(None)
        })
        .await;
    assert!(missing.unwrap().is_none());
    assert_eq!(cache.update(&two, minutes(1), add).await.unwrap(), 100);
}

/// B16.3: announced like `set`.
#[tokio::test]
async fn a_load_that_began_before_an_update_does_not_overwrite_it() {
    let (cache, _) = cache();
    let origin = crate::engine::Origin::closed();
    let call = tokio::spawn({
        let (cache, load) = (cache.clone(), origin.gives(Ok(1_u32)));
        async move { cache.get_or_load(&key(1), minutes(1), load).await }
    });
    origin.begun(1).await;
    cache.update(&key(1), minutes(1), |_| 2_u32).await.unwrap();
    origin.release();
    assert_eq!(call.await.unwrap().unwrap(), 1);
    assert_eq!(cache.get::<u32>(&key(1)).await.unwrap(), 2);
}

/// An update that may not store says so at once.
#[tokio::test]
async fn an_update_of_what_is_held_off_fails_and_does_not_spin() {
    let (cache, clock) = cache();
    cache.remove(&key(1)).hold(seconds(5)).await.unwrap();
    let mut runs = 0;
    let refused = cache
        .update(&key(1), minutes(1), |_| {
            runs += 1;
            1_u32
        })
        .await
        .unwrap_err();
    assert_eq!((refused.kind(), runs), (ErrorKind::Contended, 1));
    assert!(refused.to_string().contains("held off"), "{refused}");
    clock.advance(seconds(5));
    assert_eq!(cache.update(&key(1), minutes(1), |_| 1_u32).await.unwrap(), 1);
}
