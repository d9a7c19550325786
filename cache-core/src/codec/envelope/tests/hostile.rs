//! Bytes that were damaged, made up or meant to hurt.

use super::*;

/// One entry of each kind.
fn samples() -> Vec<Vec<u8>> {
    let framing = Framing::default();
    vec![
        value(br#"{"name":"Ada"}"#).encode(KEY, &framing).unwrap(),
        envelope(Contents::Negative).encode(KEY, &framing).unwrap(),
        envelope(Contents::Failure("timeout"))
            .encode(KEY, &framing)
            .unwrap(),
        encode_tombstone(5, seconds(1), seconds(70)).0,
    ]
}

/// Reads everything there is to read.
fn exhaust(bytes: &[u8]) -> Result<(), Reject> {
    if let Parsed::Found(found) = parse(bytes)? {
        found.marks.clone().count();
        if let Content::Value(payload) = found.content {
            payload.bytes()?;
        }
    }
    Ok(())
}

/// B0.6
#[test]
fn every_single_flipped_bit_is_noticed() {
    for sample in samples() {
        for bit in 0..sample.len() * 8 {
            let mut flipped = sample.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = parse(&flipped);
            match bit / 8 {
                byte if MAGIC_AT.contains(&byte) => assert_eq!(read.unwrap_err(), Reject::Foreign),
                // Another version is another entry: scripts put one in without knowing the rest.
                byte if VERSION_AT.contains(&byte) => {
                    assert_ne!(read.unwrap().version(), parse(&sample).unwrap().version());
                }
                21 if flipped[21] > 1 => {
                    assert!(matches!(read.unwrap_err(), Reject::NewerFormat { .. }));
                }
                _ => assert_eq!(read.unwrap_err(), Reject::Checksum, "bit {bit}"),
            }
        }
    }
}

#[test]
fn every_truncation_and_every_addition_is_noticed() {
    for sample in samples() {
        for length in 0..sample.len() {
            let reject = parse(&sample[..length]).unwrap_err();
            let expected: &[Reject] = match length {
                0..20 => &[Reject::Foreign],
                20..40 => &[Reject::Truncated],
                _ => &[Reject::Truncated, Reject::Checksum],
            };
            assert!(expected.contains(&reject), "{length} bytes: {reject:?}");
        }
        for more in [&[0][..], &[0; 8], &sample] {
            assert_eq!(parse(&[&sample, more].concat()).unwrap_err(), Reject::Checksum);
        }
        assert_eq!(parse(&[&[0], &sample[..]].concat()).unwrap_err(), Reject::Foreign);
    }
}

#[test]
fn what_is_not_ours_has_no_version() {
    for foreign in [
        &b""[..],
        b"OK",
        b"{\"json\": true}",
        &[0; 100],
        &MAGIC,
        &[0xF5; 64],
    ] {
        assert_eq!(parse(foreign).unwrap_err(), Reject::Foreign);
        assert_eq!(version_of(foreign), None);
    }
    assert!(
        std::str::from_utf8(MAGIC.as_slice()).is_err(),
        "no text begins like an entry"
    );
}

/// B0.3
#[test]
fn damaged_entries_keep_their_version() {
    let mut bytes = value(b"7").encode(KEY, &Framing::default()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(parse(&bytes).unwrap_err(), Reject::Checksum);
    assert_eq!(version_of(&bytes), Some(value(b"").version));
}

/// B0.6, B17.1
#[test]
fn a_later_format_is_told_apart() {
    let mut bytes = value(b"7").encode(KEY, &Framing::default()).unwrap();
    bytes[21] = 2;
    let Err(Reject::NewerFormat { fresh_for }) = parse(&bytes) else {
        panic!("it is a later one")
    };
    bytes[21] = 1;
    let known = found(&bytes).soft_remaining;
    assert!(!fresh_for.is_zero());
    assert_eq!(fresh_for, known, "told without knowing the rest");
    bytes[21] = 0;
    assert_eq!(parse(&reseal(bytes)).unwrap_err(), Reject::Malformed);
}

/// Each change is followed by a right checksum: what someone could write on purpose.
#[test]
fn contradictions_are_malformed() {
    let value = value(b"7").encode(KEY, &Framing::default()).unwrap();
    let tombstone = encode_tombstone(5, seconds(1), seconds(70)).0;
    for (sample, offset, byte) in [
        (&value, 20, b'?'),     // kind
        (&value, 29, 0xFF),     // fresh for less than nothing
        (&value, 30, 0x02),     // unknown flag
        (&value, 30, 0x01),     // signed, without a signature's worth of bytes behind the fields
        (&value, 20, b'n'),     // a negative entry with a payload
        (&value, 20, b't'),     // a tombstone with more fields
        (&tombstone, 20, b'v'), // a value without them
        (&tombstone, 29, 0xFF), // held for less than nothing
    ] {
        let mut changed = sample.clone();
        changed[offset] = byte;
        let reject = exhaust(&reseal(changed)).unwrap_err();
        let expected = [Reject::Malformed, Reject::KeyMismatch];
        assert!(expected.contains(&reject), "{byte:#x} at {offset}: {reject:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = exhaust(&bytes);
        let ours = [&MAGIC[..], &bytes].concat();
        prop_assert!(parse(&ours).is_err());
        let sealed = reseal([&MAGIC[..], &[0; 16], &bytes, &[0; 8]].concat());
        let _ = exhaust(&sealed);
    }

    /// Behind the checksum's back, field by field: nothing panics, whatever is declared.
    #[test]
    fn resealed_changes_are_read_or_refused(
        which in 0..4_usize,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = samples().swap_remove(which);
        for (at, byte) in changes {
            let at = COVERED_FROM + at.index(bytes.len() - COVERED_FROM - CHECKSUM_BYTES);
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(COVERED_FROM + CHECKSUM_BYTES + cut.index(bytes.len() - COVERED_FROM - CHECKSUM_BYTES));
        }
        let _ = exhaust(&reseal(bytes));
    }
}

/// A value's frame around any stored bytes, with any declared length.
#[cfg(any(feature = "lz4", feature = "zstd"))]
fn bomb(compression: u8, length: u64, stored: &[u8]) -> Vec<u8> {
    use super::super::bytes::put_varint;

    let mut plain = value(b"");
    plain.marks = &[];
    plain.delta = Duration::ZERO;
    let mut bytes = plain.encode(KEY, &Framing::default()).unwrap();
    // The last fields are the length and the number of marks, a byte each, before the checksum.
    bytes.truncate(bytes.len() - CHECKSUM_BYTES - 2);
    bytes[31 + 4 + 4 + 1] = compression;
    put_varint(length, &mut bytes);
    bytes.push(0);
    bytes.extend_from_slice(stored);
    reseal([&bytes[..], &[0; CHECKSUM_BYTES]].concat())
}

#[cfg(feature = "lz4")]
#[test]
fn an_lz4_bomb_is_refused() {
    let gibibyte = 1 << 30;
    let stored = lz4_flex::block::compress(&vec![0; 16 << 20]);
    assert!(stored.len() < 70_000);
    assert_eq!(
        exhaust(&bomb(1, gibibyte, &stored)).unwrap_err(),
        Reject::TooLarge
    );
    // Within the limit, but not what is in there, or more than so few bytes can stand for.
    for length in [0, 1, 100, 8 << 20] {
        assert_eq!(
            exhaust(&bomb(1, length, &stored)).unwrap_err(),
            Reject::Decompress
        );
    }
    assert_eq!(
        exhaust(&bomb(1, 8 << 20, &stored[..20])).unwrap_err(),
        Reject::Decompress
    );
    let fits = lz4_flex::block::compress(&vec![0; 8 << 20]);
    assert_eq!(exhaust(&bomb(1, 8 << 20, &fits)), Ok(()));
    assert_eq!(
        exhaust(&bomb(1, (8 << 20) - 1, &fits)).unwrap_err(),
        Reject::Decompress
    );
}

#[cfg(feature = "zstd")]
#[test]
fn a_zstd_bomb_is_refused() {
    use std::io::Write;

    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    for _ in 0..1_024 {
        encoder.write_all(&[0; 1 << 20]).unwrap();
    }
    let stored = encoder.finish().unwrap();
    assert!(stored.len() < 70_000);
    assert_eq!(exhaust(&bomb(2, 1 << 30, &stored)).unwrap_err(), Reject::TooLarge);
    for length in [0, 1, 100, 8 << 20] {
        assert_eq!(
            exhaust(&bomb(2, length, &stored)).unwrap_err(),
            Reject::Decompress
        );
    }
    assert_eq!(
        exhaust(&bomb(2, 8 << 20, &stored[..stored.len() / 2])).unwrap_err(),
        Reject::Decompress
    );
}

/// A frame may ask its reader for gigabytes of history; ours grants 8 MiB.
#[cfg(feature = "zstd")]
#[test]
fn a_zstd_frame_with_a_large_window_is_refused() {
    use std::io::Write;

    for (window_log, accepted) in [(23, true), (24, false), (27, false)] {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window_log).unwrap();
        // Not told how much is to come, the encoder writes down the window that it was given.
        let payload = vec![7; 1_000];
        encoder.write_all(&payload).unwrap();
        encoder.flush().unwrap();
        let stored = encoder.finish().unwrap();
        let read = exhaust(&bomb(2, 1_000, &stored));
        assert_eq!(read.is_ok(), accepted, "{window_log}: {read:?}");
    }
}

#[cfg(any(feature = "lz4", feature = "zstd"))]
proptest! {
    #[test]
    fn random_compressed_bytes_are_refused_or_of_the_declared_length(
        compression in 0..4_u8,
        length in 0..100_000_u64,
        stored in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = bomb(compression, length, &stored);
        let Ok(Parsed::Found(Found { content: Content::Value(payload), .. })) = parse(&bytes) else {
            return Ok(());
        };
        if let Ok(payload) = payload.bytes() {
            prop_assert_eq!(payload.len() as u64, length);
        }
    }
}
