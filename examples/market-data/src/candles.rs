//! Candles: what the exchange sells, and the words that name them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use cache_core::key::{KeyPart, PartWriter};
use serde::{Deserialize, Serialize};

/// The prices of one hour or one day.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candle {
    /// When it begins: seconds since 1970, UTC.
    pub time: u64,
    /// The first price.
    pub open: f64,
    /// The highest price.
    pub high: f64,
    /// The lowest price.
    pub low: f64,
    /// The last price.
    pub close: f64,
    /// How much was traded.
    pub volume: f64,
}

impl Candle {
    /// Whether it can be true: exchanges send damaged ones now and then.
    pub fn is_sound(&self) -> bool {
        let prices = [self.open, self.high, self.low, self.close];
        let within = |price: f64| self.low <= price && price <= self.high;
        prices.iter().all(|price| price.is_finite() && *price > 0.0)
            && within(self.open)
            && within(self.close)
            && self.volume >= 0.0
    }
}

/// Candles in the order of time; shared, since they never change.
pub type Series = Arc<[Candle]>;

/// What is traded: one to sixteen letters, digits, dots and dashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Symbol(Arc<str>);

impl Symbol {
    /// # Errors
    ///
    /// For a text that is no symbol, and so never reaches a cache or the exchange.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        if (1..=16).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Self(text.into()))
        } else {
            Err("a symbol has 1 to 16 letters, digits, dots and dashes, such as `EURUSD`")
        }
    }

    /// The symbol as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Symbol {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<Symbol> for String {
    fn from(symbol: Symbol) -> Self {
        symbol.0.as_ref().to_owned()
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl KeyPart for Symbol {
    fn write(&self, out: PartWriter<'_>) {
        out.text(&self.0);
    }
}

/// How long a candle lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timeframe {
    /// An hour.
    #[serde(rename = "1h")]
    Hour,
    /// A day.
    #[serde(rename = "1d")]
    Day,
}

impl Timeframe {
    /// The name that exchanges use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }

    /// Its length in seconds.
    pub fn seconds(self) -> u64 {
        match self {
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }
}

impl fmt::Display for Timeframe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl KeyPart for Timeframe {
    fn write(&self, out: PartWriter<'_>) {
        out.text(self.as_str());
    }
}

/// Every recorded series by its symbol.
///
/// # Errors
///
/// Names the line that is no candle.
pub fn recorded() -> Result<BTreeMap<&'static str, Series>, String> {
    [
        ("EURUSD", include_str!("../data/eurusd_1h.csv")),
        ("GOOG", include_str!("../data/goog_1d.csv")),
    ]
    .into_iter()
    .map(|(symbol, csv)| Ok((symbol, parse(csv).map_err(|error| format!("{symbol}: {error}"))?)))
    .collect()
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
    let time = seconds_since_1970(fields.next()?)?;
    let mut number = || fields.next()?.parse().ok();
    let candle = Candle {
        time,
        open: number()?,
        high: number()?,
        low: number()?,
        close: number()?,
        volume: number()?,
    };
    fields.next().is_none().then_some(candle)
}

/// `2017-04-19 09:00:00` or `2004-08-19`, UTC.
fn seconds_since_1970(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(' ').unwrap_or((text, "00:00:00"));
    let [year, month, day] = numbers(date, '-')?;
    let [hours, minutes, seconds] = numbers(time, ':')?;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // The year begins in March, so that the leap day is its last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year.checked_sub(1)?, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some(days.checked_sub(DAYS_UNTIL_1970)? * 86_400 + hours * 3_600 + minutes * 60 + seconds)
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let numbers: Result<Vec<u64>, _> = text.split(separator).map(str::parse).collect();
    numbers.ok()?.try_into().ok()
}

/// From the first of March of the year 0.
const DAYS_UNTIL_1970: u64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recorded_candle_is_read() {
        let series = recorded().unwrap();
        assert_eq!(series["EURUSD"].len(), 5_000);
        assert_eq!(series["GOOG"].len(), 2_148);
        assert_eq!(series["GOOG"][0].close, 100.34);
        let all = || series.values().flat_map(|series| series.iter());
        assert!(all().all(Candle::is_sound));
        for series in series.values() {
            assert!(series.windows(2).all(|pair| pair[0].time < pair[1].time));
        }
    }

    #[test]
    fn times_count_from_1970() {
        for (text, seconds) in [
            ("1970-01-01", Some(0)),
            ("2000-02-29 23:59:59", Some(951_868_799)),
            ("2017-04-19 09:00:00", Some(1_492_592_400)),
            ("2004-08-19", Some(1_092_873_600)),
            ("1969-12-31", None),
            ("2017-13-01", None),
            ("2017-04", None),
        ] {
            assert_eq!(seconds_since_1970(text), seconds, "{text}");
        }
    }

    #[test]
    fn a_damaged_line_is_named() {
        let error = parse("timestamp,open,high,low,close,volume\n2020-01-01,1,2,x,1,1\n").unwrap_err();
        assert!(error.contains("line 2"), "{error}");
        assert!(parse("nothing").is_err());
    }

    #[test]
    fn a_text_from_outside_is_a_symbol_or_refused() {
        assert_eq!(Symbol::new("BRK.B").unwrap().as_str(), "BRK.B");
        for wrong in ["", "a b", "../x", "EURUSD?x=1", "12345678901234567", "€"] {
            assert!(Symbol::new(wrong).is_err(), "{wrong}");
        }
    }
}
