//! HTTP: the functions of [`market`] as JSON, with and without caches in front of them.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cache_core::Cache;
use cache_tower::{CacheLayer, CachePolicy};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::exchange::{Exchange, ExchangeError};
use crate::market::{self, Price, Signal};

/// The service: cached functions behind cached routes.
pub(crate) fn cached(cache: &Cache, exchange: Exchange) -> Router {
    let market = Router::new()
        .route("/candles/{symbol}", get(candles))
        .route("/price/{symbol}", get(price))
        .route("/signal/{symbol}", get(signal))
        .layer(CacheLayer::new(cache.clone()))
        .with_state(exchange.clone());
    let operations = Router::new()
        .route("/", get(index))
        .route("/stats", get(stats))
        .route("/invalidate/{symbol}", axum::routing::post(invalidate))
        .with_state(Arc::new(Operations {
            cache: cache.clone(),
            exchange,
        }));
    market.merge(operations)
}

/// The same answers, each asked of the exchange: what the demo compares with.
pub(crate) fn uncached(exchange: Exchange) -> Router {
    Router::new()
        .route("/candles/{symbol}", get(uncached_candles))
        .route("/price/{symbol}", get(uncached_price))
        .route("/signal/{symbol}", get(uncached_signal))
        .with_state(exchange)
}

#[derive(Debug, Deserialize)]
struct Candles {
    #[serde(default)]
    period: Period,
}

/// The beginning of a timestamp: `2017`, `2017-06`, `2017-06-01`, .. Anything else is a mistake of the client, and never
/// reaches a cache.
#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "String")]
struct Period(String);

impl TryFrom<String> for Period {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let form = "0000-00-00 00:00:00".bytes();
        let fits = |(given, expected): (u8, u8)| match expected {
            b'0' => given.is_ascii_digit(),
            separator => given == separator,
        };
        if text.len() <= form.len() && text.bytes().zip(form).all(fits) {
            Ok(Self(text))
        } else {
            Err("`period` is the beginning of a time: 2017, 2017-06, 2017-06-01")
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default)]
struct Windows {
    short: usize,
    long: usize,
}

impl Default for Windows {
    fn default() -> Self {
        Self { short: 50, long: 200 }
    }
}

async fn candles(
    State(exchange): State<Exchange>,
    Path(symbol): Path<String>,
    Query(Candles {
        period: Period(period),
    }): Query<Candles>,
) -> Result<Response, Failure> {
    Ok(fresh_for(
        600,
        &symbol,
        &market::candles(&exchange, &symbol, &period).await?,
    ))
}

async fn uncached_candles(
    State(exchange): State<Exchange>,
    Path(symbol): Path<String>,
    Query(Candles {
        period: Period(period),
    }): Query<Candles>,
) -> Result<Response, Failure> {
    Ok(fresh_for(
        600,
        &symbol,
        &market::candles::uncached(&exchange, &symbol, &period).await?,
    ))
}

async fn price(State(exchange): State<Exchange>, Path(symbol): Path<String>) -> Result<Response, Failure> {
    Ok(fresh_for::<Price>(
        5,
        &symbol,
        &market::price(&exchange, &symbol).await?,
    ))
}

async fn uncached_price(
    State(exchange): State<Exchange>,
    Path(symbol): Path<String>,
) -> Result<Response, Failure> {
    Ok(fresh_for::<Price>(
        5,
        &symbol,
        &market::price::uncached(&exchange, &symbol).await?,
    ))
}

async fn signal(
    State(exchange): State<Exchange>,
    Path(symbol): Path<String>,
    Query(Windows { short, long }): Query<Windows>,
) -> Result<Response, Failure> {
    Ok(fresh_for::<Option<Signal>>(
        30,
        &symbol,
        &market::signal(&exchange, &symbol, short, long).await?,
    ))
}

async fn uncached_signal(
    State(exchange): State<Exchange>,
    Path(symbol): Path<String>,
    Query(Windows { short, long }): Query<Windows>,
) -> Result<Response, Failure> {
    Ok(fresh_for::<Option<Signal>>(
        30,
        &symbol,
        &market::signal_uncached(&exchange, &symbol, short, long).await?,
    ))
}

/// What the routes that are not market data need.
struct Operations {
    cache: Cache,
    exchange: Exchange,
}

async fn index(State(operations): State<Arc<Operations>>) -> Response {
    let symbols: Vec<_> = operations.exchange.symbols().collect();
    never_stored(&json!({
        "symbols": symbols,
        "try": ["/price/GOOG", "/candles/EURUSD?period=2017-06-01", "/signal/EURUSD?short=50&long=200", "/stats"],
    }))
}

async fn stats(State(operations): State<Arc<Operations>>) -> Response {
    let stats = operations.cache.stats();
    let counters: serde_json::Map<_, _> = stats
        .counters
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    never_stored(&json!({
        "hit_ratio": stats.counters.hit_ratio(),
        "entries": stats.entries,
        "upstream_calls": operations.exchange.calls(),
        "counters": counters,
    }))
}

/// One call drops what the functions and what the routes keep of a symbol: they share the tag.
async fn invalidate(
    State(operations): State<Arc<Operations>>,
    Path(symbol): Path<String>,
) -> Result<Response, Failure> {
    operations
        .cache
        .invalidate_tag(format!("symbol:{symbol}"))
        .await
        .map_err(ExchangeError::from)?;
    Ok(never_stored(&json!({ "invalidated": symbol })))
}

/// The response and the functions' values share the tag of the symbol: one invalidation drops both.
fn fresh_for<T: Serialize + ?Sized>(seconds: u32, symbol: &str, body: &T) -> Response {
    let policy = CachePolicy::new().tag(format!("symbol:{symbol}"));
    (
        policy,
        [(header::CACHE_CONTROL, format!("public, max-age={seconds}"))],
        Json(body),
    )
        .into_response()
}

fn never_stored<T: Serialize + ?Sized>(body: &T) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// A failed request.
struct Failure(ExchangeError);

impl From<ExchangeError> for Failure {
    fn from(error: ExchangeError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.0 {
            ExchangeError::UnknownSymbol(_) => StatusCode::NOT_FOUND,
            ExchangeError::Unreachable(_) => StatusCode::BAD_GATEWAY,
        };
        (status, never_stored(&json!({ "error": self.0.to_string() }))).into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(app: &Router, method: &str, path: &str) -> (StatusCode, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "market")
            .body(Body::empty())
            .unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let status = response
            .headers()
            .get("cache-status")
            .map(|value| value.to_str().unwrap().to_owned());
        (response.status(), status.unwrap_or_default())
    }

    #[tokio::test(start_paused = true)]
    async fn one_invalidation_drops_what_functions_and_routes_keep_of_a_symbol() {
        let exchange = Exchange::open(Duration::from_millis(100)..Duration::from_millis(500)).unwrap();
        let app = cached(Cache::global(), exchange.clone());
        assert!(ask(&app, "GET", "/price/GOOG").await.1.contains("fwd=uri-miss"));
        assert!(ask(&app, "GET", "/price/EURUSD").await.1.contains("fwd=uri-miss"));
        assert!(ask(&app, "GET", "/price/GOOG").await.1.contains("hit"));
        assert_eq!(exchange.calls(), 2);

        assert_eq!(ask(&app, "POST", "/invalidate/GOOG").await.0, StatusCode::OK);
        assert!(ask(&app, "GET", "/price/GOOG").await.1.contains("fwd=uri-miss"));
        assert_eq!(exchange.calls(), 3, "the function's value went with the response");
        assert!(ask(&app, "GET", "/price/EURUSD").await.1.contains("hit"));

        assert_eq!(ask(&app, "GET", "/price/NOPE").await.0, StatusCode::NOT_FOUND);
        assert_eq!(
            ask(&app, "GET", "/signal/GOOG?short=5&long=20").await.0,
            StatusCode::OK
        );
        for wrong in [
            "/signal/GOOG?short=x",
            "/candles/GOOG?period=xx",
            "/candles/GOOG?period=2017/06",
        ] {
            for _ in 0..2 {
                let (status, cache_status) = ask(&app, "GET", wrong).await;
                assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}");
                assert!(!cache_status.contains("hit"), "{wrong}: {cache_status}");
            }
        }
        let candles = ask(&app, "GET", "/candles/GOOG?period=2017-06").await;
        assert_eq!(candles.0, StatusCode::OK);
    }
}
