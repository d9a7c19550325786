//! Texts that must never change, because they are stored.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::num::NonZero;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::PREFIX;
use crate::key::{Canonical, Float, KeyBuf, KeyPart, Secret};

/// The same texts stand in the tables of `docs/keys.md`.
#[track_caller]
fn check(part: impl KeyPart, expected: &str) {
    let mut key = KeyBuf::new(&PREFIX);
    key.part(&part);
    let text = key.finish();
    assert_eq!(text.text().strip_prefix("k:"), Some(expected));
    assert!(
        DOCUMENT.contains(&format!("`{expected}`")),
        "`{expected}` is not in docs/keys.md"
    );
}

#[track_caller]
fn check_canonical(value: impl Serialize, expected: &str) {
    check(Canonical::new(&value).unwrap(), expected);
    let mut key = KeyBuf::new(&PREFIX);
    assert_eq!(
        key.canonical(&value).unwrap().as_key().text(),
        format!("k:{expected}")
    );
}

const DOCUMENT: &str = include_str!("../../../../docs/keys.md");

#[test]
fn numbers_and_words() {
    check(7u8, "7");
    check(-7i64, "-7");
    check(i128::MIN, "-170141183460469231731687303715884105728");
    check(u128::MAX, "340282366920938463463374607431768211455");
    check(NonZero::new(7u32).unwrap(), "7");
    check(true, "true");
    check(false, "false");
    check(Float(1.5), "1.5e0");
    check(Float(-0.0), "-0e0");
    check(Float(0.1 + 0.2), "3.0000000000000004e-1");
    check(Float(f64::MAX), "1.7976931348623157e308");
    check(Float(-f64::NAN), "nan");
    check(Float(f64::NEG_INFINITY), "-inf");
    check(Float::from(0.1f32), "1.0000000149011612e-1");
}

#[test]
fn texts() {
    check("AAPL", "AAPL");
    check("", "'");
    check("'", "%27");
    check("~", "%7E");
    check("#1", "%231");
    check("a:b", "a%3Ab");
    check("50% {x}", "50%25%20%7Bx%7D");
    check("h*llo?[a-z]\\^", "h%2Allo%3F%5Ba-z%5D%5C%5E");
    check("f(x,y)", "f%28x%2Cy%29");
    check("a\r\n\0", "a%0D%0A%00");
    check("東京/Zürich", "東京/Zürich");
    check("a\u{a0}\u{200b}", "a%C2%A0%E2%80%8B");
    check('x', "x");
    check(':', "%3A");
    check(String::from("x"), "x");
    check(Cow::Borrowed("x"), "x");
    check(
        (Box::<str>::from("x"), Rc::<str>::from("y"), Arc::<str>::from("z")),
        "(x,y,z)",
    );
}

#[test]
fn options_and_collections() {
    check(None::<u8>, "~");
    check(Some(7), "7");
    check(Some(""), "'");
    check(Some(None::<u8>), "~~");
    check(Some(Some(None::<u8>)), "~~~");
    check(Some(Some(7)), "7");
    check((), "()");
    check((7, "de"), "(7,de)");
    check((7,), "(7)");
    check([0u8; 0], "()");
    check([""], "(')");
    check(["", ""], "(',')");
    check([None, Some("")], "(~,')");
    check(vec![vec![1], vec![], vec![2, 3]], "((1),(),(2,3))");
    check(&b"ab"[..], "(97,98)");
    check(VecDeque::from([1, 2]), "(1,2)");
    check(BTreeSet::from(["b", "a"]), "(a,b)");
    check(BTreeMap::from([("b", 2), ("a", 1)]), "((a,1),(b,2))");
}

#[test]
fn hash_collections_are_sorted_by_text() {
    check(
        (0..20).collect::<HashSet<_>>(),
        "(0,1,10,11,12,13,14,15,16,17,18,19,2,3,4,5,6,7,8,9)",
    );
    check(
        (0..4).map(|n| (3 - n, "x")).collect::<HashMap<_, _>>(),
        "((0,x),(1,x),(2,x),(3,x))",
    );
}

#[test]
fn times_and_addresses() {
    check(Duration::from_secs(90), "90s");
    check(Duration::from_millis(1_500), "1.5s");
    check(Duration::from_nanos(1), "0.000000001s");
    check(Duration::MAX, "18446744073709551615.999999999s");
    check("127.0.0.1".parse::<std::net::IpAddr>().unwrap(), "127.0.0.1");
    check(
        "2001:db8::1".parse::<std::net::IpAddr>().unwrap(),
        "2001-db8-0-0-0-0-0-1",
    );
    check(
        "127.0.0.1:80".parse::<std::net::SocketAddr>().unwrap(),
        "(127.0.0.1,80)",
    );
    check(
        "[::1%3]:80".parse::<std::net::SocketAddr>().unwrap(),
        "(0-0-0-0-0-0-0-1,80,0,3)",
    );
}

#[test]
fn digests() {
    check(
        Secret("bearer-token"),
        "#_qhMiXJcf986cjY39AuZkKHnfoB3c4KJSBRFC6YiMCw",
    );
    check(
        (7, Secret("bearer-token")),
        "(7,#_qhMiXJcf986cjY39AuZkKHnfoB3c4KJSBRFC6YiMCw)",
    );
    check("x".repeat(199), "#8YAprj-XMgiGDGaOewwELvZc8kCdhTLAz7H7feWgf54");
}

#[test]
fn serialised_values() {
    #[derive(Serialize)]
    struct UserId(u64);
    #[derive(Serialize)]
    struct Symbol(&'static str);
    #[derive(Serialize)]
    struct Filter {
        symbol: &'static str,
        limit: Option<u32>,
    }
    #[derive(Serialize)]
    enum Order {
        Market,
        Limit(u32),
        Range(u32, u32),
        Stop { price: u32, after: bool },
    }
    check_canonical(UserId(7), "7");
    check_canonical(Symbol("AAPL"), "AAPL");
    check_canonical(Symbol("7203"), "'7203");
    check_canonical(Symbol("2026-11-21"), "2026-11-21");
    check_canonical(Symbol(""), "'");
    check_canonical(Symbol("true"), "'true");
    check_canonical(Symbol("@x"), "'@x");
    check_canonical(
        Filter {
            symbol: "AAPL",
            limit: None,
        },
        "@((limit,~),(symbol,AAPL))",
    );
    check_canonical(HashMap::from([(2, "b"), (1, "a")]), "@((1,a),(2,b))");
    check_canonical(Order::Market, "@Market");
    check_canonical(Order::Limit(7), "@Limit(7)");
    check_canonical(Order::Range(7, 9), "@Range(7,9)");
    check_canonical(
        Order::Stop {
            price: 7,
            after: true,
        },
        "@Stop((after,true),(price,7))",
    );
    check_canonical((1, "1", 1.0, 'c'), "(1,'1,1e0,c)");
    check_canonical([Some(Some(1)), Some(None), None], "(1,~~,~)");
    check_canonical(
        serde_json::json!([null, [], {}, -0.0, "null"]),
        "(null,(),@(),-0e0,'null)",
    );
    check_canonical(f32::NAN, "nan");
}

#[test]
fn serialised_bytes() {
    struct Bytes(&'static [u8]);
    impl Serialize for Bytes {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }
    check_canonical(Bytes(b"\x00\xff"), "!00ff");
    check_canonical(Bytes(b""), "!");
    check_canonical("!", "'!");
}
