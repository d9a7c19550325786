//! The form in which a stored head is serialised.
//!
//! Whatever is read back is checked like a response from the network: a store is a place where others may write.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::{StoredHead, date, part};
use crate::policy::freshness::{Freshness, Timed};
use crate::policy::hop_by_hop::is_never_stored;
use crate::policy::profile::{AssignedLifetime, HttpCachePolicy};
use crate::policy::targeted::Governing;
use crate::policy::vary::Nominated;

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
    let is_part = status == StatusCode::PARTIAL_CONTENT;
    let fits = part(status, headers).is_some_and(|range| range.length() == body_length);
    if is_part && !fits {
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

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::tests::*;

    const FRESH: &str = "cache-control: max-age=60";

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
        assert_eq!(record.read(5, &HttpCachePolicy::safe()).map(|_| ()), Err(expected), "{shown}");
    }

    #[test]
    fn a_record_that_we_would_not_have_written_is_refused() {
        assert!(record(200, &[FRESH]).read(5, &HttpCachePolicy::safe()).is_ok());
        for status in [0, 99, 1_000, 100, 101, 304] {
            check_invalid(record(status, &[FRESH]), InvalidRecord::Status);
        }
        for name in ["connection: x", "transfer-encoding: chunked", "upgrade: x", "proxy-authorization: x"] {
            check_invalid(record(200, &[FRESH, name]), InvalidRecord::HopByHop);
        }
        check_invalid(record(200, &[FRESH, "set-cookie: a=b"]), InvalidRecord::SetCookie);
        check_invalid(record(200, &[FRESH, "content-length: 6"]), InvalidRecord::ContentLength);
        check_invalid(record(200, &[FRESH, "content-length: x"]), InvalidRecord::ContentLength);
        check_invalid(
            record(200, &[FRESH, "content-length: 5", "content-length: 5"]),
            InvalidRecord::ContentLength,
        );
        check_invalid(record(206, &[FRESH]), InvalidRecord::ContentRange);
        check_invalid(record(206, &[FRESH, "content-range: bytes 0-9/20"]), InvalidRecord::ContentRange);
        check_invalid(record(200, &["cache-control: private, max-age=9"]), InvalidRecord::Directives);
        check_invalid(record(200, &["cache-control: max-age=x"]), InvalidRecord::Directives);
        for (name, value) in [("a b", "x"), ("", "x"), ("x\r\ny", "x"), ("x", "a\r\nb"), ("x", "a\0b")] {
            let mut bad = record(200, &[FRESH]);
            bad.headers.push((name.into(), value.as_bytes().to_vec()));
            check_invalid(bad, InvalidRecord::Field);
        }
        for method in ["HEAD", "PUT", "", "get"] {
            check_invalid(
                StoredHeadRecord { method: method.into(), ..record(200, &[FRESH]) },
                InvalidRecord::Method,
            );
        }
        check_invalid(StoredHeadRecord { uri: String::new(), ..record(200, &[FRESH]) }, InvalidRecord::Uri);
        let nominated = vec![("a b".to_owned(), None)];
        check_invalid(StoredHeadRecord { nominated, ..record(200, &[FRESH]) }, InvalidRecord::Nominated);
        let nominated = (0..99).map(|index| (format!("x{index}"), None)).collect();
        check_invalid(StoredHeadRecord { nominated, ..record(200, &[FRESH]) }, InvalidRecord::Nominated);
    }

    #[test]
    fn times_beyond_the_clock_are_read() {
        let far = StoredHeadRecord { received_ms: u64::MAX, requested_ms: u64::MAX, ..record(200, &[FRESH]) };
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
