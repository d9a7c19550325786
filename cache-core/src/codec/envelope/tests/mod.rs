use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::frame::{CHECKSUM_BYTES, COVERED_FROM, checksum};
use super::*;
use crate::codec::{Codec, Compression};
use crate::time::{hours, minutes, seconds};

mod golden;
mod hostile;
#[cfg(feature = "mac")]
mod signed;
mod times;

const KEY: &[u8] = b"market:user:7";

const MARKS: &[Mark<'static>] = &[
    Mark {
        kind: MarkKind::Namespace,
        name: "",
        hard: 1,
        soft: 2,
    },
    Mark {
        kind: MarkKind::Prefix,
        name: "user",
        hard: 3,
        soft: 4,
    },
    Mark {
        kind: MarkKind::Tag,
        name: "team:rød",
        hard: u64::MAX,
        soft: 0x0123_4567_89AB_CDEF,
    },
];

fn envelope(contents: Contents<'_>) -> Envelope<'_> {
    Envelope {
        version: 0x0011_2233_4455_6677_8899_AABB_CCDD_EEFF,
        schema: 3,
        lifetimes: Lifetimes::new(minutes(5), hours(1), seconds(70)),
        delta: Duration::from_micros(48_127),
        marks: MARKS,
        contents,
    }
}

fn value(payload: &[u8]) -> Envelope<'_> {
    envelope(Contents::Value {
        codec: Codec::Json,
        payload,
    })
}

fn expected() -> Expected<'static> {
    Expected {
        key: KEY,
        schema: 3,
        pttl: hours(1),
    }
}

fn parse<'a>(bytes: &'a [u8]) -> Result<Parsed<'a>, Reject> {
    Envelope::parse(bytes, &expected(), &Framing::default())
}

#[track_caller]
fn found<'a>(bytes: &'a [u8]) -> Found<'a> {
    match parse(bytes) {
        Ok(Parsed::Found(found)) => found,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn payload(found: &Found<'_>) -> Vec<u8> {
    match found.content {
        Content::Value(payload) => Payload::bytes(&payload).unwrap().into_owned(),
        other => panic!("{other:?}"),
    }
}

/// Puts a right checksum behind what was changed.
fn reseal(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - CHECKSUM_BYTES);
    let sum = checksum(&bytes[COVERED_FROM..]);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

fn compressions() -> Vec<Compression> {
    vec![
        Compression::none(),
        #[cfg(feature = "lz4")]
        Compression::lz4().above(0),
        #[cfg(feature = "zstd")]
        Compression::zstd(1).above(0),
        #[cfg(feature = "zstd")]
        Compression::zstd(99).above(100),
    ]
}

fn mark() -> impl Strategy<Value = (u8, String, u64, u64)> {
    (0..3_u8, "\\PC{0,20}", any::<u64>(), any::<u64>())
}

proptest! {
    /// B0.4
    #[test]
    fn everything_that_is_written_is_read(
        version: u128,
        schema: u32,
        ttls in (0..=u64::MAX / 4, 0..=u64::MAX / 4, 0..=u64::MAX / 4),
        delta: u64,
        marks in proptest::collection::vec(mark(), 0..70),
        payload in proptest::collection::vec(0..4_u8, 0..3_000),
        key in proptest::collection::vec(any::<u8>(), 0..40),
        pttl: u64,
    ) {
        let names = marks.clone();
        let marks: Vec<Mark<'_>> = names
            .iter()
            .map(|(kind, name, hard, soft)| Mark {
                kind: [MarkKind::Namespace, MarkKind::Prefix, MarkKind::Tag][usize::from(*kind)],
                name,
                hard: *hard,
                soft: *soft,
            })
            .collect();
        let (soft, hard, window) = ttls;
        let (soft, hard) = (soft.min(hard), hard);
        let lifetimes = Lifetimes::new(
            Duration::from_millis(soft),
            Duration::from_millis(hard),
            Duration::from_millis(window),
        );
        let envelope = Envelope {
            version,
            schema,
            lifetimes,
            delta: Duration::from_micros(delta),
            marks: &marks,
            contents: Contents::Value { codec: Codec::Postcard, payload: &payload },
        };
        let expected = Expected { key: &key, schema, pttl: Duration::from_millis(pttl) };
        for compression in compressions() {
            let framing = Framing { compression, ..Framing::default() };
            let bytes = envelope.encode(&key, &framing).unwrap();
            prop_assert_eq!(version_of(&bytes), Some(version));
            prop_assert_eq!(&bytes[VERSION_AT], &version_bytes(version));
            let Ok(Parsed::Found(found)) = Envelope::parse(&bytes, &expected, &Framing::default()) else {
                return Err(TestCaseError::fail("not found"));
            };
            prop_assert_eq!(found.version, version);
            prop_assert_eq!(found.lifetimes, lifetimes);
            prop_assert_eq!(found.delta, envelope.delta);
            prop_assert_eq!(Marks::collect::<Vec<_>>(found.marks), marks.clone());
            prop_assert!(found.soft_remaining <= found.hard_remaining);
            prop_assert!(found.soft_remaining <= lifetimes.soft() && found.hard_remaining <= lifetimes.hard());
            let Content::Value(stored) = found.content else {
                return Err(TestCaseError::fail("no value"));
            };
            prop_assert_eq!(stored.codec, Codec::Postcard);
            prop_assert_eq!(stored.bytes().unwrap().into_owned(), payload.clone());
        }
    }
}

#[test]
fn negative_entries_and_failures_carry_no_value() {
    let bytes = envelope(Contents::Negative)
        .encode(KEY, &Framing::default())
        .unwrap();
    assert_eq!(found(&bytes).content, Content::Negative);
    let bytes = envelope(Contents::Failure("timeout"))
        .encode(KEY, &Framing::default())
        .unwrap();
    assert_eq!(found(&bytes).content, Content::Failure("timeout"));
    assert_eq!(found(&bytes).marks.count(), 3);
}

#[test]
fn an_entry_of_a_small_value_costs_little() {
    let mut small = value(b"7");
    small.marks = &MARKS[..2];
    let bytes = small.encode(KEY, &Framing::default()).unwrap();
    assert!(bytes.len() <= 110, "{}", bytes.len());
    assert!(encode_tombstone(1, Duration::ZERO, seconds(70)).0.len() <= 44);
}

#[test]
fn compression_is_for_values_that_are_long_and_shrink() {
    for compression in compressions().into_iter().skip(1) {
        let framing = Framing {
            compression: compression.above(1_000),
            ..Framing::default()
        };
        let length = |payload: &[u8]| {
            let bytes = value(payload).encode(KEY, &framing).unwrap();
            assert_eq!(self::payload(&found(&bytes)), payload);
            bytes.len()
        };
        assert!(length(&[7; 1_000]) > 1_000, "at the threshold");
        assert!(length(&[7; 1_001]) < 300);
        let noise: Vec<u8> = (0..4_000_u64)
            .map(|n| (checksum(&n.to_le_bytes()) >> 7) as u8)
            .collect();
        assert!(length(&noise) > 4_000, "what does not shrink stays as it is");
    }
}

#[test]
fn too_long_a_payload_is_neither_written_nor_read() {
    let framing = Framing {
        max_payload: 100,
        ..Framing::default()
    };
    let refused = value(&[7; 101]).encode(KEY, &framing).unwrap_err();
    assert_eq!(refused.as_str(), "too_large");
    let bytes = value(&[7; 101]).encode(KEY, &Framing::default()).unwrap();
    let read = Envelope::parse(&bytes, &expected(), &framing);
    assert_eq!(read.unwrap_err(), Reject::TooLarge);
    assert!(value(&[7; 100]).encode(KEY, &framing).is_ok());
}

#[test]
fn an_entry_of_another_key_or_schema_is_refused() {
    let bytes = value(b"7").encode(KEY, &Framing::default()).unwrap();
    let read = |expected: Expected<'_>| Envelope::parse(&bytes, &expected, &Framing::default()).map(|_| ());
    let moved = Expected {
        key: b"market:user:8",
        ..expected()
    };
    assert_eq!(read(moved), Err(Reject::KeyMismatch));
    assert_eq!(
        read(Expected {
            schema: 4,
            ..expected()
        }),
        Err(Reject::OlderSchema)
    );
    let newer = Expected {
        schema: 2,
        pttl: minutes(57),
        ..expected()
    };
    let fresh_for = minutes(2);
    assert_eq!(read(newer), Err(Reject::NewerSchema { fresh_for }));
    assert_eq!(version_of(&bytes), Some(value(b"").version));
}

/// What a build without the feature answers to one that has it, and every build to numbers of the future.
#[test]
fn unknown_codecs_and_compressions_are_refused() {
    let bytes = value(b"7").encode(KEY, &Framing::default()).unwrap();
    // Behind the flags stands the physical TTL, 3,600,000 ms in four bytes, and the schema number.
    let codec = 31 + 4 + 4;
    assert_eq!(bytes[codec], Codec::Json.id());
    for (offset, reject) in [(codec, Reject::Codec), (codec + 1, Reject::Compression)] {
        let mut changed = bytes.clone();
        changed[offset] = 99;
        assert_eq!(parse(&reseal(changed)).unwrap_err(), reject);
    }
}

#[test]
fn every_reason_has_its_own_word() {
    let fresh_for = Duration::ZERO;
    let reasons = [
        Reject::Foreign,
        Reject::Truncated,
        Reject::Checksum,
        Reject::NewerFormat { fresh_for },
        Reject::Malformed,
        Reject::Unsigned,
        Reject::UnknownMacKey,
        Reject::Mac,
        Reject::KeyMismatch,
        Reject::OlderSchema,
        Reject::NewerSchema { fresh_for },
        Reject::Codec,
        Reject::Compression,
        Reject::Decompress,
        Reject::TooLarge,
    ];
    let words: BTreeSet<_> = reasons.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(words.len(), reasons.len());
}

/// Frozen: another function, and everything that stands in the shared tier is invalid at once.
#[test]
fn a_fingerprint_is_xxh3() {
    assert_eq!(fingerprint(b""), 0x2D06_8005_38D3_94C2);
    assert_ne!(fingerprint(b"c:1"), fingerprint(b"c:2"));
}

#[test]
fn a_tombstone_fits_every_key_and_takes_any_version() {
    let (mut bytes, px) = encode_tombstone(1, seconds(10), seconds(70));
    assert_eq!(px, 70_000);
    bytes[VERSION_AT].copy_from_slice(&version_bytes(2));
    let expected = Expected {
        key: b"another",
        schema: 9,
        pttl: seconds(65),
    };
    match Envelope::parse(&bytes, &expected, &Framing::default()) {
        Ok(Parsed::Tombstone(tombstone)) => {
            let expected = Tombstone {
                version: 2,
                hold_remaining: seconds(5),
            };
            assert_eq!(tombstone, expected);
        }
        other => panic!("{other:?}"),
    }
}
