//! What is refused, what is forgotten, and what stays known.

use super::marks::NAMES_PER_STRIPE;
use super::*;
use crate::entry::{Birth, Meta};
use crate::key::CacheKey;
use crate::tag::TagSet;

const NOW: Timestamp = Timestamp::from_nanos(1_000);

fn root() -> Namespace {
    Namespace::within(None, 0, "c")
}

fn id(n: u64) -> EntryId {
    EntryId::new(0, CacheKey::build("k", n).unwrap())
}

#[test]
fn a_store_that_began_before_a_mutation_is_refused() {
    let epochs = Epochs::new();
    let seen = epochs.seen();
    assert_eq!(epochs.store(&id(1), seen, None, NOW, || ()), Ok(()));
    epochs.mutate(&id(1), NOW, Timestamp::ZERO, |_| ());
    assert_eq!(
        epochs.store(&id(1), seen, None, NOW, || ()),
        Err(Refusal::Mutated)
    );
    assert_eq!(epochs.store(&id(1), epochs.seen(), None, NOW, || ()), Ok(()));
}

#[test]
fn forgetting_mutations_refuses_more_and_never_less() {
    let epochs = Epochs::new();
    let seen = epochs.seen();
    epochs.mutate(&id(0), NOW, Timestamp::ZERO, |_| ());
    for n in 1..200_000 {
        epochs.mutate(&id(n), NOW, Timestamp::ZERO, |_| ());
    }
    assert_eq!(
        epochs.store(&id(0), seen, None, NOW, || ()),
        Err(Refusal::Mutated)
    );
    let records: usize = epochs.stripes.iter().map(|stripe| lock(stripe).keys.len()).sum();
    assert!(records <= STRIPES * KEYS_PER_STRIPE, "{records} records are kept");
}

#[test]
fn a_hold_off_refuses_stores_until_its_end() {
    let epochs = Epochs::new();
    epochs.mutate(&id(1), NOW, held_until(NOW, Duration::from_nanos(500)), |_| ());
    let seen = epochs.seen();
    assert_eq!(
        epochs.store(&id(1), seen, None, Timestamp::from_nanos(1_499), || ()),
        Err(Refusal::HeldOff)
    );
    assert_eq!(
        epochs.store(&id(1), seen, None, Timestamp::from_nanos(1_500), || ()),
        Ok(())
    );
}

#[test]
fn asking_whether_a_key_changed_ends_no_hold_off() {
    let (epochs, now) = (Epochs::new(), Timestamp::from_nanos(1));
    epochs.note(now);
    let seen = epochs.seen();
    epochs.mutate(&id(1), now, Timestamp::ZERO, |_| ());
    assert!(epochs.overtook(&id(1), seen, None));
    assert!(!epochs.overtook(&id(2), epochs.seen(), None));
    // Marks that hold stores off are kept until the time that was noted last.
    assert!(epochs.recently.load(Ordering::SeqCst) < 10_000_000_000);
}

#[test]
fn hold_offs_beyond_any_number_hold_and_ended_ones_are_forgotten() {
    let epochs = Epochs::new();
    let (seen, end) = (epochs.seen(), held_until(NOW, Duration::from_nanos(500)));
    let many = (STRIPES * HELD_PER_STRIPE) as u64 * 3 / 2;
    for n in 0..many {
        epochs.mutate(&id(n), NOW, end, |_| ());
    }
    for n in (0..many).step_by(101) {
        let before_end = Timestamp::from_nanos(1_499);
        assert_eq!(
            epochs.store(&id(n), u64::MAX, None, before_end, || ()),
            Err(Refusal::HeldOff)
        );
        assert_eq!(
            epochs.store(&id(n), seen, None, end, || ()),
            Err(Refusal::Mutated),
            "{n}"
        );
        assert_eq!(
            epochs.store(&id(n), epochs.seen(), None, end, || ()),
            Ok(()),
            "{n}"
        );
    }
    for n in many..many + (STRIPES * HELD_PER_STRIPE) as u64 {
        epochs.mutate(&id(n), end, Timestamp::ZERO, |_| ());
    }
    let records: usize = epochs.stripes.iter().map(|stripe| lock(stripe).keys.len()).sum();
    assert!(
        records <= 2 * STRIPES * HELD_PER_STRIPE,
        "{records} records are kept"
    );
}

#[test]
fn an_invalidation_that_is_overtaken_by_a_later_one_is_seen_by_who_looked_in_between() {
    let epochs = Epochs::new();
    let [a, b] = ["a", "b"].map(|tag| epochs.mark(&root(), Kind::Tag, tag));
    let entry = Meta::new(Birth {
        version: None,
        confirmed_at: NOW,
        loaded_at: NOW,
        soft_at: Timestamp::MAX,
        hard_at: Timestamp::MAX,
        eager_from: Timestamp::MAX,
        delta: Duration::ZERO,
        negative: false,
        weight: 1,
        seen: epochs.seen(),
        marks: epochs.marks(&root(), "user", &TagSet::new(["a"]).unwrap()),
    });
    let overtaken = epochs.next();
    epochs.move_mark(&b, Strength::Hard, Timestamp::ZERO);
    assert_eq!(entry.standing(&epochs), Standing::Valid);
    epochs.move_mark_to(overtaken, &a, Strength::Hard, Timestamp::ZERO);
    assert_eq!(entry.standing(&epochs), Standing::Invalid);
}

#[test]
fn a_moved_mark_ends_what_began_before_and_nothing_else() {
    let epochs = Epochs::new();
    let tags = TagSet::new(["a", "b"]).unwrap();
    let before = epochs.seen();
    let marks = epochs.marks(&root(), "user", &tags);
    assert_eq!(marks.standing(before), Standing::Valid);
    epochs.move_mark(
        &epochs.mark(&root(), Kind::Tag, "other"),
        Strength::Hard,
        Timestamp::ZERO,
    );
    assert_eq!(marks.standing(before), Standing::Valid);
    epochs.move_mark(
        &epochs.mark(&root(), Kind::Tag, "b"),
        Strength::Soft,
        Timestamp::ZERO,
    );
    assert_eq!(marks.standing(before), Standing::Stale);
    epochs.move_mark(
        &epochs.mark(&root(), Kind::Prefix, "user"),
        Strength::Hard,
        Timestamp::ZERO,
    );
    assert_eq!(marks.standing(before), Standing::Invalid);
    assert_eq!(marks.standing(epochs.seen()), Standing::Valid);
}

#[test]
fn a_forgotten_mark_counts_as_invalidated_and_the_registry_stays_bounded() {
    let epochs = Epochs::new();
    let seen = epochs.seen();
    epochs.move_mark(
        &epochs.mark(&root(), Kind::Tag, "gone"),
        Strength::Hard,
        Timestamp::ZERO,
    );
    for n in 0..400_000 {
        epochs.mark(&root(), Kind::Tag, &format!("tag-{n}"));
    }
    let marks = epochs.marks(&root(), "p", &TagSet::new(["gone"]).unwrap());
    assert_eq!(marks.standing(seen), Standing::Invalid);
    let count: usize = epochs.marks.iter().map(|names| lock(names).marks.len()).sum();
    assert!(count <= STRIPES * NAMES_PER_STRIPE, "{count} marks are kept");
}
