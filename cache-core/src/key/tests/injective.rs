//! Different arguments, different texts: checked over whole sets, so that each test compares every pair in it.

use std::collections::HashMap;
use std::fmt::Debug;

use proptest::prelude::*;
use serde::Serialize;

use super::PREFIX;
use crate::key::{Canonical, KeyBuf, KeyPart, KeyParts};

/// Fails if two of the values, which must all be different, have the same key.
fn all_distinct<V: Debug>(values: impl IntoIterator<Item = V>, append: impl Fn(&V, &mut KeyBuf)) -> usize {
    let mut seen = HashMap::new();
    for value in values {
        let mut key = KeyBuf::new(&PREFIX);
        append(&value, &mut key);
        if let Some(other) = seen.insert(key.finish(), value) {
            let text = key.as_key();
            panic!("{other:?} and {:?} are both {text}", seen[&text.to_key()]);
        }
    }
    seen.len()
}

fn distinct_parts<V: KeyPart + Debug>(values: impl IntoIterator<Item = V>) -> usize {
    all_distinct(values, |value, key| {
        key.part(value);
    })
}

fn distinct_keys<V: KeyParts + Debug>(values: impl IntoIterator<Item = V>) -> usize {
    all_distinct(values, KeyParts::append_to)
}

/// All texts over a hostile alphabet up to a length.
fn texts(alphabet: &str, length: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut longest = all.clone();
    for _ in 0..length {
        longest = longest
            .iter()
            .flat_map(|text| alphabet.chars().map(move |c| format!("{text}{c}")))
            .collect();
        all.extend_from_slice(&longest);
    }
    all
}

/// All sequences of up to `length` of the items.
fn sequences<T: Clone>(items: &[T], length: usize) -> Vec<Vec<T>> {
    let mut all = vec![Vec::new()];
    let mut longest = all.clone();
    for _ in 0..length {
        let extend = |sequence: &Vec<T>| {
            let sequence = sequence.clone();
            items
                .iter()
                .map(move |item| [&sequence[..], std::slice::from_ref(item)].concat())
                .collect::<Vec<_>>()
        };
        longest = longest.iter().flat_map(extend).collect();
        all.extend_from_slice(&longest);
    }
    all
}

#[test]
fn delimiters_in_texts_do_not_move_the_border_between_parts() {
    let texts = texts(":%,3A", 3);
    let pairs = texts.iter().flat_map(|a| texts.iter().map(move |b| (a, b)));
    // Over three hundred million pairs of keys.
    assert_eq!(distinct_keys(pairs), 156 * 156);
}

#[test]
fn texts_cannot_imitate_structure() {
    assert_eq!(distinct_parts(texts("(),~#'%a", 4)), 1 + 8 + 64 + 512 + 4096);
}

#[test]
fn lists_of_texts_do_not_collide() {
    assert_eq!(
        distinct_parts(sequences(&texts("(,'", 2), 3)),
        1 + 13 + 169 + 2197
    );
}

#[test]
fn nested_lists_do_not_collide() {
    let lists = sequences(&["", ",", "()"], 2);
    assert_eq!(distinct_parts(sequences(&lists, 3)), 1 + 13 + 169 + 2197);
}

#[test]
fn nested_options_do_not_collide() {
    let texts = texts("~'n", 3);
    let some = texts.into_iter().map(|text| Some(Some(Some(text))));
    assert_eq!(
        distinct_parts(some.chain([None, Some(None), Some(Some(None))])),
        40 + 3
    );
}

#[test]
fn options_of_lists_of_options_do_not_collide() {
    let lists = sequences(
        &[
            None,
            Some(None),
            Some(Some("")),
            Some(Some("~")),
            Some(Some("~~")),
        ],
        3,
    );
    let options: Vec<_> = lists.into_iter().map(Some).chain([None]).collect();
    let pairs = options.iter().flat_map(|a| options.iter().map(move |b| (a, b)));
    assert_eq!(distinct_keys(pairs), 157 * 157);
}

#[test]
fn different_numbers_of_parts_do_not_collide() {
    let lists = sequences(&["", ":", "'", "a", "a:a", "(a)"], 5);
    let count = lists.len();
    let append = |parts: &Vec<&str>, key: &mut KeyBuf| {
        for part in parts {
            key.part(part);
        }
    };
    assert_eq!(all_distinct(lists, append), count);
}

#[test]
fn json_documents_do_not_collide() {
    use serde_json::{Value, json};
    let mut atoms: Vec<Value> = [
        "", "a", "1", "-1", "1e0", "true", "null", "~", "@", "@a", "!", "'", "()", "inf", "1,2",
    ]
    .into_iter()
    .map(Value::from)
    .collect();
    atoms.extend([
        json!(null),
        json!(true),
        json!(1),
        json!(-1),
        json!(1.0),
        json!(-1.0),
        json!(u64::MAX),
    ]);
    let lists = sequences(&atoms, 2);
    let one = |key: &str, value: &Value| json!({ key: value });
    let mut level: Vec<Value> = lists.into_iter().map(Value::from).collect();
    for key in ["", "a", "1", "@"] {
        level.extend(atoms.iter().map(|value| one(key, value)));
    }
    level.push(json!({}));
    level.push(json!({"a": 1, "b": 1}));
    let nested: Vec<Value> = level
        .iter()
        .flat_map(|value| [json!([value]), one("a", value), one("[\"a\"]", value)])
        .collect();
    let all: Vec<Value> = atoms.into_iter().chain(level).chain(nested).collect();
    let count = all.len();
    assert!(count > 2_000);
    assert_eq!(
        distinct_parts(all.iter().map(|value| Canonical::new(value).unwrap())),
        count
    );
}

#[test]
fn variants_fields_and_their_contents_do_not_collide() {
    #[derive(Serialize, Debug, Clone)]
    enum Shape {
        A,
        #[serde(rename = "")]
        Nameless,
        #[serde(rename = "A(A)")]
        Sly,
        One(Box<Shape>),
        List(Vec<Shape>),
        Pair(Option<Box<Shape>>, Option<Option<u8>>),
        Fields {
            a: Option<Box<Shape>>,
            b: &'static str,
        },
    }
    let grow = |shapes: &[Shape]| -> Vec<Shape> {
        let boxed = |shape: &Shape| Box::new(shape.clone());
        let inner = [None, Some(None), Some(Some(1))];
        let mut grown = vec![Shape::A, Shape::Nameless, Shape::Sly];
        grown.extend(sequences(shapes, 2).into_iter().map(Shape::List));
        grown.extend(inner.map(|inner| Shape::Pair(None, inner)));
        grown.extend(["", ")", "A"].map(|b| Shape::Fields { a: None, b }));
        for shape in shapes {
            grown.push(Shape::One(boxed(shape)));
            grown.extend(inner.map(|inner| Shape::Pair(Some(boxed(shape)), inner)));
            grown.extend(["", ")", "A"].map(|b| Shape::Fields {
                a: Some(boxed(shape)),
                b,
            }));
        }
        grown
    };
    let shapes = grow(&grow(&[]));
    let count = shapes.len();
    assert_eq!(
        distinct_parts(shapes.iter().map(|shape| Canonical::new(shape).unwrap())),
        count
    );
}

/// Texts that differ little and meet every special case.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a:%,()~'#1]{0,3}",
        Just("x".repeat(150)),
        Just("x".repeat(151)),
        any::<String>()
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn keys_are_equal_exactly_if_the_arguments_are(
        a in (hostile(), prop::option::of(prop::collection::vec(hostile(), 0..3)), -2i64..3, hostile()),
        b in (hostile(), prop::option::of(prop::collection::vec(hostile(), 0..3)), -2i64..3, hostile()),
        mixed in any::<[bool; 4]>(),
    ) {
        // Most fields are taken from `a`, so that the two differ in few places.
        let b = (
            if mixed[0] { a.0.clone() } else { b.0 },
            if mixed[1] { a.1.clone() } else { b.1 },
            if mixed[2] { a.2 } else { b.2 },
            if mixed[3] { a.3.clone() } else { b.3 },
        );
        prop_assert_eq!(PREFIX.key(&a) == PREFIX.key(&b), a == b);
        let canonical = |value| PREFIX.key((Canonical::new(value).unwrap(),));
        prop_assert_eq!(canonical(&a) == canonical(&b), a == b);
    }
}
