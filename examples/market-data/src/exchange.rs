//! The upstream: an exchange that has every candle and is slow on purpose.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::Rng as _;

use crate::candles::{Series, recorded};

/// What one asks over the network, at 100 to 500 ms a call.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    series: BTreeMap<&'static str, Series>,
    latency: std::ops::Range<Duration>,
    calls: AtomicU64,
}

/// Why the exchange gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ExchangeError {
    /// It does not trade this.
    UnknownSymbol(String),
    /// The cache in front of it gave up: the call took too long, or broke.
    Unreachable(String),
}

impl Exchange {
    /// An exchange that takes a random time within `latency` for each call.
    pub(crate) fn open(latency: std::ops::Range<Duration>) -> Result<Self, String> {
        Ok(Self {
            shared: Arc::new(Shared {
                series: recorded()?,
                latency,
                calls: AtomicU64::new(0),
            }),
        })
    }

    /// All candles of a symbol whose timestamps begin with `period`: a day, a month, a year, or everything.
    pub(crate) async fn candles(&self, symbol: &str, period: &str) -> Result<Series, ExchangeError> {
        self.answer_slowly().await;
        let series = self.series(symbol)?;
        Ok(series
            .iter()
            .filter(|candle| candle.timestamp.starts_with(period))
            .cloned()
            .collect())
    }

    /// How often it was asked.
    pub(crate) fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// What it trades.
    pub(crate) fn symbols(&self) -> impl Iterator<Item = &'static str> {
        self.shared.series.keys().copied()
    }

    /// What there is to ask for: every month of every symbol.
    pub(crate) fn months(&self) -> Vec<(&'static str, String)> {
        let months = |(symbol, series): (&&'static str, &Series)| {
            let mut months: Vec<String> = series
                .iter()
                .filter_map(|candle| candle.timestamp.get(..7))
                .map(str::to_owned)
                .collect();
            months.dedup();
            months
                .into_iter()
                .map(|month| (*symbol, month))
                .collect::<Vec<_>>()
        };
        self.shared.series.iter().flat_map(months).collect()
    }

    fn series(&self, symbol: &str) -> Result<&Series, ExchangeError> {
        self.shared
            .series
            .get(symbol)
            .ok_or_else(|| ExchangeError::UnknownSymbol(symbol.to_owned()))
    }

    async fn answer_slowly(&self) {
        self.shared.calls.fetch_add(1, Ordering::Relaxed);
        let latency = rand::rng().random_range(self.shared.latency.clone());
        tokio::time::sleep(latency).await;
    }
}

impl From<cache_core::Error> for ExchangeError {
    fn from(error: cache_core::Error) -> Self {
        Self::Unreachable(error.to_string())
    }
}

impl std::fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownSymbol(symbol) => write!(f, "`{symbol}` is not traded here"),
            Self::Unreachable(why) => write!(f, "the exchange did not answer: {why}"),
        }
    }
}

impl std::error::Error for ExchangeError {}
