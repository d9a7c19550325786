//! System C: the cached calls of a web application, as methods of a service.
//!
//! How long something is kept is a name here, and a time in the configuration: `short`, `medium`, `long`, `very-long`.
//! In Redis the keys of a cache called `ai_trading` are `ai_trading:users:7`, `ai_trading:users:session:#<sha256>`,
//! `ai_trading:signals:7`, `ai_trading:market:EURUSD:1h` and `ai_trading:api:search:#<sha256>`.

pub mod endpoints;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use cache_core::key::{KeyPart, PartWriter};
use cache_core::{Cache, Error, cached};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::candles::{Candle, Symbol, Timeframe};
use crate::indicators::Advice;
use crate::upstream::{Client, UpstreamError};

/// What the web application asks for. Clones share the cache.
#[derive(Clone, Debug)]
pub struct Api {
    cache: Cache,
    exchange: Client,
}

#[cached(cache = self.cache, skip(self))]
impl Api {
    /// A user's data. That there is no such user is remembered as well, for a shorter time.
    ///
    /// # Errors
    ///
    /// Like all calls: the exchange's.
    #[cached(policy = "medium", key = "users:{id}", tags = ["user:{id}", "users"])]
    pub async fn user(&self, id: u64) -> Result<Option<User>, UpstreamError> {
        optional(self.exchange.get(&format!("/users/{id}")).await)
    }

    /// Whose session it is. Its id is as good as a password, so the key holds a digest of it.
    ///
    /// # Errors
    ///
    /// The exchange's.
    #[cached(policy = "short", key = "users:session:{id}", secret(id), tags = ["users"])]
    pub async fn session(&self, id: u64) -> Result<Option<Session>, UpstreamError> {
        optional(self.exchange.get(&format!("/sessions/{id}")).await)
    }

    /// A published signal, which never changes.
    ///
    /// # Errors
    ///
    /// The exchange's.
    #[cached(policy = "very-long", key = "signals:{id}", tags = ["signals"])]
    pub async fn alert(&self, id: u64) -> Result<Option<Alert>, UpstreamError> {
        optional(self.exchange.get(&format!("/alerts/{id}")).await)
    }

    /// The last hundred candles.
    ///
    /// # Errors
    ///
    /// The exchange's.
    #[cached(policy = "short", key = "market:{symbol}:{timeframe}", tags = ["symbol:{symbol}", "market"])]
    pub async fn prices(
        &self,
        symbol: &Symbol,
        timeframe: Timeframe,
    ) -> Result<Arc<[Candle]>, UpstreamError> {
        let candles = self.exchange.candles(symbol, timeframe, None, 100).await?;
        Ok(candles.into())
    }

    /// The answer of another service. When it was asked does not change it, so `timestamp` is no part of the key.
    ///
    /// # Errors
    ///
    /// The exchange's.
    #[cached(policy = "long", key = "api:{endpoint}:{parameters}", secret(parameters), skip(timestamp), tags = ["api"])]
    pub async fn answer(
        &self,
        endpoint: Endpoint,
        parameters: &BTreeMap<String, String>,
        timestamp: u64,
    ) -> Result<Value, UpstreamError> {
        let question = json!({ "parameters": parameters, "timestamp": timestamp });
        self.exchange
            .post(&format!("/api/{endpoint}"), &question.to_string())
            .await
    }
}

impl Api {
    /// The calls with their values in `cache`.
    pub fn new(cache: Cache, exchange: Client) -> Self {
        Self { cache, exchange }
    }

    /// Makes what is kept of one user, one symbol, the market or everything invalid, in the whole fleet.
    ///
    /// # Errors
    ///
    /// [`InvalidationUncertain`](cache_core::ErrorKind::InvalidationUncertain) if Redis did not acknowledge it: then it
    /// holds on this node, and reaches the others later.
    pub async fn invalidate(&self, what: &Invalidate) -> Result<(), Error> {
        match what {
            Invalidate::User(id) => self.cache.invalidate_tag(format!("user:{id}")).await,
            Invalidate::Symbol(symbol) => self.cache.invalidate_tag(format!("symbol:{symbol}")).await,
            Invalidate::Market => self.cache.invalidate_tag("market").await,
            Invalidate::Everything => self.cache.clear().await,
        }
    }
}

/// What can be made invalid: `{"user": 7}`, `{"symbol": "GOOG"}`, `"market"`, `"everything"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Invalidate {
    /// All that is kept of a user.
    User(u64),
    /// All that is kept of a symbol.
    Symbol(Symbol),
    /// All that is kept of all symbols.
    Market,
    /// All.
    Everything,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Their number.
    pub id: u64,
    /// Their name.
    pub name: String,
    /// The symbols that they watch.
    pub watchlist: Vec<Symbol>,
}

/// A session.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Whose it is.
    pub user: u64,
}

/// A published signal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Its number.
    pub id: u64,
    /// What it says.
    pub advice: Advice,
    /// The beginning of its candle.
    pub time: u64,
}

/// A service that answers for the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Finds symbols.
    Search,
    /// Counts trades.
    Statistics,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Search => "search",
            Self::Statistics => "statistics",
        })
    }
}

impl KeyPart for Endpoint {
    fn write(&self, out: PartWriter<'_>) {
        out.display(self);
    }
}

/// What does not exist is an answer, not a failure.
fn optional<T>(answer: Result<T, UpstreamError>) -> Result<Option<T>, UpstreamError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(UpstreamError::Unknown(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
