//! Answering the client's own conditions from the store (RFC 9110 §13, RFC 9111 §4.3.2).

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, Method, header};

use super::fields::{self, EntityTag, trim};
use super::http_date;
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
    let since = http_date::parse_http_date(line.as_bytes(), stored.received());
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

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::HttpCachePolicy;
    use super::super::tests::*;
    use super::*;

    fn answered(status: u16, stored: &[&str], method: &Method, request: &[&str]) -> ConditionalAnswer {
        let mut lines = vec!["cache-control: max-age=60"];
        lines.extend(stored);
        let stored = stored_with(&HttpCachePolicy::rfc9111(), &[], status, &lines);
        let fields = headers(request);
        evaluate(&RequestView::new(method, &fields), &stored)
    }

    #[track_caller]
    fn check(section: &str, stored: &[&str], request: &[&str], not_modified: bool) {
        let found = answered(200, stored, &Method::GET, request) == ConditionalAnswer::NotModified;
        assert_eq!(found, not_modified, "RFC {section}: {stored:?} {request:?}");
    }

    #[test]
    fn if_none_match_compares_weakly_with_each_member() {
        const A: &[&str] = &["etag: \"a\""];
        const WEAK: &[&str] = &["etag: W/\"a\""];
        check("9110 13.1.2", A, &["if-none-match: \"a\""], true);
        check("9110 13.1.2", A, &["if-none-match: \"b\""], false);
        check("9110 13.1.2 case", A, &["if-none-match: \"A\""], false);
        check("9110 13.1.2 weak asks strong", A, &["if-none-match: W/\"a\""], true);
        check("9110 13.1.2 strong asks weak", WEAK, &["if-none-match: \"a\""], true);
        check("9110 13.1.2 both weak", WEAK, &["if-none-match: W/\"a\""], true);
        check("9110 13.1.2 first", A, &["if-none-match: \"a\", \"b\""], true);
        check("9110 13.1.2 second", A, &["if-none-match: \"b\", \"a\""], true);
        check("9110 13.1.2 last", A, &["if-none-match: \"b\",W/\"c\" ,\"a\""], true);
        check("9110 13.1.2 none", A, &["if-none-match: \"b\", \"c\""], false);
        check("9110 13.1.2 lines", A, &["if-none-match: \"b\"", "if-none-match: \"a\""], true);
        check("9110 13.1.2 comma in a tag", &["etag: \"a,b\""], &["if-none-match: \"x\", \"a,b\""], true);
        check("9110 13.1.2 comma in a tag", &["etag: \"b\""], &["if-none-match: \"a,b\""], false);
        check("9110 13.1.2 any", A, &["if-none-match: *"], true);
        check("9110 13.1.2 any, no tag", &[], &["if-none-match: *"], true);
        check("9110 13.1.2 quoted star", A, &["if-none-match: \"*\""], false);
        check("9110 13.1.2 no tag", &[], &["if-none-match: \"a\""], false);
        check("9110 8.8.3 unquoted", A, &["if-none-match: a"], false);
        check("9110 8.8.3 unquoted both", &["etag: a"], &["if-none-match: a"], true);
        check("9110 8.8.3 one unreadable member", A, &["if-none-match: \"x, \"a\""], false);
        check("9110 8.8.3 empty", A, &["if-none-match:"], false);
    }

    #[test]
    fn if_modified_since_compares_dates() {
        const MODIFIED: &[&str] = &["last-modified: {-600}", "date: {-60}"];
        check("9110 13.1.3 equal", MODIFIED, &["if-modified-since: {-600}"], true);
        check("9110 13.1.3 later", MODIFIED, &["if-modified-since: {-599}"], true);
        check("9110 13.1.3 earlier", MODIFIED, &["if-modified-since: {-601}"], false);
        check("9110 13.1.3 unreadable", MODIFIED, &["if-modified-since: x"], false);
        check("9110 13.1.3 two", MODIFIED, &["if-modified-since: {0}", "if-modified-since: {0}"], false);
        check("9111 4.3.2 Date instead", &["date: {-60}"], &["if-modified-since: {-60}"], true);
        check("9111 4.3.2 Date instead", &["date: {-60}"], &["if-modified-since: {-61}"], false);
        check("9111 4.3.2 receipt instead", &[], &["if-modified-since: {0}"], true);
        check("9111 4.3.2 receipt instead", &[], &["if-modified-since: {-1}"], false);
        check("9110 13.1.3 no condition", MODIFIED, &[], false);
    }

    #[test]
    fn if_modified_since_is_for_get_and_head() {
        let request = ["if-modified-since: {0}"];
        let answer = |method: &str| {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            answered(200, &["last-modified: {-600}"], &method, &request)
        };
        assert_eq!(answer("HEAD"), ConditionalAnswer::NotModified, "RFC 9110 13.1.3");
        assert_eq!(answer("QUERY"), ConditionalAnswer::Full, "RFC 9110 13.1.3");
    }

    #[test]
    fn if_none_match_goes_before_if_modified_since() {
        const BOTH: &[&str] = &["etag: \"a\"", "last-modified: {-600}"];
        check("9110 13.2.2", BOTH, &["if-none-match: \"b\"", "if-modified-since: {0}"], false);
        check("9110 13.2.2", BOTH, &["if-none-match: \"a\"", "if-modified-since: {-900}"], true);
        check(
            "9110 13.2.2",
            &["last-modified: {-600}"],
            &["if-none-match: \"a\"", "if-modified-since: {0}"],
            false,
        );
    }

    #[test]
    fn only_a_success_is_conditional() {
        let request = ["if-none-match: \"a\""];
        for (status, expected) in [
            (200, ConditionalAnswer::NotModified),
            (203, ConditionalAnswer::NotModified),
            (301, ConditionalAnswer::Full),
            (404, ConditionalAnswer::Full),
            (503, ConditionalAnswer::Full),
        ] {
            assert_eq!(
                answered(status, &["etag: \"a\""], &Method::GET, &request),
                expected,
                "RFC 9110 13.2.1"
            );
        }
        let head = answered(200, &["etag: \"a\""], &Method::HEAD, &request);
        assert_eq!(head, ConditionalAnswer::NotModified, "RFC 9110 13.1.2");
    }

    #[test]
    fn a_304_has_the_fields_that_caches_need() {
        let lines = [
            "cache-control: max-age=60",
            "cdn-cache-control: max-age=90",
            "content-location: /a",
            "date: {-1}",
            "etag: \"a\"",
            "expires: {9}",
            "vary: foo",
            "last-modified: {-600}",
            "content-type: text/plain",
            "content-length: 5",
            "set-cookie: a=b",
            "x: 1",
        ];
        let stored = stored_with(&HttpCachePolicy::rfc9111(), &[], 200, &lines);
        let mut expected = lines[..7].to_vec();
        expected.push("age: 10");
        assert_eq!(not_modified_headers(&stored, at(NOW + 9)), headers(&expected), "RFC 9110 15.4.5");
        let lines = ["cache-control: max-age=60", "date: {0}", "last-modified: {-600}"];
        let stored = stored_with(&HttpCachePolicy::rfc9111(), &[], 200, &lines);
        let expected = [lines[0], lines[1], lines[2], "age: 9"];
        assert_eq!(not_modified_headers(&stored, at(NOW + 9)), headers(&expected), "RFC 9110 15.4.5");
    }

    #[test]
    fn conditions_are_taken_out_before_a_miss_goes_forward() {
        let mut fields =
            headers(&["if-none-match: \"a\"", "if-modified-since: x", "if-match: \"b\"", "x: 1"]);
        assert!(is_conditional(&fields));
        remove_conditions(&mut fields);
        assert_eq!(fields, headers(&["if-match: \"b\"", "x: 1"]), "RFC 9111 4.3.2");
        assert!(!is_conditional(&headers(&["x: 1", "range: bytes=0-1"])));
    }

    proptest! {
        #[test]
        fn no_list_makes_evaluation_panic_or_loop(line in "[\"Wa,/* ]{0,60}") {
            let stored = stored_with(&HttpCachePolicy::rfc9111(), &[], 200, &["cache-control: max-age=1", "etag: \"a\""]);
            let fields = headers(&[&format!("if-none-match: {line}")]);
            let _ = evaluate(&RequestView::new(&Method::GET, &fields), &stored);
        }
    }
}
