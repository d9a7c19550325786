//! System E.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use cache_core::time::{minutes, seconds};
use market::candles::{Candle, Timeframe, recorded};
use market::llm::Kind;
use support::{LogCapture, RedisServer};
use tower::ServiceExt as _;

use crate::{exchange, node, symbol, tiers};

const HOUR: Timeframe = Timeframe::Hour;

#[tokio::test(flavor = "multi_thread")]
async fn bars_are_read_newest_first_and_batches_are_worked_in() {
    let exchange = exchange().await;
    let recorded = recorded().unwrap()["EURUSD"].clone();
    for redis in tiers() {
        let bars = node(redis.as_ref(), &exchange).bars;
        let eurusd = symbol("EURUSD");
        exchange.set_now(100);
        let latest = bars.latest(&eurusd, HOUR, 3).await.unwrap();
        assert_eq!(latest, [recorded[99], recorded[98], recorded[97]]);
        assert_eq!(bars.last(&eurusd, HOUR).await.unwrap(), Some(recorded[99]));
        assert_eq!(bars.latest(&eurusd, HOUR, 5_000).await.unwrap().len(), 100);

        let damaged = Candle {
            low: 9.0,
            ..recorded[101]
        };
        let batch = [
            recorded[102],
            damaged,
            recorded[100],
            Candle {
                close: f64::NAN,
                ..recorded[103]
            },
        ];
        bars.store(&eurusd, HOUR, &batch).await.unwrap();
        let latest = bars.latest(&eurusd, HOUR, 3).await.unwrap();
        assert_eq!(latest, [recorded[102], recorded[100], recorded[99]]);

        let mut writers = tokio::task::JoinSet::new();
        for share in recorded[200..280].chunks(10) {
            let (bars, eurusd, share) = (bars.clone(), eurusd.clone(), share.to_vec());
            writers.spawn(async move { bars.store(&eurusd, HOUR, &share).await.unwrap() });
        }
        writers.join_all().await;
        assert_eq!(
            bars.latest(&eurusd, HOUR, 5_000).await.unwrap().len(),
            182,
            "no batch is lost"
        );
        let calls = exchange.asked().calls;
        bars.latest(&eurusd, HOUR, 10).await.unwrap();
        assert_eq!(exchange.asked().calls, calls);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_are_invalidated_by_symbol_and_by_timeframe() {
    let exchange = exchange().await;
    for redis in tiers() {
        let bars = node(redis.as_ref(), &exchange).bars;
        let (one, two) = (symbol("S1"), symbol("S2"));
        let calls = async || {
            let before = exchange.asked().calls;
            bars.last(&one, HOUR).await.unwrap();
            bars.last(&two, HOUR).await.unwrap();
            exchange.asked().calls - before
        };
        assert_eq!((calls().await, calls().await), (2, 0));
        bars.invalidate(&one, Some(Timeframe::Day)).await.unwrap();
        assert_eq!(calls().await, 0, "nothing is kept of its days");
        bars.invalidate(&one, Some(HOUR)).await.unwrap();
        assert_eq!(calls().await, 1);
        bars.invalidate(&one, None).await.unwrap();
        assert_eq!(calls().await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_bytes_in_redis_are_a_miss() {
    let (redis, exchange) = (RedisServer::start(), exchange().await);
    node(Some(&redis), &exchange)
        .bars
        .last(&symbol("S1"), HOUR)
        .await
        .unwrap();
    redis.cli(&["SET", "ai_trading:bars:S1:1h", "no envelope"]);
    let bars = node(Some(&redis), &exchange).bars;
    assert!(bars.last(&symbol("S1"), HOUR).await.unwrap().is_some());
    assert_eq!(exchange.asked().calls, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn ticker_funding_rate_and_index_are_asked_for_once_in_their_time() {
    let exchange = exchange().await;
    for redis in tiers() {
        let service = node(redis.as_ref(), &exchange);
        let before = exchange.asked().calls;
        for _ in 0..3 {
            let ticker = service.tickers.ticker(&symbol("GOOG")).await.unwrap();
            assert!(
                ticker.bid < ticker.last && ticker.last < ticker.ask && ticker.low_24h <= ticker.high_24h
            );
            assert!(ticker.volume > 0.0);
            assert!(service.tickers.funding(&symbol("GOOG")).await.unwrap().next > 0);
            let index = service.tickers.fear_greed().await.unwrap();
            assert!(index.value <= 100 && index.time > 0, "{index:?}");
        }
        assert_eq!(exchange.asked().calls - before, 3);
        for (key, ttl) in [
            (service.tickers.ticker_key(&symbol("GOOG")), seconds(10)),
            (service.tickers.funding_key(&symbol("GOOG")), seconds(60)),
            (service.tickers.fear_greed_key(), minutes(5)),
        ] {
            let left = service.cache.remaining_ttl(&key.unwrap()).await.unwrap();
            assert!(left <= ttl && left > ttl.mul_f64(0.8), "{left:?} of {ttl:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_is_asked_once_for_the_same_text() {
    let behaviour = market::upstream::Behaviour {
        latency: Duration::ZERO..Duration::ZERO,
        model_latency: Duration::from_millis(50),
        ..Default::default()
    };
    let exchange = crate::exchange_that(behaviour).await;
    for redis in tiers() {
        let service = node(redis.as_ref(), &exchange);
        let before = exchange.asked().model_calls;
        let model = Arc::new(service.model.clone());
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let model = model.clone();
            callers.spawn(async move {
                model
                    .analysis(Kind::Sentiment, "a canary in a coal mine")
                    .await
                    .unwrap()
            });
        }
        let answers = callers.join_all().await;
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(exchange.asked().model_calls - before, 1);
        model
            .analysis(Kind::Risk, "a canary in a coal mine")
            .await
            .unwrap();
        model.analysis(Kind::Sentiment, "another text").await.unwrap();
        assert_eq!(exchange.asked().model_calls - before, 3);
        let key = model
            .analysis_key(Kind::Sentiment, "a canary in a coal mine")
            .unwrap();
        assert!(
            key.text().starts_with("llm:sentiment:#") && !key.text().contains("canary"),
            "{}",
            key.text()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_manager_connects_with_password_and_database_and_clears_only_what_is_confirmed() {
    const TOKEN: &str = "0123456789abcdef-operator";
    let (logs, exchange) = (LogCapture::start(), exchange().await);
    let redis = RedisServer::builder().password("canarypassword").start();
    let config = market::service::configuration(None, Some(&format!("{}5", redis.url()))).unwrap();
    let client = market::upstream::Client::new(exchange.address());
    let service = market::service::Service::build(&config, client).unwrap();
    service.tickers.fear_greed().await.unwrap();
    assert_eq!(service.cache.health().status.as_str(), "healthy");
    let kept = || redis.cli(&["-n", "5", "KEYS", "ai_trading:fear-greed*"]);
    support::wait_until(crate::SOON, "it is in database 5", async || {
        kept().contains("fear")
    })
    .await;

    let app = service.router(TOKEN).unwrap();
    let clear = async |name: &str| {
        let request = Request::post("/admin/cache/caches/ai_trading/clear")
            .header("host", "localhost")
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/json")
            .header("x-cache-admin", "1")
            .body(Body::from(format!(r#"{{"confirm":"{name}"}}"#)))
            .unwrap();
        app.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!(clear("yes").await, StatusCode::BAD_REQUEST);
    assert!(service.tickers.fear_greed_peek().await.unwrap().is_some());
    assert!(clear("ai_trading").await.is_success());
    assert!(service.tickers.fear_greed_peek().await.unwrap().is_none());

    let told = format!(
        "{config:?} {service:?} {:?} {}",
        service.cache.doctor().await,
        logs.text()
    );
    service.close().await.unwrap();
    assert!(!told.contains("canarypassword"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_stands_in_a_log_or_an_error() {
    let logs = LogCapture::start();
    let redis = RedisServer::start();
    let url = redis.url().replace("redis://", "redis://:canary-password@");
    let config = market::service::configuration(None, Some(&url)).unwrap();
    let exchange = exchange().await;
    let service =
        market::service::Service::build(&config, market::upstream::Client::new(exchange.address())).unwrap();
    service.tickers.fear_greed().await.unwrap();
    let told = format!(
        "{config:?} {service:?} {:?} {}",
        service.cache.doctor().await,
        logs.text()
    );
    assert!(!told.contains("canary-password"));
}
