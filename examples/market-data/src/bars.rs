//! System E, bars: the newest candles of a symbol and timeframe, kept as one value, newest first.

use std::sync::Arc;

use cache_core::{Cache, EntryOptions, Error, TagSet, cached};
use serde_json::Value;

use crate::candles::{Candle, Symbol, Timeframe};
use crate::upstream::{Client, UpstreamError};

/// How many bars are kept of each symbol and timeframe.
pub const KEPT: usize = 1_000;

/// Bars, newest first. Clones share the cache.
#[derive(Clone, Debug)]
pub struct Bars {
    cache: Cache,
    exchange: Client,
}

#[cached(cache = self.cache, skip(self))]
impl Bars {
    /// All bars that are kept; asked of the exchange if there are none.
    ///
    /// # Errors
    ///
    /// The exchange's.
    #[cached(
        policy = "bars",
        key = "bars:{symbol}:{timeframe}",
        tags = ["bars:{symbol}", "symbol:{symbol}", "market"],
    )]
    pub async fn all(&self, symbol: &Symbol, timeframe: Timeframe) -> Result<Arc<[Candle]>, UpstreamError> {
        let path = format!("/candles/{symbol}/{timeframe}?limit={KEPT}");
        let sent: Vec<Value> = self.exchange.get(&path).await?;
        let readable: Vec<Candle> = sent
            .into_iter()
            .filter_map(|bar| serde_json::from_value(bar).ok())
            .collect();
        Ok(merged(&[], &readable))
    }

    /// The latest `limit` bars, newest first.
    ///
    /// # Errors
    ///
    /// The exchange's.
    pub async fn latest(
        &self,
        symbol: &Symbol,
        timeframe: Timeframe,
        limit: usize,
    ) -> Result<Vec<Candle>, UpstreamError> {
        let bars = self.all(symbol, timeframe).await?;
        Ok(bars[..limit.min(bars.len())].to_vec())
    }

    /// The latest bar.
    ///
    /// # Errors
    ///
    /// The exchange's.
    pub async fn last(&self, symbol: &Symbol, timeframe: Timeframe) -> Result<Option<Candle>, UpstreamError> {
        Ok(self.all(symbol, timeframe).await?.first().copied())
    }

    /// Works a batch into what is kept. Several batches at once lose nothing, and damaged bars are left out.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](cache_core::ErrorKind::Unavailable) if Redis does not answer.
    pub async fn store(&self, symbol: &Symbol, timeframe: Timeframe, batch: &[Candle]) -> Result<(), Error> {
        let tags = [
            format!("bars:{symbol}"),
            format!("symbol:{symbol}"),
            "market".to_owned(),
        ];
        let options = EntryOptions::new().policy("bars").tags(TagSet::new(tags)?);
        let change = |kept: Option<Arc<[Candle]>>| merged(&kept.unwrap_or_default(), batch);
        self.cache
            .update(&self.all_key(symbol, timeframe)?, options, change)
            .await?;
        Ok(())
    }

    /// Makes the bars of a symbol invalid, of one timeframe or of all.
    ///
    /// # Errors
    ///
    /// [`InvalidationUncertain`](cache_core::ErrorKind::InvalidationUncertain) if Redis did not acknowledge it.
    pub async fn invalidate(&self, symbol: &Symbol, timeframe: Option<Timeframe>) -> Result<(), Error> {
        match timeframe {
            Some(timeframe) => self.all_invalidate(symbol, timeframe).await,
            None => self.cache.invalidate_tag(format!("bars:{symbol}")).await,
        }
    }
}

impl Bars {
    /// Bars in `cache`, of what `exchange` sells.
    pub fn new(cache: Cache, exchange: Client) -> Self {
        Self { cache, exchange }
    }
}

/// The sound bars of both, newest first; where both have one, the later batch is right.
fn merged(kept: &[Candle], batch: &[Candle]) -> Arc<[Candle]> {
    let mut bars: Vec<Candle> = batch
        .iter()
        .filter(|bar| bar.is_sound())
        .chain(kept)
        .copied()
        .collect();
    bars.sort_by_key(|bar| std::cmp::Reverse(bar.time));
    bars.dedup_by_key(|bar| bar.time);
    bars.truncate(KEPT);
    bars.into()
}
