//! What generated code writes for an argument of each kind.

use serde::Serialize;

use super::PREFIX;
use crate::key::dispatch::{AppendPart, AppendSerialized, Arg};
use crate::key::{KeyBuf, KeyPart, PartWriter};

/// As generated code does it.
macro_rules! append {
    ($method:ident, $value:expr) => {{
        let mut key = KeyBuf::new(&PREFIX);
        (&&&Arg(&$value)).$method(&mut key).unwrap();
        key.finish().text().to_owned()
    }};
}

#[derive(Serialize)]
struct UserId(u64);

struct Both;

impl KeyPart for Both {
    fn write(&self, out: PartWriter<'_>) {
        out.text("part");
    }
}

impl Serialize for Both {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("serialised")
    }
}

#[test]
fn key_part_is_preferred_to_serialize() {
    assert_eq!(append!(append, Both), "k:part");
    assert_eq!(append!(append, &Both), "k:part");
    assert_eq!(append!(append, Some(&Both)), "k:part");
    assert_eq!(append!(append, "1"), "k:1");
    assert_eq!(append!(append, 7u64), "k:7");
}

#[test]
fn serializable_types_take_the_canonical_form() {
    assert_eq!(append!(append, UserId(7)), "k:7");
    assert_eq!(append!(append, &UserId(7)), "k:7");
    assert_eq!(append!(append, vec![UserId(1), UserId(2)]), "k:(1,2)");
    assert_eq!(append!(append, serde_json::json!("1")), "k:'1");
}

#[test]
fn type_parameters_need_a_bound() {
    fn by_bound<T: KeyPart>(value: &T) -> String {
        append!(append, *value)
    }
    assert_eq!(by_bound(&Both), "k:part");
}

#[test]
fn secret_arguments_of_both_kinds_are_digests() {
    assert_eq!(append!(append_secret, "7"), append!(append_secret, UserId(7)));
    assert!(append!(append_secret, "7").starts_with("k:#"));
}
