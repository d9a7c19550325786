//! System B: moving averages that are carried on with each new candle instead of recomputed from two hundred.
//!
//! The state of an average lies in the cache, per symbol, timeframe and period. Its last candle says what was processed
//! already, so that only what came since is fetched; updates are atomic, so that several at once lose nothing. When the
//! state is lost, or Redis is away, the averages are recomputed: the result is the same to the last digit.

mod average;

use std::sync::Arc;

use cache_core::{Cache, CacheKey, EntryOptions, Error, cached};

pub use average::{Advice, Average, Signal};

use crate::candles::{Candle, Symbol, Timeframe};
use crate::upstream::{Client, UpstreamError};

/// The periods of the two averages, in candles.
pub const PERIODS: [usize; 2] = [50, 200];

/// Averages and the signals they give.
#[derive(Debug)]
pub struct Indicators {
    cache: Cache,
    exchange: Client,
}

#[cached(cache = self.cache, skip(self))]
impl Indicators {
    /// What the averages say now; at once, while newer candles are fetched and worked in behind it.
    ///
    /// # Errors
    ///
    /// The exchange's, where nothing older stands in.
    #[cached(policy = "signal", key = "signal:{symbol}:{timeframe}", tags = ["symbol:{symbol}", "market"])]
    pub async fn signal(
        self: Arc<Self>,
        symbol: Symbol,
        timeframe: Timeframe,
    ) -> Result<Option<Signal>, UpstreamError> {
        Ok(Signal::of(&self.averages(&symbol, timeframe).await?))
    }
}

impl Indicators {
    /// Averages in `cache`, of what `exchange` sells.
    pub fn new(cache: Cache, exchange: Client) -> Arc<Self> {
        Arc::new(Self { cache, exchange })
    }

    /// The averages with every candle that there is by now.
    ///
    /// # Errors
    ///
    /// The exchange's.
    pub async fn averages(
        &self,
        symbol: &Symbol,
        timeframe: Timeframe,
    ) -> Result<[Average; 2], UpstreamError> {
        let longest = PERIODS[1];
        if let Some(last) = self.last_processed(symbol, timeframe).await? {
            let new = self
                .exchange
                .candles(symbol, timeframe, Some(last), longest)
                .await?;
            match self.advance(symbol, timeframe, &new).await {
                Ok(averages) if averages.iter().all(Average::is_complete) => return Ok(averages),
                Ok(_) => tracing::info!(%symbol, "the state was lost on the way; recomputing"),
                Err(error) => tracing::warn!(%symbol, %error, "the state cannot be carried on; recomputing"),
            }
        }
        let candles = self.exchange.candles(symbol, timeframe, None, longest).await?;
        let carried_on = self.advance(symbol, timeframe, &candles).await;
        Ok(carried_on.unwrap_or_else(|_| PERIODS.map(|period| Average::over(period, &candles))))
    }

    /// Works new candles in, in any order and as often as they come; callers may be many.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](cache_core::ErrorKind::Unavailable) if Redis does not answer.
    pub async fn advance(
        &self,
        symbol: &Symbol,
        timeframe: Timeframe,
        candles: &[Candle],
    ) -> Result<[Average; 2], Error> {
        let [short, long] = PERIODS.map(|period| async move {
            let key = key(symbol, timeframe, period)?;
            if candles.is_empty()
                && let Some(state) = self.cache.get::<Average>(&key).await
            {
                return Ok(state.into_inner());
            }
            let change = |state: Option<Average>| {
                let mut state = state.unwrap_or_else(|| Average::new(period));
                candles.iter().for_each(|candle| state.add(candle));
                state
            };
            let options = EntryOptions::new().policy("average");
            Ok::<_, Error>(self.cache.update(&key, options, change).await?.into_inner())
        });
        let (short, long) = tokio::try_join!(short, long)?;
        Ok([short, long])
    }

    /// The beginning of the last candle that was worked in, if the averages stand.
    ///
    /// # Errors
    ///
    /// None, unless a name in this file is wrong.
    pub async fn last_processed(&self, symbol: &Symbol, timeframe: Timeframe) -> Result<Option<u64>, Error> {
        let state = self
            .cache
            .get::<Average>(&key(symbol, timeframe, PERIODS[1])?)
            .await;
        Ok(state.and_then(|state| state.last()))
    }
}

fn key(symbol: &Symbol, timeframe: Timeframe, period: usize) -> Result<CacheKey, Error> {
    Ok(CacheKey::build("average", (symbol, timeframe, period))?)
}
