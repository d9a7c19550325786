//! A stored response without its body: what a lookup needs, computed once.

mod record;

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::policy::cache_control::ResponseControl;
use crate::policy::fields::{self, EntityTag};
use crate::policy::freshness::{Freshness, Timed, whole_seconds};
use crate::policy::hop_by_hop::remove_unstored;
use crate::policy::http_date;
use crate::policy::parts;
use crate::policy::profile::{AssignedLifetime, HttpCachePolicy};
use crate::policy::range::ContentRange;
use crate::policy::request::RequestView;
use crate::policy::storable::{self, NotStored};
use crate::policy::targeted::Governing;
use crate::policy::vary::Nominated;

pub use self::record::{InvalidRecord, StoredHeadRecord};

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

    /// The same response, stale from `now` on: it was made stale, not removed, by somebody who invalidated it softly.
    #[must_use]
    pub fn made_stale(&self, now: SystemTime) -> Self {
        let mut head = self.clone();
        head.freshness.lifetime = head.freshness.lifetime.min(head.freshness.age(now));
        head
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

    /// Whether this response, just received, takes the place of a stored one: it is selected by the same values. A part
    /// leaves a complete response, or a larger part, of the same representation alone (RFC 9111 §3.4).
    pub fn replaces(&self, old: &Self) -> bool {
        let is_smaller = self
            .part
            .is_some_and(|new| old.part.is_none_or(|old| old != new && old.contains(new)));
        self.nominated == old.nominated && !(is_smaller && parts::share_validator(self, old))
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
        headers.insert(header::DATE, http_date::format_http_date(received));
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

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use crate::policy::tests::*;
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
        check_stored("9111 3.1", &[FRESH, DATE, "x: 1", "x: 2"], &[FRESH, DATE, "x: 1", "x: 2"]);
        check_stored("9111 3.1", &[FRESH, DATE, "set-cookie: a=b"], &[FRESH, DATE, "set-cookie: a=b"]);
        check_stored(
            "9111 3.1",
            &[FRESH, DATE, "www-authenticate: x"],
            &[FRESH, DATE, "www-authenticate: x"],
        );
        check_stored("9111 3.1", &[FRESH, DATE, "proxy-authenticate: x"], &[FRESH, DATE]);
        check_stored("9110 7.6.1", &[FRESH, DATE, "connection: x", "x: 1", "keep-alive: 1"], &[FRESH, DATE]);
        check_stored("9110 7.6.1", &[FRESH, DATE, "transfer-encoding: chunked"], &[FRESH, DATE]);
        // It has a meaning in 206 and 416 only (RFC 9110 §14.4), and is stored like any other field.
        let meaningless = [FRESH, DATE, "content-range: bytes 0-1/2"];
        check_stored("9111 3.1", &meaningless, &meaningless);
        check_stored("9110 6.6.1 missing Date", &[FRESH], &[FRESH, DATE]);
        check_stored("9110 6.6.1 bad Date stays", &[FRESH, "date: x"], &[FRESH, "date: x"]);
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
        let stored = stored_with(&HttpCachePolicy::safe(), &[], 200, &[FRESH, "date: {-5}", "age: 7"]);
        let served = stored.served_headers(at(NOW + 10));
        assert_eq!(served, headers(&[FRESH, "date: {-5}", "age: 17"]), "RFC 9111 4, 5.1");
    }

    #[test]
    fn a_response_replaces_the_one_with_the_same_nominated_values() {
        let stored = |status, request: &str, lines: &[&str]| {
            let mut all = vec![FRESH, "vary: foo"];
            all.extend(lines);
            stored_with(&HttpCachePolicy::rfc9111(), &[request], status, &all)
        };
        const PART: &str = "content-range: bytes 0-4/10";
        let whole = stored(200, "foo: 1", &["etag: \"a\""]);
        assert!(stored(200, "foo: 1", &[]).replaces(&whole), "RFC 9111 4.1");
        assert!(stored(404, "foo:  1", &[]).replaces(&whole), "RFC 9111 4.1");
        assert!(!stored(200, "foo: 2", &[]).replaces(&whole), "RFC 9111 4.1");
        assert!(!stored(206, "foo: 1", &["etag: \"a\"", PART]).replaces(&whole), "RFC 9111 3.4");
        assert!(stored(206, "foo: 1", &["etag: \"b\"", PART]).replaces(&whole), "RFC 9111 3.4");
        let part = stored(206, "foo: 1", &["etag: \"a\"", PART]);
        assert!(whole.replaces(&part) && part.replaces(&part), "RFC 9111 3.4");
        let smaller = stored(206, "foo: 1", &["etag: \"a\"", "content-range: bytes 0-2/10"]);
        assert!(part.replaces(&smaller) && !smaller.replaces(&part), "RFC 9111 3.4");
    }

    #[test]
    fn an_entry_is_kept_while_it_can_be_used() {
        let hour = Duration::from_secs(3_600);
        for (lines, expected) in [
            (&[FRESH][..], 3_660),
            (&["cache-control: max-age=60, must-revalidate"], 60),
            (&["cache-control: max-age=60, must-revalidate", "etag: \"a\""], 3_660),
            (&["cache-control: max-age=60, stale-if-error=9000"], 9_060),
            (&["cache-control: max-age=60, stale-while-revalidate=9"], 3_660),
            (&["cache-control: max-age=60, stale-while-revalidate=9, stale-if-error=9000"], 9_060),
        ] {
            let stored = stored_with(&HttpCachePolicy::safe(), &[], 200, lines);
            assert_eq!(stored.retention(at(NOW), hour).as_secs(), expected, "{lines:?}");
        }
    }
}
