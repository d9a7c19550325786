//! What unsafe methods make invalid (RFC 9111 §4.4), cache groups (RFC 9875), and tags that functions have as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::get;
use cache_core::{Cache, cached};
use cache_tower::{CacheLayer, CachePolicy};
use http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::world::World;

const FRESH: &str = "cache-control: max-age=60";

/// After `method` on `/a`, answered with `status` and `fields`: which of the stored paths are gone?
async fn gone(method: &str, status: u16, fields: &[&str], path: &str) -> bool {
    let world = World::rfc9111();
    world
        .says(200, &[FRESH, "cache-groups: \"g1\", \"g2\""])
        .get(path, &[])
        .await;
    world.says(status, fields).send(method, "/a", &[]).await;
    world.says(200, &[FRESH]);
    !world.get(path, &[]).await.headers.contains_key("age")
}

/// H4.3
#[tokio::test]
async fn success_of_an_unsafe_method_invalidates_and_nothing_else_does() {
    for (method, status, fields, path, expected) in [
        ("POST", 200, &[][..], "/a", true),
        ("PUT", 204, &[], "/a", true),
        ("DELETE", 303, &[], "/a", true),
        ("FOO", 200, &[], "/a", true),
        ("POST", 404, &[], "/a", false),
        ("POST", 500, &[], "/a", false),
        ("OPTIONS", 200, &[], "/a", false),
        ("POST", 200, &[], "/b", false),
        ("POST", 201, &["location: /b"], "/b", true),
        ("POST", 201, &["location: http://h/b"], "/b", true),
        ("POST", 201, &["content-location: b"], "/b", true),
        (
            "POST",
            201,
            &["location: http://other/b"],
            "http://other/b",
            false,
        ),
        ("POST", 200, &["cache-group-invalidation: \"g2\""], "/b", true),
        ("POST", 200, &["cache-group-invalidation: \"g3\""], "/b", false),
        ("GET", 200, &["cache-group-invalidation: \"g2\""], "/b", false),
        (
            "POST",
            200,
            &["cache-group-invalidation: \"g2\""],
            "http://other/b",
            false,
        ),
    ] {
        let got = gone(method, status, fields, path).await;
        assert_eq!(got, expected, "{method} {status} {fields:?} {path}");
    }
}

/// H1.10
#[tokio::test]
async fn a_post_with_its_own_content_location_answers_later_gets() {
    for (location, expected) in [
        ("content-location: /a", true),
        ("content-location: /b", false),
        ("x: y", false),
    ] {
        let world = World::rfc9111();
        world.says(200, &[FRESH, location]).send("POST", "/a", &[]).await;
        assert_eq!(
            world.get("/a", &[]).await.body == "1",
            expected,
            "RFC 9110 9.3.3: {location}"
        );
    }
}

/// H4.4
#[tokio::test]
async fn a_response_that_could_not_be_invalidated_by_all_its_groups_is_not_stored() {
    let groups: Vec<_> = (0..100).map(|n| format!("\"{n}\"")).collect();
    let field = format!("cache-groups: {}", groups.join(", "));
    let world = World::rfc9111();
    world.says(200, &[FRESH, &field]);
    let got = world.get("/", &[]).await;
    let status = got.field("cache-status").unwrap_or_default();
    assert!(
        status.contains("detail=tags") && !status.contains("stored"),
        "{status}"
    );
    assert_eq!(world.cache.stats().entries, 0);
    // A name of any length is a tag.
    let group = format!("\"{}\"", "x".repeat(5_000));
    world
        .says(200, &[FRESH, &format!("cache-groups: {group}")])
        .get("/", &[])
        .await;
    let invalidation = format!("cache-group-invalidation: {group}");
    world
        .says(204, &[&invalidation])
        .send("POST", "/other", &[])
        .await;
    world.says(200, &[FRESH]);
    let calls = world.calls();
    world.get("/", &[]).await;
    assert_eq!(world.calls(), calls + 1);
}

/// H4.4
#[tokio::test]
async fn many_groups_of_one_response_count() {
    let groups: Vec<_> = (0..32).map(|n| format!("\"{n:032}\"")).collect();
    let field = format!("cache-groups: {}", groups.join(", "));
    let world = World::rfc9111();
    world.says(200, &[FRESH, &field]).get("/a", &[]).await;
    assert!(world.get("/a", &[]).await.headers.contains_key("age"));
    let invalidation = format!("cache-group-invalidation: {}", groups[31]);
    world.says(200, &[&invalidation]).send("POST", "/b", &[]).await;
    world.says(200, &[FRESH]);
    assert!(!world.get("/a", &[]).await.headers.contains_key("age"));
}

/// H4.4
#[tokio::test]
async fn a_group_is_of_its_origin_and_apart_from_tags() {
    let world = World::rfc9111();
    world
        .says(200, &[FRESH, "cache-groups: \"g\""])
        .get("/a", &[])
        .await;
    world.cache.invalidate_tag("g").await.unwrap();
    let purge = cache_tower::Purge::new(world.cache.clone());
    purge.group("http://other", "g").await.unwrap();
    assert!(world.get("/a", &[]).await.headers.contains_key("age"));
    purge.group("http://h", "g").await.unwrap();
    assert!(!world.get("/a", &[]).await.headers.contains_key("age"));
}

#[cached(cache = cache, skip(cache, made), prefix = "greeting", ttl = "1h", tags = ["user:{name}"])]
async fn greeting(cache: Cache, made: Arc<AtomicUsize>, name: String) -> String {
    format!("{name} {}", made.fetch_add(1, Ordering::SeqCst))
}

/// H6.1; one tag space for both.
#[tokio::test]
async fn one_invalidation_drops_the_response_and_the_functions_value_that_it_was_made_of() {
    let (cache, made) = (
        Cache::builder("app").build().unwrap(),
        Arc::new(AtomicUsize::new(0)),
    );
    let handler = {
        let (cache, made) = (cache.clone(), made.clone());
        async move |Path(name): Path<String>| {
            let policy = CachePolicy::new()
                .ttl(Duration::from_secs(60))
                .tag(format!("user:{name}"));
            (policy, greeting(cache.clone(), made.clone(), name).await)
        }
    };
    let app = Router::new()
        .route("/greet/{name}", get(handler))
        .layer(CacheLayer::new(cache.clone()));
    let ask = async || {
        let request = Request::get("/greet/Ada")
            .header("host", "h")
            .body(Body::empty())
            .unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    };
    assert_eq!((ask().await, ask().await), ("Ada 0".into(), "Ada 0".into()));
    assert_eq!(cache.stats().entries, 2, "the value and the response");
    cache.invalidate_tag("user:Ada").await.unwrap();
    assert_eq!(ask().await, "Ada 1");
}
