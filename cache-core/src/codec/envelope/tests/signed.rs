//! Entries with signatures.

use super::*;
use crate::codec::MacKeys;

const OLD: [u8; 32] = [1; 32];
const NEW: [u8; 32] = [2; 32];

fn signing(keys: MacKeys) -> Framing {
    Framing {
        keys: Some(keys),
        ..Framing::default()
    }
}

#[track_caller]
fn check(bytes: &[u8], framing: &Framing, expected: Result<(), Reject>) {
    assert_eq!(
        Envelope::parse(bytes, &super::expected(), framing).map(|_| ()),
        expected
    );
}

#[test]
fn only_accepted_secrets_are_believed() {
    let old = signing(MacKeys::new(OLD).unwrap());
    let new = signing(MacKeys::new(NEW).unwrap());
    let rotating = signing(MacKeys::new(NEW).unwrap().accept(OLD).unwrap());
    let none = Framing::default();
    let by_old = value(b"7").encode(KEY, &old).unwrap();
    let by_new = value(b"7").encode(KEY, &rotating).unwrap();
    let unsigned = value(b"7").encode(KEY, &none).unwrap();

    check(&by_old, &old, Ok(()));
    check(&by_old, &rotating, Ok(()));
    check(&by_old, &new, Err(Reject::UnknownMacKey));
    check(&by_new, &new, Ok(()));
    check(&by_new, &rotating, Ok(()));
    check(&by_new, &old, Err(Reject::UnknownMacKey));
    check(&unsigned, &new, Err(Reject::Unsigned));
    // Who knows no secret reads everything, so that signing can be introduced node by node.
    check(&by_old, &none, Ok(()));
}

#[test]
fn a_changed_entry_with_a_right_checksum_is_noticed() {
    let framing = signing(MacKeys::new(OLD).unwrap());
    let bytes = value(br#"{"admin":false}"#).encode(KEY, &framing).unwrap();
    for bit in COVERED_FROM * 8..(bytes.len() - CHECKSUM_BYTES) * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let changed = reseal(changed);
        match Envelope::parse(&changed, &expected(), &framing) {
            Err(reject) => assert_ne!(reject, Reject::Checksum),
            // Whoever can write can delete.
            Ok(parsed) => assert!(matches!(parsed, Parsed::Tombstone(_)), "bit {bit}"),
        }
    }
}

#[test]
fn a_signature_holds_for_one_key() {
    let framing = signing(MacKeys::new(OLD).unwrap());
    let bytes = value(b"7").encode(KEY, &framing).unwrap();
    let moved = Expected {
        key: b"market:user:8",
        ..expected()
    };
    assert_eq!(
        Envelope::parse(&bytes, &moved, &framing).unwrap_err(),
        Reject::Mac
    );
}

#[test]
fn tombstones_need_no_signature() {
    let framing = signing(MacKeys::new(OLD).unwrap());
    check(
        &encode_tombstone(1, Duration::ZERO, seconds(70)).0,
        &framing,
        Ok(()),
    );
}

#[test]
fn secrets_are_long_enough_and_never_shown() {
    assert!(MacKeys::new([7; 15]).unwrap_err().is_invalid());
    assert!(MacKeys::new([7; 16]).unwrap().accept("short").is_err());
    let shown = format!("{:?}", signing(MacKeys::new("canary-canary-canary").unwrap()));
    assert!(!shown.contains("canary") && !shown.contains("97, 110"), "{shown}");
}
