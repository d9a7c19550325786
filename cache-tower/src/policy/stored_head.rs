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
