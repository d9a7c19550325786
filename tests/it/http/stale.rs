//! Stale responses: when, for how long, and never after an invalidation (RFC 9111 §4.2.4, RFC 5861).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use cache_tower::policy::HttpCachePolicy;
use cache_tower::{CacheConfig, OutcomeKind, Purge};
use http::{Request, Response, StatusCode};
use tokio::sync::Semaphore;

use super::world::{World, header_map, settle};

const SWR: &str = "cache-control: max-age=10, stale-while-revalidate=30";
const SIE: &str = "cache-control: max-age=10, stale-if-error=30";

/// H3.7
#[tokio::test]
async fn within_its_window_a_stale_response_is_served_and_validated_in_the_background() {
    let world = World::rfc9111();
    world.says(200, &[SWR, "etag: \"a\""]).get("/", &[]).await;
    world.wait(20).says(200, &[SWR, "etag: \"b\""]);
    for _ in 0..10 {
        let got = world.get("/", &[]).await;
        assert_eq!((&*got.body, got.outcome.kind), ("1", OutcomeKind::Stale));
        assert_eq!(got.field("age").as_deref(), Some("20"));
    }
    settle().await;
    assert_eq!(world.calls(), 2, "one validation for all");
    assert_eq!(world.last_seen()["if-none-match"], "\"a\"");
    assert_eq!(world.get("/", &[]).await.body, "2");
    // After the window the request waits.
    world.wait(41);
    assert_eq!(world.get("/", &[]).await.body, "3");
}

/// H3.7
#[tokio::test]
async fn a_failing_origin_is_stood_in_for_within_the_window() {
    for status in [500, 502, 503, 504] {
        let world = World::rfc9111();
        world.says(200, &[SIE, "etag: \"a\""]).get("/", &[]).await;
        let got = world.wait(20).says(status, &[]).get("/", &[]).await;
        assert_eq!((got.status, &*got.body), (200, "1"), "{status}");
        assert_eq!(got.outcome.forward_status, Some(status));
        assert_eq!(
            got.field("cache-status"),
            Some(format!(
                "cache; fwd=stale; fwd-status={status}; ttl=-10; detail=stale-if-error"
            ))
        );
        assert_eq!(
            world.wait(21).get("/", &[]).await.status,
            status,
            "after the window"
        );
    }
    let world = World::rfc9111();
    world.says(200, &[SIE]).get("/", &[]).await;
    assert_eq!(world.wait(20).says(404, &[]).get("/", &[]).await.status, 404);
}

/// H3.7
#[tokio::test]
async fn what_forbids_stale_is_never_served_stale() {
    for directive in ["no-cache", "must-revalidate", "proxy-revalidate", "s-maxage=10"] {
        let says = format!("{SIE}, stale-while-revalidate=30, {directive}");
        let world = World::rfc9111();
        world.says(200, &[&says, "etag: \"a\""]).get("/", &[]).await;
        let got = world
            .wait(20)
            .says(503, &[])
            .get("/", &["cache-control: max-stale"])
            .await;
        assert_eq!(got.status, 503, "{directive}");
    }
}

/// H3.7
#[tokio::test]
async fn nothing_invalidated_is_served_stale() {
    for how in ["uri", "unsafe"] {
        let world = World::rfc9111();
        world.says(200, &[SIE, "etag: \"a\""]).get("/", &[]).await;
        if how == "uri" {
            Purge::new(world.cache.clone()).uri("http://h/").await.unwrap();
        } else {
            world.says(200, &[]).send("POST", "/", &[]).await;
        }
        assert_eq!(
            world.wait(20).says(503, &[]).get("/", &[]).await.status,
            503,
            "{how}"
        );
    }
}

/// H3.7
#[tokio::test]
async fn an_unreachable_origin_is_stood_in_for_by_a_proxy() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::body::Body;
    use cache_core::Cache;
    use cache_core::testing::ManualClock;
    use cache_tower::policy::HttpCachePolicy;
    use cache_tower::{CacheConfig, CacheLayer};
    use http::{Request, Response};
    use tower::ServiceExt;
    use tower_layer::Layer;

    for (policy, stands_in) in [
        (HttpCachePolicy::rfc9111(), true),
        (HttpCachePolicy::safe(), false),
    ] {
        let down = Arc::new(AtomicBool::new(false));
        let is_down = down.clone();
        let clock = ManualClock::new();
        let cache = Cache::builder("http").clock(clock.clone()).build().unwrap();
        let inner = tower::service_fn(move |_: Request<Body>| {
            let answer = if is_down.load(Ordering::SeqCst) {
                Err("unreachable")
            } else {
                let response = Response::builder().header("cache-control", "max-age=10");
                Ok(response.header("etag", "\"a\"").body(Body::from("1")).unwrap())
            };
            std::future::ready(answer)
        });
        let layer = CacheLayer::with_config(cache, CacheConfig::new(policy)).unwrap();
        let service = layer.layer(inner);
        let get = || {
            service
                .clone()
                .oneshot(Request::get("http://h/").body(Body::empty()).unwrap())
        };
        get().await.unwrap();
        down.store(true, Ordering::SeqCst);
        clock.advance(std::time::Duration::from_secs(20));
        assert_eq!(get().await.is_ok(), stands_in);
    }
}

/// H3.7
#[tokio::test]
async fn a_validation_that_failed_in_the_background_waits_before_the_next() {
    let world = World::rfc9111();
    world.says(200, &[SWR, "etag: \"a\""]).get("/", &[]).await;
    world.wait(11).says(503, &[]);
    let mut calls = Vec::new();
    for _ in 0..10 {
        for _ in 0..3 {
            assert_eq!(world.get("/", &[]).await.outcome.kind, OutcomeKind::Stale);
            settle().await;
        }
        calls.push(world.calls() - 1);
        world.wait(1);
    }
    // After 1, 2, 4 and 8 seconds, however many ask.
    assert_eq!(calls, [1, 2, 2, 3, 3, 3, 3, 4, 4, 4]);
    world.wait(8).says(200, &[SWR, "etag: \"b\""]).get("/", &[]).await;
    settle().await;
    assert_eq!(world.get("/", &[]).await.outcome.kind, OutcomeKind::Hit);
}

/// H3.7, H4.6
#[tokio::test]
async fn what_was_purged_softly_is_validated_and_may_stand_in() {
    let purge = |world: &World| Purge::new(world.cache.clone()).soft();
    for how in ["uri", "prefix", "tag"] {
        let world = World::rfc9111();
        let fresh = [
            "cache-control: max-age=60, stale-if-error=60",
            "cache-groups: \"g\"",
            "etag: \"a\"",
        ];
        world.says(200, &fresh).get("/a/b", &[]).await;
        world.wait(1);
        match how {
            "uri" => purge(&world).uri("http://h/a/b").await.unwrap(),
            "prefix" => purge(&world).prefix("http://h/a").await.unwrap(),
            _ => purge(&world).group("http://h", "g").await.unwrap(),
        }
        let stood_in = world.says(503, &[]).get("/a/b", &[]).await;
        assert_eq!((stood_in.status, &*stood_in.body), (200, "1"), "{how}");
        assert_eq!(world.last_seen()["if-none-match"], "\"a\"", "{how}");
        let validated = world.says(304, &["etag: \"a\""]).get("/a/b", &[]).await;
        assert_eq!(validated.outcome.kind, OutcomeKind::Revalidated, "{how}");
        let calls = world.calls();
        assert_eq!(
            world.get("/a/b", &[]).await.outcome.kind,
            OutcomeKind::Hit,
            "{how}"
        );
        assert_eq!(world.calls(), calls, "{how}");
    }
}

/// H3.7
#[tokio::test]
async fn what_is_invalidated_while_its_validation_fails_does_not_stand_in() {
    for is_invalidated in [false, true] {
        let (calls, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (counted, waits) = (calls.clone(), gate.clone());
        let world = World::of(
            CacheConfig::new(HttpCachePolicy::rfc9111()),
            move |_: Request<Body>| {
                let (is_first, waits) = (counted.fetch_add(1, Ordering::SeqCst) == 0, waits.clone());
                async move {
                    let mut response = Response::new(Body::from("1"));
                    *response.headers_mut() = header_map([SIE, "etag: \"a\""]);
                    if !is_first {
                        waits.acquire().await.unwrap().forget();
                        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    }
                    response
                }
            },
        );
        world.get("/", &[]).await;
        world.wait(20);
        let client = world.clone();
        let asking = tokio::spawn(async move { client.get("/", &[]).await });
        settle().await;
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        if is_invalidated {
            Purge::new(world.cache.clone()).uri("http://h/").await.unwrap();
        }
        gate.add_permits(1);
        let expected = if is_invalidated { 500 } else { 200 };
        assert_eq!(asking.await.unwrap().status, expected);
    }
}
