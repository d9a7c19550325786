//! The service's functions: what is asked of the exchange, and for how long the answers are good.

use cache_core::cached;
use serde::{Deserialize, Serialize};

use crate::candles::{Candle, Series, moving_average};
use crate::exchange::{Exchange, ExchangeError};

/// The candles of a month, a day, or any other period: recorded history, which does not change.
#[cached(ttl = "1h", stale = "1d", prefix = "candles", tags = ["symbol:{symbol}"], skip(exchange))]
pub(crate) async fn candles(
    exchange: &Exchange,
    symbol: &str,
    period: &str,
) -> Result<Series, ExchangeError> {
    exchange.candles(symbol, period).await
}

/// The latest price: good for ten seconds, and better old than missing.
#[cached(ttl = "10s", stale = "5m", prefix = "price", tags = ["symbol:{symbol}"], skip(exchange))]
pub(crate) async fn price(exchange: &Exchange, symbol: &str) -> Result<Price, ExchangeError> {
    let series = exchange.candles(symbol, "").await?;
    let last = series
        .last()
        .ok_or_else(|| ExchangeError::UnknownSymbol(symbol.to_owned()))?;
    Ok(Price::of(symbol, last))
}

/// Whether the short moving average lies above the long one.
#[cached(ttl = "1m", stale = "1h", prefix = "signal", tags = ["symbol:{symbol}"], skip(exchange))]
pub(crate) async fn signal(
    exchange: &Exchange,
    symbol: &str,
    short: usize,
    long: usize,
) -> Result<Option<Signal>, ExchangeError> {
    // A cached function may call another: the candles of a symbol are loaded once for all its signals.
    let series = candles(exchange, symbol, "").await?;
    Ok(Signal::of(symbol, &series, short, long))
}

/// The signal with nothing cached on the way: `signal::uncached` would still use the cached candles.
pub(crate) async fn signal_uncached(
    exchange: &Exchange,
    symbol: &str,
    short: usize,
    long: usize,
) -> Result<Option<Signal>, ExchangeError> {
    let series = exchange.candles(symbol, "").await?;
    Ok(Signal::of(symbol, &series, short, long))
}

/// The latest price of a symbol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Price {
    symbol: String,
    price: f64,
    at: String,
}

/// What two moving averages say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Signal {
    symbol: String,
    short: f64,
    long: f64,
    advice: Advice,
}

/// Buy while the short average is above the long one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Advice {
    Buy,
    Sell,
}

impl Price {
    fn of(symbol: &str, candle: &Candle) -> Self {
        Self {
            symbol: symbol.to_owned(),
            price: candle.close,
            at: candle.timestamp.clone(),
        }
    }
}

impl Signal {
    /// Nothing if there are fewer candles than the longer window needs.
    fn of(symbol: &str, series: &[Candle], short: usize, long: usize) -> Option<Self> {
        let (short, long) = (moving_average(series, short)?, moving_average(series, long)?);
        let advice = if short > long { Advice::Buy } else { Advice::Sell };
        Some(Self {
            symbol: symbol.to_owned(),
            short,
            long,
            advice,
        })
    }
}
