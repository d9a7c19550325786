//! The length bound, checked against a second, plain reading of the rule in `docs/keys.md`.

use std::collections::HashMap;

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use crate::key::digest::encode;
use crate::key::{KeyBuf, MAX_KEY_BYTES, Prefix, Secret};

/// The key of plain parts, by the letter of the rule.
fn model(prefix: &str, parts: &[String]) -> String {
    let mut written = Vec::new();
    let mut text = prefix.to_owned();
    for (at, part) in parts.iter().enumerate() {
        let fits = |part: &str| text.len() + 1 + part.len() <= MAX_KEY_BYTES;
        let hashed = format!("#{}", sha256(part));
        let piece = if fits(part) { part.clone() } else { hashed.clone() };
        if !fits(&piece) {
            return fold(prefix, &written, &hashed, &parts[at + 1..]);
        }
        text = format!("{text}:{piece}");
        written.push(piece);
    }
    text
}

/// Keeps the longest run of written parts that ends within 154 bytes and folds the others into one digest.
fn fold(prefix: &str, written: &[String], hashed: &str, rest: &[String]) -> String {
    let mut kept = prefix.to_owned();
    let mut count = 0;
    for piece in written {
        if kept.len() + 1 + piece.len() > 154 {
            break;
        }
        kept = format!("{kept}:{piece}");
        count += 1;
    }
    let folded: Vec<&str> = written[count..]
        .iter()
        .map(String::as_str)
        .chain([hashed])
        .chain(rest.iter().map(String::as_str))
        .collect();
    format!("{kept}:##{}", sha256(&format!(":{}", folded.join(":"))))
}

fn sha256(text: &str) -> String {
    String::from_utf8(encode(&Sha256::digest(text)).to_vec()).unwrap()
}

fn build(prefix: &Prefix, parts: &[String]) -> String {
    let mut key = KeyBuf::new(prefix);
    for part in parts {
        key.part(part);
    }
    key.as_key().text().to_owned()
}

#[track_caller]
fn check(prefix: &str, lengths: &[usize]) -> String {
    let parts: Vec<String> = lengths.iter().map(|&length| "x".repeat(length)).collect();
    let text = build(&Prefix::new(prefix).unwrap(), &parts);
    assert_eq!(text, model(prefix, &parts), "{lengths:?}");
    assert!(
        text.len() <= MAX_KEY_BYTES,
        "{} bytes for {lengths:?}",
        text.len()
    );
    assert!(text.starts_with(&format!("{prefix}:")));
    text
}

#[test]
fn key_of_exactly_the_limit_stays_readable() {
    assert_eq!(check("user", &[195]).len(), 200);
    assert!(check("user", &[195]).ends_with("xxx"));
    assert!(check("user", &[196]).starts_with("user:#"));
    assert_eq!(check("user", &[196]).len(), 5 + 44);
}

#[test]
fn long_part_is_replaced_alone() {
    let text = check("user", &[3, 500, 3]);
    assert!(text.starts_with("user:xxx:#") && text.ends_with(":xxx"), "{text}");
}

#[test]
fn too_many_long_parts_share_one_digest() {
    assert_eq!(check("user", &[300; 4]).len(), 4 + 4 * 45);
    let text = check("user", &[300; 5]);
    assert!(text.contains(":##") && text.len() == 4 + 3 * 45 + 46, "{text}");
    assert_ne!(check("user", &[300; 6]), text);
    assert_ne!(check("user", &[300, 300, 300, 300, 301]), text);
    assert_ne!(check("user", &[300, 300, 300, 301, 300]), text);
}

#[test]
fn early_fold_keeps_only_what_leaves_room() {
    let text = check(&"p".repeat(100), &[60, 300, 1, 1]);
    assert_eq!(text.matches(':').count(), 1, "{text}");
    assert_ne!(text, check(&"p".repeat(100), &[60, 300, 1, 1, 1]));
}

#[test]
fn lengths_around_every_limit_neither_exceed_the_bound_nor_collide() {
    let lengths = [
        0, 1, 43, 44, 45, 107, 108, 109, 152, 153, 154, 155, 198, 199, 200, 1000,
    ];
    let mut seen = HashMap::new();
    for &a in &lengths {
        for &b in &lengths {
            for &c in &lengths {
                // An empty text would be written `'`; the model takes texts as they are.
                let parts = [a.max(1), b.max(1), c.max(1), 1][..].to_vec();
                let text = check("k", &parts);
                if let Some(other) = seen.insert(text, parts.clone()) {
                    assert_eq!(other, parts);
                }
            }
        }
    }
}

#[test]
fn secrets_are_digests_wherever_they_stand_and_however_long_they_are() {
    let prefix = Prefix::literal("s");
    let digest = |text: &str| format!("#{}", sha256(text));
    for secret in ["t".to_owned(), "t".repeat(150), "t".repeat(900)] {
        let expected = digest(&secret);
        assert_eq!(prefix.key((Secret(&secret),)).text(), format!("s:{expected}"));
        assert_eq!(
            prefix.key((1, (2, Secret(&secret)), 3)).text(),
            format!("s:1:(2,{expected}):3")
        );
    }
    let many = prefix.key((Secret(1), Secret(2), Secret(3), Secret(4), Secret(5), "plain"));
    assert!(
        many.text().contains(":##") && many.text().len() <= MAX_KEY_BYTES,
        "{many}"
    );
    assert!(!many.text().contains("plain"));
}

#[test]
fn text_that_looks_like_a_digest_is_not_one() {
    let prefix = Prefix::literal("s");
    let secret = prefix.key((Secret("token"),));
    let imitation = secret.text().trim_start_matches("s:").to_owned();
    assert_ne!(prefix.key(&imitation), secret);
    assert!(prefix.key(&imitation).text().starts_with("s:%23"));
}

proptest! {
    #[test]
    fn keys_follow_the_rule_for_any_lengths(
        prefix in "[a-z]{1,100}",
        lengths in prop::collection::vec(prop_oneof![1usize..20, 30usize..60, 140usize..210, 300usize..900], 0..12),
    ) {
        let parts: Vec<String> = lengths.iter().map(|&length| "y".repeat(length)).collect();
        let text = build(&Prefix::new(&prefix).unwrap(), &parts);
        prop_assert_eq!(&text, &model(&prefix, &parts));
        prop_assert!(text.len() <= MAX_KEY_BYTES);
    }

    #[test]
    fn any_content_stays_within_the_bound(parts in prop::collection::vec(any::<String>(), 0..12)) {
        let text = build(&Prefix::literal("p"), &parts);
        prop_assert!(text.len() <= MAX_KEY_BYTES);
        prop_assert!(text == "p" || text.starts_with("p:"));
        prop_assert!(crate::key::CacheKey::parse(&text).is_ok());
    }
}
