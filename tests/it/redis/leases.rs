//! One load across the fleet: the miss script, renewal, the last script. Named locks and claims.

use std::time::Duration;

use cache_core::shared::{
    AcquireRequest, Acquisition, Ending, Fence, LeaseAnswer, LeaseRequest, LockKind, Refuse, Token, Verdict,
};
use support::{Fault, FaultProxy, wait_until};

use super::{
    BUDGET, LOCK, MAX_LOAD, ask, asking, commit, commit_of, lease, open, open_url, read, remove,
    remove_and_hold, restricted, set, text_of, value,
};

#[tokio::test]
async fn one_caller_gets_the_lease_and_the_others_learn_who() {
    let server = restricted();
    let (one, two) = (open(&server), open(&server));
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
    assert_eq!(server.command(&["EXISTS", "{m:a}:l"]).integer(), Some(0));
    assert_eq!(server.keys_without_ttl(), ["{m}:log"]);
}

#[tokio::test]
async fn asking_again_with_the_same_token_gives_the_same_lease() {
    let server = restricted();
    let tier = open(&server);
    let request = asking("m:a");
    let first = ask(&tier, request).await;
    let again = ask(&tier, request).await;
    let (LeaseAnswer::Lease(first), LeaseAnswer::Lease(again)) = (first, again) else {
        panic!("both are leases")
    };
    assert_eq!((first.token, first.fence), (again.token, again.fence));
}

#[tokio::test]
async fn a_refused_value_is_no_answer() {
    let server = restricted();
    let tier = open(&server);
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

#[tokio::test]
async fn nothing_loaded_before_an_invalidation_is_stored_after_it() {
    let server = restricted();
    let tier = open(&server);
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

#[tokio::test]
async fn nothing_loaded_before_a_set_replaces_it() {
    let server = restricted();
    let tier = open(&server);
    let lease = lease(&tier, "m:a").await;
    let version = set(&tier, "m:a", "set").await;
    let refused = commit(&tier, "m:a", &lease, "loaded").await;
    assert_eq!(refused.verdict, Verdict::Superseded(Some(version)));
    assert!(refused.released);
    assert_eq!(read(&tier, "m:a").await.as_deref(), Some("set"));
}

#[tokio::test]
async fn a_load_that_saw_a_value_does_not_store_over_its_absence() {
    let server = restricted();
    let tier = open(&server);
    let version = set(&tier, "m:a", "one").await;
    let request = LeaseRequest {
        refuse: Refuse::Version(version),
        ..asking("m:a")
    };
    let LeaseAnswer::Lease(lease) = ask(&tier, request).await else {
        panic!("a refused value needs a load")
    };
    server.command(&["DEL", "m:a"]);
    assert_eq!(
        commit(&tier, "m:a", &lease, "two").await.verdict,
        Verdict::Superseded(None)
    );
}

#[tokio::test]
async fn a_load_that_took_too_long_is_refused_by_the_servers_clock() {
    let server = restricted();
    let tier = open(&server);
    let mut lease = lease(&tier, "m:a").await;
    lease.started -= 61_000_000;
    assert_eq!(
        commit(&tier, "m:a", &lease, "late").await.verdict,
        Verdict::TooLate
    );
    assert_eq!(read(&tier, "m:a").await, None);
}

/// The script of docs/redis.md.
fn script_of_the_docs() -> String {
    let page = include_str!("../../../docs/redis.md");
    let (_, after) = page.split_once("```lua\n").unwrap();
    after.split_once("```").unwrap().0.to_owned()
}

#[tokio::test]
async fn programs_without_the_toolkit_invalidate_with_the_documented_script() {
    let server = restricted();
    let tier = open(&server);
    set(&tier, "m:a", "one").await;
    let mut reader = tier.follow_log();
    reader.next().await.unwrap();
    let request = LeaseRequest {
        refuse: Refuse::Any,
        ..asking("m:a")
    };
    let LeaseAnswer::Lease(running) = ask(&tier, request).await else {
        panic!("whatever is there is refused")
    };
    let keys = ["m:a", "{m:a}:l", "{m:a}:e", "{m:a}:g", "{m}:log"];
    let script = script_of_the_docs();
    let mut words = vec!["EVAL", script.as_str(), "5"];
    words.extend(keys);
    words.extend(["0123456789abcdef", "7"]);
    let reply = server.command(&words);
    assert_eq!(reply.error(), None);
    assert_eq!(read(&tier, "m:a").await, None);
    let version = cache_core::shared::Version::from_bytes(*b"0123456789abcdef");
    let doomed = commit(&tier, "m:a", &running, "old").await;
    assert_eq!(doomed.verdict, Verdict::Superseded(Some(version)));
    let notice = loop {
        if let cache_core::shared::LogEvent::Notices(mut notices) = reader.next().await.unwrap() {
            break notices.remove(0);
        }
    };
    assert_eq!(notice.source, None);
    let keys = vec![("m:a".to_owned(), version)];
    assert_eq!(
        notice.event,
        cache_core::notice::Event::Keys(cache_core::notice::Op::Remove, keys)
    );
}

#[tokio::test]
async fn a_flush_during_a_load_refuses_its_store() {
    let server = restricted();
    let tier = open(&server);
    let lease = lease(&tier, "m:a").await;
    remove(&tier, "m:a").await;
    server.flushall();
    assert_eq!(
        commit(&tier, "m:a", &lease, "old").await.verdict,
        Verdict::FenceMoved
    );
}

#[tokio::test]
async fn a_pattern_removal_refuses_the_loads_that_run() {
    let server = restricted();
    let tier = open(&server);
    let running = lease(&tier, "m:a").await;
    tier.begin_pattern("m:a*", BUDGET).await.unwrap();
    assert_eq!(
        commit(&tier, "m:a", &running, "old").await.verdict,
        Verdict::FenceMoved
    );
    let next = lease(&tier, "m:a").await;
    assert_eq!(commit(&tier, "m:a", &next, "new").await.verdict, Verdict::Applied);
}

#[tokio::test]
async fn a_hold_refuses_loads_that_began_after_the_invalidation_too() {
    let server = restricted();
    let tier = open(&server);
    remove_and_hold(&tier, "m:a", Duration::from_secs(30)).await;
    let lease = lease(&tier, "m:a").await;
    let answer = commit(&tier, "m:a", &lease, "lagging replica").await;
    assert!(matches!(answer.verdict, Verdict::HeldOff(left) if left > Duration::from_secs(20)));
    assert!(answer.released);
}

#[tokio::test]
async fn a_repeated_commit_says_that_it_is_done() {
    let server = restricted();
    let tier = open(&server);
    let lease = lease(&tier, "m:a").await;
    let request = commit_of("m:a", &lease, Some(value("one").1));
    assert_eq!(
        tier.commit(request.clone(), BUDGET).await.unwrap().verdict,
        Verdict::Applied
    );
    let again = tier.commit(request, BUDGET).await.unwrap();
    assert_eq!((again.verdict, again.released), (Verdict::Applied, false));
}

#[tokio::test]
async fn a_lock_is_renewed_by_its_holder_only_and_never_made_again() {
    let server = restricted();
    let tier = open(&server);
    let lease = lease(&tier, "m:a").await;
    let long = Duration::from_secs(60);
    assert!(tier.renew("m:a", lease.token, long, BUDGET).await.unwrap());
    assert!(server.command(&["PTTL", "{m:a}:l"]).integer().unwrap() > 50_000);
    assert!(!tier.renew("m:a", Token::random(), long, BUDGET).await.unwrap());
    server.command(&["DEL", "{m:a}:l"]);
    assert!(!tier.renew("m:a", lease.token, long, BUDGET).await.unwrap());
    assert_eq!(server.command(&["EXISTS", "{m:a}:l"]).integer(), Some(0));
}

#[tokio::test]
async fn a_lock_is_taken_over_from_the_holder_that_was_waited_for_only() {
    let server = restricted();
    let tier = open(&server);
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

#[tokio::test]
async fn a_recorded_error_answers_until_it_ends_or_the_key_changes() {
    let server = restricted();
    let tier = open(&server);
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
    assert_eq!(server.command(&["EXISTS", "{m:a}:e"]).integer(), Some(0));
    remove(&tier, "m:a").await;
    fail().await;
    remove(&tier, "m:a").await;
    assert!(matches!(ask(&tier, asking("m:a")).await, LeaseAnswer::Lease(_)));
}

#[tokio::test]
async fn a_failure_from_before_an_invalidation_is_not_recorded() {
    let server = restricted();
    let tier = open(&server);
    let lease = lease(&tier, "m:a").await;
    remove(&tier, "m:a").await;
    let mut request = commit_of("m:a", &lease, None);
    request.record = Some((b"why".to_vec(), Duration::from_secs(30)));
    tier.commit(request, BUDGET).await.unwrap();
    assert_eq!(server.command(&["EXISTS", "{m:a}:e"]).integer(), Some(0));
}

#[tokio::test]
async fn waiters_hear_how_a_load_ends() {
    let server = restricted();
    let tier = open(&server);
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

#[tokio::test]
async fn a_lost_subscription_says_so_and_the_next_one_works() {
    let server = restricted();
    let tier = open(&server);
    let mut waiting = tier.subscribe("m:a", BUDGET).await.unwrap();
    server.disconnect_clients();
    assert_eq!(waiting.next().await, None);
    let mut waiting = tier.subscribe("m:a", BUDGET).await.unwrap();
    set(&tier, "m:a", "x").await;
    assert_eq!(waiting.next().await, Some(Ending::Done));
}

#[tokio::test]
async fn the_last_waiter_ends_the_subscription() {
    let server = restricted();
    let tier = open(&server);
    let channels = || server.command(&["PUBSUB", "CHANNELS"]).items().len();
    let (one, two) = (
        tier.subscribe("m:a", BUDGET).await.unwrap(),
        tier.subscribe("m:a", BUDGET).await.unwrap(),
    );
    assert_eq!(channels(), 1);
    drop(one);
    drop(two);
    wait_until(BUDGET, "nobody is subscribed", async || channels() == 0).await;
}

#[tokio::test]
async fn an_unheard_lease_is_given_back() {
    let server = restricted();
    let proxy = FaultProxy::start(server.address());
    let tier = open_url(&server.url_via(proxy.address()));
    set(&tier, "m:warm", "x").await;
    proxy.set(Fault::DelayReplies(Duration::from_millis(300)));
    let fault = tier
        .lease(asking("m:a"), Duration::from_millis(100))
        .await
        .unwrap_err();
    assert!(fault.maybe_applied());
    wait_until(BUDGET, "the lock is free again", async || {
        server.command(&["EXISTS", "{m:a}:l"]).integer() == Some(0)
    })
    .await;
}

#[tokio::test]
async fn a_commit_without_a_lease_respects_the_lock_of_others() {
    let server = restricted();
    let tier = open(&server);
    let held = lease(&tier, "m:a").await;
    let fence = Fence::NONE;
    let mut request = commit_of("m:a", &held, Some(value("x").1));
    (request.token, request.started, request.fence) = (None, None, &fence);
    request.max_load = MAX_LOAD;
    assert_eq!(
        tier.commit(request.clone(), BUDGET).await.unwrap().verdict,
        Verdict::OtherHolder
    );
    server.command(&["DEL", "{m:a}:l"]);
    assert_eq!(
        tier.commit(request, BUDGET).await.unwrap().verdict,
        Verdict::Applied
    );
}

fn wanting(kind: LockKind, name: &str) -> AcquireRequest<'_> {
    AcquireRequest {
        kind,
        name,
        token: Token::random(),
        ttl: LOCK,
    }
}

#[tokio::test]
async fn named_locks_exclude_each_other_and_number_their_holders() {
    let server = restricted();
    let tier = open(&server);
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
    server.command(&["SET", "{m:job}:xf", "9000000000000000", "EX", "100"]);
    let Acquisition::Acquired { fencing } = tier.acquire(second, BUDGET).await.unwrap() else {
        panic!("it is free again")
    };
    assert_eq!(fencing, 9_000_000_000_000_001);
    assert_eq!(server.keys_without_ttl(), Vec::<String>::new());
}

#[tokio::test]
async fn an_unclear_acquisition_is_inquired_about() {
    let server = restricted();
    let proxy = FaultProxy::start(server.address());
    let tier = open_url(&server.url_via(proxy.address()));
    set(&tier, "m:warm", "x").await;
    proxy.set(Fault::DelayReplies(Duration::from_millis(150)));
    let request = wanting(LockKind::Claim, "m:order:7");
    // The first question runs out of time, the second hears that the claim is there.
    let acquired = tier.acquire(request, Duration::from_millis(220)).await.unwrap();
    assert!(matches!(acquired, Acquisition::Acquired { .. }));
}
