//! What is served from the store, and how (RFC 9111 §4, §5.1).

use super::world::World;

const FRESH: &str = "cache-control: max-age=60";

/// H2.2
#[tokio::test]
async fn age_counts_from_the_origins_and_freshness_ends_on_the_second() {
    let world = World::rfc9111();
    world.says(200, &[FRESH, "age: 10"]).get("/", &[]).await;
    for (wait, age) in [(0, "10"), (20, "30"), (29, "59")] {
        let got = world.wait(wait).get("/", &[]).await;
        assert_eq!((got.field("age").as_deref(), &*got.body), (Some(age), "1"));
    }
    assert_eq!(
        world.wait(1).get("/", &[]).await.body,
        "2",
        "a lifetime of 60 seconds ends at the age of 60"
    );
}

/// H1.9, H2.2
#[tokio::test]
async fn a_hit_is_the_stored_response_with_age_and_nothing_else_of_ours() {
    let world = World::rfc9111();
    let fields = [
        FRESH,
        "x-a: 1",
        "x-a: 2",
        "etag: \"e\"",
        "vary: accept",
        "connection: x-hop",
        "x-hop: 1",
        "keep-alive: 1",
    ];
    world.says(200, &fields).get("/", &[]).await;
    let got = world.wait(3).get("/", &[]).await;
    assert_eq!(got.field("x-a").as_deref(), Some("1, 2"));
    assert_eq!(got.field("cache-control").as_deref(), Some("max-age=60"));
    assert_eq!(got.field("vary").as_deref(), Some("accept"));
    assert_eq!(got.field("age").as_deref(), Some("3"));
    assert_eq!(got.field("cache-status").as_deref(), Some("cache; hit; ttl=57"));
    for hop in ["connection", "x-hop", "keep-alive"] {
        assert_eq!(got.field(hop), None, "{hop}");
    }
}

/// H6.1, H6.2
#[tokio::test]
async fn cache_status_says_what_happened() {
    let world = World::rfc9111();
    let status = async |fields: &[&str]| world.get("/", fields).await.field("cache-status").unwrap();
    world.says(200, &["cache-control: max-age=60", "vary: accept", "etag: \"a\""]);
    assert_eq!(status(&[]).await, "cache; fwd=uri-miss; ttl=60; stored");
    assert_eq!(status(&[]).await, "cache; hit; ttl=60");
    assert_eq!(
        status(&["accept: b"]).await,
        "cache; fwd=vary-miss; ttl=60; stored"
    );
    assert_eq!(
        status(&["x-forwarded-host: b"]).await,
        "cache; fwd=bypass; detail=untrusted-field"
    );
    world.says(304, &[FRESH]);
    assert_eq!(
        status(&["cache-control: no-cache"]).await,
        "cache; fwd=request; fwd-status=304; ttl=60; stored; detail=request-no-cache"
    );
    world.wait(61);
    assert_eq!(
        status(&[]).await,
        "cache; fwd=stale; fwd-status=304; ttl=60; stored; detail=stale"
    );
    world.says(200, &["cache-control: no-store", "cache-status: far; hit"]);
    assert_eq!(
        world.get("/other", &[]).await.field("cache-status").unwrap(),
        "far; hit, cache; fwd=uri-miss; detail=no-store"
    );
    let got = world.get("/none", &["cache-control: only-if-cached"]).await;
    assert_eq!((got.status, got.field("cache-status")), (504, None));
}

/// H6.1
#[tokio::test]
async fn the_key_is_shown_only_on_request_and_the_field_can_be_off() {
    use cache_tower::CacheConfig;
    let silent = World::with(CacheConfig {
        status_name: None,
        ..CacheConfig::default()
    });
    silent.says(200, &[FRESH]);
    for _ in 0..2 {
        assert_eq!(silent.get("/", &[]).await.field("cache-status"), None);
    }
    let open = World::with(CacheConfig {
        status_name: Some("edge 1".into()),
        status_shows_key: true,
        ..CacheConfig::default()
    });
    open.says(200, &[FRESH]).get("/", &[]).await;
    let status = open.get("/", &[]).await.field("cache-status").unwrap();
    assert!(
        status.starts_with("\"edge 1\"; hit; ttl=60; key=\"http:r-"),
        "{status}"
    );
}

/// H4.6
#[tokio::test]
async fn what_is_invalidated_while_the_origin_works_is_not_stored() {
    for what in ["uri", "prefix", "tag", "clear"] {
        let (entered, wait_entered) = tokio::sync::oneshot::channel();
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        let gate = std::sync::Arc::new(std::sync::Mutex::new(Some((entered, released))));
        let world = World::of(cache_tower::CacheConfig::default(), move |_| {
            let gate = gate.lock().unwrap().take();
            async move {
                if let Some((entered, released)) = gate {
                    entered.send(()).unwrap();
                    released.await.unwrap();
                }
                let mut response = http::Response::new(axum::body::Body::from("x"));
                response
                    .headers_mut()
                    .insert("cache-control", "max-age=60".parse().unwrap());
                response
                    .extensions_mut()
                    .insert(cache_tower::CachePolicy::new().tag("late"));
                response
            }
        });
        let purge_here = cache_tower::Purge::new(world.cache.clone());
        let client = tokio::spawn({
            let world = world.clone();
            async move { world.get("/a", &[]).await.body }
        });
        wait_entered.await.unwrap();
        match what {
            "uri" => purge_here.uri("http://h/a").await.unwrap(),
            "prefix" => purge_here.prefix("http://h/").await.unwrap(),
            "tag" => world.cache.invalidate_tag("late").await.unwrap(),
            _ => world.cache.clear().await.unwrap(),
        }
        release.send(()).unwrap();
        assert_eq!(client.await.unwrap(), "x");
        let next = world.get("/a", &[]).await;
        assert!(!next.headers.contains_key("age"), "{what}: {next:?}");
        assert!(world.get("/a", &[]).await.headers.contains_key("age"), "{what}");
    }
}
