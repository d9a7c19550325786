//! Range requests from the store (RFC 9110 §14).
//!
//! One range of octets is answered; anything else, several ranges included, gets the complete response, which every
//! server may do (RFC 9110 §14.2). What is stored may itself be a part, see [`parts`](super::parts).

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::fields::{self, EntityTag, trim};
use super::http_date;
use super::request::RequestView;
use super::stored_head::StoredHead;

/// The octets from `first` to `last`, both included, of a representation that has `complete` of them, if known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    first: u64,
    last: u64,
    complete: Option<u64>,
}

impl ContentRange {
    /// Reads `Content-Range` (RFC 9110 §14.4); `None` when it is absent, repeated, of another unit, or impossible.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(header::CONTENT_RANGE).iter();
        let (line, None) = (lines.next()?, lines.next()) else {
            return None;
        };
        let (range, complete) = after_unit(line.as_bytes(), b' ')?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let complete = if complete == "*" {
            None
        } else {
            Some(number(complete)?)
        };
        Self::new(number(first)?, number(last)?, complete)
    }

    pub(crate) fn new(first: u64, last: u64, complete: Option<u64>) -> Option<Self> {
        // A length beyond `u64` cannot be counted, and the last octet lies within the representation.
        let is_possible = first <= last && last < u64::MAX && complete.is_none_or(|complete| last < complete);
        is_possible.then_some(Self {
            first,
            last,
            complete,
        })
    }

    /// The position of the first octet.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The position of the last octet.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The length of the complete representation, when it is known.
    pub fn complete(&self) -> Option<u64> {
        self.complete
    }

    /// How many octets the range has.
    pub fn length(&self) -> u64 {
        self.last - self.first + 1
    }

    /// The value of a `Content-Range` field.
    pub fn header_value(&self) -> HeaderValue {
        let text = match self.complete {
            Some(complete) => format!("bytes {}-{}/{complete}", self.first, self.last),
            None => format!("bytes {}-{}/*", self.first, self.last),
        };
        HeaderValue::try_from(text).expect("a range has only printable ASCII characters")
    }

    pub(crate) fn contains(&self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.first == 0 && self.complete == Some(self.length())
    }
}

/// A single range as requested (RFC 9110 §14.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// `a-b` and `a-`.
    From(u64, Option<u64>),
    /// `-n`: the last octets.
    Suffix(u64),
}

impl ByteRange {
    /// The single range that a request asks for; `None` when it asks for none, for several, or unreadably, all of which
    /// mean the complete representation (RFC 9110 §14.2). Only GET has ranges.
    pub fn of(request: &RequestView<'_>) -> Option<Self> {
        let mut lines = request.headers.get_all(header::RANGE).iter();
        let (line, None) = (lines.next()?, lines.next()) else {
            return None;
        };
        if request.method != Method::GET {
            return None;
        }
        let (first, last) = trim_text(after_unit(line.as_bytes(), b'=')?).split_once('-')?;
        match (first, last) {
            ("", suffix) => number(suffix).map(Self::Suffix),
            (first, "") => number(first).map(|first| Self::From(first, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                // "An int-range is invalid if the last-pos value is present and less than first-pos" (§14.1.1).
                (first <= last).then_some(Self::From(first, Some(last)))
            }
        }
    }

    /// The octets it selects of a representation of `complete` octets; `None` when it is not satisfiable (§14.1.2).
    fn select(self, complete: u64) -> Option<ContentRange> {
        let end = complete.checked_sub(1)?;
        match self {
            Self::From(first, last) => {
                ContentRange::new(first, last.map_or(end, |last| last.min(end)), Some(complete))
            }
            Self::Suffix(0) => None,
            Self::Suffix(length) => ContentRange::new(complete.saturating_sub(length), end, Some(complete)),
        }
    }
}

/// How much of a stored response answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slice {
    /// All of it: the stored status and body.
    Full,
    /// 206 with these octets; `offset` is where they begin in the stored body.
    Part {
        /// The octets.
        range: ContentRange,
        /// Their place in the stored body.
        offset: u64,
    },
    /// 416 (RFC 9110 §15.5.17), with the complete length.
    NotSatisfiable(u64),
}

/// What to send of a stored response that may be served, whose body has `body_length` octets. Conditions come first: ask
/// [`evaluate`](super::precondition::evaluate) before this (RFC 9110 §13.2.2).
pub fn slice(request: &RequestView<'_>, stored: &StoredHead, body_length: u64) -> Slice {
    let Some(range) = applicable_range(request, stored) else {
        return Slice::Full;
    };
    match stored.part() {
        Some(part) => match within_part(range, part) {
            Some(range) => Slice::Part {
                range,
                offset: range.first - part.first,
            },
            None => Slice::Full,
        },
        None if stored.status() != StatusCode::OK => Slice::Full,
        None => match range.select(body_length) {
            Some(range) => Slice::Part {
                range,
                offset: range.first,
            },
            None => Slice::NotSatisfiable(body_length),
        },
    }
}

/// Turns the fields of a stored response into those of a 206 (RFC 9110 §15.3.7).
pub fn set_part_headers(headers: &mut HeaderMap, range: ContentRange) {
    headers.insert(header::CONTENT_RANGE, range.header_value());
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.length()));
}

/// The fields of a 416 (RFC 9110 §15.5.17).
pub fn not_satisfiable_headers(complete: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let range = HeaderValue::try_from(format!("bytes */{complete}"));
    headers.insert(
        header::CONTENT_RANGE,
        range.expect("a number has only printable ASCII characters"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    headers
}

/// Whether a stored part holds all that the request asks for, so that it may be served.
pub(crate) fn part_answers(request: &RequestView<'_>, stored: &StoredHead, part: ContentRange) -> bool {
    applicable_range(request, stored).is_some_and(|range| within_part(range, part).is_some())
}

/// The range of the request, unless `If-Range` says that the client's part is of another representation (RFC 9110 §13.1.5).
fn applicable_range(request: &RequestView<'_>, stored: &StoredHead) -> Option<ByteRange> {
    let range = ByteRange::of(request)?;
    if_range_holds(request.headers, stored).then_some(range)
}

/// "If the HTTP-date validator provided is not a strong validator [...] the condition is false"; entity tags are compared
/// strongly; dates exactly (RFC 9110 §13.1.5).
fn if_range_holds(request: &HeaderMap, stored: &StoredHead) -> bool {
    let mut lines = request.get_all(header::IF_RANGE).iter();
    let Some(line) = lines.next() else {
        return true;
    };
    if lines.next().is_some() {
        return false;
    }
    let line = trim(line.as_bytes());
    if let Some(date) = http_date::parse_http_date(line, stored.received()) {
        return stored.last_modified() == Some(date) && is_strong_date(stored.headers(), stored.received());
    }
    match (EntityTag::parse(line), stored.etag()) {
        (Some(asked), Some(own)) => asked.strongly_equals(&own),
        _ => false,
    }
}

fn within_part(range: ByteRange, part: ContentRange) -> Option<ContentRange> {
    let wanted = match (range, part.complete) {
        (range, Some(complete)) => range.select(complete)?,
        (ByteRange::From(first, Some(last)), None) => ContentRange::new(first, last, None)?,
        // Without the complete length nobody knows where the representation ends.
        _ => return None,
    };
    part.contains(wanted).then_some(wanted)
}

/// A modification date is strong when `Date` is at least one second later (RFC 9110 §8.8.2.2).
pub(crate) fn is_strong_date(headers: &HeaderMap, received: std::time::SystemTime) -> bool {
    let dates = (
        fields::date(headers, received),
        fields::last_modified(headers, received),
    );
    match dates {
        (Some(date), Some(modified)) => date
            .duration_since(modified)
            .is_ok_and(|between| between >= Duration::from_secs(1)),
        _ => false,
    }
}

/// The text after `bytes` and a separator; the unit's case does not matter (RFC 9110 §14.1).
fn after_unit(value: &[u8], separator: u8) -> Option<&str> {
    let value = std::str::from_utf8(trim(value)).ok()?;
    let (unit, rest) = value.split_once(char::from(separator))?;
    unit.eq_ignore_ascii_case("bytes").then_some(rest)
}

fn trim_text(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Digits only; a number that `u64` cannot hold is not one.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::HttpCachePolicy;
    use super::super::tests::*;
    use super::*;

    const FRESH: &str = "cache-control: max-age=60";

    /// What a request gets of ten octets: `full`, `416`, or first and last octet.
    fn sliced(status: u16, stored: &[&str], method: &Method, request: &[&str], length: u64) -> String {
        let mut lines = vec![FRESH];
        lines.extend(stored);
        let stored = stored_with(&HttpCachePolicy::rfc9111(), &[], status, &lines);
        let fields = headers(request);
        match slice(&RequestView::new(method, &fields), &stored, length) {
            Slice::Full => "full".into(),
            Slice::Part { range, offset } => {
                assert_eq!(offset, range.first() - stored.part().map_or(0, |part| part.first()));
                range.header_value().to_str().unwrap().replace("bytes ", "")
            }
            Slice::NotSatisfiable(length) => format!("416 of {length}"),
        }
    }

    #[track_caller]
    fn check(section: &str, range: &str, expected: &str) {
        let line = format!("range: {range}");
        assert_eq!(sliced(200, &[], &Method::GET, &[&line], 10), expected, "RFC 9110 {section}: {range}");
    }

    #[test]
    fn a_single_range_is_cut_out_of_a_complete_response() {
        for (section, range, expected) in [
            ("14.1.2", "bytes=0-4", "0-4/10"),
            ("14.1.2 one octet", "bytes=0-0", "0-0/10"),
            ("14.1.2 last octet", "bytes=9-9", "9-9/10"),
            ("14.1.2 open", "bytes=4-", "4-9/10"),
            ("14.1.2 all", "bytes=0-", "0-9/10"),
            ("14.1.2 beyond the end", "bytes=5-100", "5-9/10"),
            ("14.1.2 suffix", "bytes=-3", "7-9/10"),
            ("14.1.2 suffix of all", "bytes=-10", "0-9/10"),
            ("14.1.2 suffix beyond", "bytes=-100", "0-9/10"),
            ("14.1 case of the unit", "BYTES=0-4", "0-4/10"),
            ("14.1.2 white space", "bytes= 0-4 ", "0-4/10"),
            ("15.5.17 beyond", "bytes=10-", "416 of 10"),
            ("15.5.17 beyond", "bytes=10-20", "416 of 10"),
            ("15.5.17 empty suffix", "bytes=-0", "416 of 10"),
            ("14.2 several", "bytes=0-1,4-5", "full"),
            ("14.2 several", "bytes=0-0, -1", "full"),
            ("14.2 thousands", &format!("bytes={}0-", "0-,".repeat(2_000)), "full"),
            ("14.1.1 reversed", "bytes=4-0", "full"),
            ("14.1 other unit", "lines=0-4", "full"),
            ("14.1.2 no unit", "0-4", "full"),
            ("14.1.2 nothing", "bytes=-", "full"),
            ("14.1.2 nothing", "bytes=", "full"),
            ("14.1.2 text", "bytes=a-b", "full"),
            ("14.1.2 signs", "bytes=+1-4", "full"),
            ("14.1.2 two dashes", "bytes=--4", "full"),
            ("14.1.2 largest", "bytes=0-18446744073709551615", "0-9/10"),
            ("14.1.2 largest first", "bytes=18446744073709551615-", "416 of 10"),
            ("14.1.2 overflow", "bytes=0-18446744073709551616", "full"),
            ("14.1.2 overflow", "bytes=-18446744073709551616", "full"),
            ("14.1.2 largest suffix", "bytes=-18446744073709551615", "0-9/10"),
        ] {
            check(section, range, expected);
        }
    }

    #[test]
    fn ranges_are_for_get_and_a_stored_200() {
        let request = ["range: bytes=0-4"];
        assert_eq!(sliced(200, &[], &Method::HEAD, &request, 10), "full", "RFC 9110 14.2");
        assert_eq!(sliced(203, &[], &Method::GET, &request, 10), "full", "RFC 9110 15.3.7");
        assert_eq!(sliced(404, &[], &Method::GET, &request, 10), "full", "RFC 9110 15.3.7");
        assert_eq!(sliced(200, &[], &Method::GET, &["range: bytes=0-4", "range: bytes=0-4"], 10), "full");
        assert_eq!(sliced(200, &[], &Method::GET, &request, 0), "416 of 0", "RFC 9110 15.5.17");
        assert_eq!(sliced(200, &[], &Method::GET, &["range: bytes=-1"], 0), "416 of 0", "RFC 9110 15.5.17");
    }

    #[track_caller]
    fn check_if_range(section: &str, stored: &[&str], condition: &str, holds: bool) {
        let condition = format!("if-range: {condition}");
        let found = sliced(200, stored, &Method::GET, &["range: bytes=0-4", &condition], 10);
        assert_eq!(
            found,
            if holds { "0-4/10" } else { "full" },
            "RFC 9110 {section}: {stored:?} {condition}"
        );
    }

    #[test]
    fn if_range_asks_for_the_same_representation() {
        const DATED: &[&str] = &["last-modified: {-600}", "date: {0}"];
        check_if_range("13.1.5", &["etag: \"a\""], "\"a\"", true);
        check_if_range("13.1.5 other", &["etag: \"a\""], "\"b\"", false);
        check_if_range("13.1.5 weak", &["etag: W/\"a\""], "W/\"a\"", false);
        check_if_range("13.1.5 weak asks strong", &["etag: \"a\""], "W/\"a\"", false);
        check_if_range("13.1.5 no tag", &[], "\"a\"", false);
        check_if_range("13.1.5 date", DATED, "Sun, 06 Nov 1994 08:39:37 GMT", true);
        check_if_range("13.1.5 later date", DATED, "Sun, 06 Nov 1994 08:39:38 GMT", false);
        check_if_range("13.1.5 earlier date", DATED, "Sun, 06 Nov 1994 08:39:36 GMT", false);
        check_if_range(
            "13.1.5 weak date",
            &["last-modified: {0}", "date: {0}"],
            "Sun, 06 Nov 1994 08:49:37 GMT",
            false,
        );
        check_if_range("13.1.5 no date", &[], "Sun, 06 Nov 1994 08:49:37 GMT", false);
        check_if_range("13.1.5 unreadable", &["etag: \"a\""], "a b", false);
    }

    #[track_caller]
    fn check_content_range(section: &str, value: &str, expected: Option<(u64, u64, Option<u64>)>) {
        let found = ContentRange::of(&headers(&[&format!("content-range: {value}")]));
        let found = found.map(|range| (range.first(), range.last(), range.complete()));
        assert_eq!(found, expected, "RFC 9110 {section}: {value}");
    }

    #[test]
    fn content_range_is_read_strictly() {
        check_content_range("14.4", "bytes 0-4/10", Some((0, 4, Some(10))));
        check_content_range("14.4 unknown length", "bytes 2-4/*", Some((2, 4, None)));
        check_content_range("14.4 case", "Bytes 0-4/10", Some((0, 4, Some(10))));
        check_content_range("14.4 unsatisfied", "bytes */10", None);
        check_content_range("14.4 reversed", "bytes 4-0/10", None);
        check_content_range("14.4 beyond the length", "bytes 0-10/10", None);
        check_content_range("14.4 other unit", "lines 0-4/10", None);
        check_content_range("14.4 equals sign", "bytes=0-4/10", None);
        check_content_range("14.4 overflow", "bytes 0-18446744073709551615/*", None);
        check_content_range("14.4 text", "bytes a-b/c", None);
        check_content_range("14.4 no length", "bytes 0-4", None);
        assert_eq!(
            ContentRange::of(&headers(&["content-range: bytes 0-1/5", "content-range: bytes 0-1/5"])),
            None
        );
    }

    fn part(range: &str, lines: &[&str]) -> StoredHead {
        let range = format!("content-range: bytes {range}");
        let mut all = vec![FRESH, &range];
        all.extend(lines);
        stored_with(&HttpCachePolicy::rfc9111(), &["range: bytes=0-"], 206, &all)
    }

    const TAG: &[&str] = &["etag: \"a\""];

    #[track_caller]
    fn check_part(section: &str, stored: &str, request: &[&str], expected: Option<(&str, u64)>) {
        let stored = part(stored, TAG);
        let fields = headers(request);
        let request = RequestView::new(&Method::GET, &fields);
        let answers = part_answers(&request, &stored, stored.part().unwrap());
        assert_eq!(answers, expected.is_some(), "RFC 9111 {section}: {fields:?}");
        let found = slice(&request, &stored, stored.part().unwrap().length());
        let found = match found {
            Slice::Part { range, offset } => {
                Some((range.header_value().to_str().unwrap().to_owned(), offset))
            }
            _ => None,
        };
        let expected = expected.map(|(range, offset)| (format!("bytes {range}"), offset));
        assert_eq!(found, expected, "RFC 9111 {section}: {fields:?}");
    }

    #[test]
    fn a_stored_part_answers_what_it_covers() {
        check_part("3.3 the same", "4-9/10", &["range: bytes=4-9"], Some(("4-9/10", 0)));
        check_part("3.3 within", "4-9/10", &["range: bytes=6-7"], Some(("6-7/10", 2)));
        check_part("3.3 open", "4-9/10", &["range: bytes=6-"], Some(("6-9/10", 2)));
        check_part("3.3 suffix", "4-9/10", &["range: bytes=-3"], Some(("7-9/10", 3)));
        check_part("3.3 beyond the end", "4-9/10", &["range: bytes=6-99"], Some(("6-9/10", 2)));
        check_part("3.3 before", "4-9/10", &["range: bytes=3-7"], None);
        check_part("3.3 after", "0-4/10", &["range: bytes=2-7"], None);
        check_part("3.3 open, not at the end", "0-4/10", &["range: bytes=2-"], None);
        check_part("3.3 suffix, not at the end", "0-4/10", &["range: bytes=-3"], None);
        check_part("3.3 unknown length", "0-4/*", &["range: bytes=2-3"], Some(("2-3/*", 2)));
        check_part("3.3 unknown length, open", "0-4/*", &["range: bytes=2-"], None);
        check_part("3.3 no range", "0-4/10", &[], None);
        check_part("3.3 several ranges", "0-4/10", &["range: bytes=0-1,2-3"], None);
        check_part(
            "13.1.5 If-Range",
            "0-4/10",
            &["range: bytes=0-1", "if-range: \"a\""],
            Some(("0-1/10", 0)),
        );
        check_part("13.1.5 If-Range", "0-4/10", &["range: bytes=0-1", "if-range: \"b\""], None);
    }

    #[test]
    fn a_206_and_a_416_say_what_they_hold() {
        let mut fields = headers(&["content-length: 10", "x: 1"]);
        set_part_headers(&mut fields, ContentRange::new(2, 4, Some(10)).unwrap());
        assert_eq!(
            fields,
            headers(&["content-length: 3", "x: 1", "content-range: bytes 2-4/10"]),
            "RFC 9110 15.3.7"
        );
        let expected = headers(&["content-length: 0", "content-range: bytes */10"]);
        assert_eq!(not_satisfiable_headers(10), expected, "RFC 9110 15.5.17");
    }

    proptest! {
        #[test]
        fn a_slice_lies_within_the_body(range in "bytes=[0-9]{0,20}-[0-9]{0,20}", length in any::<u64>()) {
            let stored = stored_with(&HttpCachePolicy::rfc9111(), &[], 200, &[FRESH]);
            let fields = headers(&[&format!("range: {range}")]);
            if let Slice::Part { range, offset } = slice(&RequestView::new(&Method::GET, &fields), &stored, length) {
                prop_assert!(offset.checked_add(range.length()).is_some_and(|end| end <= length));
            }
        }

        #[test]
        fn no_content_range_panics(value in "(bytes )?[0-9*/ -]{0,50}") {
            let _ = ContentRange::of(&headers(&[&format!("content-range: {value}")]));
        }
    }
}
