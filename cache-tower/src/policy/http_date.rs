//! HTTP-date (RFC 9110 §5.6.7).
//!
//! Dates are read strictly: the three forms of the RFC and nothing else, names in any case (RFC 9111 §4.2).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;

use super::fields::trim;

/// Parses an HTTP-date in one of its three forms (RFC 9110 §5.6.7). `reference` is the time of receipt, which decides
/// the century of a two-digit year: a date more than 50 years after it belongs to the past.
pub fn parse_http_date(text: &[u8], reference: SystemTime) -> Option<SystemTime> {
    let text = trim(text);
    let civil = parse_imf_fixdate(text)
        .or_else(|| parse_asctime(text))
        .or_else(|| parse_rfc850(text, reference))?;
    civil.to_system_time()
}

/// Writes a time as IMF-fixdate, the only form that may be generated (RFC 9110 §5.6.7).
pub fn format_http_date(time: SystemTime) -> HeaderValue {
    let civil = Civil::of(time);
    let weekday = WEEKDAYS[usize::try_from((civil.days() + 4).rem_euclid(7)).unwrap_or(0)];
    let text = format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        &weekday[..3],
        civil.day,
        MONTHS[civil.month - 1],
        civil.year,
        civil.hour,
        civil.minute,
        civil.second
    );
    HeaderValue::try_from(text).expect("a formatted date has only printable ASCII characters")
}

/// A date and time of day in the proleptic Gregorian calendar, UTC; `month` counts from 1.
#[derive(Debug, Clone, Copy)]
struct Civil {
    year: i64,
    month: usize,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

impl Civil {
    /// Days since 1970-01-01, by the well-known era arithmetic.
    fn days(&self) -> i64 {
        let month = i64::try_from(self.month).unwrap_or(1);
        let year = if month <= 2 { self.year - 1 } else { self.year };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(self.day) - 1;
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
    }

    fn order(&self) -> (i64, usize, u32, u32, u32, u32) {
        (
            self.year,
            self.month,
            self.day,
            self.hour,
            self.minute,
            self.second,
        )
    }

    fn of(time: SystemTime) -> Self {
        let seconds = unix_seconds(time).clamp(EARLIEST, LATEST);
        let second_of_day = u32::try_from(seconds.rem_euclid(86_400)).unwrap_or(0);
        let shifted = seconds.div_euclid(86_400) + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: usize::try_from(month).unwrap_or(1),
            day: u32::try_from(day).unwrap_or(1),
            hour: second_of_day / 3_600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
        }
    }

    fn to_system_time(self) -> Option<SystemTime> {
        // Second 60 is a leap second (RFC 9110 §5.6.7).
        if self.hour > 23 || self.minute > 59 || self.second > 60 {
            return None;
        }
        if self.day == 0 || self.day > days_in_month(self.year, self.month) {
            return None;
        }
        let time_of_day = self.hour * 3_600 + self.minute * 60 + self.second;
        let seconds = self.days() * 86_400 + i64::from(time_of_day);
        let distance = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 {
            UNIX_EPOCH.checked_sub(distance)
        } else {
            UNIX_EPOCH.checked_add(distance)
        }
    }
}

fn unix_seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => {
            let before = before.duration();
            let whole = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            // Rounded towards the past: a date is never later than the time it stands for.
            -whole - i64::from(before.subsec_nanos() > 0)
        }
    }
}

fn days_in_month(year: i64, month: usize) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn parse_imf_fixdate(text: &[u8]) -> Option<Civil> {
    let text: &[u8; 29] = text.try_into().ok()?;
    short_weekday(&text[0..3])?;
    literal(&text[3..5], b", ")?;
    let day = digits(&text[5..7])?;
    literal(&text[7..8], b" ")?;
    let month = month(&text[8..11])?;
    literal(&text[11..12], b" ")?;
    let year = i64::from(digits(&text[12..16])?);
    literal(&text[16..17], b" ")?;
    let (hour, minute, second) = time_of_day(&text[17..25])?;
    literal(&text[25..29], b" GMT")?;
    Some(Civil {
        year,
        month,
        day,
        hour,
        minute,
        second,
    })
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn parse_rfc850(text: &[u8], reference: SystemTime) -> Option<Civil> {
    let comma = text.iter().position(|&byte| byte == b',')?;
    WEEKDAYS
        .iter()
        .find(|name| name.as_bytes().eq_ignore_ascii_case(&text[..comma]))?;
    let rest: &[u8; 24] = text[comma..].try_into().ok()?;
    literal(&rest[0..2], b", ")?;
    let day = digits(&rest[2..4])?;
    literal(&rest[4..5], b"-")?;
    let month = month(&rest[5..8])?;
    literal(&rest[8..9], b"-")?;
    let year = i64::from(digits(&rest[9..11])?);
    literal(&rest[11..12], b" ")?;
    let (hour, minute, second) = time_of_day(&rest[12..20])?;
    literal(&rest[20..24], b" GMT")?;
    Some(with_century(
        Civil {
            year,
            month,
            day,
            hour,
            minute,
            second,
        },
        reference,
    ))
}

/// `Sun Nov  6 08:49:37 1994`
fn parse_asctime(text: &[u8]) -> Option<Civil> {
    let text: &[u8; 24] = text.try_into().ok()?;
    short_weekday(&text[0..3])?;
    literal(&text[3..4], b" ")?;
    let month = month(&text[4..7])?;
    literal(&text[7..8], b" ")?;
    let day = if text[8] == b' ' {
        digits(&text[9..10])?
    } else {
        digits(&text[8..10])?
    };
    literal(&text[10..11], b" ")?;
    let (hour, minute, second) = time_of_day(&text[11..19])?;
    literal(&text[19..20], b" ")?;
    let year = i64::from(digits(&text[20..24])?);
    Some(Civil {
        year,
        month,
        day,
        hour,
        minute,
        second,
    })
}

/// "MUST interpret a timestamp that appears to be more than 50 years in the future as representing the most recent
/// year in the past that had the same last two digits" (RFC 9110 §5.6.7).
fn with_century(date: Civil, reference: SystemTime) -> Civil {
    let now = Civil::of(reference);
    let century = now.year - now.year.rem_euclid(100);
    let is_near = |candidate: &Civil| {
        Civil {
            year: candidate.year - 50,
            ..*candidate
        }
        .order()
            <= now.order()
    };
    // Near the end of a century the nearest such year may lie in the next one.
    let candidates = [century + 100, century, century - 100].map(|century| Civil {
        year: century + date.year,
        ..date
    });
    candidates.into_iter().find(is_near).unwrap_or(date)
}

fn short_weekday(text: &[u8]) -> Option<()> {
    WEEKDAYS
        .iter()
        .any(|name| name.as_bytes()[..3].eq_ignore_ascii_case(text))
        .then_some(())
}

fn month(text: &[u8]) -> Option<usize> {
    MONTHS
        .iter()
        .position(|name| name.as_bytes().eq_ignore_ascii_case(text))
        .map(|index| index + 1)
}

fn time_of_day(text: &[u8]) -> Option<(u32, u32, u32)> {
    literal(&text[2..3], b":")?;
    literal(&text[5..6], b":")?;
    Some((digits(&text[0..2])?, digits(&text[3..5])?, digits(&text[6..8])?))
}

fn digits(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0, |value, byte| {
        byte.is_ascii_digit().then(|| value * 10 + u32::from(byte - b'0'))
    })
}

fn literal(text: &[u8], expected: &[u8]) -> Option<()> {
    text.eq_ignore_ascii_case(expected).then_some(())
}

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// 0000-01-01 and 9999-12-31 23:59:59, the ends of what four digits can say.
const EARLIEST: i64 = -62_167_219_200;
const LATEST: i64 = 253_402_300_799;

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-01-02 03:04:05 UTC.
    const RECEIVED: u64 = 1_767_323_045;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[track_caller]
    fn check_date(section: &str, text: &str, expected: Option<u64>) {
        let parsed = parse_http_date(text.as_bytes(), at(RECEIVED));
        assert_eq!(parsed, expected.map(at), "{section}: {text:?}");
    }

    #[test]
    fn dates_are_read_in_three_forms_and_no_other() {
        const EXAMPLE: Option<u64> = Some(784_111_777);
        for (section, text, expected) in [
            ("9110 5.6.7 IMF-fixdate", "Sun, 06 Nov 1994 08:49:37 GMT", EXAMPLE),
            ("9110 5.6.7 RFC 850", "Sunday, 06-Nov-94 08:49:37 GMT", EXAMPLE),
            ("9110 5.6.7 asctime", "Sun Nov  6 08:49:37 1994", EXAMPLE),
            ("9110 5.6.7 asctime, two digits", "Wed Nov 16 08:49:37 1994", Some(784_975_777)),
            ("9111 4.2 case of day and month", "sUN, 06 nOV 1994 08:49:37 GMT", EXAMPLE),
            ("9111 4.2 case of the zone", "Sun, 06 Nov 1994 08:49:37 gmt", EXAMPLE),
            ("9111 4.2 case, RFC 850", "SUNDAY, 06-NOV-94 08:49:37 GMT", EXAMPLE),
            ("9111 4.2 case, asctime", "sun nov  6 08:49:37 1994", EXAMPLE),
            ("9110 5.6.3 white space around", " \tSun, 06 Nov 1994 08:49:37 GMT ", EXAMPLE),
            ("9110 5.6.7 RFC 850, 50 years ahead", "Friday, 02-Jan-76 03:04:05 GMT", Some(3_345_159_845)),
            ("9110 5.6.7 RFC 850, one second more", "Friday, 02-Jan-76 03:04:06 GMT", Some(189_399_846)),
            ("9110 5.6.7 RFC 850, more than 50 years", "Sunday, 02-Jan-77 03:04:05 GMT", Some(221_022_245)),
            ("9110 5.6.7 leap second", "Sat, 31 Dec 2016 23:59:60 GMT", Some(1_483_228_800)),
            ("9110 5.6.7 leap day", "Thu, 29 Feb 2024 00:00:00 GMT", Some(1_709_164_800)),
            ("9110 5.6.7 before the epoch", "Wed, 31 Dec 1969 23:59:59 GMT", None),
            ("9110 5.6.7 not a leap year", "Wed, 29 Feb 2023 00:00:00 GMT", None),
            ("9110 5.6.7 not a leap century", "Thu, 29 Feb 1900 00:00:00 GMT", None),
            ("9111 4.2 other zone", "Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("9111 4.2 other zone", "Sun, 06 Nov 1994 08:49:37 EST", None),
            ("9111 4.2 numeric zone", "Sun, 06 Nov 1994 08:49:37 +0000", None),
            ("9111 4.2 no zone", "Sun, 06 Nov 1994 08:49:37", None),
            ("9110 5.6.7 two-digit year", "Sun, 06 Nov 94 08:49:37 GMT", None),
            ("9110 5.6.7 three-digit year", "Sun, 06 Nov 994 08:49:37 GMT", None),
            ("9110 5.6.7 missing comma", "Sun 06 Nov 1994 08:49:37 GMT", None),
            ("9110 5.6.7 comma without space", "Sun,06 Nov 1994 08:49:37 GMT", None),
            ("9110 5.6.7 double space", "Sun, 06  Nov 1994 08:49:37 GMT", None),
            ("9110 5.6.7 double space", "Sun,  06 Nov 1994 08:49:37 GMT", None),
            ("9110 5.6.7 dashes", "Sun, 06-Nov-1994 08:49:37 GMT", None),
            ("9110 5.6.7 dashes in the time", "Sun, 06 Nov 1994 08-49-37 GMT", None),
            ("9110 5.6.7 dots in the time", "Sun, 06 Nov 1994 08.49.37 GMT", None),
            ("9110 5.6.7 one-digit hour", "Sun, 06 Nov 1994 8:49:37 GMT", None),
            ("9110 5.6.7 one-digit hour, padded", "Sun, 06 Nov 1994  8:49:37 GMT", None),
            ("9110 5.6.7 one-digit minute", "Sun, 06 Nov 1994 08:9:37 GMT", None),
            ("9110 5.6.7 no seconds", "Sun, 06 Nov 1994 08:49 GMT", None),
            ("9110 5.6.7 one-digit day", "Sun, 6 Nov 1994 08:49:37 GMT", None),
            ("9110 5.6.7 hour 24", "Sun, 06 Nov 1994 24:00:00 GMT", None),
            ("9110 5.6.7 minute 60", "Sun, 06 Nov 1994 08:60:00 GMT", None),
            ("9110 5.6.7 second 61", "Sun, 06 Nov 1994 08:49:61 GMT", None),
            ("9110 5.6.7 day 0", "Sun, 00 Nov 1994 08:49:37 GMT", None),
            ("9110 5.6.7 day 31 of November", "Sun, 31 Nov 1994 08:49:37 GMT", None),
            ("9110 5.6.7 unknown month", "Sun, 06 Nox 1994 08:49:37 GMT", None),
            ("9110 5.6.7 full month", "Sun, 06 November 1994 08:49:37 GMT", None),
            ("9110 5.6.7 unknown day name", "Son, 06 Nov 1994 08:49:37 GMT", None),
            ("9110 5.6.7 long day name, IMF", "Sunday, 06 Nov 1994 08:49:37 GMT", None),
            ("9110 5.6.7 short day name, RFC 850", "Sun, 06-Nov-94 08:49:37 GMT", None),
            ("9110 5.6.7 four digits, RFC 850", "Sunday, 06-Nov-1994 08:49:37 GMT", None),
            ("9110 5.6.7 asctime with a zero", "Sun Nov 06 08:49:37 1994", EXAMPLE),
            ("9110 5.6.7 asctime with a zone", "Sun Nov  6 08:49:37 1994 GMT", None),
            ("9110 5.6.7 signs", "Sun, +6 Nov 1994 08:49:37 GMT", None),
            ("9110 5.6.7 trailing text", "Sun, 06 Nov 1994 08:49:37 GMT; a", None),
            ("9111 5.3 zero", "0", None),
            ("9111 5.3 minus one", "-1", None),
            ("9111 5.3 empty", "", None),
            ("9111 5.3 ISO 8601", "1994-11-06T08:49:37Z", None),
        ] {
            if text.contains("1969") {
                let before = UNIX_EPOCH - Duration::from_secs(1);
                assert_eq!(parse_http_date(text.as_bytes(), at(RECEIVED)), Some(before), "{section}");
                continue;
            }
            check_date(section, text, expected);
        }
    }

    #[test]
    fn a_date_is_written_as_imf_fixdate() {
        for (seconds, expected) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (978_220_800, "Sun, 31 Dec 2000 00:00:00 GMT"),
            (978_307_200, "Mon, 01 Jan 2001 00:00:00 GMT"),
            (4_107_456_000, "Sun, 28 Feb 2100 00:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (RECEIVED, "Fri, 02 Jan 2026 03:04:05 GMT"),
            (u64::from(u32::MAX) * 100, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(format_http_date(at(seconds)), expected, "RFC 9110 5.6.7");
        }
        for (before, expected) in [
            (Duration::from_secs(1), "Wed, 31 Dec 1969 23:59:59 GMT"),
            (Duration::from_millis(500), "Wed, 31 Dec 1969 23:59:59 GMT"),
            (Duration::from_millis(1_500), "Wed, 31 Dec 1969 23:59:58 GMT"),
        ] {
            assert_eq!(format_http_date(UNIX_EPOCH - before), expected, "RFC 9110 5.6.7");
        }
    }

    proptest! {
        #[test]
        fn no_input_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse_http_date(&bytes, at(RECEIVED));
        }

        #[test]
        fn a_written_date_reads_back(seconds in 0_u64..253_402_300_799) {
            let written = format_http_date(at(seconds));
            prop_assert_eq!(parse_http_date(written.as_bytes(), at(RECEIVED)), Some(at(seconds)));
        }
    }
}
