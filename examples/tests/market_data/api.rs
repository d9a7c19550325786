//! System C.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use cache_core::CacheKey;
use cache_core::time::{days, hours, minutes, seconds};
use market::api::{Endpoint, Invalidate};
use market::candles::Timeframe;
use serde_json::{Value, json};
use support::{RedisServer, wait_until};
use tower::ServiceExt as _;

use crate::{SOON, exchange, node, symbol, tiers};

const TOKEN: &str = "0123456789abcdef-operator";
const HOUR: Timeframe = Timeframe::Hour;

async fn ask(
    app: &Router,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<Value>,
) -> (StatusCode, Value) {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let request = request
        .header("content-type", "application/json")
        .body(body)
        .unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_redis_are_the_ones_that_operators_know() {
    let (redis, exchange) = (RedisServer::start(), exchange().await);
    let service = node(Some(&redis), &exchange);
    service.api.user(7).await.unwrap();
    service.api.session(7_001).await.unwrap();
    service.api.alert(7).await.unwrap();
    service.api.prices(&symbol("EURUSD"), HOUR).await.unwrap();
    service
        .api
        .answer(Endpoint::Search, &BTreeMap::new(), 1)
        .await
        .unwrap();
    let keys = redis.cli(&["KEYS", "ai_trading:*"]);
    for start in [
        "ai_trading:users:7\n",
        "ai_trading:users:session:#",
        "ai_trading:signals:7\n",
        "ai_trading:market:EURUSD:1h\n",
        "ai_trading:api:search:#",
    ] {
        assert!(format!("{keys}\n").contains(start), "{start} is not among {keys}");
    }
    assert!(!keys.contains("7001"), "a session's id is a secret: {keys}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_change_nothing_are_not_in_the_key() {
    let exchange = exchange().await;
    for redis in tiers() {
        let api = node(redis.as_ref(), &exchange).api;
        let before = exchange.asked().calls;
        let parameters = BTreeMap::from([("q".to_owned(), "gold".to_owned())]);
        for timestamp in 0..5 {
            api.answer(Endpoint::Search, &parameters, timestamp)
                .await
                .unwrap();
        }
        assert_eq!(exchange.asked().calls - before, 1);
        api.answer(Endpoint::Statistics, &parameters, 1).await.unwrap();
        api.answer(Endpoint::Search, &BTreeMap::new(), 1).await.unwrap();
        assert_eq!(exchange.asked().calls - before, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_to_live_come_from_the_configuration_by_name() {
    let exchange = exchange().await;
    for redis in tiers() {
        let service = node(redis.as_ref(), &exchange);
        service.api.user(7).await.unwrap();
        service.api.alert(7).await.unwrap();
        service.api.prices(&symbol("S1"), HOUR).await.unwrap();
        service
            .api
            .answer(Endpoint::Search, &BTreeMap::new(), 1)
            .await
            .unwrap();
        for (key, ttl) in [
            (service.api.user_key(7), minutes(30)),
            (service.api.alert_key(7), days(1)),
            (service.api.prices_key(&symbol("S1"), HOUR), seconds(300)),
            (
                service.api.answer_key(Endpoint::Search, &BTreeMap::new()),
                hours(1),
            ),
        ] {
            let left = service.cache.remaining_ttl(&key.unwrap()).await.unwrap();
            assert!(left <= ttl && left > ttl.mul_f64(0.8), "{left:?} of {ttl:?}");
        }
        assert!(
            service.cache.policies().missing().is_empty(),
            "{:?}",
            service.cache.policies().missing()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_does_not_exist_is_asked_for_once() {
    let exchange = exchange().await;
    for redis in tiers() {
        let api = node(redis.as_ref(), &exchange).api;
        let before = exchange.asked().calls;
        for _ in 0..3 {
            assert_eq!(api.user(1_000_000).await.unwrap(), None);
        }
        assert_eq!(exchange.asked().calls - before, 1);
    }
}

#[tokio::test]
async fn values_are_set_read_and_removed_by_hand() {
    for redis in tiers() {
        let cache = node(redis.as_ref(), &exchange().await).cache;
        let key = CacheKey::parse("users:session:s1").unwrap();
        assert!(
            cache
                .set(&key, json!({ "user": 1 }), minutes(5))
                .await
                .unwrap()
                .is_stored()
        );
        assert_eq!(
            cache.get::<Value>(&key).await.as_deref(),
            Some(&json!({ "user": 1 }))
        );
        assert!(cache.contains(&key).await);
        assert!(
            cache
                .remaining_ttl(&key)
                .await
                .is_some_and(|left| left <= minutes(5) && left > minutes(4))
        );
        cache.remove(&key).await.unwrap();
        assert!(!cache.contains(&key).await && cache.remaining_ttl(&key).await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_one_symbol_the_market_or_everything_is_invalidated_in_the_fleet() {
    let exchange = exchange().await;
    for redis in tiers() {
        let (one, two) = (node(redis.as_ref(), &exchange), node(redis.as_ref(), &exchange));
        let two = if redis.is_some() { &two } else { &one };
        if redis.is_some() {
            support::hears(&one.cache).await;
            support::hears(&two.cache).await;
        }
        let fill = async || {
            one.api.user(1).await.unwrap();
            two.api.user(2).await.unwrap();
            one.api.prices(&symbol("S1"), HOUR).await.unwrap();
            two.api.prices(&symbol("S2"), HOUR).await.unwrap();
            two.tickers.ticker(&symbol("S1")).await.unwrap();
        };
        for (what, loads) in [
            (Invalidate::User(1), 1),
            (Invalidate::Symbol(symbol("S1")), 2),
            (Invalidate::Market, 3),
            (Invalidate::Everything, 5),
        ] {
            fill().await;
            let heard = two.cache.stats().counters.notices;
            one.api.invalidate(&what).await.unwrap();
            if redis.is_some() {
                let hears = async || two.cache.stats().counters.notices > heard;
                wait_until(SOON, "the other node hears of it", hears).await;
            }
            let before = exchange.asked().calls;
            fill().await;
            assert_eq!(exchange.asked().calls - before, loads, "{what:?} {redis:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoints_answer_as_promised() {
    let exchange = exchange().await;
    for redis in tiers() {
        let service = node(redis.as_ref(), &exchange);
        let app = service.router(TOKEN).unwrap();
        service.api.user(7).await.unwrap();
        service.api.user(7).await.unwrap();
        for path in ["/health", "/cache/health"] {
            let (status, body) = ask(&app, "GET", path, None, None).await;
            assert_eq!(status, StatusCode::OK);
            assert_eq!(
                (&body["status"], &body["connection_healthy"]),
                (&json!("healthy"), &json!(true))
            );
            assert_eq!(body["fallback_enabled"], true);
            for figure in [
                "hit_rate",
                "error_rate",
                "total_operations",
                "average_response_time_ms",
            ] {
                assert!(body["metrics"][figure].is_number(), "{figure}: {body}");
            }
        }
        let (_, metrics) = ask(&app, "GET", "/cache/metrics", None, None).await;
        assert_eq!(
            (&metrics["hits"], &metrics["misses"], &metrics["errors"]),
            (&json!(1), &json!(1), &json!(0))
        );
        assert_eq!(
            (&metrics["hit_rate"], &metrics["total_operations"]),
            (&json!(0.5), &json!(2))
        );

        let body = || Some(json!({ "user": 7 }));
        for (token, expected) in [
            (None, StatusCode::UNAUTHORIZED),
            (Some("wrong"), StatusCode::UNAUTHORIZED),
        ] {
            let (status, _) = ask(&app, "POST", "/cache/invalidate", token, body()).await;
            assert_eq!(status, expected);
        }
        assert!(service.cache.contains(&service.api.user_key(7).unwrap()).await);
        let (status, answer) = ask(&app, "POST", "/cache/invalidate", Some(TOKEN), body()).await;
        assert_eq!(
            (status, answer),
            (
                StatusCode::OK,
                json!({ "status": "done", "invalidated": { "user": 7 } })
            )
        );
        assert!(!service.cache.contains(&service.api.user_key(7).unwrap()).await);
        for wrong in [
            json!({ "users": 7 }),
            json!({ "symbol": "../x" }),
            json!("all of it"),
        ] {
            let (status, _) = ask(&app, "POST", "/cache/invalidate", Some(TOKEN), Some(wrong)).await;
            assert!(status.is_client_error(), "{status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_and_values_of_a_symbol_go_together() {
    let exchange = exchange().await;
    for redis in tiers() {
        let app = node(redis.as_ref(), &exchange).router(TOKEN).unwrap();
        let calls = async || {
            let before = exchange.asked().calls;
            for path in [
                "/price/S1",
                "/signal/S1",
                "/bars/S1/1h?limit=3",
                "/ticker/S1",
                "/funding/S1",
                "/quotes/news/S1",
            ] {
                let (status, _) = ask(&app, "GET", path, None, None).await;
                assert_eq!(status, StatusCode::OK, "{path}");
            }
            exchange.asked().calls - before
        };
        assert_eq!(
            (calls().await, calls().await),
            (5, 0),
            "price and ticker are one question"
        );
        ask(
            &app,
            "POST",
            "/cache/invalidate",
            Some(TOKEN),
            Some(json!({ "symbol": "S1" })),
        )
        .await;
        assert_eq!(calls().await, 5);
        for (path, expected) in [
            ("/price/NOPE", StatusCode::NOT_FOUND),
            ("/price/..%2Fusers%2F1", StatusCode::BAD_REQUEST),
            ("/bars/GOOG/1h", StatusCode::NOT_FOUND),
            ("/bars/GOOG/2h", StatusCode::BAD_REQUEST),
            ("/quotes/gossip/GOOG", StatusCode::BAD_REQUEST),
            ("/users/0", StatusCode::NOT_FOUND),
            ("/admin/cache/caches", StatusCode::UNAUTHORIZED),
        ] {
            assert_eq!(ask(&app, "GET", path, None, None).await.0, expected, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_degraded_and_the_service_serves_on_while_redis_is_away() {
    let (redis, exchange) = (RedisServer::start(), exchange().await);
    let service = node(Some(&redis), &exchange);
    let app = service.router(TOKEN).unwrap();
    service.api.user(7).await.unwrap();
    redis.kill();
    wait_until(SOON, "it is noticed", async || {
        service.api.user(8).await.unwrap();
        let (status, body) = ask(&app, "GET", "/health", None, None).await;
        status == StatusCode::OK && body["status"] == "degraded" && body["connection_healthy"] == false
    })
    .await;
    let (status, answer) = ask(
        &app,
        "POST",
        "/cache/invalidate",
        Some(TOKEN),
        Some(json!("market")),
    )
    .await;
    assert_eq!(
        (status, &answer["status"]),
        (StatusCode::ACCEPTED, &json!("pending"))
    );
    redis.restart();
    wait_until(SOON, "all is well again", async || {
        service.api.user(9).await.unwrap();
        ask(&app, "GET", "/health", None, None).await.1["status"] == "healthy"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_holds_no_more_than_its_bound() {
    let exchange = exchange().await;
    let settings = include_str!("../../market-data/market-data.toml");
    let bound = "[caches.ai_trading]\nmemory_entries = 1000";
    let settings = settings.replace("[caches.ai_trading]\nmemory_bytes = \"64MiB\"", bound);
    let config = cache_core::config::Config::sources()
        .toml(&settings)
        .unwrap()
        .read()
        .unwrap();
    let cache = config
        .cache_builder(market::service::CACHE)
        .unwrap()
        .build()
        .unwrap();
    let service = crate::over(cache, &exchange);
    for id in 1..=2_000 {
        service.api.user(id).await.unwrap();
    }
    wait_until(SOON, "what was too much is gone", async || {
        service.cache.stats().entries <= 1_000
    })
    .await;
    let stats = service.cache.stats();
    assert!(stats.capacity == 1_000 && stats.entries > 500, "{stats:?}");
}
