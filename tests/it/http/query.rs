//! H1.10: QUERY, whose content is a part of its key, behind an option.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, to_bytes};
use cache_tower::policy::HttpCachePolicy;
use cache_tower::{BoxError, CacheBody, CacheConfig, CacheOutcome, OutcomeKind, QueryContentLayer};
use http::{Request, Response};
use http_body::Frame;
use tower::ServiceExt;
use tower_layer::Layer;

use super::world::{World, header_map, request};

/// An origin that repeats the content, and counts its answers.
fn world(fields: &'static [&'static str], is_on: bool) -> World {
    let mut policy = HttpCachePolicy::rfc9111();
    policy.cache_query_method = is_on;
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    World::of(CacheConfig::new(policy), move |request: Request<Body>| {
        let number = calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        let method = request.method().clone();
        async move {
            let mut response = match to_bytes(request.into_body(), usize::MAX).await {
                Ok(content) => {
                    let content = String::from_utf8_lossy(&content[..content.len().min(20)]).into_owned();
                    Response::new(Body::from(format!("{number} {method} {content}")))
                }
                Err(_) => Response::new(Body::from(format!("{number} broken"))),
            };
            *response.headers_mut() = header_map(fields.iter().copied());
            response
        }
    })
}

async fn ask(
    world: &World,
    method: &str,
    fields: &[&str],
    content: impl Into<Body>,
) -> (String, OutcomeKind) {
    let mut request = request(method, "/search", fields);
    *request.body_mut() = content.into();
    let service = QueryContentLayer::new(1_000).layer(world.service.clone());
    let response: Response<CacheBody<Body>> = service.oneshot(request).await.unwrap();
    let outcome = response.extensions().get::<CacheOutcome>().unwrap().kind;
    let body = to_bytes(Body::new(response.into_body()), usize::MAX)
        .await
        .unwrap();
    (String::from_utf8(body.to_vec()).unwrap(), outcome)
}

const FRESH: &[&str] = &["cache-control: max-age=60", "etag: \"a\""];

#[tokio::test]
async fn a_query_is_answered_from_the_store_for_the_same_content_only() {
    let world = world(FRESH, true);
    let json = &["content-type: application/json"][..];
    for (fields, content, expected) in [
        (json, "a", "1 QUERY a"),
        (json, "b", "2 QUERY b"),
        (json, "", "3 QUERY "),
        (&["content-type: text/plain"], "a", "4 QUERY a"),
        (
            &["content-type: application/json", "content-encoding: x"],
            "a",
            "5 QUERY a",
        ),
    ] {
        assert_eq!(
            ask(&world, "QUERY", fields, content).await,
            (expected.into(), OutcomeKind::Miss)
        );
        assert_eq!(
            ask(&world, "QUERY", fields, content).await,
            (expected.into(), OutcomeKind::Hit)
        );
    }
    assert_eq!(
        ask(&world, "GET", &[], "").await.0,
        "6 GET ",
        "GET and QUERY share nothing"
    );
    world.clock.advance(std::time::Duration::from_secs(61));
    let stale = ask(&world, "QUERY", json, "a").await;
    assert_eq!(stale.0, "7 QUERY a", "asked again, with its content");
    assert_eq!(ask(&world, "QUERY", json, "a").await.1, OutcomeKind::Hit);
}

#[tokio::test]
async fn a_query_invalidates_nothing_and_is_purged_with_its_uri() {
    let world = world(FRESH, true);
    ask(&world, "GET", &[], "").await;
    ask(&world, "QUERY", &[], "a").await;
    assert_eq!(
        ask(&world, "GET", &[], "").await.1,
        OutcomeKind::Hit,
        "QUERY is safe"
    );
    cache_tower::Purge::new(world.cache.clone())
        .uri("http://h/search")
        .await
        .unwrap();
    assert_eq!(ask(&world, "QUERY", &[], "a").await.1, OutcomeKind::Miss);
}

#[tokio::test]
async fn content_that_is_long_or_breaks_passes_by_as_it_is() {
    let world = world(FRESH, true);
    let long = "x".repeat(1_001);
    for n in 1..=2 {
        let (body, outcome) = ask(&world, "QUERY", &[], long.clone()).await;
        assert_eq!(
            (&*body, outcome),
            (&*format!("{n} QUERY {}", &long[..20]), OutcomeKind::Bypass)
        );
    }
    let broken = in_pieces(vec![Ok("ab"), Err("broken")]);
    assert_eq!(
        ask(&world, "QUERY", &[], broken).await,
        ("3 broken".into(), OutcomeKind::Bypass)
    );
    assert_eq!(
        ask(&world, "QUERY", &[], "x".repeat(1_000)).await.1,
        OutcomeKind::Miss,
        "as long as it may be"
    );
    let pieces = in_pieces(vec![Ok("a"), Ok("bc")]);
    assert_eq!(ask(&world, "QUERY", &[], pieces).await.0, "5 QUERY abc");
    assert_eq!(
        ask(&world, "QUERY", &[], "abc").await,
        ("5 QUERY abc".into(), OutcomeKind::Hit)
    );
}

/// A body in pieces, of which one may break it.
struct Pieces(std::vec::IntoIter<Result<&'static str, &'static str>>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = |text: &'static str| Frame::data(Bytes::from_static(text.as_bytes()));
        Poll::Ready(
            self.0
                .next()
                .map(|piece| piece.map(frame).map_err(BoxError::from)),
        )
    }
}

fn in_pieces(pieces: Vec<Result<&'static str, &'static str>>) -> Body {
    Body::new(Pieces(pieces.into_iter()))
}

#[tokio::test]
async fn without_the_option_or_without_its_content_a_query_passes_by() {
    let off = world(FRESH, false);
    for n in 1..=2 {
        assert_eq!(
            ask(&off, "QUERY", &[], "a").await,
            (format!("{n} QUERY a"), OutcomeKind::Bypass)
        );
    }
    let on = world(FRESH, true);
    for _ in 0..2 {
        let got = on.send("QUERY", "/search", &[]).await;
        assert_eq!(got.outcome.detail, Some("query-content-unknown"));
    }
    assert_eq!(on.cache.stats().entries, 0);
}

#[tokio::test]
async fn concurrent_queries_of_one_content_make_one_request() {
    let world = world(FRESH, true);
    let asks: Vec<_> = (0..20)
        .map(|n| {
            let world = world.clone();
            tokio::spawn(async move {
                ask(&world, "QUERY", &[], if n % 2 == 0 { "a" } else { "b" })
                    .await
                    .0
            })
        })
        .collect();
    let mut answers = std::collections::BTreeSet::new();
    for ask in asks {
        answers.insert(ask.await.unwrap());
    }
    assert_eq!(answers.len(), 2, "{answers:?}");
}
