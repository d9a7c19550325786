//! Range requests from the store (RFC 9110 §14), and parts: storing and combining them (RFC 9111 §3.3, §3.4).
//!
//! One range of octets is answered; anything else, several ranges included, gets the complete response, which every
//! server may do (RFC 9110 §14.2). A part is kept only with a strong validator, since nothing else proves that two
//! parts belong together.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::fields::{self, EntityTag, trim};
use super::freshness::Timed;
use super::profile::HttpCachePolicy;
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

    fn new(first: u64, last: u64, complete: Option<u64>) -> Option<Self> {
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

    fn contains(&self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    fn is_whole(&self) -> bool {
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

/// Whether a received 206 may be stored: one readable range, and a strong validator to combine it by (RFC 9111 §3.4).
pub(crate) fn is_combinable(response: &Timed<'_>) -> bool {
    let has_range = ContentRange::of(response.headers).is_some();
    has_range && has_strong_validator(response.headers, response.received)
}

/// The request that completes a stored part: the range that is missing, when it is one piece at an end. The response, a
/// 206, is then [`combine`]d; `If-Range` makes the origin send everything if the representation has changed.
pub fn completing_request(request: &HeaderMap, stored: &StoredHead) -> Option<HeaderMap> {
    let part = stored.part()?;
    let missing = match part.complete {
        _ if part.first > 0 && part.complete == Some(part.last + 1) => format!("bytes=0-{}", part.first - 1),
        _ if part.first == 0 && !part.is_whole() => format!("bytes={}-", part.last + 1),
        _ => return None,
    };
    let validator = strong_validator(stored.headers(), stored.received())?;
    let mut headers = request.clone();
    super::precondition::remove_conditions(&mut headers);
    headers.insert(header::RANGE, HeaderValue::try_from(missing).ok()?);
    headers.insert(header::IF_RANGE, validator);
    Some(headers)
}

/// Two parts of one representation put together.
#[derive(Debug, Clone)]
pub struct Combined {
    /// The head to store: a 200 when nothing is missing, else a 206 with the larger range.
    pub head: StoredHead,
    /// From where in the old body to take octets.
    pub from_old: std::ops::Range<u64>,
    /// Whether the new body comes first.
    pub new_comes_first: bool,
}

/// Combines a stored part with a newly received one (RFC 9111 §3.4, RFC 9110 §15.3.7.3): "if they all share the same strong
/// validator", and when they touch or overlap. Where they overlap the new octets count.
pub fn combine(old: &StoredHead, new: &StoredHead, policy: &HttpCachePolicy) -> Option<Combined> {
    let (a, b) = (old.part()?, new.part()?);
    let shared = strong_validator(old.headers(), old.received())?;
    if strong_validator(new.headers(), new.received()) != Some(shared) {
        return None;
    }
    let complete = match (a.complete, b.complete) {
        (Some(a), Some(b)) if a != b => return None,
        (a, b) => b.or(a),
    };
    let touches = a.first <= b.last.saturating_add(1) && b.first <= a.last.saturating_add(1);
    let new_covers_old = b.contains(a);
    if !touches || new_covers_old || (a.first < b.first && a.last > b.last) {
        // Far apart, or one inside the other: the larger one alone is what is known.
        return None;
    }
    let union = ContentRange::new(a.first.min(b.first), a.last.max(b.last), complete)?;
    let new_comes_first = b.first < a.first;
    let from_old = if new_comes_first {
        (b.last + 1 - a.first)..a.length()
    } else {
        0..(b.first - a.first)
    };
    // "A header field of the new response replaces those of the stored ones" (RFC 9110 §15.3.7.3).
    let head = if union.is_whole() {
        new.completed(union.length(), policy)
    } else {
        new.with_part(union)
    };
    Some(Combined {
        head,
        from_old,
        new_comes_first,
    })
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
    if let Some(date) = fields::parse_http_date(line, stored.received()) {
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

fn has_strong_validator(headers: &HeaderMap, received: std::time::SystemTime) -> bool {
    strong_validator(headers, received).is_some()
}

/// The strong entity tag, else a `Last-Modified` that is strong.
fn strong_validator(headers: &HeaderMap, received: std::time::SystemTime) -> Option<HeaderValue> {
    match EntityTag::of(headers) {
        Some(tag) if !tag.is_weak() => headers.get(header::ETAG).cloned(),
        Some(_) => None,
        None if is_strong_date(headers, received) => headers.get(header::LAST_MODIFIED).cloned(),
        None => None,
    }
}

/// A modification date is strong when `Date` is at least one second later (RFC 9110 §8.8.2.2).
fn is_strong_date(headers: &HeaderMap, received: std::time::SystemTime) -> bool {
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
