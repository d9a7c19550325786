//! What the routes answer, against a cache with things in it.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use cache_core::stats::{METRICS, SampleValue};
use cache_core::time::{hours, minutes, seconds};
use cache_core::{Cache, CacheKey, EntryOptions, Redis};
use cache_tower::{CacheLayer, admin};
use http::Request;
use serde_json::{Value, json};
use support::{LogCapture, RedisServer, wait_until};
use tower::ServiceExt;

use super::world::{ALL, READER, World, config, meant};

fn key(n: u64) -> CacheKey {
    CacheKey::build("user", n).unwrap()
}

/// Values stay in this process only while invalidations by other nodes are heard.
async fn heard(cache: &Cache) {
    cache.get::<String>(&key(0)).await;
    wait_until(seconds(10), "the log is heard", async || {
        cache.stats().shared.is_some_and(|shared| shared.log_heard)
    })
    .await;
}

#[tokio::test]
async fn the_session_tells_who_may_do_what_where() {
    let world = World::new();
    let session = world.get("/session", READER).await.json();
    assert_eq!(
        session,
        json!({"who": "reader", "scopes": ["read"], "caches": ["shop"]})
    );
}

/// Series by name and labels, from the text.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let mut found = BTreeMap::new();
    for line in series {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let before = found.insert(name.to_owned(), value.parse().unwrap());
        assert_eq!(before, None, "{name} stands there twice");
    }
    found
}

#[tokio::test]
async fn metrics_are_the_statistics_with_the_names_of_the_documentation() {
    let server = RedisServer::start();
    let cache = Cache::builder("shop")
        .redis(Redis::from_url(&server.url()).unwrap())
        .build()
        .unwrap();
    let other = Cache::builder("other").build().unwrap();
    let _layer = CacheLayer::new(cache.clone());
    let mut world = World::over(cache.clone(), config());
    world.app = Router::new().nest(
        "/admin",
        admin::router(config()).with([cache.clone(), other.clone()]),
    );
    heard(&cache).await;
    for n in [1, 1, 1, 2, 3] {
        world.fill(&key(n), "t", "Ada").await;
    }
    let got = world.get("/metrics", READER).await;
    assert_eq!(
        got.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let told = parse(&got.body);
    let samples = cache.stats().samples();
    for sample in &samples {
        let mut labels = String::from("cache=\"shop\"");
        for (name, value) in &sample.labels {
            labels.push_str(&format!(",{name}=\"{value}\""));
        }
        let told = |name: &str| told[&format!("{name}{{{labels}}}")];
        match &sample.value {
            SampleValue::Count(count) => assert_eq!(told(sample.name), *count as f64, "{}", sample.name),
            SampleValue::Level(level) if sample.name == "cache_log_lag_seconds" => {
                assert!((told(sample.name) - level).abs() < 10.0);
            }
            SampleValue::Level(level) => assert_eq!(told(sample.name), *level, "{}", sample.name),
            SampleValue::Times(times) => {
                assert_eq!(told(&format!("{}_count", sample.name)), times.count() as f64);
                assert!((told(&format!("{}_sum", sample.name)) - times.sum().as_secs_f64()).abs() < 1e-9);
            }
            other => panic!("{other:?} is new"),
        }
    }
    let helps = got.body.lines().filter_map(|line| line.strip_prefix("# HELP "));
    let helps: BTreeSet<&str> = helps.map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(helps, METRICS.iter().map(|metric| metric.name).collect());
    let bounds: Vec<f64> = told
        .iter()
        .filter(|(name, _)| name.starts_with("cache_load_seconds_bucket{cache=\"shop\""))
        .map(|(_, below)| *below)
        .collect();
    assert!(bounds.len() > 10 && bounds.contains(&3.0));
    assert_eq!(told["cache_entries{cache=\"other\"}"], 0.0);
    assert_eq!(
        told["cache_hits_total{cache=\"shop\",tier=\"memory\",kind=\"fresh\"}"],
        2.0
    );
}

#[tokio::test]
async fn a_lookup_tells_everything_but_the_value_and_counts_nothing() {
    let server = RedisServer::start();
    let cache = Cache::builder("shop")
        .redis(Redis::from_url(&server.url()).unwrap())
        .build()
        .unwrap();
    heard(&cache).await;
    let world = World::over(cache, config());
    world.fill(&key(7), "user:7", "canary-value").await;
    let before = world.cache.stats().counters;
    let got = world
        .post("/caches/shop/lookup", READER, r#"{"key":"user:7"}"#)
        .await;
    assert!(!got.body.contains("canary-value"), "{}", got.body);
    let found = got.json();
    assert_eq!(
        (found["key"].as_str(), found["namespace"].as_str()),
        (Some("user:7"), Some("shop"))
    );
    for tier in ["memory", "shared"] {
        let entry = &found[tier];
        assert_eq!(entry["state"], "fresh", "{tier}: {found}");
        assert_eq!(entry["negative"], false);
        assert_eq!(entry["tags"], json!(["user:7"]));
        let seconds = |field: &str| entry[field].as_f64().unwrap();
        assert!((200.0..=300.0).contains(&seconds("fresh_for_seconds")), "{entry}");
        assert!((500.0..=600.0).contains(&seconds("kept_for_seconds")), "{entry}");
        assert!(seconds("age_seconds") < 60.0 && entry["weight"].as_u64().unwrap() > 10);
    }
    assert_eq!(found["shared_error"], Value::Null);
    assert_eq!(world.cache.stats().counters, before);

    world.cache.invalidate_tag("user:7").await.unwrap();
    let found = world
        .post("/caches/shop/lookup", READER, r#"{"key":"user:7"}"#)
        .await
        .json();
    assert_eq!(found["memory"]["state"], "invalidated");
    assert_eq!(found["shared"]["state"], "invalidated");

    server.kill();
    let found = world
        .post("/caches/shop/lookup", READER, r#"{"key":"user:8"}"#)
        .await
        .json();
    assert_eq!((&found["memory"], &found["shared"]), (&Value::Null, &Value::Null));
    assert!(found["shared_error"].is_string(), "{found}");
}

#[tokio::test]
async fn a_value_needs_its_own_scope_and_a_type_that_was_registered() {
    let log = LogCapture::start();
    let world = World::with(config().reveal::<String>("user"));
    world.fill(&key(7), "user:7", "Ada").await;
    let secret = CacheKey::build("session", 7_u64).unwrap();
    world.fill(&secret, "user:7", "canary-session").await;
    let order = r#"{"key":"user:7","value":true}"#;
    let refused = world.post("/caches/shop/lookup", READER, order).await;
    assert_eq!(refused.code(), "missing_scope");
    assert!(!refused.body.contains("Ada"));
    let shown = world.post("/caches/shop/lookup", ALL, order).await.json();
    assert_eq!(shown["value"], "Ada");
    let plain = world
        .post("/caches/shop/lookup", ALL, r#"{"key":"user:7"}"#)
        .await;
    assert!(!plain.body.contains("Ada"), "only if it is asked for");
    let hidden = world
        .post("/caches/shop/lookup", ALL, r#"{"key":"session:7","value":true}"#)
        .await;
    assert_eq!(
        (hidden.status.as_u16(), hidden.code().as_str()),
        (403, "not_revealed")
    );
    let none = world
        .post("/caches/shop/lookup", ALL, r#"{"key":"user:9","value":true}"#)
        .await
        .json();
    assert_eq!(none.get("value"), None);
    log.assert_line(&["cache_admin", "value seen", "who=\"all\"", "user:7"]);
}

#[tokio::test]
async fn each_door_of_invalidation_opens_what_it_names_and_nothing_else() {
    let log = LogCapture::start();
    let world = World::new();
    let session = CacheKey::build("session", 1_u64).unwrap();
    for (order, gone, stays) in [
        (json!({"key": "user:1"}), key(1), key(2)),
        (json!({"tag": "user:1"}), key(1), key(2)),
        (json!({"prefix": "session"}), session.clone(), key(1)),
    ] {
        world.fill(&key(1), "user:1", "Ada").await;
        world.fill(&key(2), "user:2", "Bob").await;
        world.fill(&session, "session", "open").await;
        let got = world
            .post("/caches/shop/invalidate", ALL, order.to_string())
            .await;
        assert_eq!(
            (got.status.as_u16(), got.json()),
            (200, json!({"status": "done"})),
            "{order}"
        );
        assert!(!world.cache.contains(&gone).await, "{order}");
        assert!(world.cache.contains(&stays).await, "{order}");
    }
    log.assert_line(&[
        "cache_admin",
        "invalidated",
        "who=\"all\"",
        "by=\"tag\"",
        "what=\"user:1\"",
    ]);
}

#[tokio::test]
async fn a_namespace_is_reached_by_its_full_name() {
    let world = World::new();
    let tenant = world.cache.namespace("tenant-7").unwrap();
    for cache in [&world.cache, &tenant] {
        let options = EntryOptions::ttl(minutes(5));
        let _ = cache.set(&key(1), "Ada".to_owned(), options).await.unwrap();
    }
    let order = r#"{"key":"user:1","namespace":"shop/tenant-7"}"#;
    let found = world.post("/caches/shop/lookup", ALL, order).await.json();
    assert_eq!(
        (&found["namespace"], &found["memory"]["state"]),
        (&json!("shop/tenant-7"), &json!("fresh"))
    );
    let order = r#"{"confirm":"shop/tenant-7","namespace":"shop/tenant-7"}"#;
    assert_eq!(world.post("/caches/shop/clear", ALL, order).await.status, 200);
    assert!(world.cache.contains(&key(1)).await && !tenant.contains(&key(1)).await);
}

#[tokio::test]
async fn a_stored_response_is_purged_by_its_uri() {
    let world = World::new();
    let page = || async { ([("cache-control", "max-age=60")], "page") };
    let app = Router::new()
        .route("/{*page}", get(page))
        .layer(CacheLayer::new(world.cache.clone()));
    let status = async |path: &str| {
        let request = Request::get(path)
            .header("host", "h")
            .body(Body::empty())
            .unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let status = response.headers()["cache-status"].to_str().unwrap().to_owned();
        axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        status
    };
    for order in [
        json!({"uri": "http://h/a/b"}),
        json!({"uri_prefix": "http://h/a"}),
    ] {
        status("/a/b").await;
        status("/c").await;
        assert!(status("/a/b").await.contains("hit"));
        let got = world
            .post("/caches/shop/invalidate", ALL, order.to_string())
            .await;
        assert_eq!(got.status, 200, "{}", got.body);
        assert!(!status("/a/b").await.contains("hit"), "{order}");
        assert!(status("/c").await.contains("hit"), "{order}");
    }
}

#[tokio::test]
async fn without_redis_an_invalidation_is_pending_and_health_is_degraded_not_down() {
    let server = RedisServer::start();
    let cache = Cache::builder("shop")
        .redis(Redis::from_url(&server.url()).unwrap())
        .build()
        .unwrap();
    let world = World::over(cache, config());
    world.fill(&key(1), "user:1", "Ada").await;
    let health = world.get("/health", READER).await;
    assert_eq!(
        (health.status.as_u16(), &health.json()["status"]),
        (200, &json!("healthy"))
    );
    server.kill();
    let got = world
        .post("/caches/shop/invalidate", ALL, r#"{"tag":"user:1"}"#)
        .await;
    assert_eq!(
        (got.status.as_u16(), got.json()),
        (202, json!({"status": "pending"}))
    );
    let health = world.get("/caches/shop/health", READER).await;
    assert_eq!(health.status, 200);
    let health = health.json();
    assert_eq!(
        (&health["status"], &health["ready"]),
        (&json!("degraded"), &json!(true))
    );
    assert_eq!(health["connection_healthy"], false);
    assert_eq!(world.get("/health", READER).await.json()["status"], "degraded");
    let doctor = world.get("/caches/shop/doctor", READER).await.json();
    assert!(
        doctor["findings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|it| it["code"] == "redis_unreachable"),
        "{doctor}"
    );

    world.cache.close(seconds(1)).await.unwrap();
    let health = world.get("/health", READER).await;
    assert_eq!(
        (health.status.as_u16(), &health.json()["ready"]),
        (503, &json!(false))
    );
}

#[tokio::test]
async fn a_policy_is_shown_and_swapped_and_a_wrong_one_changes_nothing() {
    let log = LogCapture::start();
    let cache = Cache::builder("shop")
        .policy("price", EntryOptions::ttl(seconds(5)).stale_for(hours(1)))
        .build()
        .unwrap();
    let world = World::over(cache, config());
    let named = EntryOptions::new().policy("prise");
    let _ = world.cache.set(&key(1), 1, named).await.unwrap();
    let shown = world.get("/caches/shop/policies", READER).await.json();
    assert_eq!(
        shown["policies"]["price"],
        json!({"ttl": "5s", "stale_for": "1h"})
    );
    assert!(shown["missing"]["prise"].is_string(), "{shown}");

    let put = async |body: &str| {
        let request = meant("PUT", "/caches/shop/policies/price", ALL);
        world
            .send(request.body(Body::from(body.to_owned())).unwrap())
            .await
    };
    let wrong = put(r#"{"ttl":"5 parsecs"}"#).await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.code().as_str()),
        (400, "invalid_json")
    );
    let wrong = put(r#"{"ttl":"5m","hard_ttl":"1m"}"#).await;
    assert_eq!((wrong.status.as_u16(), wrong.code().as_str()), (400, "invalid"));
    assert!(wrong.body.contains("hard_ttl"), "{}", wrong.body);
    assert_eq!(world.get("/caches/shop/policies", READER).await.json(), shown);

    assert_eq!(put(r#"{"ttl":"1m"}"#).await.status, 200);
    let shown = world.get("/caches/shop/policies", READER).await.json();
    assert_eq!(shown["policies"]["price"], json!({"ttl": "1m"}));
    let named = EntryOptions::new().policy("price").jitter(0.0);
    let _ = world.cache.set(&key(2), 1, named).await.unwrap();
    let left = world.cache.remaining_ttl(&key(2)).await.unwrap();
    assert!(left > seconds(50) && left <= seconds(60), "{left:?}");
    log.assert_line(&["cache_admin", "policy set", "price"]);
}

#[tokio::test]
async fn traffic_tells_what_is_stored_and_hit_most() {
    let world = World::new();
    for n in 0..30 {
        world.fill(&key(n), "user", "Ada").await;
        if n % 3 == 0 {
            world
                .fill(&CacheKey::build("quote", n).unwrap(), "quote", "1")
                .await;
        }
    }
    let traffic = world.get("/caches/shop/traffic", READER).await.json();
    let top = |list: &str, place: usize| {
        let entry = &traffic[list][place];
        (
            entry["name"].as_str().unwrap().to_owned(),
            entry["share"].as_f64().unwrap(),
        )
    };
    assert_eq!(top("prefixes", 0), ("user".into(), 0.75));
    assert_eq!(top("tags", 1), ("quote".into(), 0.25));

    // Hits are sampled, and outweigh what was stored: 64 × 40 of them after 40 stores.
    let quote = CacheKey::build("quote", 3_u64).unwrap();
    for _ in 0..64 * 40 {
        assert!(world.cache.get::<String>(&quote).await.is_some());
    }
    let traffic = world.get("/caches/shop/traffic", READER).await.json();
    assert_eq!(traffic["prefixes"][0]["name"], "quote");
    assert_eq!(traffic["tags"][0]["name"], "quote");
    let share = traffic["tags"][0]["share"].as_f64().unwrap();
    assert!((0.9..=1.0).contains(&share), "{share}");
}

#[tokio::test(start_paused = true)]
async fn events_bring_a_reading_every_second_that_says_what_the_metrics_say() {
    let world = World::new();
    world.fill(&key(1), "user:1", "Ada").await;
    let request = super::world::request("GET", "/events", READER)
        .body(Body::empty())
        .unwrap();
    let response = world.app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    for hits in 0..3 {
        let frame = http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();
        let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
        let event = text.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
        let event: Value = serde_json::from_str(event).unwrap();
        let cache = &event["caches"][0];
        assert_eq!(
            (&cache["name"], &cache["weighed_in"]),
            (&json!("shop"), &json!("bytes"))
        );
        assert_eq!(
            cache["series"]["cache_hits_total{tier=memory,kind=fresh}"],
            json!(hits)
        );
        assert_eq!(cache["series"]["cache_load_seconds"]["count"], 1);
        assert_eq!(cache["health"]["status"], "healthy");
        assert_eq!(cache["traffic"]["prefixes"][0]["name"], "user");
        let metrics = parse(&world.get("/metrics", READER).await.body);
        let metric = "cache_hits_total{cache=\"shop\",tier=\"memory\",kind=\"fresh\"}";
        assert_eq!(metrics[metric], f64::from(hits));
        world.fill(&key(1), "user:1", "Ada").await;
    }
}

#[tokio::test]
async fn streams_are_as_many_as_are_served_and_each_gives_its_place_back() {
    let world = World::new();
    let open = async || {
        let request = super::world::request("GET", "/events", READER)
            .body(Body::empty())
            .unwrap();
        world.app.clone().oneshot(request).await.unwrap()
    };
    let mut streams = Vec::new();
    for _ in 0..32 {
        streams.push(open().await);
    }
    assert_eq!(open().await.status(), 503);
    streams.pop();
    assert_eq!(open().await.status(), 200);
}
