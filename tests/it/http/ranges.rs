//! Ranges from the store, and parts in it (RFC 9110 §14, RFC 9111 §3.3, §3.4).

use axum::body::Body;
use cache_tower::CacheConfig;
use cache_tower::policy::HttpCachePolicy;
use http::{Request, Response};

use super::world::{World, header_map};

/// An origin of ten digits that knows ranges.
fn digits() -> World {
    World::of(
        CacheConfig::new(HttpCachePolicy::rfc9111()),
        |request: Request<Body>| {
            let range = request
                .headers()
                .get("range")
                .map(|range| range.to_str().unwrap().to_owned());
            let bounds = range.as_deref().and_then(|range| {
                let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
                let (first, last) = (first.parse::<usize>().ok()?, last.parse().unwrap_or(9));
                Some((first, last))
            });
            let mut response = match bounds {
                Some((first, last)) => {
                    let mut response = Response::new(Body::from("0123456789"[first..=last].to_owned()));
                    *response.status_mut() = http::StatusCode::PARTIAL_CONTENT;
                    let range = format!("bytes {first}-{last}/10");
                    response
                        .headers_mut()
                        .insert("content-range", range.parse().unwrap());
                    response
                }
                None => Response::new(Body::from("0123456789")),
            };
            response
                .headers_mut()
                .extend(header_map(["cache-control: max-age=60", "etag: \"a\""]));
            std::future::ready(response)
        },
    )
}

/// H3.6
#[tokio::test]
async fn one_range_is_cut_from_what_is_stored() {
    let world = digits();
    world.get("/", &[]).await;
    for (range, status, body, content_range) in [
        ("bytes=2-4", 206, "234", Some("bytes 2-4/10")),
        ("bytes=7-", 206, "789", Some("bytes 7-9/10")),
        ("bytes=-3", 206, "789", Some("bytes 7-9/10")),
        ("bytes=0-99", 206, "0123456789", Some("bytes 0-9/10")),
        ("bytes=-99", 206, "0123456789", Some("bytes 0-9/10")),
        ("bytes=10-", 416, "", Some("bytes */10")),
        ("bytes=-0", 416, "", Some("bytes */10")),
        ("bytes=1-2,4-5", 200, "0123456789", None),
        ("bytes=4-2", 200, "0123456789", None),
        (
            "bytes=-18446744073709551615",
            206,
            "0123456789",
            Some("bytes 0-9/10"),
        ),
        ("bytes=18446744073709551615-", 416, "", Some("bytes */10")),
        ("bytes=18446744073709551616-", 200, "0123456789", None),
        ("lines=1-2", 200, "0123456789", None),
        ("rubbish", 200, "0123456789", None),
    ] {
        let got = world.get("/", &[&format!("range: {range}")]).await;
        assert_eq!((got.status, &*got.body), (status, body), "RFC 9110 14.2: {range}");
        assert_eq!(got.field("content-range").as_deref(), content_range, "{range}");
        if status == 206 {
            assert_eq!(got.field("content-length"), Some(body.len().to_string()));
        }
        assert!(
            !got.outcome.stored && got.outcome.forwarded.is_none(),
            "{range}: {got:?}"
        );
    }
}

/// H3.6
#[tokio::test]
async fn if_range_decides_between_the_part_and_the_whole() {
    let world = digits();
    world.get("/", &[]).await;
    for (condition, status) in [("\"a\"", 206), ("\"b\"", 200), ("W/\"a\"", 200)] {
        let got = world
            .get("/", &["range: bytes=0-1", &format!("if-range: {condition}")])
            .await;
        assert_eq!(got.status, status, "RFC 9110 13.1.5: {condition}");
    }
}

/// H3.6
#[tokio::test]
async fn a_stored_part_answers_what_it_covers_and_is_never_the_whole() {
    let world = digits();
    assert_eq!(world.get("/", &["range: bytes=2-6"]).await.status, 206);
    let got = world.get("/", &["range: bytes=3-4"]).await;
    assert_eq!((got.status, &*got.body), (206, "34"));
    assert!(got.headers.contains_key("age"), "{got:?}");
    let got = world.get("/", &["range: bytes=0-9"]).await;
    assert!(!got.headers.contains_key("age"), "{got:?}");
    let world = digits();
    world.get("/", &["range: bytes=2-6"]).await;
    let got = world.get("/", &[]).await;
    assert_eq!((got.status, &*got.body), (200, "0123456789"));
}

/// H3.6
#[tokio::test]
async fn parts_are_joined_and_do_not_displace_the_whole() {
    let world = digits();
    world.get("/", &["range: bytes=0-4"]).await;
    world.get("/", &["range: bytes=5-9"]).await;
    let got = world.get("/", &[]).await;
    assert_eq!((got.status, &*got.body), (200, "0123456789"), "RFC 9111 3.4");
    assert!(got.headers.contains_key("age"), "{got:?}");

    let world = digits();
    world.get("/", &[]).await;
    world
        .get("/", &["range: bytes=0-4", "cache-control: no-cache"])
        .await;
    let got = world.get("/", &[]).await;
    assert_eq!((got.status, &*got.body), (200, "0123456789"));
    assert!(got.headers.contains_key("age"), "{got:?}");
}
