//! What the exchange answers, made from the recorded candles: the same question has the same answer at the same candle.

use serde_json::{Value, json};

use crate::api::{Alert, Session, User};
use crate::candles::{Candle, Series, Symbol, Timeframe};
use crate::indicators::Advice;
use crate::quotes::Class;
use crate::ticker::{FearGreed, Funding, Ticker};

/// The newest candles up to the `now`-th, at most `limit`, that begin later than `after`.
pub(super) fn candles(series: &[Candle], now: usize, after: Option<u64>, limit: usize) -> &[Candle] {
    let past = &series[..now.min(series.len())];
    let from = past.partition_point(|candle| after.is_some_and(|after| candle.time <= after));
    &past[from.max(past.len().saturating_sub(limit))..]
}

/// The series behind a symbol: `S1`, `S2`, .. are traded as `EURUSD` is.
pub(super) fn recording(symbol: &Symbol) -> Option<(&'static str, Timeframe)> {
    match symbol.as_str() {
        "EURUSD" => Some(("EURUSD", Timeframe::Hour)),
        "GOOG" => Some(("GOOG", Timeframe::Day)),
        other => {
            let number: u32 = other.strip_prefix('S')?.parse().ok()?;
            (number > 0).then_some(("EURUSD", Timeframe::Hour))
        }
    }
}

pub(super) fn ticker(past: &[Candle]) -> Option<Ticker> {
    let last = past.last()?;
    let day = &past[past.len().saturating_sub(24)..];
    let first = day.first()?;
    Some(Ticker {
        bid: last.close * 0.9999,
        ask: last.close * 1.0001,
        last: last.close,
        volume: day.iter().map(|candle| candle.volume).sum(),
        high_24h: day.iter().map(|candle| candle.high).fold(f64::MIN, f64::max),
        low_24h: day.iter().map(|candle| candle.low).fold(f64::MAX, f64::min),
        change_24h: last.close / first.open - 1.0,
    })
}

pub(super) fn funding(past: &[Candle]) -> Option<Funding> {
    let last = past.last()?;
    Some(Funding {
        rate: (last.close / last.open - 1.0) / 8.0,
        next: last.time / 28_800 * 28_800 + 28_800,
    })
}

pub(super) fn fear_greed(past: &[Candle]) -> Option<FearGreed> {
    let last = past.last()?;
    let rising = past
        .iter()
        .rev()
        .take(100)
        .filter(|candle| candle.close > candle.open)
        .count();
    let value = rising.min(100) as u8;
    let classification = match value {
        0..25 => "extreme fear",
        25..45 => "fear",
        45..55 => "neutral",
        55..75 => "greed",
        _ => "extreme greed",
    };
    Some(FearGreed {
        value,
        classification: classification.to_owned(),
        time: last.time,
    })
}

pub(super) fn facts(class: Class, symbol: &Symbol, past: &[Candle]) -> Option<Value> {
    let last = past.last()?;
    let text = format!("what there is to say about {symbol}: {}", class.as_str());
    Some(json!({ "class": class, "symbol": symbol, "price": last.close, "time": last.time, "text": text }))
}

/// There are ten thousand users.
pub(super) fn user(id: u64) -> Option<User> {
    (1..=10_000).contains(&id).then(|| User {
        id,
        name: format!("user {id}"),
        watchlist: (0..5)
            .filter_map(|n| Symbol::new(&format!("S{}", (id * 7 + n) % 200 + 1)).ok())
            .collect(),
    })
}

pub(super) fn session(id: u64) -> Option<Session> {
    user(id / 1_000).map(|user| Session { user: user.id })
}

pub(super) fn alert(id: u64, series: &Series) -> Option<Alert> {
    let candle = series.get(usize::try_from(id).ok()?)?;
    let advice = if candle.close > candle.open {
        Advice::Buy
    } else {
        Advice::Sell
    };
    Some(Alert {
        id,
        advice,
        time: candle.time,
    })
}

pub(super) fn analysis(kind: &str, input: &str) -> Value {
    let words = input.split_whitespace().count();
    json!({ "kind": kind, "words": words, "score": (words % 21) as f64 / 10.0 - 1.0 })
}
