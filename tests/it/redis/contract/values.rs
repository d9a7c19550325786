//! Values, tombstones and absence under one key.

use std::sync::Arc;
use std::time::Duration;

use cache_core::notice::Op;
use cache_core::shared::{
    Change, Condition, FaultKind, Found, Mutation, ScanRequest, Shared, Verdict, Version,
};
use support::wait_until;

use super::World;
use crate::redis::{
    BUDGET, PHYSICAL, asking, change, commit, found, lease, mutate, read, remove, remove_and_hold, set,
    text_of, tombstone, value,
};

/// B0.1
pub(super) async fn a_value_is_read_with_a_lower_bound_of_its_life(world: World) {
    let tier = world.open();
    assert_eq!(found(&tier, "m:a").await, Found::Absent);
    let version = set(&tier, "m:a", "one").await;
    let Found::Value(stored) = found(&tier, "m:a").await else {
        panic!("a value was set")
    };
    assert_eq!(stored.version, version);
    assert!(stored.remaining <= PHYSICAL && stored.remaining > PHYSICAL - Duration::from_secs(2));
}

pub(super) async fn a_conditional_set_applies_over_what_was_seen_only(world: World) {
    let tier = world.open();
    let first = set(&tier, "m:a", "one").await;
    let try_over = async |seen: Option<Version>| {
        let (version, payload) = value("two");
        let condition = Condition::Seen(seen);
        change(&tier, "m:a", version, Change::Set { payload, condition }).await
    };
    assert_eq!(try_over(None).await, Verdict::Superseded(Some(first)));
    assert_eq!(
        try_over(Some(Version::random())).await,
        Verdict::Superseded(Some(first))
    );
    assert_eq!(try_over(Some(first)).await, Verdict::Applied);
    let tombstone = remove(&tier, "m:a").await;
    assert_eq!(try_over(None).await, Verdict::Superseded(Some(tombstone)));
    assert_eq!(try_over(Some(tombstone)).await, Verdict::Applied);
    world.evict("m:a");
    assert_eq!(try_over(Some(tombstone)).await, Verdict::Superseded(None));
    assert_eq!(try_over(None).await, Verdict::Applied);
}

/// B0.2
pub(super) async fn a_removed_key_holds_a_tombstone_that_outlives_every_load(world: World) {
    let tier = world.open();
    set(&tier, "m:a", "one").await;
    let version = remove(&tier, "m:a").await;
    assert_eq!(found(&tier, "m:a").await, Found::Tombstone(version));
    set(&tier, "m:a", "two").await;
    assert_eq!(read(&tier, "m:a").await.as_deref(), Some("two"));
}

pub(super) async fn a_hold_refuses_sets_until_it_ends_and_is_not_shortened(world: World) {
    let tier = world.open();
    remove_and_hold(&tier, "m:a", Duration::from_millis(400)).await;
    remove(&tier, "m:a").await;
    let (version, payload) = value("early");
    let condition = Condition::Always;
    let early = mutate(&tier, "m:a", version, Change::Set { payload, condition }).await;
    assert!(matches!(early.verdicts[0], Verdict::HeldOff(left) if left <= Duration::from_millis(400)));
    assert_eq!(early.notice, None, "what did not happen is not announced");
    wait_until(Duration::from_secs(2), "the hold ends", async || {
        let (version, payload) = value("late");
        change(&tier, "m:a", version, Change::Set { payload, condition }).await == Verdict::Applied
    })
    .await;
}

pub(super) async fn expire_leaves_the_value_stale_under_a_new_version(world: World) {
    let tier = world.open();
    set(&tier, "m:a", "one").await;
    let version = expire(&tier, "m:a").await;
    let Found::Value(stored) = found(&tier, "m:a").await else {
        panic!("the stale value stands")
    };
    assert_eq!((stored.version, text_of(&stored)), (version, "one"));
    assert!(
        stored.remaining <= Duration::from_secs(20),
        "{:?}",
        stored.remaining
    );
    assert!(
        stored.remaining > Duration::from_secs(18),
        "{:?}",
        stored.remaining
    );
    expire(&tier, "m:a").await;
    let Found::Value(again) = found(&tier, "m:a").await else {
        panic!("the stale value stands")
    };
    assert!(again.remaining <= stored.remaining, "an expiry extends no life");
}

pub(super) async fn a_load_that_saw_absence_stores_nothing_over_an_expiry_even_when_the_value_has_gone(
    world: World,
) {
    let tier = world.open();
    let doomed = lease(&tier, "m:a").await;
    set(&tier, "m:a", "set").await;
    let version = expire(&tier, "m:a").await;
    // The stale value ends long before the longest load does.
    world.evict("m:a");
    let answer = commit(&tier, "m:a", &doomed, "old").await;
    assert_eq!(answer.verdict, Verdict::Superseded(Some(version)));
    let next = lease(&tier, "m:a").await;
    assert_eq!(next.seen, Some(version));
    assert_eq!(commit(&tier, "m:a", &next, "new").await.verdict, Verdict::Applied);
}

pub(super) async fn expiring_what_is_not_there_refuses_the_loads_that_run(world: World) {
    let tier = world.open();
    let running = lease(&tier, "m:a").await;
    let version = expire(&tier, "m:a").await;
    assert_eq!(found(&tier, "m:a").await, Found::Absent);
    let answer = commit(&tier, "m:a", &running, "old").await;
    assert_eq!(answer.verdict, Verdict::Superseded(Some(version)));
    world.check_lives();
}

pub(super) async fn expiring_a_tombstone_keeps_its_hold(world: World) {
    let tier = world.open();
    remove_and_hold(&tier, "m:a", Duration::from_secs(30)).await;
    let version = expire(&tier, "m:a").await;
    assert_eq!(found(&tier, "m:a").await, Found::Tombstone(version));
    let (version, payload) = value("early");
    let condition = Condition::Always;
    let early = change(&tier, "m:a", version, Change::Set { payload, condition }).await;
    assert!(matches!(early, Verdict::HeldOff(left) if left > Duration::from_secs(20)));
}

pub(super) async fn bytes_without_the_header_of_the_change_are_refused(world: World) {
    let tier = world.open();
    let (_, payload) = value("other version");
    let (version, condition) = (Version::random(), Condition::Always);
    let mutation = Mutation {
        key: "m:a",
        version,
        change: Change::Set { payload, condition },
    };
    let fault = tier.mutate(Op::Set, vec![mutation], BUDGET).await.unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Invalid);
}

/// B12.2
pub(super) async fn many_changes_are_one_notice_and_have_a_bound(world: World) {
    let tier = world.open();
    let keys: Vec<String> = (0..101).map(|n| format!("m:k:{n}")).collect();
    let mutations = |count: usize| -> Vec<Mutation<'_>> {
        let versions = std::iter::repeat_with(Version::random);
        keys.iter()
            .zip(versions)
            .take(count)
            .map(|(key, version)| Mutation {
                key,
                version,
                change: Change::Remove {
                    tombstone: tombstone(version, Duration::ZERO),
                },
            })
            .collect()
    };
    let fault = tier.mutate(Op::Remove, mutations(101), BUDGET).await.unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Invalid);
    let answer = tier.mutate(Op::Remove, mutations(100), BUDGET).await.unwrap();
    assert_eq!(answer.verdicts, vec![Verdict::Applied; 100]);
    // The entry that began the log, and the notice.
    assert_eq!(tier.log_end(BUDGET).await.unwrap().number(), 2);
}

pub(super) async fn braces_in_a_key_are_refused_before_anything_is_sent(world: World) {
    let tier = world.open();
    let fault = tier.read("m:{a}", BUDGET).await.unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Invalid);
}

pub(super) async fn a_scan_finds_every_entry_and_no_companion(world: World) {
    let tier = world.open();
    for n in 0..500 {
        set(&tier, &format!("m:q:{n}"), "x").await;
    }
    lease(&tier, "m:q:new").await;
    set(&tier, "m:other", "x").await;
    let (mut keys, mut cursor) = (Vec::new(), None);
    loop {
        let request = ScanRequest {
            glob: "m:q:*",
            cursor,
            count: 50,
        };
        let page = tier.scan(request, BUDGET).await.unwrap();
        keys.extend(page.keys);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 500);
    assert!(keys.iter().all(|key| key.starts_with("m:q:")));
}

/// B11.4
pub(super) async fn discarding_needs_the_version_and_spares_tombstones(world: World) {
    let tier = world.open();
    let version = set(&tier, "m:a", "one").await;
    let other = set(&tier, "m:b", "two").await;
    let tombstone = remove(&tier, "m:c").await;
    let entries = [
        ("m:a".to_owned(), version),
        ("m:b".to_owned(), Version::random()),
        ("m:c".to_owned(), tombstone),
    ];
    assert_eq!(tier.discard(&entries, BUDGET).await.unwrap(), 1);
    assert_eq!(found(&tier, "m:a").await, Found::Absent);
    assert_eq!(found(&tier, "m:b").await.seen(), Some(other));
    assert_eq!(found(&tier, "m:c").await, Found::Tombstone(tombstone));
}

/// B9.1
pub(super) async fn without_memory_values_are_refused_and_invalidations_get_through(world: World) {
    let tier = world.open();
    set(&tier, "m:a", "one").await;
    world.fill();
    let (version, payload) = value("two");
    let condition = Condition::Always;
    let verdict = change(&tier, "m:a", version, Change::Set { payload, condition }).await;
    assert_eq!(verdict, Verdict::OutOfMemory);
    assert_eq!(read(&tier, "m:a").await.as_deref(), Some("one"), "reads go on");
    let fault = tier.lease(asking("m:new"), BUDGET).await.unwrap_err();
    assert_eq!(fault.kind(), FaultKind::OutOfMemory);
    let tombstone = remove(&tier, "m:a").await;
    assert_eq!(found(&tier, "m:a").await, Found::Tombstone(tombstone));
}

/// B0.6
pub(super) async fn foreign_data_is_absence_and_is_overwritten(world: World) {
    let tier = world.open();
    world.put_foreign("m:text", "hello, I am somebody else's and long enough");
    world.put_foreign("m:short", "x");
    for key in ["m:text", "m:short"] {
        assert_eq!(found(&tier, key).await, Found::Foreign, "{key}");
        let (version, payload) = value("mine");
        let condition = Condition::Seen(None);
        let verdict = change(&tier, key, version, Change::Set { payload, condition }).await;
        assert_eq!(verdict, Verdict::Applied, "{key}");
        assert_eq!(read(&tier, key).await.as_deref(), Some("mine"));
    }
}

pub(super) async fn many_keys_are_read_in_their_order(world: World) {
    let tier = world.open();
    set(&tier, "m:a", "one").await;
    remove(&tier, "m:c").await;
    let readings = tier.read_many(&["m:c", "m:b", "m:a"], BUDGET).await.unwrap();
    let [Found::Tombstone(_), Found::Absent, Found::Value(value)] =
        [0, 1, 2].map(|n| readings[n].found.clone())
    else {
        panic!("{readings:?}")
    };
    assert_eq!(text_of(&value), "one");
}

async fn expire(tier: &Arc<dyn Shared>, key: &str) -> Version {
    let version = Version::random();
    let verdict = change(tier, key, version, Change::Expire { window: PHYSICAL }).await;
    assert_eq!(verdict, Verdict::Applied);
    version
}
