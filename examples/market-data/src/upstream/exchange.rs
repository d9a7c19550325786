//! The exchange: an HTTP server over the recorded candles, as slow and as unreliable as it is told to be.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use cache_core::time::{Clock as _, SystemClock, Timestamp, seconds};
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::answers;
use crate::candles::{Candle, Series, Symbol, Timeframe, recorded};
use crate::quotes::Class;

/// How the exchange treats those who ask.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// An answer takes a random time within this.
    pub latency: Range<Duration>,
    /// This share of the questions fails.
    pub failure_rate: f64,
    /// So many questions are answered in a second; the others are refused.
    pub per_second: u64,
    /// What a call of the model takes.
    pub model_latency: Duration,
}

impl Default for Behaviour {
    /// 100 to 500 ms, as exchanges take; never fails; a million questions a second; a second for the model.
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(100)..Duration::from_millis(500),
            failure_rate: 0.0,
            per_second: 1_000_000,
            model_latency: seconds(1),
        }
    }
}

impl Behaviour {
    /// Answers at once; the model still takes its second.
    pub fn immediate() -> Self {
        Self {
            latency: Duration::ZERO..Duration::ZERO,
            ..Self::default()
        }
    }
}

/// What the exchange was asked so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Questions, those that failed or were refused included.
    pub calls: u64,
    /// Of these, those that failed on purpose.
    pub failed: u64,
    /// Of these, those beyond the rate limit.
    pub refused: u64,
    /// Candles that were sent.
    pub candles: u64,
    /// Calls of the model.
    pub model_calls: u64,
    /// Candles whose analysis was received.
    pub analyses: u64,
    /// Analyses that were received although the candle had one.
    pub repeated: u64,
}

/// A running exchange; it ends when this is dropped.
#[derive(Debug)]
pub struct Exchange {
    address: SocketAddr,
    state: Arc<Market>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Market {
    series: BTreeMap<&'static str, Series>,
    behaviour: Behaviour,
    /// How many candles of each series there are by now.
    now: AtomicUsize,
    calls: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    candles: AtomicU64,
    model_calls: AtomicU64,
    /// How many analyses of each candle came.
    analyses: Mutex<HashMap<(Symbol, u64), u64>>,
    second: Mutex<(Timestamp, u64)>,
    /// Whether analyses have to wait.
    holds: watch::Sender<bool>,
    held: AtomicUsize,
}

impl Exchange {
    /// Opens on `address`; port 0 is any free one. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// If the address is taken, or a recorded candle is damaged.
    pub async fn open(address: SocketAddr, behaviour: Behaviour) -> Result<Self, std::io::Error> {
        let listener = TcpListener::bind(address).await?;
        let state = Arc::new(Market {
            series: recorded().map_err(std::io::Error::other)?,
            behaviour,
            now: AtomicUsize::new(usize::MAX),
            calls: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            candles: AtomicU64::new(0),
            model_calls: AtomicU64::new(0),
            analyses: Mutex::default(),
            second: Mutex::default(),
            holds: watch::Sender::new(false),
            held: AtomicUsize::new(0),
        });
        let (address, router) = (listener.local_addr()?, router(state.clone()));
        let server = tokio::spawn(async move {
            // It ends with its task; what goes wrong on a connection shows on the other side.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            address,
            state,
            server,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Asked {
        self.state.asked()
    }

    /// How many candles of each series there are from now on: the market at an earlier time.
    pub fn set_now(&self, candles: usize) {
        self.state.now.store(candles, Ordering::Relaxed);
    }

    /// While it holds, analyses that arrive wait, and count only when they are let through; those whose senders leave
    /// meanwhile never do.
    pub fn hold_analyses(&self, holds: bool) {
        self.state.holds.send_replace(holds);
    }

    /// How many analyses wait.
    pub fn held(&self) -> usize {
        self.state.held.load(Ordering::SeqCst)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn router(market: Arc<Market>) -> Router {
    let asked = market.clone();
    Router::new()
        .route("/candles/{symbol}/{timeframe}", get(candles))
        .route("/ticker/{symbol}", get(ticker))
        .route("/funding/{symbol}", get(funding))
        .route("/fear-greed", get(fear_greed))
        .route("/facts/{class}/{symbol}", get(facts))
        .route("/top", get(async || Json(symbols(1))))
        .route("/movers", get(async || Json(symbols(11))))
        .route("/users/{id}", get(user))
        .route("/sessions/{id}", get(session))
        .route("/alerts/{id}", get(alert))
        .route("/api/{endpoint}", post(answer))
        .route("/model/{kind}", post(model))
        .route("/analyses/{symbol}/{time}", post(analysis))
        .layer(from_fn_with_state(market.clone(), misbehave))
        .route("/asked", get(async move || Json(asked.asked())))
        .with_state(market)
}

/// Counts, waits, refuses and fails.
async fn misbehave(State(market): State<Arc<Market>>, request: Request, next: Next) -> Response {
    let Behaviour {
        latency,
        failure_rate,
        ..
    } = &market.behaviour;
    market.calls.fetch_add(1, Ordering::Relaxed);
    if market.is_beyond_limit() {
        market.refused.fetch_add(1, Ordering::Relaxed);
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    let pause = if latency.is_empty() {
        latency.start
    } else {
        rand::rng().random_range(latency.clone())
    };
    tokio::time::sleep(pause).await;
    if rand::rng().random::<f64>() < *failure_rate {
        market.failed.fetch_add(1, Ordering::Relaxed);
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    next.run(request).await
}

type Answer<T> = Result<Json<T>, StatusCode>;

fn found<T>(answer: Option<T>) -> Answer<T> {
    answer.map(Json).ok_or(StatusCode::NOT_FOUND)
}

#[derive(Debug, Deserialize)]
struct Window {
    after: Option<u64>,
    limit: usize,
}

async fn candles(
    State(market): State<Arc<Market>>,
    Path((symbol, timeframe)): Path<(Symbol, Timeframe)>,
    Query(Window { after, limit }): Query<Window>,
) -> Answer<Vec<Candle>> {
    let fits = answers::recording(&symbol).is_some_and(|(_, recorded)| recorded == timeframe);
    let series = market
        .series(&symbol)
        .filter(|_| fits)
        .ok_or(StatusCode::NOT_FOUND)?;
    let sold = answers::candles(series, market.now.load(Ordering::Relaxed), after, limit);
    market.candles.fetch_add(sold.len() as u64, Ordering::Relaxed);
    Ok(Json(sold.to_vec()))
}

async fn ticker(State(market): State<Arc<Market>>, Path(symbol): Path<Symbol>) -> impl IntoResponse {
    found(market.past(&symbol).and_then(answers::ticker))
}

async fn funding(State(market): State<Arc<Market>>, Path(symbol): Path<Symbol>) -> impl IntoResponse {
    found(market.past(&symbol).and_then(answers::funding))
}

async fn fear_greed(State(market): State<Arc<Market>>) -> impl IntoResponse {
    let symbol = Symbol::new("EURUSD").ok();
    found(symbol.and_then(|symbol| answers::fear_greed(market.past(&symbol)?)))
}

async fn facts(
    State(market): State<Arc<Market>>,
    Path((class, symbol)): Path<(Class, Symbol)>,
) -> impl IntoResponse {
    found(
        market
            .past(&symbol)
            .and_then(|past| answers::facts(class, &symbol, past)),
    )
}

/// Ten of them.
fn symbols(first: u32) -> Vec<String> {
    (first..first + 10).map(|number| format!("S{number}")).collect()
}

async fn user(Path(id): Path<u64>) -> impl IntoResponse {
    found(answers::user(id))
}

async fn session(Path(id): Path<u64>) -> impl IntoResponse {
    found(answers::session(id))
}

async fn alert(State(market): State<Arc<Market>>, Path(id): Path<u64>) -> impl IntoResponse {
    found(
        market
            .series
            .get("EURUSD")
            .and_then(|series| answers::alert(id, series)),
    )
}

async fn answer(Path(endpoint): Path<String>, question: String) -> impl IntoResponse {
    Json(serde_json::json!({ "endpoint": endpoint, "bytes": question.len() }))
}

async fn model(
    State(market): State<Arc<Market>>,
    Path(kind): Path<String>,
    input: String,
) -> impl IntoResponse {
    market.model_calls.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(market.behaviour.model_latency).await;
    Json(answers::analysis(&kind, &input))
}

async fn analysis(State(market): State<Arc<Market>>, Path(candle): Path<(Symbol, u64)>) -> impl IntoResponse {
    let waiting = Waiting::among(&market.held);
    // The sender lives in the market, which lives in this request.
    let _ = market.holds.subscribe().wait_for(|holds| !holds).await;
    drop(waiting);
    *market.analyses().entry(candle).or_default() += 1;
    Json(())
}

/// Counted as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn among(held: &'a AtomicUsize) -> Self {
        held.fetch_add(1, Ordering::SeqCst);
        Self(held)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Market {
    fn series(&self, symbol: &Symbol) -> Option<&Series> {
        self.series.get(answers::recording(symbol)?.0)
    }

    fn past(&self, symbol: &Symbol) -> Option<&[Candle]> {
        let series = self.series(symbol)?;
        Some(answers::candles(
            series,
            self.now.load(Ordering::Relaxed),
            None,
            usize::MAX,
        ))
    }

    fn is_beyond_limit(&self) -> bool {
        let now = SystemClock.now();
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(second.0) >= seconds(1) {
            *second = (now, 0);
        }
        second.1 += 1;
        second.1 > self.behaviour.per_second
    }

    fn analyses(&self) -> std::sync::MutexGuard<'_, HashMap<(Symbol, u64), u64>> {
        self.analyses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self) -> Asked {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let analyses = self.analyses();
        Asked {
            calls: read(&self.calls),
            failed: read(&self.failed),
            refused: read(&self.refused),
            candles: read(&self.candles),
            model_calls: read(&self.model_calls),
            analyses: analyses.len() as u64,
            repeated: analyses.values().map(|times| times - 1).sum(),
        }
    }
}
