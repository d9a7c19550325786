//! What remains follows from PTTL.

use super::*;

/// Soft, hard and window in seconds; PTTL in milliseconds; what remains in milliseconds.
#[track_caller]
fn check((soft, hard, window): (u64, u64, u64), pttl: u64, (soft_left, hard_left): (u64, u64)) {
    let lifetimes = Lifetimes::new(seconds(soft), seconds(hard), seconds(window));
    let pttl = Duration::from_millis(pttl);
    let left = (lifetimes.soft_remaining(pttl), lifetimes.hard_remaining(pttl));
    assert_eq!(
        left,
        (Duration::from_millis(soft_left), Duration::from_millis(hard_left))
    );
}

/// B0.1, B0.2
#[test]
fn what_remains_is_counted_back_from_the_physical_end() {
    // A short TTL inside the window in which loads may still want to write.
    check((1, 1, 70), 70_000, (1_000, 1_000));
    check((1, 1, 70), 69_001, (1, 1));
    check((1, 1, 70), 69_000, (0, 0));
    check((1, 1, 70), 1, (0, 0));
    // A stale period.
    check((60, 3_600, 70), 3_600_000, (60_000, 3_600_000));
    check((60, 3_600, 70), 3_540_001, (1, 3_540_001));
    check((60, 3_600, 70), 3_540_000, (0, 3_540_000));
    check((60, 3_600, 70), 0, (0, 0));
    // A key that something prolonged: no more than there was.
    check((60, 600, 70), 86_400_000, (60_000, 600_000));
    check((60, 600, 70), u64::MAX, (60_000, 600_000));
    check((0, 0, 70), 70_000, (0, 0));
    // A soft TTL beyond the hard one counts as the hard one.
    check((120, 60, 70), 70_000, (60_000, 60_000));
}

#[test]
fn expiring_a_value_is_lowering_its_pttl_to_where_it_is_quiet() {
    let bytes = value(b"7").encode(KEY, &Framing::default()).unwrap();
    let quiet_below = u64::from_le_bytes(bytes[22..30].try_into().unwrap());
    assert_eq!(Duration::from_millis(quiet_below), minutes(55));
    let expected = Expected {
        pttl: Duration::from_millis(quiet_below),
        ..expected()
    };
    let Ok(Parsed::Found(found)) = Envelope::parse(&bytes, &expected, &Framing::default()) else {
        panic!("not found");
    };
    assert_eq!(
        (found.soft_remaining, found.hard_remaining),
        (Duration::ZERO, minutes(55))
    );
}

#[test]
fn age_is_counted_from_the_write() {
    let bytes = value(b"7").encode(KEY, &Framing::default()).unwrap();
    let expected = Expected {
        pttl: minutes(59),
        ..expected()
    };
    let Ok(Parsed::Found(found)) = Envelope::parse(&bytes, &expected, &Framing::default()) else {
        panic!("not found");
    };
    assert_eq!(found.age, minutes(1));
    assert_eq!(found.lifetimes.px(), 3_600_000);
}

#[test]
fn extreme_durations_saturate() {
    let lifetimes = Lifetimes::new(Duration::MAX, Duration::MAX, Duration::MAX);
    assert_eq!(lifetimes.px(), u64::MAX);
    assert_eq!(
        lifetimes.soft_remaining(Duration::MAX),
        Duration::from_millis(u64::MAX)
    );
    let nothing = Lifetimes::new(Duration::from_nanos(1), Duration::from_nanos(1), Duration::ZERO);
    assert_eq!((nothing.px(), nothing.soft()), (0, Duration::ZERO));
    let mut extreme = value(b"7");
    extreme.lifetimes = lifetimes;
    extreme.delta = Duration::MAX;
    let bytes = extreme.encode(KEY, &Framing::default()).unwrap();
    assert_eq!(found(&bytes).lifetimes, lifetimes);
    let (bytes, px) = encode_tombstone(1, Duration::MAX, Duration::ZERO);
    assert_eq!(px, u64::MAX);
    assert!(matches!(parse(&bytes), Ok(Parsed::Tombstone(_))));
}
