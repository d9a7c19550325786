//! The service: the five systems over one cache, behind one router.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path as Segments, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use cache_core::config::Config;
use cache_core::{Cache, Error};
use cache_tower::admin::{self, AdminConfig, Bearer, Grant, Scopes};
use cache_tower::{CacheLayer, CachePolicy};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::{Api, endpoints};
use crate::bars::Bars;
use crate::candles::{Symbol, Timeframe};
use crate::dedup::{self, Dedup, DedupConfig};
use crate::indicators::Indicators;
use crate::llm::{Kind, Model};
use crate::quotes::{Class, Quotes};
use crate::ticker::Tickers;
use crate::upstream::{Client, UpstreamError};

/// The name of the cache, hence the first part of all its keys in Redis.
pub const CACHE: &str = "ai_trading";

/// Everything that handlers use. Clones share it.
#[derive(Clone, Debug)]
pub struct Service {
    /// The one cache of all systems.
    pub cache: Cache,
    /// System A.
    pub dedup: Arc<Dedup>,
    /// System B.
    pub indicators: Arc<Indicators>,
    /// System C.
    pub api: Api,
    /// System D.
    pub quotes: Quotes,
    /// System E: bars.
    pub bars: Bars,
    /// System E: tickers.
    pub tickers: Tickers,
    /// System E: the model.
    pub model: Model,
    /// What lies behind them.
    pub exchange: Client,
}

/// The settings: what comes with the program, a file over it, and the environment over both.
///
/// # Errors
///
/// Names the field that is wrong, and the remedy.
pub fn configuration(file: Option<&Path>, redis: Option<&str>) -> Result<Config, Error> {
    let mut sources = Config::sources().toml(include_str!("../market-data.toml"))?;
    if let Some(file) = file {
        sources = sources.file(file)?;
    }
    let url = redis.map(|url| ("CACHE_REDIS__URL".to_owned(), url.to_owned()));
    sources.environment().variables(url).read()
}

impl Service {
    /// The systems over the cache that the configuration describes; waits for nobody.
    ///
    /// # Errors
    ///
    /// Names what is wrong with the configuration.
    pub fn build(config: &Config, exchange: Client) -> Result<Self, Error> {
        let cache = config.cache_builder(CACHE)?.build()?;
        Self::over(cache, exchange, DedupConfig::from_environment()?)
    }

    /// The systems over this cache.
    ///
    /// # Errors
    ///
    /// None, unless a name in this program is wrong.
    pub fn over(cache: Cache, exchange: Client, dedup: DedupConfig) -> Result<Self, Error> {
        Ok(Self {
            dedup: Arc::new(Dedup::new(&cache, dedup)?),
            indicators: Indicators::new(cache.clone(), exchange.clone()),
            api: Api::new(cache.clone(), exchange.clone()),
            quotes: Quotes::new(cache.clone(), exchange.clone()),
            bars: Bars::new(cache.clone(), exchange.clone()),
            tickers: Tickers::new(cache.clone(), exchange.clone()),
            model: Model::new(cache.clone(), exchange.clone()),
            exchange,
            cache,
        })
    }

    /// The routes; those of operators need `token`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](cache_core::ErrorKind::Invalid) for a token of less than 16 bytes.
    pub fn router(&self, token: &str) -> Result<Router, Error> {
        let operator = Grant::new("operator", Scopes::READ | Scopes::WRITE | Scopes::CLEAR);
        let mut operators = Bearer::new();
        operators.add(token, operator.clone())?;
        let dashboard = admin::router(AdminConfig::bearer_with(token, operator)?).with(&self.cache);
        Ok(self
            .market()
            .merge(self.work())
            .merge(endpoints::router(self.cache.clone(), self.api.clone(), operators))
            .nest("/admin/cache", dashboard)
            .route(
                "/admin/cache/",
                get(|| async { Redirect::permanent("/admin/cache") }),
            ))
    }

    /// What may be kept as a response too: one invalidation of a symbol drops values and responses.
    fn market(&self) -> Router {
        Router::new()
            .route("/price/{symbol}", get(price))
            .route("/signal/{symbol}", get(signal))
            .route("/bars/{symbol}/{timeframe}", get(bars))
            .route("/ticker/{symbol}", get(ticker))
            .route("/funding/{symbol}", get(funding))
            .route("/fear-greed", get(fear_greed))
            .route("/quotes/{class}/{symbol}", get(quote))
            .layer(CacheLayer::new(self.cache.clone()))
            .with_state(self.clone())
    }

    /// What is somebody's own, or has a body.
    fn work(&self) -> Router {
        Router::new()
            .route("/", get(index))
            .route("/users/{id}", get(user))
            .route("/llm/{kind}", post(analysis))
            .with_state(self.clone())
    }

    /// Everything that is under way comes to its end, for at most five seconds.
    ///
    /// # Errors
    ///
    /// With the number of loads that did not.
    pub async fn close(&self) -> Result<(), Error> {
        dedup::close();
        self.cache.close(Duration::from_secs(5)).await
    }
}

type Answer = Result<Response, Failure>;

async fn index() -> Json<Value> {
    Json(json!({ "try": [
        "/price/EURUSD", "/signal/EURUSD", "/bars/GOOG/1d?limit=5", "/ticker/EURUSD", "/funding/EURUSD", "/fear-greed",
        "/quotes/news/GOOG", "/users/7", "/health", "/cache/metrics", "/admin/cache",
    ] }))
}

async fn price(State(service): State<Service>, Segments(symbol): Segments<Symbol>) -> Answer {
    let ticker = service.tickers.ticker(&symbol).await?;
    Ok(public(
        5,
        &symbol,
        &json!({ "symbol": symbol, "price": ticker.last }),
    ))
}

async fn signal(State(service): State<Service>, Segments(symbol): Segments<Symbol>) -> Answer {
    let signal = service
        .indicators
        .clone()
        .signal(symbol.clone(), timeframe_of(&symbol))
        .await?;
    Ok(public(1, &symbol, &signal))
}

#[derive(Debug, Deserialize)]
struct Limit {
    #[serde(default = "ten")]
    limit: usize,
}

fn ten() -> usize {
    10
}

async fn bars(
    State(service): State<Service>,
    Segments((symbol, timeframe)): Segments<(Symbol, Timeframe)>,
    Query(Limit { limit }): Query<Limit>,
) -> Answer {
    let bars = service.bars.latest(&symbol, timeframe, limit).await?;
    Ok(public(60, &symbol, &bars))
}

async fn ticker(State(service): State<Service>, Segments(symbol): Segments<Symbol>) -> Answer {
    Ok(public(5, &symbol, &service.tickers.ticker(&symbol).await?))
}

async fn funding(State(service): State<Service>, Segments(symbol): Segments<Symbol>) -> Answer {
    Ok(public(30, &symbol, &service.tickers.funding(&symbol).await?))
}

async fn fear_greed(State(service): State<Service>) -> Answer {
    Ok(Json(service.tickers.fear_greed().await?).into_response())
}

async fn quote(
    State(service): State<Service>,
    Segments((class, symbol)): Segments<(Class, Symbol)>,
) -> Answer {
    let fact = service.quotes.read(class, &symbol).await?;
    Ok(public(10, &symbol, &*fact))
}

async fn user(State(service): State<Service>, Segments(id): Segments<u64>) -> Answer {
    let user = service
        .api
        .user(id)
        .await?
        .ok_or_else(|| UpstreamError::Unknown(format!("user {id}")))?;
    Ok(Json(user).into_response())
}

async fn analysis(State(service): State<Service>, Segments(kind): Segments<Kind>, input: String) -> Answer {
    Ok(Json(service.model.analysis(kind, &input).await?).into_response())
}

/// The one timeframe in which a symbol is recorded.
pub fn timeframe_of(symbol: &Symbol) -> Timeframe {
    match symbol.as_str() {
        "GOOG" => Timeframe::Day,
        _ => Timeframe::Hour,
    }
}

/// The response has the tag of the values that it is made of.
fn public<T: Serialize + ?Sized>(seconds: u32, symbol: &Symbol, body: &T) -> Response {
    let policy = CachePolicy::new().tag(format!("symbol:{symbol}")).tag("market");
    let fresh = [(header::CACHE_CONTROL, format!("public, max-age={seconds}"))];
    (policy, fresh, Json(body)).into_response()
}

/// A failed request.
#[derive(Debug)]
struct Failure(UpstreamError);

impl From<UpstreamError> for Failure {
    fn from(error: UpstreamError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.0 {
            UpstreamError::Unknown(_) => StatusCode::NOT_FOUND,
            UpstreamError::Unavailable(_) => StatusCode::BAD_GATEWAY,
            UpstreamError::Cache(_) => StatusCode::GATEWAY_TIMEOUT,
        };
        (status, Json(json!({ "error": self.0.to_string() }))).into_response()
    }
}
