//! A stored response without its body, and the form in which it is serialised.
//!
//! Whatever is read back is checked like a response from the network: a store is a place where others may write.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::cache_control::ResponseControl;
use super::fields::{self, EntityTag};
use super::freshness::{Freshness, Timed, whole_seconds};
use super::hop_by_hop::{is_never_stored, remove_unstored};
use super::profile::{AssignedLifetime, HttpCachePolicy};
use super::range::ContentRange;
use super::request::RequestView;
use super::storable::{self, NotStored};
use super::targeted::Governing;
use super::vary::Nominated;

/// The head of a stored response, with everything that a lookup needs computed when it was stored.
#[derive(Debug, Clone)]
pub struct StoredHead {
    method: Method,
    uri: String,
    nominated: Nominated,
    status: StatusCode,
    headers: HeaderMap,
    requested: SystemTime,
    received: SystemTime,
    assigned: Option<AssignedLifetime>,
    suspect: bool,
    // Computed from the fields above.
    control: ResponseControl,
    freshness: Freshness,
    date: SystemTime,
    part: Option<ContentRange>,
}

impl StoredHead {
    /// Judges a response (RFC 9111 §3) and, when it may be stored, builds what is stored: the fields as they came, except
    /// those that are never stored (§3.1) and those that a qualified `private` or `no-cache` names.
    ///
    /// `uri` is the canonical target URI, as [`target_uri`](super::key_uri::target_uri) writes it.
    ///
    /// # Errors
    /// The reason why the response is not stored.
    pub fn store(
        request: &RequestView<'_>,
        uri: &str,
        response: &Timed<'_>,
        policy: &HttpCachePolicy,
    ) -> Result<Self, NotStored> {
        let judged = storable::judge(request, uri, response, policy)?;
        let mut headers = response.headers.clone();
        remove_unstored(&mut headers);
        for name in &judged.governing.control.unstored_fields {
            headers.remove(name);
        }
        if response.status != StatusCode::PARTIAL_CONTENT {
            // The field has a meaning in 206 and 416 only (RFC 9110 §14.4).
            headers.remove(header::CONTENT_RANGE);
        }
        append_missing_date(&mut headers, response.received);
        Ok(Self {
            method: request.method.clone(),
            uri: uri.to_owned(),
            nominated: judged.nominated,
            status: response.status,
            date: date(&headers, response.received),
            part: part(response.status, &headers),
            headers,
            requested: response.requested,
            received: response.received,
            assigned: policy.lifetime,
            suspect: false,
            control: judged.governing.control,
            freshness: judged.freshness,
        })
    }

    /// The method of the request that led to it: GET, POST (RFC 9110 §9.3.3) or QUERY.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The canonical target URI.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The request fields that select it.
    pub fn nominated(&self) -> &Nominated {
        &self.nominated
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stored fields, as the origin sent them. `Age` is the one received; what a client gets is
    /// [`served_headers`](Self::served_headers).
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The governing directives.
    pub fn control(&self) -> &ResponseControl {
        &self.control
    }

    /// Lifetime and age.
    pub fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// `Date`, or the time of receipt when the origin sent none.
    pub fn date(&self) -> SystemTime {
        self.date
    }

    /// When the response's head was received.
    pub fn received(&self) -> SystemTime {
        self.received
    }

    /// When the request that led to it was sent.
    pub fn requested(&self) -> SystemTime {
        self.requested
    }

    /// The range that a stored 206 holds; `None` for a complete response.
    pub fn part(&self) -> Option<ContentRange> {
        self.part
    }

    /// The entity tag.
    pub fn etag(&self) -> Option<EntityTag<'_>> {
        EntityTag::of(&self.headers)
    }

    /// The time of the last modification.
    pub fn last_modified(&self) -> Option<SystemTime> {
        fields::last_modified(&self.headers, self.received)
    }

    /// Whether it can be validated rather than fetched again.
    pub fn has_validator(&self) -> bool {
        self.etag().is_some() || self.last_modified().is_some()
    }

    /// Whether something casts doubt on it, so that only a validation makes it usable again (RFC 9111 §4.3.5).
    pub fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// "The cache SHOULD consider the stored response to be stale" (RFC 9111 §4.3.5), and not to be served so.
    pub fn mark_suspect(&mut self) {
        self.suspect = true;
    }

    /// The fields for a client: the stored ones, with the current `Age` (RFC 9111 §4, §5.1).
    pub fn served_headers(&self, now: SystemTime) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.insert(header::AGE, fields::age_value(self.freshness.age(now)));
        headers
    }

    /// How long the store must keep it: while it is fresh, and then as long as it may be served stale or validated. The
    /// bound for the latter, `stale_for`, is the caller's.
    pub fn retention(&self, now: SystemTime, stale_for: Duration) -> Duration {
        let granted = [self.control.stale_while_revalidate, self.control.stale_if_error]
            .into_iter()
            .filter_map(super::cache_control::Seconds::valid)
            .max()
            .map_or(Duration::ZERO, |seconds| Duration::from_secs(u64::from(seconds)));
        let useful = if self.has_validator() || !self.control.forbids_stale() {
            stale_for
        } else {
            Duration::ZERO
        };
        self.freshness.remaining(now).saturating_add(granted.max(useful))
    }

    /// Another head with new fields and times, judged anew where that matters. Used after validation (RFC 9111 §3.2).
    pub(crate) fn with_update(&self, update: Update, policy: &HttpCachePolicy) -> Self {
        let response = Timed {
            status: self.status,
            headers: &update.headers,
            requested: update.requested,
            received: update.received,
        };
        let governing = Governing::of(&update.headers, &policy.targeted_fields);
        let freshness = Freshness::of(&response, &governing, self.assigned, policy);
        Self {
            method: self.method.clone(),
            uri: self.uri.clone(),
            nominated: update.nominated,
            status: self.status,
            date: date(&update.headers, update.received),
            part: part(self.status, &update.headers),
            requested: update.requested,
            received: update.received,
            assigned: self.assigned,
            suspect: false,
            control: governing.control,
            freshness,
            headers: update.headers,
        }
    }

    /// Turns the head of a part into the head of a complete 200 (RFC 9111 §3.4), `length` octets long.
    pub(crate) fn completed(&self, length: u64, policy: &HttpCachePolicy) -> Self {
        let mut headers = self.headers.clone();
        headers.remove(header::CONTENT_RANGE);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        let update = Update {
            headers,
            nominated: self.nominated.clone(),
            requested: self.requested,
            received: self.received,
        };
        let whole = Self {
            status: StatusCode::OK,
            ..self.clone()
        };
        Self {
            suspect: self.suspect,
            ..whole.with_update(update, policy)
        }
    }

    /// The same head with another range, for parts that were joined (RFC 9111 §3.4).
    pub(crate) fn with_part(&self, part: ContentRange) -> Self {
        let mut head = self.clone();
        head.headers.insert(header::CONTENT_RANGE, part.header_value());
        head.headers
            .insert(header::CONTENT_LENGTH, HeaderValue::from(part.length()));
        head.part = Some(part);
        head
    }
}

/// What changes in a stored head after validation.
pub(crate) struct Update {
    pub(crate) headers: HeaderMap,
    pub(crate) nominated: Nominated,
    pub(crate) requested: SystemTime,
    pub(crate) received: SystemTime,
}

/// "A recipient with a clock that receives a response message without a Date header field MUST record the time it was
/// received and append a corresponding Date header field [...] if it is cached" (RFC 9110 §6.6.1).
pub(crate) fn append_missing_date(headers: &mut HeaderMap, received: SystemTime) {
    if !headers.contains_key(header::DATE) {
        headers.insert(header::DATE, fields::format_http_date(received));
    }
}

fn date(headers: &HeaderMap, received: SystemTime) -> SystemTime {
    fields::date(headers, received).unwrap_or_else(|| whole_seconds(received))
}

fn part(status: StatusCode, headers: &HeaderMap) -> Option<ContentRange> {
    if status == StatusCode::PARTIAL_CONTENT {
        ContentRange::of(headers)
    } else {
        None
    }
}

/// The serialised form of a [`StoredHead`]: plain data, readable by any serde format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredHeadRecord {
    /// The request method.
    pub method: String,
    /// The canonical target URI.
    pub uri: String,
    /// Nominated fields: name and combined value.
    pub nominated: Vec<(String, Option<Vec<u8>>)>,
    /// The status code.
    pub status: u16,
    /// The stored fields in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// When the request was sent, in milliseconds since 1970.
    pub requested_ms: u64,
    /// When the response was received, in milliseconds since 1970.
    pub received_ms: u64,
    /// The lifetime that a route gave it.
    pub assigned: Option<AssignedLifetime>,
    /// Whether only a validation makes it usable again.
    pub suspect: bool,
}

/// Why a record is not a stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidRecord {
    /// The method is not one whose responses are stored.
    Method,
    /// The URI is empty.
    Uri,
    /// The status is not a final status, or is one that is never stored.
    Status,
    /// A field name or value has bytes that HTTP does not allow.
    Field,
    /// A field that is never stored: one of the connection, or one of a proxy.
    HopByHop,
    /// A field that the profile never stores.
    SetCookie,
    /// `Content-Length` is repeated, unreadable, or contradicts the length of the stored body.
    ContentLength,
    /// A 206 without a readable range, or a range outside a 206.
    ContentRange,
    /// The nominated fields exceed their limits.
    Nominated,
    /// Directives that forbid storing.
    Directives,
}

impl StoredHeadRecord {
    /// Checks a record and rebuilds the head; `body_length` is the length of the body it was stored with.
    ///
    /// # Errors
    /// The first thing that no cache of ours would have written.
    pub fn read(self, body_length: u64, policy: &HttpCachePolicy) -> Result<StoredHead, InvalidRecord> {
        let method = read_method(&self.method)?;
        let status = read_status(self.status)?;
        let headers = read_headers(&self.headers, policy)?;
        check_lengths(status, &headers, body_length)?;
        if self.uri.is_empty() {
            return Err(InvalidRecord::Uri);
        }
        let (requested, received) = (time(self.requested_ms), time(self.received_ms));
        let governing = Governing::of(&headers, &policy.targeted_fields);
        if governing.control.private || governing.control.is_malformed() {
            return Err(InvalidRecord::Directives);
        }
        let response = Timed {
            status,
            headers: &headers,
            requested,
            received,
        };
        let freshness = Freshness::of(&response, &governing, self.assigned, policy);
        Ok(StoredHead {
            method,
            uri: self.uri,
            nominated: read_nominated(self.nominated)?,
            status,
            date: date(&headers, received),
            part: part(status, &headers),
            requested,
            received,
            assigned: self.assigned,
            suspect: self.suspect,
            control: governing.control,
            freshness,
            headers,
        })
    }
}

impl From<&StoredHead> for StoredHeadRecord {
    fn from(head: &StoredHead) -> Self {
        let nominated = head.nominated.pairs();
        Self {
            method: head.method.as_str().to_owned(),
            uri: head.uri.clone(),
            nominated: nominated
                .map(|(name, value)| (name.to_string(), value.map(<[u8]>::to_vec)))
                .collect(),
            status: head.status.as_u16(),
            headers: head
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
                .collect(),
            requested_ms: milliseconds(head.requested),
            received_ms: milliseconds(head.received),
            assigned: head.assigned,
            suspect: head.suspect,
        }
    }
}

fn read_method(method: &str) -> Result<Method, InvalidRecord> {
    match method {
        "GET" => Ok(Method::GET),
        "POST" => Ok(Method::POST),
        "QUERY" => Method::from_bytes(b"QUERY").map_err(|_| InvalidRecord::Method),
        _ => Err(InvalidRecord::Method),
    }
}

fn read_status(code: u16) -> Result<StatusCode, InvalidRecord> {
    let status = StatusCode::from_u16(code).map_err(|_| InvalidRecord::Status)?;
    if status.is_informational() || status == StatusCode::NOT_MODIFIED {
        return Err(InvalidRecord::Status);
    }
    Ok(status)
}

fn read_headers(stored: &[(String, Vec<u8>)], policy: &HttpCachePolicy) -> Result<HeaderMap, InvalidRecord> {
    let mut headers = HeaderMap::with_capacity(stored.len().min(256));
    for (name, value) in stored {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| InvalidRecord::Field)?;
        if is_never_stored(&name) {
            return Err(InvalidRecord::HopByHop);
        }
        if name == header::SET_COOKIE && !policy.store_set_cookie {
            return Err(InvalidRecord::SetCookie);
        }
        let value = HeaderValue::from_bytes(value).map_err(|_| InvalidRecord::Field)?;
        headers
            .try_append(name, value)
            .map_err(|_| InvalidRecord::Field)?;
    }
    Ok(headers)
}

fn check_lengths(status: StatusCode, headers: &HeaderMap, body_length: u64) -> Result<(), InvalidRecord> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let matches = length.to_str().ok().and_then(|text| text.parse().ok()) == Some(body_length);
        if !matches || lengths.next().is_some() {
            return Err(InvalidRecord::ContentLength);
        }
    }
    let has_range = headers.contains_key(header::CONTENT_RANGE);
    let is_part = status == StatusCode::PARTIAL_CONTENT;
    let fits = part(status, headers).is_some_and(|range| range.length() == body_length);
    if has_range != is_part || (is_part && !fits) {
        return Err(InvalidRecord::ContentRange);
    }
    Ok(())
}

fn read_nominated(stored: Vec<(String, Option<Vec<u8>>)>) -> Result<Nominated, InvalidRecord> {
    let pairs: Result<Vec<_>, _> = stored
        .into_iter()
        .map(|(name, value)| HeaderName::from_bytes(name.as_bytes()).map(|name| (name, value)))
        .collect();
    let pairs = pairs.map_err(|_| InvalidRecord::Nominated)?;
    Nominated::from_pairs(pairs).map_err(|_| InvalidRecord::Nominated)
}

fn milliseconds(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// A time that the platform cannot hold is the epoch: such a response is simply very old.
fn time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_millis(milliseconds))
        .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::*;
    use super::*;

    const FRESH: &str = "cache-control: max-age=60";

    #[track_caller]
    fn check_stored(section: &str, response: &[&str], expected: &[&str]) {
        let stored = stored_with(&HttpCachePolicy::rfc9111(), &[], 200, response);
        assert_eq!(*stored.headers(), headers(expected), "{section}: {response:?}");
    }

    #[test]
    fn fields_are_stored_as_they_came_except_those_that_must_not() {
        const DATE: &str = "date: {0}";
        check_stored(
            "9111 3.1",
            &[FRESH, DATE, "x: 1", "x: 2"],
            &[FRESH, DATE, "x: 1", "x: 2"],
        );
        check_stored(
            "9111 3.1",
            &[FRESH, DATE, "set-cookie: a=b"],
            &[FRESH, DATE, "set-cookie: a=b"],
        );
        check_stored(
            "9111 3.1",
            &[FRESH, DATE, "www-authenticate: x"],
            &[FRESH, DATE, "www-authenticate: x"],
        );
        check_stored(
            "9111 3.1",
            &[FRESH, DATE, "proxy-authenticate: x"],
            &[FRESH, DATE],
        );
        check_stored(
            "9110 7.6.1",
            &[FRESH, DATE, "connection: x", "x: 1", "keep-alive: 1"],
            &[FRESH, DATE],
        );
        check_stored(
            "9110 7.6.1",
            &[FRESH, DATE, "transfer-encoding: chunked"],
            &[FRESH, DATE],
        );
        check_stored(
            "9110 14.4",
            &[FRESH, DATE, "content-range: bytes 0-1/2"],
            &[FRESH, DATE],
        );
        check_stored("9110 6.6.1 missing Date", &[FRESH], &[FRESH, DATE]);
        check_stored(
            "9110 6.6.1 bad Date stays",
            &[FRESH, "date: x"],
            &[FRESH, "date: x"],
        );
        let qualified = "cache-control: max-age=60, private=\"x\", no-cache=\"y, z\"";
        check_stored(
            "9111 5.2.2",
            &[qualified, DATE, "x: 1", "y: 1", "z: 1", "w: 1"],
            &[qualified, DATE, "w: 1"],
        );
        check_stored(
            "9213 2.2",
            &["cdn-cache-control: max-age=9", DATE],
            &["cdn-cache-control: max-age=9", DATE],
        );
    }

    #[test]
    fn a_hit_has_the_current_age_and_the_old_date() {
        let stored = stored_with(
            &HttpCachePolicy::safe(),
            &[],
            200,
            &[FRESH, "date: {-5}", "age: 7"],
        );
        let served = stored.served_headers(at(NOW + 10));
        assert_eq!(
            served,
            headers(&[FRESH, "date: {-5}", "age: 17"]),
            "RFC 9111 4, 5.1"
        );
    }

    #[test]
    fn an_entry_is_kept_while_it_can_be_used() {
        let hour = Duration::from_secs(3_600);
        for (lines, expected) in [
            (&[FRESH][..], 3_660),
            (&["cache-control: max-age=60, must-revalidate"], 60),
            (
                &["cache-control: max-age=60, must-revalidate", "etag: \"a\""],
                3_660,
            ),
            (&["cache-control: max-age=60, stale-if-error=9000"], 9_060),
            (&["cache-control: max-age=60, stale-while-revalidate=9"], 3_660),
        ] {
            let stored = stored_with(&HttpCachePolicy::safe(), &[], 200, lines);
            assert_eq!(stored.retention(at(NOW), hour).as_secs(), expected, "{lines:?}");
        }
    }

    fn record(status: u16, lines: &[&str]) -> StoredHeadRecord {
        StoredHeadRecord {
            method: "GET".into(),
            uri: URI.into(),
            nominated: vec![("foo".into(), Some(b"1".to_vec())), ("bar".into(), None)],
            status,
            headers: headers(lines)
                .iter()
                .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
                .collect(),
            requested_ms: NOW * 1_000,
            received_ms: NOW * 1_000 + 500,
            assigned: None,
            suspect: false,
        }
    }

    #[test]
    fn a_record_reads_back_as_what_was_stored() {
        let policy = HttpCachePolicy::rfc9111();
        let lines = [
            "cache-control: max-age=60, must-revalidate",
            "etag: \"a\"",
            "vary: foo, bar",
            "age: 3",
            "x: \u{e9}",
        ];
        let stored = stored_with(&policy, &["foo: 1, 2"], 404, &lines);
        let read = StoredHeadRecord::from(&stored).read(5, &policy).unwrap();
        assert_eq!(StoredHeadRecord::from(&read), StoredHeadRecord::from(&stored));
        assert_eq!(read.freshness(), stored.freshness());
        assert_eq!(read.control(), stored.control());
        assert_eq!(read.nominated(), stored.nominated());
        assert_eq!(read.date(), stored.date());
        let text = serde_json::to_string(&StoredHeadRecord::from(&stored)).unwrap();
        let parsed: StoredHeadRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed, StoredHeadRecord::from(&stored));
    }

    #[track_caller]
    fn check_invalid(record: StoredHeadRecord, expected: InvalidRecord) {
        let shown = format!("{record:?}");
        assert_eq!(
            record.read(5, &HttpCachePolicy::safe()).map(|_| ()),
            Err(expected),
            "{shown}"
        );
    }

    #[test]
    fn a_record_that_we_would_not_have_written_is_refused() {
        assert!(record(200, &[FRESH]).read(5, &HttpCachePolicy::safe()).is_ok());
        for status in [0, 99, 1_000, 100, 101, 304] {
            check_invalid(record(status, &[FRESH]), InvalidRecord::Status);
        }
        for name in [
            "connection: x",
            "transfer-encoding: chunked",
            "upgrade: x",
            "proxy-authorization: x",
        ] {
            check_invalid(record(200, &[FRESH, name]), InvalidRecord::HopByHop);
        }
        check_invalid(record(200, &[FRESH, "set-cookie: a=b"]), InvalidRecord::SetCookie);
        check_invalid(
            record(200, &[FRESH, "content-length: 6"]),
            InvalidRecord::ContentLength,
        );
        check_invalid(
            record(200, &[FRESH, "content-length: x"]),
            InvalidRecord::ContentLength,
        );
        check_invalid(
            record(200, &[FRESH, "content-length: 5", "content-length: 5"]),
            InvalidRecord::ContentLength,
        );
        check_invalid(
            record(200, &[FRESH, "content-range: bytes 0-4/5"]),
            InvalidRecord::ContentRange,
        );
        check_invalid(record(206, &[FRESH]), InvalidRecord::ContentRange);
        check_invalid(
            record(206, &[FRESH, "content-range: bytes 0-9/20"]),
            InvalidRecord::ContentRange,
        );
        check_invalid(
            record(200, &["cache-control: private, max-age=9"]),
            InvalidRecord::Directives,
        );
        check_invalid(
            record(200, &["cache-control: max-age=x"]),
            InvalidRecord::Directives,
        );
        for (name, value) in [
            ("a b", "x"),
            ("", "x"),
            ("x\r\ny", "x"),
            ("x", "a\r\nb"),
            ("x", "a\0b"),
        ] {
            let mut bad = record(200, &[FRESH]);
            bad.headers.push((name.into(), value.as_bytes().to_vec()));
            check_invalid(bad, InvalidRecord::Field);
        }
        for method in ["HEAD", "PUT", "", "get"] {
            check_invalid(
                StoredHeadRecord {
                    method: method.into(),
                    ..record(200, &[FRESH])
                },
                InvalidRecord::Method,
            );
        }
        check_invalid(
            StoredHeadRecord {
                uri: String::new(),
                ..record(200, &[FRESH])
            },
            InvalidRecord::Uri,
        );
        let nominated = vec![("a b".to_owned(), None)];
        check_invalid(
            StoredHeadRecord {
                nominated,
                ..record(200, &[FRESH])
            },
            InvalidRecord::Nominated,
        );
        let nominated = (0..99).map(|index| (format!("x{index}"), None)).collect();
        check_invalid(
            StoredHeadRecord {
                nominated,
                ..record(200, &[FRESH])
            },
            InvalidRecord::Nominated,
        );
    }

    #[test]
    fn times_beyond_the_clock_are_read() {
        let far = StoredHeadRecord {
            received_ms: u64::MAX,
            requested_ms: u64::MAX,
            ..record(200, &[FRESH])
        };
        let head = far.read(5, &HttpCachePolicy::safe()).unwrap();
        let _ = head.freshness().age(at(NOW));
    }

    proptest! {
        #[test]
        fn no_record_makes_reading_panic(
            status in any::<u16>(),
            fields in proptest::collection::vec(("[a-z-]{1,16}", proptest::collection::vec(any::<u8>(), 0..20)), 0..8),
            times in any::<(u64, u64, u64)>(),
            control in "[a-z0-9=\", -]{0,40}",
        ) {
            let mut record = record(status, &[]);
            record.headers = fields;
            record.headers.push(("cache-control".into(), control.into_bytes()));
            (record.requested_ms, record.received_ms) = (times.0, times.1);
            let _ = record.read(times.2, &HttpCachePolicy::rfc9111());
        }
    }
}
