//! System E, the small things: ticker, funding rate, and the index of fear and greed.

use cache_core::{Cache, cached};
use serde::{Deserialize, Serialize};

use crate::candles::Symbol;
use crate::upstream::{Client, UpstreamError};

/// What changes every few seconds.
#[derive(Clone, Debug)]
pub struct Tickers {
    cache: Cache,
    exchange: Client,
}

#[cached(cache = self.cache, skip(self))]
impl Tickers {
    /// Bid, ask and the figures of the day.
    ///
    /// # Errors
    ///
    /// Like all calls: the exchange's.
    #[cached(policy = "ticker", key = "ticker:{symbol}", tags = ["symbol:{symbol}", "market"])]
    pub async fn ticker(&self, symbol: &Symbol) -> Result<Ticker, UpstreamError> {
        self.exchange.get(&format!("/ticker/{symbol}")).await
    }

    /// What holding a position costs.
    ///
    /// # Errors
    ///
    /// The exchange's.
    #[cached(policy = "funding", key = "funding:{symbol}", tags = ["symbol:{symbol}", "market"])]
    pub async fn funding(&self, symbol: &Symbol) -> Result<Funding, UpstreamError> {
        self.exchange.get(&format!("/funding/{symbol}")).await
    }

    /// How the market feels.
    ///
    /// # Errors
    ///
    /// The exchange's.
    #[cached(policy = "fear-greed", prefix = "fear-greed", tags = ["market"])]
    pub async fn fear_greed(&self) -> Result<FearGreed, UpstreamError> {
        self.exchange.get("/fear-greed").await
    }
}

impl Tickers {
    /// Kept in `cache`, asked of `exchange`.
    pub fn new(cache: Cache, exchange: Client) -> Self {
        Self { cache, exchange }
    }
}

/// What a symbol costs now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ticker {
    /// What buyers offer.
    pub bid: f64,
    /// What sellers ask.
    pub ask: f64,
    /// The last trade.
    pub last: f64,
    /// Traded in 24 hours.
    pub volume: f64,
    /// The highest price of 24 hours.
    pub high_24h: f64,
    /// The lowest price of 24 hours.
    pub low_24h: f64,
    /// The change in 24 hours, as a share.
    pub change_24h: f64,
}

/// What a position pays or gets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Funding {
    /// The rate.
    pub rate: f64,
    /// When it is paid next, in seconds since 1970.
    pub next: u64,
}

/// The index of fear and greed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FearGreed {
    /// 0 is fear, 100 is greed.
    pub value: u8,
    /// The same in words.
    pub classification: String,
    /// When it was told, in seconds since 1970.
    pub time: u64,
}
