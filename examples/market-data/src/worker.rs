//! A worker: goes through the candles of a symbol and has each one analysed once, together with all other workers.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;

use crate::candles::{Symbol, Timeframe};
use crate::dedup::{self, CandleId, Processed};
use crate::upstream::{Client, UpstreamError};

/// What a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Candles that it processed.
    pub processed: u64,
    /// Candles that had been processed before, by it or by another.
    pub duplicates: u64,
}

/// Processes all candles of `symbol`; returns when each is processed, by this worker or by another.
///
/// A candle that another worker has in its hands is put back, and looked at again when its lease has ended. A candle
/// whose analysis failed is put back too.
///
/// # Errors
///
/// That the exchange does not sell the candles.
pub async fn run(
    exchange: &Client,
    symbol: &Symbol,
    timeframe: Timeframe,
    mut each: impl FnMut(&CandleId),
) -> Result<Done, UpstreamError> {
    let candles = exchange.candles(symbol, timeframe, None, usize::MAX).await?;
    let id = |time| CandleId {
        symbol: symbol.clone(),
        timeframe,
        time,
    };
    let mut open: VecDeque<CandleId> = candles.iter().map(|candle| id(candle.time)).collect();
    let mut done = Done::default();
    let mut put_back = 0;
    while let Some(candle) = open.pop_front() {
        let effect = async {
            exchange
                .post::<Value>(&format!("/analyses/{symbol}/{}", candle.time), "")
                .await
        };
        match dedup::process_once(&candle, effect).await {
            Ok(Processed::Now(_)) => {
                each(&candle);
                (done.processed, put_back) = (done.processed + 1, 0);
            }
            Ok(Processed::Before) => (done.duplicates, put_back) = (done.duplicates + 1, 0),
            Ok(Processed::Elsewhere(remaining)) => {
                open.push_back(candle);
                put_back += 1;
                // Nothing else is left to do meanwhile.
                if put_back >= open.len() {
                    tokio::time::sleep(remaining.min(LONGEST_PAUSE)).await;
                    put_back = 0;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "put back");
                open.push_back(candle);
                tokio::time::sleep(LONGEST_PAUSE).await;
            }
        }
    }
    Ok(done)
}

/// What is under way elsewhere is usually done long before its lease ends.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
