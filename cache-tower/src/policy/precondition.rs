//! Answering the client's own conditions from the store (RFC 9110 §13, RFC 9111 §4.3.2).

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, Method, header};

use super::fields::{self, EntityTag, trim};
use super::request::RequestView;
use super::stored_head::StoredHead;

/// The answer to a request with conditions, given a stored response that may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionalAnswer {
    /// The whole response.
    Full,
    /// 304: the client holds it already.
    NotModified,
}

/// Evaluates `If-None-Match`, else `If-Modified-Since` (RFC 9110 §13.2.2). Conditions that cannot be read are ignored, and
/// so are all when the stored response is not a 2xx (§13.2.1).
pub fn evaluate(request: &RequestView<'_>, stored: &StoredHead) -> ConditionalAnswer {
    if !stored.status().is_success() {
        return ConditionalAnswer::Full;
    }
    let holds = if request.headers.contains_key(header::IF_NONE_MATCH) {
        client_holds_tag(request.headers, stored)
    } else {
        client_holds_date(request, stored)
    };
    if holds {
        ConditionalAnswer::NotModified
    } else {
        ConditionalAnswer::Full
    }
}

/// The fields of a 304 that stands for a stored response (RFC 9110 §15.4.5): those that the RFC demands, those that guide
/// caches downstream, and `Last-Modified` when there is no entity tag. `Age` is set as for any answer from the store.
pub fn not_modified_headers(stored: &StoredHead, now: SystemTime) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(NOT_MODIFIED_FIELDS.len());
    for name in NOT_MODIFIED_FIELDS {
        copy(stored.headers(), &mut headers, &name);
    }
    let targeted = stored
        .headers()
        .keys()
        .filter(|name| name.as_str().ends_with("-cache-control"));
    for name in targeted {
        copy(stored.headers(), &mut headers, name);
    }
    if !headers.contains_key(header::ETAG) {
        copy(stored.headers(), &mut headers, &header::LAST_MODIFIED);
    }
    headers.insert(header::AGE, fields::age_value(stored.freshness().age(now)));
    headers
}

/// Whether a request has a condition that [`evaluate`] looks at, or one that is meant for the origin. Such fields are
/// removed before a request whose response may be stored goes to the origin.
pub fn is_conditional(headers: &HeaderMap) -> bool {
    CONDITIONS.iter().any(|name| headers.contains_key(name))
}

/// Removes the conditions, so that the origin sends a response that can be stored. `If-Match` and `If-Unmodified-Since`
/// stay: they are the origin's to evaluate (RFC 9111 §4.3.2).
pub fn remove_conditions(headers: &mut HeaderMap) {
    for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE] {
        headers.remove(name);
    }
}

/// Weak comparison with each member; `*` matches any stored representation (RFC 9110 §13.1.2).
fn client_holds_tag(headers: &HeaderMap, stored: &StoredHead) -> bool {
    let own = stored.etag();
    headers.get_all(header::IF_NONE_MATCH).iter().any(|line| {
        let line = trim(line.as_bytes());
        line == b"*"
            || EntityTags::new(line).any(|tag| own.as_ref().is_some_and(|own| own.weakly_equals(&tag)))
    })
}

/// `If-Modified-Since` (RFC 9110 §13.1.3); without `Last-Modified`, `Date` or the time of receipt takes its place
/// (RFC 9111 §4.3.2).
fn client_holds_date(request: &RequestView<'_>, stored: &StoredHead) -> bool {
    let mut lines = request.headers.get_all(header::IF_MODIFIED_SINCE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return false;
    };
    if request.method != Method::GET && request.method != Method::HEAD {
        return false;
    }
    let since = fields::parse_http_date(line.as_bytes(), stored.received());
    since.is_some_and(|since| stored.last_modified().unwrap_or_else(|| stored.date()) <= since)
}

/// The entity tags of a list, as far as they can be read.
struct EntityTags<'a> {
    rest: &'a [u8],
}

impl<'a> EntityTags<'a> {
    fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }

    /// The length of the member at the start: a comma inside the quotes does not end it.
    fn member_length(&self) -> usize {
        let mut quoted = false;
        let ends = |&byte: &u8| {
            quoted ^= byte == b'"';
            byte == b',' && !quoted
        };
        self.rest.iter().position(ends).unwrap_or(self.rest.len())
    }
}

impl<'a> Iterator for EntityTags<'a> {
    type Item = EntityTag<'a>;

    fn next(&mut self) -> Option<EntityTag<'a>> {
        while !self.rest.is_empty() {
            let (member, rest) = self.rest.split_at(self.member_length());
            self.rest = rest.strip_prefix(b",").unwrap_or(rest);
            if let Some(tag) = EntityTag::parse(member) {
                return Some(tag);
            }
        }
        None
    }
}

fn copy(from: &HeaderMap, to: &mut HeaderMap, name: &HeaderName) {
    for value in from.get_all(name) {
        to.append(name.clone(), value.clone());
    }
}

const CONDITIONS: [HeaderName; 4] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

const NOT_MODIFIED_FIELDS: [HeaderName; 6] = [
    header::CACHE_CONTROL,
    header::CONTENT_LOCATION,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::VARY,
];
