//! Entries as earlier releases wrote them, in `tests/golden/`: hexadecimal, 32 bytes a line.
//!
//! They must stay readable for as long as such entries may stand in someone's Redis, so a file that was released is
//! never rewritten. A missing one is written by `cargo test -p cache-core --all-features -- --ignored golden`.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
    score: f64,
    roles: Vec<String>,
}

fn user() -> User {
    User {
        id: 7,
        name: "Zoë".to_owned(),
        score: 0.1 + 0.2,
        roles: vec!["reader".to_owned(); 12],
    }
}

/// One file.
struct Golden {
    name: String,
    framing: Framing,
    content: Golds,
}

enum Golds {
    Value(Codec),
    Negative,
    Failure,
    Tombstone,
    HeldTombstone,
}

impl Golden {
    fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        let contents = match self.content {
            Golds::Value(codec) => {
                codec.encode(&user(), &mut payload).unwrap();
                Contents::Value {
                    codec,
                    payload: &payload,
                }
            }
            Golds::Negative => Contents::Negative,
            Golds::Failure => Contents::Failure("timeout"),
            Golds::Tombstone => return encode_tombstone(TOMBSTONE, Duration::ZERO, seconds(70)).0,
            Golds::HeldTombstone => return encode_tombstone(TOMBSTONE, seconds(10), seconds(70)).0,
        };
        envelope(contents).encode(KEY, &self.framing).unwrap()
    }

    #[track_caller]
    fn check(&self, bytes: &[u8]) {
        let name = &self.name;
        let expected = Expected {
            pttl: minutes(58),
            ..expected()
        };
        let parsed = Envelope::parse(bytes, &expected, &self.framing);
        let found = match (parsed, &self.content) {
            (Ok(Parsed::Tombstone(tombstone)), Golds::Tombstone) => {
                assert_eq!(
                    (tombstone.version, tombstone.hold_remaining),
                    (TOMBSTONE, Duration::ZERO)
                );
                return;
            }
            (Ok(Parsed::Tombstone(tombstone)), Golds::HeldTombstone) => {
                assert_eq!(
                    (tombstone.version, tombstone.hold_remaining),
                    (TOMBSTONE, seconds(10))
                );
                return;
            }
            (Ok(Parsed::Found(found)), _) => found,
            (other, _) => panic!("{name}: {other:?}"),
        };
        assert_eq!(found.version, envelope(Contents::Negative).version, "{name}");
        assert_eq!(
            (found.soft_remaining, found.hard_remaining),
            (minutes(3), minutes(58)),
            "{name}"
        );
        assert_eq!(
            (found.age, found.delta),
            (minutes(2), Duration::from_micros(48_127)),
            "{name}"
        );
        assert!(found.marks.clone().eq(MARKS.iter().copied()), "{name}");
        match (&self.content, found.content) {
            (Golds::Value(codec), Content::Value(payload)) => {
                assert_eq!(payload.codec, *codec, "{name}");
                let value: User = codec.decode(&payload.bytes().unwrap()).unwrap();
                assert_eq!(value, user(), "{name}");
            }
            (Golds::Negative, Content::Negative) => {}
            (Golds::Failure, Content::Failure(error)) => assert_eq!(error, "timeout", "{name}"),
            (_, other) => panic!("{name}: {other:?}"),
        }
    }

    fn path(&self) -> PathBuf {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        folder.join(format!("{}.hex", self.name))
    }
}

/// Those that this build's features can read.
fn goldens() -> Vec<Golden> {
    let golden = |name: &str, content| Golden {
        name: format!("format1-{name}"),
        framing: Framing::default(),
        content,
    };
    let mut goldens = vec![
        golden("negative", Golds::Negative),
        golden("failure", Golds::Failure),
        golden("tombstone", Golds::Tombstone),
        golden("tombstone-held", Golds::HeldTombstone),
    ];
    let compressions = [
        ("plain", Compression::none()),
        #[cfg(feature = "lz4")]
        ("lz4", Compression::lz4().above(0)),
        #[cfg(feature = "zstd")]
        ("zstd", Compression::zstd(3).above(0)),
    ];
    for codec in [
        Codec::Json,
        #[cfg(feature = "msgpack")]
        Codec::MessagePack,
        Codec::Postcard,
    ] {
        for (name, compression) in compressions {
            let mut value = golden(&format!("value-{codec}-{name}"), Golds::Value(codec));
            value.framing.compression = compression;
            goldens.push(value);
        }
    }
    #[cfg(feature = "mac")]
    for (name, content) in [
        ("value-json-signed", Golds::Value(Codec::Json)),
        ("negative-signed", Golds::Negative),
    ] {
        let mut signed = golden(name, content);
        signed.framing.keys = Some(crate::codec::MacKeys::new("a secret for the golden files").unwrap());
        goldens.push(signed);
    }
    goldens
}

#[test]
fn every_golden_file_is_still_read() {
    for golden in goldens() {
        golden.check(&from_hex(&fs::read_to_string(golden.path()).unwrap()));
    }
}

/// Compressors may find better ways; everything else is the same to the byte, so that neighbouring releases do not
/// even differ in what they write.
#[test]
fn what_is_written_now_is_what_was_written_then() {
    for golden in goldens() {
        if golden.framing.compression == Compression::none() {
            let text = fs::read_to_string(golden.path()).unwrap();
            assert_eq!(to_hex(&golden.encode()), text, "{}", golden.name);
        }
    }
}

#[test]
fn no_golden_file_is_forgotten() {
    let names: Vec<_> = goldens().into_iter().map(|golden| golden.path()).collect();
    let folder = names[0].parent().unwrap();
    let complete = cfg!(all(
        feature = "lz4",
        feature = "mac",
        feature = "msgpack",
        feature = "zstd"
    ));
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        assert!(
            !complete || names.contains(&path),
            "{} is not read by a test",
            path.display()
        );
    }
}

#[test]
#[ignore = "writes the golden files that are missing"]
fn golden_files_that_are_missing() {
    for golden in goldens() {
        if !golden.path().exists() {
            fs::write(golden.path(), to_hex(&golden.encode())).unwrap();
        }
    }
}

const TOMBSTONE: u128 = 0xFEDC_BA98_7654_3210_0123_4567_89AB_CDEF;

fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}
