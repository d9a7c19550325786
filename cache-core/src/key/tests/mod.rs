//! The frozen form of keys: a table of texts, and properties over many arguments.

mod bound;
mod dispatch;
mod golden;
mod injective;

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use proptest::prelude::*;

use super::*;

const PREFIX: Prefix = Prefix::literal("k");

#[test]
fn borrowed_and_owned_keys_are_equal_and_hash_alike() {
    let mut buffer = KeyBuf::new(&PREFIX);
    buffer.part("a b").part(&7);
    let (borrowed, owned) = (buffer.as_key(), PREFIX.key(("a b", 7)));
    let state = std::hash::RandomState::new();
    assert_eq!(borrowed, owned);
    assert_eq!(owned, buffer.finish());
    assert_eq!(state.hash_one(borrowed), state.hash_one(&owned));
    assert_eq!(borrowed.hash_code(), owned.hash_code());
    assert_eq!(
        borrowed.to_key().hash_code(),
        CacheKey::parse(owned.text()).unwrap().hash_code()
    );
    assert_ne!(borrowed, PREFIX.key(("a b", 8)));
}

#[test]
fn keys_work_in_ordinary_maps_and_sort_by_text() {
    let map: HashMap<CacheKey, u32> = [(PREFIX.key(1), 1), (PREFIX.key(2), 2)].into();
    assert_eq!(map.get(&PREFIX.key(2)), Some(&2));
    assert!(PREFIX.key(1) < PREFIX.key(2));
    assert_eq!(PREFIX.key("x").to_string(), "k:x");
    assert_eq!(format!("{:?}", PREFIX.key("x")), "CacheKey(\"k:x\")");
}

#[test]
fn hashes_of_similar_keys_differ_in_their_upper_and_lower_bits() {
    let hashes: Vec<u64> = (0..100_000u32).map(|n| PREFIX.key(n).hash_code()).collect();
    assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());
    for shift in [0, 32, 56] {
        let mut buckets = [0u32; 256];
        for hash in &hashes {
            buckets[(hash >> shift & 255) as usize] += 1;
        }
        // 391 on average with a deviation of 20; a poor hash leaves whole buckets empty.
        assert!(
            buckets.iter().all(|&n| (200..600).contains(&n)),
            "bits from {shift}: {buckets:?}"
        );
    }
}

#[test]
fn prefix_is_one_escaped_part() {
    assert_eq!(CacheKey::build("a:b", 1).unwrap().text(), "a%3Ab:1");
    assert_eq!(CacheKey::build("a:b", 1).unwrap().prefix(), "a%3Ab");
    assert_eq!(
        Prefix::new("billing/invoice.v2").unwrap(),
        Prefix::literal("billing/invoice.v2")
    );
    assert_eq!(PREFIX.key(()).prefix(), "k");
}

#[test]
fn prefixes_out_of_bounds_are_refused() {
    assert_eq!(Prefix::new(""), Err(KeyError::EmptyPrefix));
    assert_eq!(CacheKey::build("", 1), Err(KeyError::EmptyPrefix));
    assert!(Prefix::new(&"x".repeat(MAX_PREFIX_BYTES)).is_ok());
    assert_eq!(
        Prefix::new(&"x".repeat(101)),
        Err(KeyError::PrefixTooLong { bytes: 101 })
    );
    assert_eq!(
        Prefix::new(&"*".repeat(34)),
        Err(KeyError::PrefixTooLong { bytes: 102 })
    );
}

#[test]
#[should_panic(expected = "nest with `/` or `.`")]
fn literal_prefix_with_a_colon_is_refused() {
    let _ = Prefix::literal("users:session");
}

#[test]
fn texts_that_no_key_has_are_not_parsed() {
    let refused = |text: &str| CacheKey::parse(text).unwrap_err();
    assert_eq!(refused(""), KeyError::EmptyPrefix);
    assert_eq!(refused(":7"), KeyError::EmptyPrefix);
    assert_eq!(refused("user:"), KeyError::NotCanonical { position: 5 });
    assert_eq!(refused("user::7"), KeyError::NotCanonical { position: 5 });
    assert_eq!(refused("user:*"), KeyError::NotCanonical { position: 5 });
    assert_eq!(refused("user:7:a b"), KeyError::NotCanonical { position: 7 });
    assert_eq!(refused("user:%3a"), KeyError::NotCanonical { position: 5 });
    assert_eq!(refused("user:%41"), KeyError::NotCanonical { position: 5 });
    assert_eq!(refused("us(er:7"), KeyError::NotCanonical { position: 2 });
    assert_eq!(refused(&"x".repeat(101)), KeyError::PrefixTooLong { bytes: 101 });
    assert_eq!(refused(&"x:".repeat(101)), KeyError::TooLong { bytes: 202 });
}

#[test]
fn errors_say_what_is_wrong() {
    let message = |error: &KeyError| error.to_string();
    assert_eq!(
        message(&KeyError::PrefixTooLong { bytes: 101 }),
        "the key prefix has 101 bytes when escaped, at most 100 are allowed"
    );
    assert_eq!(
        message(&KeyError::TooLong { bytes: 201 }),
        "the key text has 201 bytes, keys have at most 200"
    );
    assert_eq!(
        message(&KeyError::TooDeep),
        "the key part is nested deeper than 64 levels"
    );
    assert_eq!(
        (MAX_PREFIX_BYTES, MAX_KEY_BYTES, MAX_DEPTH),
        (100, 200, 64),
        "the messages name these limits"
    );
}

#[test]
fn failed_serialisation_leaves_the_key_as_it_was() {
    struct Failing;
    impl serde::Serialize for Failing {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut sequence = serializer.serialize_seq(None)?;
            serde::ser::SerializeSeq::serialize_element(&mut sequence, &"x".repeat(300))?;
            Err(serde::ser::Error::custom("no"))
        }
    }
    let mut key = KeyBuf::new(&PREFIX);
    key.part(&1);
    assert_eq!(
        key.canonical(&Failing).unwrap_err(),
        KeyError::Serialize("no".into())
    );
    assert_eq!(
        key.secret_canonical(&Failing).unwrap_err(),
        KeyError::Serialize("no".into())
    );
    key.part(&2);
    assert_eq!(key.as_key().text(), "k:1:2");
    assert_eq!(Canonical::new(&Failing).unwrap_err().as_str(), "serialize");
}

#[test]
fn deep_values_are_refused_before_the_stack_ends() {
    let nested = |depth: usize| (0..depth).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
    assert!(Canonical::new(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(Canonical::new(&nested(MAX_DEPTH + 1)), Err(KeyError::TooDeep));

    #[derive(serde::Serialize)]
    struct Link(Option<Box<Link>>);
    let chain = (0..5_000).fold(Link(None), |link, _| Link(Some(Box::new(link))));
    assert_eq!(Canonical::new(&chain), Err(KeyError::TooDeep));
}

proptest! {
    #[test]
    fn every_key_is_parsed_back(text in any::<String>(), list in any::<Vec<Option<String>>>(), n in any::<i128>()) {
        let key = PREFIX.key((text, list, n));
        let parsed = CacheKey::parse(key.text());
        prop_assert_eq!(parsed.as_ref().map(CacheKey::hash_code), Ok(key.hash_code()));
        prop_assert_eq!(parsed, Ok(key));
    }

    #[test]
    fn parsing_never_panics(text in ".{0,60}|[a%:(]{0,12}") {
        if let Ok(key) = CacheKey::parse(&text) {
            prop_assert_eq!(key.text(), text);
        }
    }

    #[test]
    fn no_argument_brings_a_reserved_character_into_a_key(text in any::<String>(), tail in any::<[char; 3]>()) {
        let key = PREFIX.key((&text, tail));
        prop_assert_eq!(key.text().matches(':').count(), 2);
        let harmful = |c: char| "{}*?[]\\^".contains(c) || c.is_control() || c.is_whitespace();
        prop_assert!(!key.text().contains(harmful), "{}", key);
    }
}
