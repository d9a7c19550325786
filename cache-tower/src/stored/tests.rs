//! Stored responses: their encoding, the fields of a hit, and the index of variants.

use std::time::{Duration, UNIX_EPOCH};

use http::{Method, StatusCode};

use super::*;
use crate::policy::{RequestView, Timed};

fn stored(lines: &[(&str, &str)]) -> StoredResponse {
    let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    let request = HeaderMap::new();
    let response = Timed {
        status: StatusCode::OK,
        headers: &headers,
        requested: now,
        received: now,
    };
    let view = RequestView::new(&Method::GET, &request);
    let head = StoredHead::store(&view, "http://h/", &response, &HttpCachePolicy::rfc9111()).unwrap();
    StoredResponse::new(head, Bytes::from_static(b"body"), TagSet::new(["t"]).unwrap())
}

fn round_trip(response: &StoredResponse) -> StoredResponse {
    serde_json::from_slice(&serde_json::to_vec(response).unwrap()).unwrap()
}

#[test]
fn a_response_survives_its_encoding() {
    let policy = HttpCachePolicy::rfc9111();
    let response = stored(&[("cache-control", "max-age=60"), ("x", "1"), ("x", "2")]);
    let read = round_trip(&response);
    assert_eq!(
        read.head(&policy).unwrap().headers(),
        response.head(&policy).unwrap().headers()
    );
    assert_eq!((read.body(), read.tags()), (response.body(), response.tags()));
    let again = round_trip(&read);
    assert_eq!(
        again.head(&policy).unwrap().freshness(),
        response.head(&policy).unwrap().freshness()
    );
}

#[test]
fn bodies_of_any_octets_survive_a_readable_encoding() {
    for body in [
        &b""[..],
        b"text \"quoted\" \xc3\xa9",
        b"\x00\xff\x80",
        b"t",
        b"x0",
    ] {
        let content = Content(Bytes::copy_from_slice(body));
        let json = serde_json::to_string(&content).unwrap();
        let read: Content = serde_json::from_str(&json).unwrap();
        assert_eq!(read.0, body, "{json}");
    }
    for wrong in ["\"\"", "\"y\"", "\"x0\"", "\"x0g\"", "\"x\u{e9}\"", "7"] {
        assert!(serde_json::from_str::<Content>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_this_policy_would_not_have_stored_is_not_used() {
    let read = round_trip(&stored(&[("cache-control", "max-age=60"), ("set-cookie", "a=b")]));
    assert!(read.head(&HttpCachePolicy::safe()).is_none());
    let read = round_trip(&stored(&[
        ("cache-control", "max-age=60"),
        ("content-length", "5"),
    ]));
    assert!(
        read.head(&HttpCachePolicy::rfc9111()).is_none(),
        "the body has 4 bytes"
    );
}

#[test]
fn an_origins_own_status_stays_in_front_of_ours() {
    let policy = HttpCachePolicy::rfc9111();
    let now = UNIX_EPOCH;
    for (lines, expected) in [
        (&[("cache-control", "max-age=60")][..], &["ours"][..]),
        (
            &[("cache-control", "max-age=60"), ("cache-status", "far; hit")],
            &["far; hit", "ours"],
        ),
    ] {
        let response = stored(lines);
        let mut headers = response.served_headers(response.head(&policy).unwrap(), now);
        set_status(&mut headers, Some(HeaderValue::from_static("ours")));
        assert_eq!(headers.get_all(CACHE_STATUS).iter().collect::<Vec<_>>(), expected);
        let mut without = response.served_headers(response.head(&policy).unwrap(), now);
        set_status(&mut without, None);
        assert_eq!(without.get_all(CACHE_STATUS).iter().count(), expected.len() - 1);
    }
}

#[test]
fn a_hit_has_the_origins_fields_and_the_length() {
    let policy = HttpCachePolicy::rfc9111();
    let serve = Serve {
        age: Duration::from_secs(1_234),
        ttl: 5,
        stale: None,
    };
    let outcome = CacheOutcome::served(&serve);
    for length in [None, Some(("content-length", "4"))] {
        let mut lines = vec![("cache-control", "max-age=60"), ("x", "1"), ("x", "2")];
        lines.extend(length);
        let response = stored(&lines);
        let head = response.head(&policy).unwrap();
        let status = || Some(HeaderValue::from_static("ours"));
        for _ in 0..2 {
            let hit = Hit {
                template: response.hit_template(head, &serve, outcome, status),
                body: response.body().clone(),
            };
            let fields = hit.into_response::<String>().into_parts().0.headers;
            assert_eq!(fields[header::CONTENT_LENGTH], "4");
            assert_eq!(fields[header::AGE], "1234");
            let mut others = fields;
            for name in [header::AGE, CACHE_STATUS, header::CONTENT_LENGTH] {
                others.remove(name);
            }
            let mut origin = head.headers().clone();
            origin.remove(header::CONTENT_LENGTH);
            assert_eq!(others, origin);
        }
    }
}

#[test]
fn the_index_keeps_the_newest_variants_and_each_set_of_names_once() {
    let mut index = VariantIndex::default();
    let (accept, range) = ([header::ACCEPT], [header::RANGE]);
    let unused = |_: &str| None;
    assert!(index.note(&accept, "1", 2, unused).is_empty());
    assert!(index.note(&range, "2", 2, unused).is_empty());
    assert!(index.note(&accept, "1", 2, unused).is_empty());
    assert_eq!(index.name_sets().collect::<Vec<_>>(), [&accept[..], &range[..]]);
    assert_eq!(index.note(&accept, "3", 2, unused), ["2"]);
    assert_eq!(index.name_sets().count(), 1);
    let first_is_used = |key: &str| (key == "1").then_some(7);
    assert_eq!(index.note(&accept, "4", 2, first_is_used), ["3"]);
    let read: VariantIndex = serde_json::from_str(&serde_json::to_string(&index).unwrap()).unwrap();
    assert_eq!(read, index);
}
