//! A moving average, and what two of them say.

use serde::{Deserialize, Serialize};

use crate::candles::Candle;

/// A moving average: the newest closes of a period, by time, and their sum.
///
/// Prices are whole hundred-millionths, so that adding and taking away is exact: there is no drift, however long it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Average {
    period: usize,
    closes: Vec<(u64, i64)>,
    sum: i64,
}

impl Average {
    /// Of no candle yet.
    pub fn new(period: usize) -> Self {
        Self {
            period,
            closes: Vec::with_capacity(period + 1),
            sum: 0,
        }
    }

    /// Recomputed from the beginning.
    pub fn over(period: usize, candles: &[Candle]) -> Self {
        let mut average = Self::new(period);
        candles.iter().for_each(|candle| average.add(candle));
        average
    }

    /// Adds a candle, unless it is there already or older than the period.
    pub fn add(&mut self, candle: &Candle) {
        let Err(place) = self.closes.binary_search_by_key(&candle.time, |(time, _)| *time) else {
            return;
        };
        let close = (candle.close * SCALE).round() as i64;
        self.closes.insert(place, (candle.time, close));
        self.sum += close;
        if self.closes.len() > self.period {
            let (_, oldest) = self.closes.remove(0);
            self.sum -= oldest;
        }
    }

    /// The average, once there are as many candles as the period has.
    pub fn mean(&self) -> Option<f64> {
        self.is_complete()
            .then(|| self.sum as f64 / self.period as f64 / SCALE)
    }

    /// The beginning of the newest candle.
    pub fn last(&self) -> Option<u64> {
        self.closes.last().map(|(time, _)| *time)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.closes.len() == self.period
    }
}

/// The finest price of any exchange.
const SCALE: f64 = 1e8;

/// What two moving averages say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// The beginning of the newest candle in it.
    pub time: u64,
    /// The short average.
    pub short: f64,
    /// The long average.
    pub long: f64,
    /// What follows.
    pub advice: Advice,
}

/// Buy while the short average is above the long one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Advice {
    /// The short average is above.
    Buy,
    /// It is not.
    Sell,
}

impl Signal {
    /// Nothing while there are fewer candles than the longer average needs.
    pub fn of([short, long]: &[Average; 2]) -> Option<Self> {
        let (time, short, long) = (long.last()?, short.mean()?, long.mean()?);
        let advice = if short > long { Advice::Buy } else { Advice::Sell };
        Some(Self {
            time,
            short,
            long,
            advice,
        })
    }
}
