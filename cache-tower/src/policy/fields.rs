//! Age, Date, Expires, ETag and Last-Modified as small types (RFC 9110 §5.6.7, §8.8; RFC 9111 §5.1, §5.3).
//!
//! Whatever does not parse is absent for every purpose but one: an unreadable `Expires` means "already expired".

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::http_date::parse_http_date;

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
///
/// The ages that hits nearly always have are shared constants, so that they cost no allocation.
pub fn age_value(age: Duration) -> HeaderValue {
    let seconds = age.as_secs().min(u64::from(MAX_DELTA_SECONDS));
    let start = usize::try_from(seconds).unwrap_or(usize::MAX).saturating_mul(3);
    let width = 1 + usize::from(seconds > 9) + usize::from(seconds > 99);
    match THREE_DIGITS.get(start..start.saturating_add(3)) {
        Some(digits) => HeaderValue::from_static(&digits[3 - width..]),
        None => HeaderValue::from(seconds),
    }
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

fn single_date(headers: &HeaderMap, name: &HeaderName, received: SystemTime) -> Option<SystemTime> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    parse_http_date(first.as_bytes(), received)
}

/// The numbers 000 to 999, one after another.
static THREE_DIGITS: &str = match std::str::from_utf8(&three_digits()) {
    Ok(digits) => digits,
    Err(_) => "",
};

const fn three_digits() -> [u8; 3_000] {
    let mut digits = [b'0'; 3_000];
    let mut index = 0;
    while index < digits.len() {
        let (number, position) = (index / 3, index % 3);
        let place = [100, 10, 1][position];
        // The remainder is a digit.
        digits[index] = b'0' + (number / place % 10) as u8;
        index += 1;
    }
    digits
}

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    /// 2026-01-02 03:04:05 UTC.
    const RECEIVED: u64 = 1_767_323_045;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
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
            ("9111 1.2.2 saturates", &["99999999999999999999999999999999"], Some(2_147_483_648)),
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
            assert_eq!(age(&headers), expected.map(Duration::from_secs), "{section}: {lines:?}");
        }
    }

    #[test]
    fn a_sent_age_is_whole_seconds_and_bounded() {
        assert_eq!(age_value(Duration::from_millis(1_999)), "1");
        for seconds in (0..1_100).chain([86_400, 2_147_483_647]) {
            assert_eq!(age_value(Duration::from_secs(seconds)), seconds.to_string().as_str());
        }
        assert_eq!(age_value(Duration::from_secs(u64::MAX)), "2147483648");
    }

    #[test]
    fn expires_that_cannot_be_read_has_already_passed() {
        for (lines, expected) in [
            (&[][..], Expires::Absent),
            (&["Sun, 06 Nov 1994 08:49:37 GMT"], Expires::At(at(784_111_777))),
            (&["0"], Expires::AlreadyExpired),
            (&[""], Expires::AlreadyExpired),
            (&["Sun, 06 Nov 2094 08:49:37 GMT", "Sun, 06 Nov 2094 08:49:37 GMT"], Expires::AlreadyExpired),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::EXPIRES, HeaderValue::from_static(line));
            }
            assert_eq!(expires(&headers, at(RECEIVED)), expected, "RFC 9111 5.3: {lines:?}");
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
            let (a, b) =
                (EntityTag::parse(left.as_bytes()).unwrap(), EntityTag::parse(right.as_bytes()).unwrap());
            assert_eq!(a.strongly_equals(&b), strong, "RFC 9110 8.8.3.2: {left} {right}");
            assert_eq!(a.weakly_equals(&b), weak, "RFC 9110 8.8.3.2: {left} {right}");
        }
        for bad in ["", "\"", "\"a", "a\"", "\"a\"b\"", "W/", "w/\"a\"", "a b", "W/ \"a\""] {
            assert!(EntityTag::parse(bad.as_bytes()).is_none(), "RFC 9110 8.8.3: {bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_input_makes_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = EntityTag::parse(&bytes);
            let _ = delta_seconds(&bytes);
        }

        #[test]
        fn trimming_twice_is_trimming_once(bytes in proptest::collection::vec(any::<u8>(), 0..32)) {
            prop_assert_eq!(trim(trim(&bytes)), trim(&bytes));
        }
    }
}
