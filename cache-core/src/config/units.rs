//! Durations and sizes as people write them: `1h30m`, `256MiB`.

use std::time::Duration;

/// The duration that a text stands for: whole numbers with a unit each, added up.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    let wrong = || {
        format!(
            "`{text}` is not a duration; write whole numbers with a unit each: \"90s\", \"1h30m\", \"250ms\""
        )
    };
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = Some(0_u64);
    while !rest.is_empty() {
        let (number, unit, tail) = split(rest);
        if number.is_empty() {
            return Err(wrong());
        }
        if unit.is_empty() {
            return Err(format!(
                "`{text}` lacks a unit; write \"{number}s\" for seconds, or ms, m, h, d, w"
            ));
        }
        let Some((_, millis)) = DURATIONS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!(
                "`{text}`: `{unit}` is not a unit of time; there are ms, s, m, h, d and w"
            ));
        };
        let part = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*millis));
        total = total.and_then(|total| total.checked_add(part?));
        rest = tail;
    }
    total
        .map(Duration::from_millis)
        .ok_or_else(|| format!("`{text}` is longer than can be counted; nothing is kept beyond 365 days"))
}

/// The bytes that a text stands for: a whole number, with a unit or of bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (number, unit, tail) = split(text.trim());
    if number.is_empty() || !tail.is_empty() {
        return Err(format!(
            "`{text}` is not a size; write a whole number with a unit: \"256MiB\", \"64KiB\", \"1GB\""
        ));
    }
    let Some((_, factor)) = SIZES.iter().find(|(name, _)| *name == unit) else {
        let remedy = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let remedy = match remedy.map_or(unit, |(name, _)| *name) {
            name if name == unit => "there are B, KiB, MiB, GiB, TiB, KB, MB, GB and TB".to_owned(),
            name => format!("write \"{number}{name}\""),
        };
        return Err(format!("`{text}`: `{unit}` is not a unit of size; {remedy}"));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor))
        .ok_or_else(|| format!("`{text}` is more than can be counted; no machine has so many bytes"))
}

/// A duration with its units, such that reading it gives the same: `90s` is `1m30s`.
pub(super) fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, millis) in DURATIONS.iter().filter(|(unit, _)| *unit != "w") {
        if rest >= *millis {
            text.push_str(&format!("{}{unit}", rest / millis));
            rest %= millis;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A size in the largest unit that divides it.
pub(super) fn show_size(bytes: u64) -> String {
    let unit = SIZES
        .iter()
        .find(|(unit, factor)| unit.ends_with("iB") && bytes >= *factor && bytes.is_multiple_of(*factor));
    match unit {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

/// The digits at the beginning, the letters behind them, and what follows without its leading spaces.
fn split(text: &str) -> (&str, &str, &str) {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, tail) = text.split_at(digits);
    let tail = tail.trim_start();
    let letters = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
    let (unit, tail) = tail.split_at(letters);
    (number, unit, tail.trim_start())
}

/// Longest first.
const DURATIONS: &[(&str, u64)] = &[
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Largest first. Without a unit, a size is in bytes.
const SIZES: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("kB", 1_000),
    ("B", 1),
    ("", 1),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_and_sizes_are_read_with_their_units() {
        for (text, millis) in [
            ("250ms", 250),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1w", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, bytes) in [
            ("256MiB", 256 << 20),
            ("1 GB", 1_000_000_000),
            ("17", 17),
            ("8B", 8),
            ("2kB", 2_000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn wrong_units_name_the_value_and_the_remedy() {
        #[track_caller]
        fn check<T: std::fmt::Debug>(read: Result<T, String>, words: &[&str]) {
            let error = read.expect_err("must be refused");
            for word in words {
                assert!(error.contains(word), "{error} does not say {word}");
            }
        }
        check(duration("300"), &["`300`", "\"300s\""]);
        check(duration("5 minutes"), &["`5 minutes`", "`minutes`", "ms, s, m"]);
        check(duration(""), &["``", "\"90s\""]);
        check(duration("-5s"), &["`-5s`", "whole numbers"]);
        check(duration("1.5h"), &["`1.5h`"]);
        check(duration("99999999999999999999d"), &["365 days"]);
        check(size("256mib"), &["`mib`", "\"256MiB\""]);
        check(size("256M"), &["`M`", "MiB"]);
        check(size("1.5GiB"), &["`1.5GiB`", "whole number"]);
        check(size("lots"), &["`lots`"]);
        check(size("99999999999TiB"), &["`99999999999TiB`"]);
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(millis in 0..400 * 86_400_000_u64, bytes in any::<u64>()) {
            let span = Duration::from_millis(millis);
            prop_assert_eq!(duration(&show_duration(span)), Ok(span));
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = (duration(&text), size(&text));
        }
    }
}
