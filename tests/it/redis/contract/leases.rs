//! One load across the fleet; named locks and claims.

use std::sync::Arc;
use std::time::Duration;

use cache_core::shared::{
    AcquireRequest, Acquisition, Ending, Fence, LeaseAnswer, LeaseRequest, LockKind, Refuse, Shared, Token,
    Verdict,
};

use super::World;
use crate::redis::{
    BUDGET, LOCK, MAX_LOAD, ask, asking, commit, commit_of, lease, read, remove, remove_and_hold, set,
    text_of, value,
};

/// B8.1
pub(super) async fn one_caller_gets_the_lease_and_the_others_learn_who(world: World) {
    let (one, two) = (world.open(), world.open());
    let lease = lease(&one, "m:a").await;
    assert_eq!(lease.seen, None);
    let LeaseAnswer::Held { holder, remaining } = ask(&two, asking("m:a")).await else {
        panic!("somebody loads")
    };
    assert_eq!(holder, lease.token);
    assert!(remaining <= LOCK && remaining > LOCK - Duration::from_secs(2));
    assert_eq!(commit(&one, "m:a", &lease, "one").await.verdict, Verdict::Applied);
    let LeaseAnswer::Value(value) = ask(&two, asking("m:a")).await else {
        panic!("it is loaded")
    };
    assert_eq!(text_of(&value), "one");
    assert!(!world.is_leased("m:a"));
    world.check_lives();
}

/// B8.14
pub(super) async fn asking_again_with_the_same_token_gives_the_same_lease(world: World) {
    let tier = world.open();
    let request = asking("m:a");
    let first = ask(&tier, request).await;
    let again = ask(&tier, request).await;
    let (LeaseAnswer::Lease(first), LeaseAnswer::Lease(again)) = (first, again) else {
        panic!("both are leases")
    };
    assert_eq!((first.token, first.fence), (again.token, again.fence));
}

pub(super) async fn a_refused_value_is_no_answer(world: World) {
    let tier = world.open();
    let version = set(&tier, "m:a", "stale").await;
    for refuse in [Refuse::Version(version), Refuse::Any] {
        let request = LeaseRequest {
            refuse,
            ..asking("m:a")
        };
        let LeaseAnswer::Lease(lease) = ask(&tier, request).await else {
            panic!("{refuse:?} needs a load")
        };
        assert_eq!(lease.seen, Some(version));
        assert!(
            tier.commit(commit_of("m:a", &lease, None), BUDGET)
                .await
                .unwrap()
                .released
        );
    }
    let newer = set(&tier, "m:a", "fresh").await;
    let request = LeaseRequest {
        refuse: Refuse::Version(version),
        ..asking("m:a")
    };
    assert!(matches!(ask(&tier, request).await, LeaseAnswer::Value(value) if value.version == newer));
}

/// B9.1, B9.2
pub(super) async fn nothing_loaded_before_an_invalidation_is_stored_after_it(world: World) {
    let tier = world.open();
    let before = lease(&tier, "m:a").await;
    let tombstone = remove(&tier, "m:a").await;
    // The invalidation freed the lock: a second load runs beside the doomed one.
    let after = lease(&tier, "m:a").await;
    assert_eq!(after.seen, Some(tombstone));
    let doomed = commit(&tier, "m:a", &before, "old").await;
    assert_eq!((doomed.verdict, doomed.released), (Verdict::OtherHolder, false));
    assert_eq!(
        commit(&tier, "m:a", &after, "new").await.verdict,
        Verdict::Applied
    );
    let doomed = commit(&tier, "m:a", &before, "old").await;
    assert!(matches!(doomed.verdict, Verdict::Superseded(Some(_))));
    assert_eq!(doomed.current.as_ref().map(text_of), Some("new"));
    assert_eq!(read(&tier, "m:a").await.as_deref(), Some("new"));
}

/// B9.3
pub(super) async fn nothing_loaded_before_a_set_replaces_it(world: World) {
    let tier = world.open();
    let lease = lease(&tier, "m:a").await;
    let version = set(&tier, "m:a", "set").await;
    let refused = commit(&tier, "m:a", &lease, "loaded").await;
    assert_eq!(refused.verdict, Verdict::Superseded(Some(version)));
    assert!(refused.released);
    assert_eq!(read(&tier, "m:a").await.as_deref(), Some("set"));
}

pub(super) async fn a_load_that_saw_a_value_does_not_store_over_its_absence(world: World) {
    let tier = world.open();
    let version = set(&tier, "m:a", "one").await;
    let request = LeaseRequest {
        refuse: Refuse::Version(version),
        ..asking("m:a")
    };
    let LeaseAnswer::Lease(lease) = ask(&tier, request).await else {
        panic!("a refused value needs a load")
    };
    world.evict("m:a");
    assert_eq!(
        commit(&tier, "m:a", &lease, "two").await.verdict,
        Verdict::Superseded(None)
    );
}

pub(super) async fn a_load_that_took_too_long_is_refused_by_the_servers_clock(world: World) {
    let tier = world.open();
    let mut lease = lease(&tier, "m:a").await;
    lease.started -= 61_000_000;
    assert_eq!(
        commit(&tier, "m:a", &lease, "late").await.verdict,
        Verdict::TooLate
    );
    assert_eq!(read(&tier, "m:a").await, None);
}

pub(super) async fn a_flush_during_a_load_refuses_its_store(world: World) {
    let tier = world.open();
    let lease = lease(&tier, "m:a").await;
    remove(&tier, "m:a").await;
    world.flush();
    assert_eq!(
        commit(&tier, "m:a", &lease, "old").await.verdict,
        Verdict::FenceMoved
    );
}

pub(super) async fn a_pattern_removal_refuses_the_loads_that_run(world: World) {
    let tier = world.open();
    let running = lease(&tier, "m:a").await;
    tier.begin_pattern("m:a*", BUDGET).await.unwrap();
    assert_eq!(
        commit(&tier, "m:a", &running, "old").await.verdict,
        Verdict::FenceMoved
    );
    let next = lease(&tier, "m:a").await;
    assert_eq!(commit(&tier, "m:a", &next, "new").await.verdict, Verdict::Applied);
}

pub(super) async fn a_hold_refuses_loads_that_began_after_the_invalidation_too(world: World) {
    let tier = world.open();
    remove_and_hold(&tier, "m:a", Duration::from_secs(30)).await;
    let lease = lease(&tier, "m:a").await;
    let answer = commit(&tier, "m:a", &lease, "lagging replica").await;
    assert!(matches!(answer.verdict, Verdict::HeldOff(left) if left > Duration::from_secs(20)));
    assert!(answer.released);
}

pub(super) async fn a_repeated_commit_says_that_it_is_done(world: World) {
    let tier = world.open();
    let lease = lease(&tier, "m:a").await;
    let request = commit_of("m:a", &lease, Some(value("one").1));
    assert_eq!(
        tier.commit(request.clone(), BUDGET).await.unwrap().verdict,
        Verdict::Applied
    );
    let again = tier.commit(request, BUDGET).await.unwrap();
    assert_eq!((again.verdict, again.released), (Verdict::Applied, false));
}

/// B8.4
pub(super) async fn a_lock_is_renewed_by_its_holder_only_and_never_made_again(world: World) {
    let tier = world.open();
    let lease = lease(&tier, "m:a").await;
    let long = Duration::from_secs(60);
    assert!(tier.renew("m:a", lease.token, long, BUDGET).await.unwrap());
    assert!(held_for(&tier, "m:a").await > Duration::from_secs(50));
    assert!(!tier.renew("m:a", Token::random(), long, BUDGET).await.unwrap());
    world.break_lease("m:a");
    assert!(!tier.renew("m:a", lease.token, long, BUDGET).await.unwrap());
    assert!(!world.is_leased("m:a"));
}

/// B8.9
pub(super) async fn a_lock_is_taken_over_from_the_holder_that_was_waited_for_only(world: World) {
    let tier = world.open();
    let dead = lease(&tier, "m:a").await;
    let take_over = |from| LeaseRequest {
        take_over: Some(from),
        ..asking("m:a")
    };
    let LeaseAnswer::Lease(next) = ask(&tier, take_over(dead.token)).await else {
        panic!("the waited-for holder is replaced")
    };
    assert!(
        matches!(ask(&tier, take_over(dead.token)).await, LeaseAnswer::Held { holder, .. } if holder == next.token)
    );
    let late = commit(&tier, "m:a", &dead, "late").await;
    assert_eq!((late.verdict, late.released), (Verdict::OtherHolder, false));
    assert_eq!(
        commit(&tier, "m:a", &next, "next").await.verdict,
        Verdict::Applied
    );
}

pub(super) async fn a_recorded_error_answers_until_it_ends_or_the_key_changes(world: World) {
    let tier = world.open();
    let fail = async || {
        let lease = lease(&tier, "m:a").await;
        let mut request = commit_of("m:a", &lease, None);
        request.record = Some((b"why".to_vec(), Duration::from_secs(30)));
        request.ending = Ending::Failed("timeout".to_owned());
        let answer = tier.commit(request, BUDGET).await.unwrap();
        assert_eq!((answer.verdict, answer.released), (Verdict::Nothing, true));
    };
    fail().await;
    let LeaseAnswer::Recorded(bytes, left) = ask(&tier, asking("m:a")).await else {
        panic!("the failure is recorded")
    };
    assert_eq!(bytes, b"why");
    assert!(left <= Duration::from_secs(30));
    let unwilling = LeaseRequest {
        consult_errors: false,
        ..asking("m:a")
    };
    let LeaseAnswer::Lease(lease) = ask(&tier, unwilling).await else {
        panic!("who does not ask for errors loads")
    };
    assert_eq!(
        commit(&tier, "m:a", &lease, "well").await.verdict,
        Verdict::Applied
    );
    assert!(!is_recorded(&tier, "m:a").await);
    remove(&tier, "m:a").await;
    fail().await;
    remove(&tier, "m:a").await;
    assert!(matches!(ask(&tier, asking("m:a")).await, LeaseAnswer::Lease(_)));
}

pub(super) async fn a_failure_from_before_an_invalidation_is_not_recorded(world: World) {
    let tier = world.open();
    let lease = lease(&tier, "m:a").await;
    remove(&tier, "m:a").await;
    let mut request = commit_of("m:a", &lease, None);
    request.record = Some((b"why".to_vec(), Duration::from_secs(30)));
    tier.commit(request, BUDGET).await.unwrap();
    assert!(!is_recorded(&tier, "m:a").await);
}

/// B8.5, B8.8
pub(super) async fn waiters_hear_how_a_load_ends(world: World) {
    let tier = world.open();
    let mut waiting = tier.subscribe("m:a", BUDGET).await.unwrap();
    let mut beside = tier.subscribe("m:a", BUDGET).await.unwrap();
    let mut elsewhere = tier.subscribe("m:b", BUDGET).await.unwrap();

    let first = lease(&tier, "m:a").await;
    commit(&tier, "m:a", &first, "one").await;
    assert_eq!(waiting.next().await, Some(Ending::Done));
    assert_eq!(beside.next().await, Some(Ending::Done));

    remove(&tier, "m:a").await;
    let second = lease(&tier, "m:a").await;
    let mut request = commit_of("m:a", &second, None);
    request.ending = Ending::Failed("db".to_owned());
    tier.commit(request, BUDGET).await.unwrap();
    assert_eq!(waiting.next().await, Some(Ending::Failed("db".to_owned())));

    let third = lease(&tier, "m:a").await;
    remove(&tier, "m:a").await;
    assert_eq!(waiting.next().await, Some(Ending::Released));
    drop(third);
    set(&tier, "m:b", "x").await;
    assert_eq!(elsewhere.next().await, Some(Ending::Done));
}

/// B8.12
pub(super) async fn a_commit_without_a_lease_respects_the_lock_of_others(world: World) {
    let tier = world.open();
    let held = lease(&tier, "m:a").await;
    let fence = Fence::NONE;
    let mut request = commit_of("m:a", &held, Some(value("x").1));
    (request.token, request.started, request.fence) = (None, None, &fence);
    request.max_load = MAX_LOAD;
    assert_eq!(
        tier.commit(request.clone(), BUDGET).await.unwrap().verdict,
        Verdict::OtherHolder
    );
    world.break_lease("m:a");
    assert_eq!(
        tier.commit(request, BUDGET).await.unwrap().verdict,
        Verdict::Applied
    );
}

/// B8.2, B8.15
pub(super) async fn named_locks_exclude_each_other_and_number_their_holders(world: World) {
    let tier = world.open();
    let first = wanting(LockKind::Lock, "m:job");
    let Acquisition::Acquired { fencing } = tier.acquire(first, BUDGET).await.unwrap() else {
        panic!("it is free")
    };
    assert!(fencing > 1_600_000_000_000_000, "{fencing} is below the time");
    let second = wanting(LockKind::Lock, "m:job");
    assert!(matches!(
        tier.acquire(second, BUDGET).await.unwrap(),
        Acquisition::Held { .. }
    ));
    let claim = wanting(LockKind::Claim, "m:job");
    assert!(matches!(
        tier.acquire(claim, BUDGET).await.unwrap(),
        Acquisition::Acquired { .. }
    ));

    assert!(
        !tier
            .give_back(LockKind::Lock, "m:job", second.token, BUDGET)
            .await
            .unwrap()
    );
    assert!(
        tier.extend(LockKind::Lock, "m:job", first.token, LOCK, BUDGET)
            .await
            .unwrap()
    );
    assert!(
        tier.give_back(LockKind::Lock, "m:job", first.token, BUDGET)
            .await
            .unwrap()
    );
    assert!(
        !tier
            .extend(LockKind::Lock, "m:job", first.token, LOCK, BUDGET)
            .await
            .unwrap()
    );
    let Acquisition::Acquired { fencing: next } = tier.acquire(second, BUDGET).await.unwrap() else {
        panic!("it is free again")
    };
    assert!(next > fencing, "{next} after {fencing}");
    world.check_lives();
}

fn wanting(kind: LockKind, name: &str) -> AcquireRequest<'_> {
    AcquireRequest {
        kind,
        name,
        token: Token::random(),
        ttl: LOCK,
    }
}

async fn is_recorded(tier: &Arc<dyn Shared>, key: &str) -> bool {
    let request = LeaseRequest {
        refuse: Refuse::Any,
        ..asking(key)
    };
    matches!(ask(tier, request).await, LeaseAnswer::Recorded(..))
}

/// How much longer the lock lasts.
async fn held_for(tier: &Arc<dyn Shared>, key: &str) -> Duration {
    match ask(tier, asking(key)).await {
        LeaseAnswer::Held { remaining, .. } => remaining,
        other => panic!("nobody holds it: {other:?}"),
    }
}
