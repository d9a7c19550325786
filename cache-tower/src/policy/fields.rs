//! Age, Date, Expires, ETag and Last-Modified as small types (RFC 9110 §5.6.7, §8.8; RFC 9111 §5.1, §5.3).
//!
//! Dates are read strictly: the three forms of RFC 9110 and nothing else, names in any case (RFC 9111 §4.2). Whatever
//! does not parse is absent for every purpose but one: an unreadable `Expires` means "already expired".

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, header};

/// The largest delta-seconds value a cache tells apart, 2^31 (RFC 9111 §1.2.2).
pub const MAX_DELTA_SECONDS: u32 = 1 << 31;

/// The `Age` of a received message (RFC 9111 §5.1): of a list the first member; anything but digits is ignored, and a
/// number that is too large counts as [`MAX_DELTA_SECONDS`].
pub fn age(headers: &HeaderMap) -> Option<Duration> {
    let first_line = headers.get(header::AGE)?.as_bytes();
    let first = first_line.split(|&byte| byte == b',').next().unwrap_or_default();
    delta_seconds(trim(first)).map(|seconds| Duration::from_secs(u64::from(seconds)))
}

/// The value of an `Age` field (RFC 9111 §5.1), in whole seconds, at most [`MAX_DELTA_SECONDS`].
pub fn age_value(age: Duration) -> HeaderValue {
    HeaderValue::from(age.as_secs().min(u64::from(MAX_DELTA_SECONDS)))
}

/// Parses delta-seconds (RFC 9111 §1.2.2): digits only, saturating at [`MAX_DELTA_SECONDS`].
pub fn delta_seconds(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = text.iter().fold(0_u64, |value, digit| {
        (value * 10 + u64::from(digit - b'0')).min(u64::from(MAX_DELTA_SECONDS))
    });
    u32::try_from(value).ok()
}

/// The `Date` of a message; `None` when it is absent, repeated or unreadable, so that the caller takes the time of
/// receipt instead (RFC 9110 §6.6.1).
pub fn date(headers: &HeaderMap, received: SystemTime) -> Option<SystemTime> {
    single_date(headers, &header::DATE, received)
}

/// The `Last-Modified` of a message; `None` when it is absent, repeated or unreadable (RFC 9110 §8.8.2).
pub fn last_modified(headers: &HeaderMap, received: SystemTime) -> Option<SystemTime> {
    single_date(headers, &header::LAST_MODIFIED, received)
}

/// What an `Expires` field says (RFC 9111 §5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expires {
    /// No such field.
    Absent,
    /// One readable date.
    At(SystemTime),
    /// Repeated or unreadable, the value `0` included: already expired (RFC 9111 §5.3).
    AlreadyExpired,
}

/// Reads `Expires`.
pub fn expires(headers: &HeaderMap, received: SystemTime) -> Expires {
    if !headers.contains_key(header::EXPIRES) {
        return Expires::Absent;
    }
    single_date(headers, &header::EXPIRES, received).map_or(Expires::AlreadyExpired, Expires::At)
}

/// An entity tag as written (RFC 9110 §8.8.3). The quotes belong to the compared text, so a tag that an origin sends
/// without quotes, which the grammar does not allow, equals only itself.
#[derive(Debug, Clone, Copy)]
pub struct EntityTag<'a> {
    weak: bool,
    opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// Parses one entity tag; surrounding white space is ignored.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let text = trim(text);
        let (weak, opaque) = match text.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let inner = opaque
            .strip_prefix(b"\"")
            .and_then(|rest| rest.strip_suffix(b"\""));
        match inner {
            // etagc = %x21 / %x23-7E / obs-text. Spaces are tolerated: the tag is only ever compared.
            Some(inner) if !inner.contains(&b'"') => Some(Self { weak, opaque }),
            None if !opaque.is_empty() && opaque.iter().all(|byte| is_token_byte(*byte)) => {
                Some(Self { weak: true, opaque })
            }
            _ => None,
        }
    }

    /// The `ETag` of a response; `None` when it is absent, repeated or unreadable.
    pub fn of(headers: &'a HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(header::ETAG).iter();
        let first = lines.next()?;
        if lines.next().is_some() {
            return None;
        }
        Self::parse(first.as_bytes())
    }

    /// Whether the tag is weak; a tag without quotes counts as weak, since nothing is known of how it was made.
    pub fn is_weak(&self) -> bool {
        self.weak
    }

    /// Strong comparison (RFC 9110 §8.8.3.2): both strong and the same.
    pub fn strongly_equals(&self, other: &EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// Weak comparison (RFC 9110 §8.8.3.2): the same text, weak or not.
    pub fn weakly_equals(&self, other: &EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }
}

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

/// The value without white space at its ends (OWS, RFC 9110 §5.6.3).
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(start) = text.iter().position(|byte| !is_space(byte)) else {
        return &[];
    };
    let end = text
        .iter()
        .rposition(|byte| !is_space(byte))
        .map_or(start, |last| last + 1);
    &text[start..end]
}

/// Whether a byte may stand in a token (RFC 9110 §5.6.2).
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn single_date(headers: &HeaderMap, name: &http::HeaderName, received: SystemTime) -> Option<SystemTime> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    parse_http_date(first.as_bytes(), received)
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
            (
                "9110 5.6.7 asctime, two digits",
                "Wed Nov 16 08:49:37 1994",
                Some(784_975_777),
            ),
            (
                "9111 4.2 case of day and month",
                "sUN, 06 nOV 1994 08:49:37 GMT",
                EXAMPLE,
            ),
            (
                "9111 4.2 case of the zone",
                "Sun, 06 Nov 1994 08:49:37 gmt",
                EXAMPLE,
            ),
            (
                "9111 4.2 case, RFC 850",
                "SUNDAY, 06-NOV-94 08:49:37 GMT",
                EXAMPLE,
            ),
            ("9111 4.2 case, asctime", "sun nov  6 08:49:37 1994", EXAMPLE),
            (
                "9110 5.6.3 white space around",
                " \tSun, 06 Nov 1994 08:49:37 GMT ",
                EXAMPLE,
            ),
            (
                "9110 5.6.7 RFC 850, 50 years ahead",
                "Friday, 02-Jan-76 03:04:05 GMT",
                Some(3_345_159_845),
            ),
            (
                "9110 5.6.7 RFC 850, one second more",
                "Friday, 02-Jan-76 03:04:06 GMT",
                Some(189_399_846),
            ),
            (
                "9110 5.6.7 RFC 850, more than 50 years",
                "Sunday, 02-Jan-77 03:04:05 GMT",
                Some(221_022_245),
            ),
            (
                "9110 5.6.7 leap second",
                "Sat, 31 Dec 2016 23:59:60 GMT",
                Some(1_483_228_800),
            ),
            (
                "9110 5.6.7 leap day",
                "Thu, 29 Feb 2024 00:00:00 GMT",
                Some(1_709_164_800),
            ),
            (
                "9110 5.6.7 before the epoch",
                "Wed, 31 Dec 1969 23:59:59 GMT",
                None,
            ),
            (
                "9110 5.6.7 not a leap year",
                "Wed, 29 Feb 2023 00:00:00 GMT",
                None,
            ),
            (
                "9110 5.6.7 not a leap century",
                "Thu, 29 Feb 1900 00:00:00 GMT",
                None,
            ),
            ("9111 4.2 other zone", "Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("9111 4.2 other zone", "Sun, 06 Nov 1994 08:49:37 EST", None),
            ("9111 4.2 numeric zone", "Sun, 06 Nov 1994 08:49:37 +0000", None),
            ("9111 4.2 no zone", "Sun, 06 Nov 1994 08:49:37", None),
            ("9110 5.6.7 two-digit year", "Sun, 06 Nov 94 08:49:37 GMT", None),
            (
                "9110 5.6.7 three-digit year",
                "Sun, 06 Nov 994 08:49:37 GMT",
                None,
            ),
            ("9110 5.6.7 missing comma", "Sun 06 Nov 1994 08:49:37 GMT", None),
            (
                "9110 5.6.7 comma without space",
                "Sun,06 Nov 1994 08:49:37 GMT",
                None,
            ),
            ("9110 5.6.7 double space", "Sun, 06  Nov 1994 08:49:37 GMT", None),
            ("9110 5.6.7 double space", "Sun,  06 Nov 1994 08:49:37 GMT", None),
            ("9110 5.6.7 dashes", "Sun, 06-Nov-1994 08:49:37 GMT", None),
            (
                "9110 5.6.7 dashes in the time",
                "Sun, 06 Nov 1994 08-49-37 GMT",
                None,
            ),
            (
                "9110 5.6.7 dots in the time",
                "Sun, 06 Nov 1994 08.49.37 GMT",
                None,
            ),
            ("9110 5.6.7 one-digit hour", "Sun, 06 Nov 1994 8:49:37 GMT", None),
            (
                "9110 5.6.7 one-digit hour, padded",
                "Sun, 06 Nov 1994  8:49:37 GMT",
                None,
            ),
            (
                "9110 5.6.7 one-digit minute",
                "Sun, 06 Nov 1994 08:9:37 GMT",
                None,
            ),
            ("9110 5.6.7 no seconds", "Sun, 06 Nov 1994 08:49 GMT", None),
            ("9110 5.6.7 one-digit day", "Sun, 6 Nov 1994 08:49:37 GMT", None),
            ("9110 5.6.7 hour 24", "Sun, 06 Nov 1994 24:00:00 GMT", None),
            ("9110 5.6.7 minute 60", "Sun, 06 Nov 1994 08:60:00 GMT", None),
            ("9110 5.6.7 second 61", "Sun, 06 Nov 1994 08:49:61 GMT", None),
            ("9110 5.6.7 day 0", "Sun, 00 Nov 1994 08:49:37 GMT", None),
            (
                "9110 5.6.7 day 31 of November",
                "Sun, 31 Nov 1994 08:49:37 GMT",
                None,
            ),
            ("9110 5.6.7 unknown month", "Sun, 06 Nox 1994 08:49:37 GMT", None),
            (
                "9110 5.6.7 full month",
                "Sun, 06 November 1994 08:49:37 GMT",
                None,
            ),
            (
                "9110 5.6.7 unknown day name",
                "Son, 06 Nov 1994 08:49:37 GMT",
                None,
            ),
            (
                "9110 5.6.7 long day name, IMF",
                "Sunday, 06 Nov 1994 08:49:37 GMT",
                None,
            ),
            (
                "9110 5.6.7 short day name, RFC 850",
                "Sun, 06-Nov-94 08:49:37 GMT",
                None,
            ),
            (
                "9110 5.6.7 four digits, RFC 850",
                "Sunday, 06-Nov-1994 08:49:37 GMT",
                None,
            ),
            (
                "9110 5.6.7 asctime with a zero",
                "Sun Nov 06 08:49:37 1994",
                EXAMPLE,
            ),
            (
                "9110 5.6.7 asctime with a zone",
                "Sun Nov  6 08:49:37 1994 GMT",
                None,
            ),
            ("9110 5.6.7 signs", "Sun, +6 Nov 1994 08:49:37 GMT", None),
            (
                "9110 5.6.7 trailing text",
                "Sun, 06 Nov 1994 08:49:37 GMT; a",
                None,
            ),
            ("9111 5.3 zero", "0", None),
            ("9111 5.3 minus one", "-1", None),
            ("9111 5.3 empty", "", None),
            ("9111 5.3 ISO 8601", "1994-11-06T08:49:37Z", None),
        ] {
            if text.contains("1969") {
                let before = UNIX_EPOCH - Duration::from_secs(1);
                assert_eq!(
                    parse_http_date(text.as_bytes(), at(RECEIVED)),
                    Some(before),
                    "{section}"
                );
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
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (RECEIVED, "Fri, 02 Jan 2026 03:04:05 GMT"),
            (u64::from(u32::MAX) * 100, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(format_http_date(at(seconds)), expected, "RFC 9110 5.6.7");
        }
    }

    #[test]
    fn age_is_read_as_the_first_member_or_not_at_all() {
        for (section, lines, expected) in [
            ("9111 5.1", &["0"][..], Some(0)),
            ("9111 5.1", &["7200"], Some(7200)),
            ("9111 5.1 leading zeros", &["007200"], Some(7200)),
            ("9111 5.1 first member", &["7200, 0"], Some(7200)),
            ("9111 5.1 first member", &["0, 7200"], Some(0)),
            ("9111 5.1 first line", &["0", "7200"], Some(0)),
            ("9111 5.1 first line", &["7200", "0"], Some(7200)),
            ("9111 1.2.2 saturates", &["2147483648"], Some(2_147_483_648)),
            ("9111 1.2.2 saturates", &["2147483649"], Some(2_147_483_648)),
            (
                "9111 1.2.2 saturates",
                &["99999999999999999999999999999999"],
                Some(2_147_483_648),
            ),
            ("9111 5.1 negative", &["-7200"], None),
            ("9111 5.1 signed", &["+7200"], None),
            ("9111 5.1 fraction", &["7200.0"], None),
            ("9111 5.1 suffix", &["7200a"], None),
            ("9111 5.1 prefix", &["a7200"], None),
            ("9111 5.1 parameter", &["7200;foo=bar"], None),
            ("9111 5.1 quoted", &["\"7200\""], None),
            ("9111 5.1 text", &["abc"], None),
            ("9111 5.1 empty", &[""], None),
            ("9111 5.1 first member invalid", &["a, 7200"], None),
            ("9111 5.1 absent", &[], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::AGE, HeaderValue::from_static(line));
            }
            assert_eq!(
                age(&headers),
                expected.map(Duration::from_secs),
                "{section}: {lines:?}"
            );
        }
    }

    #[test]
    fn a_sent_age_is_whole_seconds_and_bounded() {
        assert_eq!(age_value(Duration::from_millis(1_999)), "1");
        assert_eq!(age_value(Duration::from_secs(u64::MAX)), "2147483648");
    }

    #[test]
    fn expires_that_cannot_be_read_has_already_passed() {
        for (lines, expected) in [
            (&[][..], Expires::Absent),
            (&["Sun, 06 Nov 1994 08:49:37 GMT"], Expires::At(at(784_111_777))),
            (&["0"], Expires::AlreadyExpired),
            (&[""], Expires::AlreadyExpired),
            (
                &["Sun, 06 Nov 2094 08:49:37 GMT", "Sun, 06 Nov 2094 08:49:37 GMT"],
                Expires::AlreadyExpired,
            ),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::EXPIRES, HeaderValue::from_static(line));
            }
            assert_eq!(
                expires(&headers, at(RECEIVED)),
                expected,
                "RFC 9111 5.3: {lines:?}"
            );
        }
    }

    #[test]
    fn entity_tags_compare_strongly_and_weakly() {
        for (left, right, strong, weak) in [
            // The table of RFC 9110 §8.8.3.2.
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
            ("\"1\"", "\"2\"", false, false),
            ("\"\"", "\"\"", true, true),
            ("\"a\"", "\"A\"", false, false),
            ("abc", "abc", false, true),
            ("abc", "\"abc\"", false, false),
        ] {
            let (a, b) = (
                EntityTag::parse(left.as_bytes()).unwrap(),
                EntityTag::parse(right.as_bytes()).unwrap(),
            );
            assert_eq!(a.strongly_equals(&b), strong, "RFC 9110 8.8.3.2: {left} {right}");
            assert_eq!(a.weakly_equals(&b), weak, "RFC 9110 8.8.3.2: {left} {right}");
        }
        for bad in [
            "", "\"", "\"a", "a\"", "\"a\"b\"", "W/", "w/\"a\"", "a b", "W/ \"a\"",
        ] {
            assert!(
                EntityTag::parse(bad.as_bytes()).is_none(),
                "RFC 9110 8.8.3: {bad:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_input_makes_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse_http_date(&bytes, at(RECEIVED));
            let _ = EntityTag::parse(&bytes);
            let _ = delta_seconds(&bytes);
        }

        #[test]
        fn a_written_date_reads_back(seconds in 0_u64..253_402_300_799) {
            let written = format_http_date(at(seconds));
            prop_assert_eq!(parse_http_date(written.as_bytes(), at(RECEIVED)), Some(at(seconds)));
        }

        #[test]
        fn trimming_twice_is_trimming_once(bytes in proptest::collection::vec(any::<u8>(), 0..32)) {
            prop_assert_eq!(trim(trim(&bytes)), trim(&bytes));
        }
    }
}
