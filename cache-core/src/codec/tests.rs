use std::collections::BTreeMap;
use std::fmt::Debug;

use proptest::prelude::*;
use serde::Deserialize;
use serde::ser::{self, Serializer};

use super::error::Undecodable;
use super::*;

const CODECS: &[Codec] = &[
    Codec::Json,
    #[cfg(feature = "msgpack")]
    Codec::MessagePack,
    Codec::Postcard,
];

/// One of everything that values are made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    name: String,
    number: f64,
    count: i64,
    wide: u128,
    flag: Option<bool>,
    list: Vec<u32>,
    map: BTreeMap<String, (u8, char)>,
    kind: Kind,
    nested: Option<Box<Sample>>,
    unit: (),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    Wrapped(i32),
    Pair(u8, String),
    Named { at: u64 },
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Plain),
        any::<i32>().prop_map(Kind::Wrapped),
        any::<(u8, String)>().prop_map(|(first, second)| Kind::Pair(first, second)),
        any::<u64>().prop_map(|at| Kind::Named { at }),
    ]
}

fn sample() -> impl Strategy<Value = Sample> {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};

    let plain = (
        any::<(String, i64, u128, Option<bool>, Vec<u32>)>(),
        POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO,
        proptest::collection::btree_map(any::<String>(), any::<(u8, char)>(), 0..4),
        kind(),
    )
        .prop_map(|((name, count, wide, flag, list), number, map, kind)| Sample {
            name,
            number,
            count,
            wide,
            flag,
            list,
            map,
            kind,
            nested: None,
            unit: (),
        });
    plain.prop_recursive(4, 8, 1, |inner| {
        (inner.clone(), inner).prop_map(|(mut outer, inner)| {
            outer.nested = Some(Box::new(inner));
            outer
        })
    })
}

fn encoded<T: Serialize>(codec: Codec, value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec.encode(value, &mut bytes).unwrap();
    bytes
}

#[track_caller]
fn refusal<T: DeserializeOwned + Debug>(codec: Codec, bytes: &[u8]) -> Undecodable {
    match codec.decode::<T>(bytes) {
        Err(CodecError::Decode { why, .. }) => why,
        other => panic!("{codec}: {other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn every_codec_reads_what_it_wrote_and_nothing_shorter_or_longer(value in sample(), cut: prop::sample::Index) {
        let coding = Coding::<Sample>::of();
        for &codec in CODECS {
            let mut bytes = b"before".to_vec();
            (coding.encode)(&value, codec, &mut bytes).unwrap();
            prop_assert!(bytes.starts_with(b"before"));
            let bytes = &bytes[6..];
            let back = (coding.decode)(bytes, codec).unwrap();
            prop_assert_eq!(back.number.to_bits(), value.number.to_bits());
            prop_assert_eq!(&back, &value);

            prop_assert!(codec.decode::<Sample>(&bytes[..cut.index(bytes.len())]).is_err());
            let longer = [bytes, b"0"].concat();
            let refused = codec.decode::<Sample>(&longer);
            prop_assert!(matches!(refused, Err(CodecError::Decode { .. })), "{:?}", refused);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for &codec in CODECS {
            let _ = codec.decode::<Sample>(&bytes);
            let _ = codec.decode::<Tree>(&bytes);
            let _ = codec.decode::<Vec<Option<Vec<()>>>>(&bytes);
            let _ = codec.decode::<BTreeMap<String, Kind>>(&bytes);
        }
    }
}

#[test]
fn leftover_bytes_are_told_apart() {
    for &codec in CODECS {
        let value = encoded(codec, &"x");
        for more in [&[0xC0][..], &[0x91], &[0xA5], b"7", &[0xFF, 0xFF]] {
            let why = refusal::<String>(codec, &[&value, more].concat());
            assert_eq!(why, Undecodable::Leftover, "{codec}");
        }
    }
}

#[test]
fn refusals_tell_why() {
    assert_eq!(refusal::<u8>(Codec::Json, b"\"x\""), Undecodable::Mismatch);
    assert_eq!(refusal::<u8>(Codec::Json, b""), Undecodable::EndsEarly);
    assert_eq!(refusal::<u8>(Codec::Json, b"?"), Undecodable::Syntax);
    assert_eq!(
        refusal::<String>(Codec::Postcard, &[3, b'a']),
        Undecodable::EndsEarly
    );
    assert_eq!(refusal::<bool>(Codec::Postcard, &[7]), Undecodable::Syntax);
    assert_eq!(refusal::<Kind>(Codec::Postcard, &[9]), Undecodable::Mismatch);
    #[cfg(feature = "msgpack")]
    {
        assert_eq!(
            refusal::<u8>(Codec::MessagePack, &[0xA1, b'x']),
            Undecodable::Mismatch
        );
        assert_eq!(refusal::<u8>(Codec::MessagePack, &[]), Undecodable::EndsEarly);
    }
}

#[test]
fn a_refusal_does_not_quote_the_bytes() {
    for &codec in CODECS {
        let bytes = encoded(codec, &"canary-9f31");
        for error in [
            codec.decode::<u64>(&bytes).unwrap_err(),
            codec.decode::<Kind>(&bytes).unwrap_err(),
        ] {
            let told = format!("{error} {error:?}");
            assert!(!told.contains("canary"), "{told}");
            assert!(std::error::Error::source(&error).is_none());
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Branch(Vec<Tree>),
    Next(Box<Tree>),
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "never comes to be")]
struct Endless(Option<Box<Endless>>);

fn chain(length: usize) -> Tree {
    (0..length).fold(Tree::Leaf, |tree, _| Tree::Next(Box::new(tree)))
}

#[test]
fn nesting_is_limited() {
    for &codec in CODECS {
        assert!(
            codec.decode::<Tree>(&encoded(codec, &chain(100))).is_ok(),
            "{codec}"
        );
        let deep = encoded(codec, &chain(400));
        let why = refusal::<Tree>(codec, &deep);
        assert!(
            matches!(why, Undecodable::TooDeep | Undecodable::Syntax),
            "{codec}: {why:?}"
        );
    }
    // Consumes nothing at each level, so that only counting ends it.
    assert_eq!(refusal::<Endless>(Codec::Json, b"1"), Undecodable::TooDeep);
    // A variant's number, again and again: what a parser without a limit answers with a stack overflow.
    assert_eq!(
        refusal::<Tree>(Codec::Postcard, &[2; 1 << 20]),
        Undecodable::TooDeep
    );
    assert!(
        Codec::Json
            .decode::<Tree>("[".repeat(1 << 20).as_bytes())
            .is_err()
    );
    assert!(
        Codec::Json
            .decode::<serde_json::Value>("[".repeat(1 << 20).as_bytes())
            .is_err()
    );
    #[cfg(feature = "msgpack")]
    assert_eq!(
        refusal::<serde_json::Value>(Codec::MessagePack, &[0x91; 1 << 20]),
        Undecodable::TooDeep
    );
}

#[test]
fn a_declared_length_is_not_believed() {
    // 2^60 elements, in nine bytes.
    let length = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10];
    assert_eq!(refusal::<Vec<()>>(Codec::Postcard, &length), Undecodable::TooMany);
    assert_eq!(
        refusal::<Vec<u64>>(Codec::Postcard, &length),
        Undecodable::EndsEarly
    );
    assert_eq!(
        refusal::<String>(Codec::Postcard, &length),
        Undecodable::EndsEarly
    );
    assert_eq!(
        refusal::<BTreeMap<(), ()>>(Codec::Postcard, &length),
        Undecodable::TooMany
    );
    #[cfg(feature = "msgpack")]
    for head in [0xC6, 0xDB, 0xDD, 0xDF] {
        let bytes = [head, 0xFF, 0xFF, 0xFF, 0xFF];
        assert!(Codec::MessagePack.decode::<Vec<u64>>(&bytes).is_err());
        assert!(Codec::MessagePack.decode::<String>(&bytes).is_err());
        assert!(Codec::MessagePack.decode::<BTreeMap<u8, u8>>(&bytes).is_err());
    }
}

#[test]
fn large_values_of_small_parts_are_within_the_limits() {
    let value: Vec<Vec<Option<(u8,)>>> = vec![vec![Some((1,)); 100]; 5_000];
    for &codec in CODECS {
        let bytes = encoded(codec, &value);
        assert_eq!(
            codec.decode::<Vec<Vec<Option<(u8,)>>>>(&bytes).unwrap(),
            value,
            "{codec}"
        );
    }
    let units = vec![(); 100_000];
    assert_eq!(
        Codec::Postcard
            .decode::<Vec<()>>(&encoded(Codec::Postcard, &units))
            .unwrap()
            .len(),
        100_000
    );
}

/// Writes something and then fails.
struct Failing;

impl Serialize for Failing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use ser::SerializeSeq;

        let mut list = serializer.serialize_seq(Some(2))?;
        list.serialize_element("part")?;
        Err(ser::Error::custom("this value has no form"))
    }
}

#[test]
fn what_cannot_be_encoded_leaves_nothing_behind() {
    for &codec in CODECS {
        let mut out = b"before".to_vec();
        let error = codec.encode(&Failing, &mut out).unwrap_err();
        assert_eq!(error.as_str(), "encode");
        assert_eq!(out, b"before", "{codec}");
    }
    let error = Codec::Json
        .encode(&BTreeMap::from([((1, 2), 3)]), &mut Vec::new())
        .unwrap_err();
    assert!(error.to_string().contains("key must be a string"), "{error}");
}

#[test]
fn codec_numbers_are_frozen() {
    for &codec in CODECS {
        assert_eq!(Codec::from_id(codec.id()), Some(codec));
    }
    assert_eq!((Codec::Json.id(), Codec::Postcard.id()), (1, 3));
    for id in [0, 4, 255] {
        assert_eq!(Codec::from_id(id), None);
    }
}
