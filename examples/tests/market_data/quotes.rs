//! System D.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use cache_core::testing::ManualClock;
use cache_core::time::seconds;
use cache_core::{Eager, EntryOptions};
use market::candles::Symbol;
use market::quotes::{Class, Wanted};
use market::service::CACHE;
use market::warmers;
use serde_json::{Value, json};
use support::RedisServer;
use tower::ServiceExt as _;

use crate::{config, exchange, node, over, symbol, tiers};

const TOKEN: &str = "0123456789abcdef-operator";

#[tokio::test(flavor = "multi_thread")]
async fn each_class_of_facts_has_its_time_from_the_configuration() {
    let exchange = exchange().await;
    for redis in tiers() {
        let service = node(redis.as_ref(), &exchange);
        for (class, ttl) in Class::ALL
            .into_iter()
            .zip([60, 300, 1_800, 3_600, 7_200, 86_400, 1_800])
        {
            let fact = service.quotes.read(class, &symbol("S1")).await.unwrap();
            assert_eq!(fact["class"], class.as_str());
            let key = cache_core::CacheKey::build("quotes", (class, symbol("S1"))).unwrap();
            let left = service.cache.remaining_ttl(&key).await.unwrap();
            assert!(
                left <= seconds(ttl) && left > seconds(ttl).mul_f64(0.8),
                "{class:?}: {left:?}"
            );
        }
        assert!(service.cache.policies().missing().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_use_is_refreshed_before_its_time_is_over_and_never_waited_for() {
    let (clock, exchange) = (ManualClock::new(), exchange().await);
    let cache = config()
        .cache_builder(CACHE)
        .unwrap()
        .clock(clock.clone())
        .build()
        .unwrap();
    let service = over(cache, &exchange);
    let read = async || service.quotes.read(Class::RealTime, &symbol("S1")).await.unwrap();
    let key = cache_core::CacheKey::build("quotes", (Class::RealTime, symbol("S1"))).unwrap();
    // Not only loaded, but in place and over: while one load runs, no read begins the next.
    let settled = async || {
        support::wait_until(crate::SOON, "the load is over", async || {
            let stored = service.cache.remaining_ttl(&key).await > Some(seconds(40));
            stored && service.cache.loads_in_flight() == 0
        })
        .await;
    };
    read().await;
    settled().await;
    for round in 1..=20_u64 {
        clock.advance(seconds(50));
        assert!(read().await.outcome().is_hit(), "round {round}");
        settled().await;
        assert_eq!(exchange.asked().calls, round + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_redis_too_what_is_in_use_is_refreshed_before_its_time_is_over() {
    let (redis, exchange) = (RedisServer::start(), exchange().await);
    let service = node(Some(&redis), &exchange);
    let short = EntryOptions::ttl(seconds(1)).eager(Eager::After(0.1));
    service.cache.set_policy("real-time", short).unwrap();
    let read = async || {
        service
            .quotes
            .read(Class::RealTime, &symbol("S1"))
            .await
            .unwrap()
            .outcome()
    };
    read().await;
    let mut loads = 0;
    support::wait_until(crate::SOON, "it is loaded anew, three times", async || {
        loads += u64::from(!read().await.is_hit());
        exchange.asked().calls >= 4
    })
    .await;
    assert_eq!(loads, 0, "nobody waited for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn warming_delays_no_start() {
    let forever = seconds(3_600);
    let exchange = crate::exchange_that(market::upstream::Behaviour {
        latency: forever..forever,
        ..Default::default()
    })
    .await;
    for redis in tiers() {
        let service = node(redis.as_ref(), &exchange);
        warmers::add(&service).unwrap();
        let app = service.router(TOKEN).unwrap();
        let health = Request::get("/health").body(Body::empty()).unwrap();
        assert_eq!(app.oneshot(health).await.unwrap().status(), StatusCode::OK);
        let runs = service.cache.warmers();
        assert!(runs.iter().all(|warmer| warmer.status().last.is_none()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_all_who_ask_at_once_one_asks_the_exchange() {
    let exchange = exchange().await;
    for redis in tiers() {
        let nodes = [node(redis.as_ref(), &exchange), node(redis.as_ref(), &exchange)];
        let before = exchange.asked().calls;
        let mut callers = tokio::task::JoinSet::new();
        for n in 0..100 {
            let quotes = nodes[if redis.is_some() { n % 2 } else { 0 }].quotes.clone();
            callers
                .spawn(async move { quotes.read(Class::News, &symbol("S9")).await.unwrap()["text"].clone() });
        }
        callers.join_all().await;
        assert_eq!(exchange.asked().calls - before, 1, "{redis:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wanted_is_warm_soon_after_the_start() {
    let exchange = exchange().await;
    for redis in tiers() {
        let service = node(redis.as_ref(), &exchange);
        warmers::add(&service).unwrap();
        assert!(
            service.cache.missing_warmers().is_empty(),
            "{:?}",
            service.cache.missing_warmers()
        );
        for warmer in service.cache.warmers() {
            let run = warmer.settled().await.unwrap();
            assert!(
                run.report.failed == 0 && run.error.is_none(),
                "{} {run:?}",
                warmer.name()
            );
        }
        let lists = [Wanted::TopSymbols, Wanted::Movers, Wanted::Watchlist(7)];
        let mut symbols: Vec<Symbol> = Vec::new();
        for list in lists {
            symbols.extend(service.quotes.wanted(list).await.unwrap());
        }
        let calls = exchange.asked().calls;
        for (class, symbol) in symbols
            .iter()
            .flat_map(|symbol| Class::ALL.map(|class| (class, symbol)))
        {
            assert!(
                service
                    .quotes
                    .read(class, symbol)
                    .await
                    .unwrap()
                    .outcome()
                    .is_hit(),
                "{class:?} {symbol}"
            );
        }
        service.api.user(7).await.unwrap();
        service.api.alert(7).await.unwrap();
        assert_eq!(exchange.asked().calls, calls);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_the_memory_of_redis_and_start_warmers_and_nobody_else_does() {
    let (redis, exchange) = (RedisServer::start(), exchange().await);
    let service = node(Some(&redis), &exchange);
    warmers::add(&service).unwrap();
    let app = service.router(TOKEN).unwrap();
    let ask = async |method: &str, path: &str, token: &str, body: Value| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost");
        let request = request
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        let response = app
            .clone()
            .oneshot(request.body(Body::from(body.to_string())).unwrap())
            .await
            .unwrap();
        let status = response.status();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (
            status,
            serde_json::from_slice::<Value>(&bytes).unwrap_or_default(),
        )
    };
    for (method, path) in [("GET", "/cache/statistics"), ("POST", "/cache/warming/trigger")] {
        assert_eq!(
            ask(method, path, "wrong", json!({})).await.0,
            StatusCode::UNAUTHORIZED
        );
    }
    let (_, statistics) = ask("GET", "/cache/statistics", TOKEN, json!({})).await;
    assert!(
        statistics["redis"]["used_memory"].as_u64() > Some(0),
        "{statistics}"
    );
    assert!(statistics["cache"]["counters"].is_object());

    for warmer in service.cache.warmers() {
        warmer.settled().await;
    }
    for kind in ["top-symbols", "watchlist", "movers"] {
        let (status, body) = ask("POST", "/cache/warming/trigger", TOKEN, json!({ "warmer": kind })).await;
        assert_eq!((status, &body["started"]), (StatusCode::ACCEPTED, &json!([kind])));
    }
    assert_eq!(
        ask("POST", "/cache/warming/trigger", TOKEN, json!({ "warmer": "x" }))
            .await
            .0,
        StatusCode::NOT_FOUND
    );
    for warmer in service.cache.warmers() {
        warmer.settled().await;
    }
    let (status, body) = ask("GET", "/cache/warming/metrics", "", json!({})).await;
    assert_eq!(status, StatusCode::OK);
    let runs = body["warmers"].as_array().unwrap();
    assert_eq!(runs.len(), 7);
    for run in runs {
        let last = &run["last"];
        assert!(
            last["result"].is_string() && last["report"]["failed"] == 0,
            "{run}"
        );
        assert!(
            last["report"]["loaded"].is_number() && last.get("error").is_some(),
            "{run}"
        );
    }

    redis.kill();
    let (status, statistics) = ask("GET", "/cache/statistics", TOKEN, json!({})).await;
    assert!(
        status == StatusCode::OK && statistics["redis"]["error"].is_string(),
        "{statistics}"
    );
}
