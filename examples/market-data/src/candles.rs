//! Candles: what the exchange sells.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The prices of one hour or one day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Candle {
    pub(crate) timestamp: String,
    pub(crate) open: f64,
    pub(crate) high: f64,
    pub(crate) low: f64,
    pub(crate) close: f64,
    pub(crate) volume: f64,
}

/// Candles in the order of time; shared, since they never change.
pub(crate) type Series = Arc<[Candle]>;

/// Every recorded series by its symbol.
pub(crate) fn recorded() -> Result<BTreeMap<&'static str, Series>, String> {
    [
        ("EURUSD", include_str!("../data/eurusd_1h.csv")),
        ("GOOG", include_str!("../data/goog_1d.csv")),
    ]
    .into_iter()
    .map(|(symbol, csv)| Ok((symbol, parse(csv).map_err(|error| format!("{symbol}: {error}"))?)))
    .collect()
}

/// The mean of the last `period` closes.
pub(crate) fn moving_average(series: &[Candle], period: usize) -> Option<f64> {
    let window = series
        .len()
        .checked_sub(period)
        .filter(|_| period > 0)
        .and_then(|from| series.get(from..))?;
    Some(window.iter().map(|candle| candle.close).sum::<f64>() / period as f64)
}

fn parse(csv: &str) -> Result<Series, String> {
    let mut lines = csv.lines().enumerate();
    match lines.next() {
        Some((_, "timestamp,open,high,low,close,volume")) => {}
        _ => return Err("the header is missing".into()),
    }
    lines
        .map(|(number, line)| candle(line).ok_or_else(|| format!("line {} is no candle: {line}", number + 1)))
        .collect()
}

fn candle(line: &str) -> Option<Candle> {
    let mut fields = line.split(',');
    let timestamp = fields.next()?.to_owned();
    let mut number = || fields.next()?.parse().ok();
    let candle = Candle {
        timestamp,
        open: number()?,
        high: number()?,
        low: number()?,
        close: number()?,
        volume: number()?,
    };
    fields.next().is_none().then_some(candle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recorded_candle_is_read() {
        let series = recorded().unwrap();
        assert_eq!(series["EURUSD"].len(), 5_000);
        assert_eq!(series["GOOG"].len(), 2_148);
        assert_eq!(series["GOOG"][0].close, 100.34);
        assert!(
            series
                .values()
                .flat_map(|series| series.iter())
                .all(|candle| candle.low <= candle.high)
        );
    }

    #[test]
    fn a_damaged_line_is_named() {
        let error = parse("timestamp,open,high,low,close,volume\n2020-01-01,1,2,x,1,1\n").unwrap_err();
        assert!(error.contains("line 2"), "{error}");
        assert!(parse("nothing").is_err());
    }

    #[test]
    fn the_moving_average_needs_a_full_window() {
        let series = recorded().unwrap();
        let goog = &series["GOOG"];
        assert_eq!(
            moving_average(&goog[..3], 2),
            Some((goog[1].close + goog[2].close) / 2.0)
        );
        assert_eq!(moving_average(&goog[..3], 4), None);
        assert_eq!(moving_average(&goog[..3], 0), None);
    }
}
