//! HTTP: the functions of [`market`](crate::market) as JSON, with and without caches in front of them.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cache_core::Cache;
use cache_tower::CacheLayer;
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
        .with_state(Arc::new(Operations { cache: cache.clone(), exchange }));
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
struct Period {
    #[serde(default)]
    period: String,
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
    Query(Period { period }): Query<Period>,
) -> Result<Response, Failure> {
    Ok(fresh_for(600, &market::candles(&exchange, &symbol, &period).await?))
}

async fn uncached_candles(
    State(exchange): State<Exchange>,
    Path(symbol): Path<String>,
    Query(Period { period }): Query<Period>,
) -> Result<Response, Failure> {
    Ok(fresh_for(600, &market::candles::uncached(&exchange, &symbol, &period).await?))
}

async fn price(State(exchange): State<Exchange>, Path(symbol): Path<String>) -> Result<Response, Failure> {
    Ok(fresh_for::<Price>(5, &market::price(&exchange, &symbol).await?))
}

async fn uncached_price(State(exchange): State<Exchange>, Path(symbol): Path<String>) -> Result<Response, Failure> {
    Ok(fresh_for::<Price>(5, &market::price::uncached(&exchange, &symbol).await?))
}

async fn signal(
    State(exchange): State<Exchange>,
    Path(symbol): Path<String>,
    Query(Windows { short, long }): Query<Windows>,
) -> Result<Response, Failure> {
    Ok(fresh_for::<Option<Signal>>(30, &market::signal(&exchange, &symbol, short, long).await?))
}

async fn uncached_signal(
    State(exchange): State<Exchange>,
    Path(symbol): Path<String>,
    Query(Windows { short, long }): Query<Windows>,
) -> Result<Response, Failure> {
    Ok(fresh_for::<Option<Signal>>(30, &market::signal::uncached(&exchange, &symbol, short, long).await?))
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
    let counters: serde_json::Map<_, _> = stats.counters.iter().map(|(name, value)| (name.into(), value.into())).collect();
    never_stored(&json!({
        "hit_ratio": stats.counters.hit_ratio(),
        "entries": stats.entries,
        "upstream_calls": operations.exchange.calls(),
        "counters": counters,
    }))
}

/// One call drops what the functions and what the routes keep of a symbol: they share the tag.
async fn invalidate(State(operations): State<Arc<Operations>>, Path(symbol): Path<String>) -> Result<Response, Failure> {
    operations.cache.invalidate_tag(format!("symbol:{symbol}")).await.map_err(ExchangeError::from)?;
    Ok(never_stored(&json!({ "invalidated": symbol })))
}

fn fresh_for<T: Serialize + ?Sized>(seconds: u32, body: &T) -> Response {
    with_cache_control(&format!("public, max-age={seconds}"), body)
}

fn never_stored<T: Serialize + ?Sized>(body: &T) -> Response {
    with_cache_control("no-store", body)
}

fn with_cache_control<T: Serialize + ?Sized>(value: &str, body: &T) -> Response {
    const CACHE_CONTROL: HeaderName = header::CACHE_CONTROL;
    ([(CACHE_CONTROL, value)], Json(body)).into_response()
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
