//! Validation (RFC 9111 §4.3) and freshening of stored fields (§3.2).

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::fields::EntityTag;
use super::freshness::Timed;
use super::hop_by_hop::remove_unstored;
use super::precondition::remove_conditions;
use super::profile::HttpCachePolicy;
use super::request::RequestView;
use super::storable::{self, NotStored};
use super::stored_head::{StoredHead, Update, append_missing_date};
use super::targeted::Governing;

/// The fields of a request that asks the origin whether a stored response still holds (§4.3.1): those of the client's
/// request, hence with the nominated ones, with our validators in place of its own conditions, and without a range. Both
/// validators are sent, as they were received. Without a validator the request is simply unconditional.
pub fn conditional_request(request: &HeaderMap, stored: &StoredHead) -> HeaderMap {
    let mut headers = request.clone();
    remove_conditions(&mut headers);
    headers.remove(header::RANGE);
    headers.remove(header::IF_RANGE);
    if stored.etag().is_some() {
        copy(
            stored.headers(),
            &header::ETAG,
            &mut headers,
            &header::IF_NONE_MATCH,
        );
    }
    if stored.last_modified().is_some() {
        copy(
            stored.headers(),
            &header::LAST_MODIFIED,
            &mut headers,
            &header::IF_MODIFIED_SINCE,
        );
    }
    headers
}

/// The fields of a validating request that no client asked for (§4.3.1): the nominated ones of the stored response and its
/// validators. The caller adds what its transport needs, such as `Host`.
pub fn synthesized_request(stored: &StoredHead) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in stored.nominated().pairs() {
        if let Some(Ok(value)) = value.map(http::HeaderValue::from_bytes) {
            headers.insert(name.clone(), value);
        }
    }
    conditional_request(&headers, stored)
}

/// What a 304 did to a stored response.
#[derive(Debug, Clone)]
pub struct Freshened {
    /// The head to answer with: it has just been validated, whatever its directives say.
    pub head: StoredHead,
    /// What to do with the stored response.
    pub keep: Keep,
}

/// What becomes of a stored response after validation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Store the freshened head in place of the old one; the body stays.
    Replace,
    /// Leave the old one as it is: this exchange must not be stored, but says nothing about the old.
    Leave(NotStored),
    /// Remove the old one: with the new fields it may not be stored.
    Evict(NotStored),
}

/// Handles a 304 to a request that [`conditional_request`] made (§4.3.4). `None` means that the 304 speaks of another
/// representation than the one whose validators were sent: it must not be used, and the request is repeated without
/// conditions.
pub fn on_not_modified(
    request: &RequestView<'_>,
    stored: &StoredHead,
    response: &Timed<'_>,
    policy: &HttpCachePolicy,
) -> Option<Freshened> {
    identifies(response.headers, stored).then(|| freshen(request, stored, response, policy))
}

/// Whether a 304 is about this stored response (§4.3.4): its strong entity tag is the same; or it has only weak validators
/// and they are the same; or it has none, in which case it is about the one whose validator was sent.
pub fn identifies(not_modified: &HeaderMap, stored: &StoredHead) -> bool {
    match (EntityTag::of(not_modified), stored.etag()) {
        (Some(new), Some(own)) if new.is_weak() => new.weakly_equals(&own),
        (Some(new), Some(own)) => new.strongly_equals(&own),
        (Some(_), None) => false,
        (None, _) => match not_modified.get(header::LAST_MODIFIED) {
            Some(modified) => stored.headers().get(header::LAST_MODIFIED) == Some(modified),
            None => true,
        },
    }
}

/// What a HEAD response says about a stored GET (§4.3.5).
#[derive(Debug, Clone)]
pub enum HeadUpdate {
    /// It agrees: the stored fields are updated.
    Freshened(Box<Freshened>),
    /// It disagrees in a validator or in the length: [mark the stored response](StoredHead::mark_suspect).
    Contradicted,
    /// Nothing follows: not a 200, or the stored response is not a complete 200.
    Nothing,
}

/// Handles the response to a forwarded HEAD for each stored GET that could have been chosen for it (§4.3.5).
pub fn on_head_response(
    request: &RequestView<'_>,
    stored: &StoredHead,
    body_length: u64,
    response: &Timed<'_>,
    policy: &HttpCachePolicy,
) -> HeadUpdate {
    if response.status != StatusCode::OK || stored.status() != StatusCode::OK {
        return HeadUpdate::Nothing;
    }
    let agrees = |name: &HeaderName| match response.headers.get(name) {
        Some(value) => stored.headers().get(name) == Some(value),
        None => true,
    };
    let same_length = match response.headers.get(header::CONTENT_LENGTH) {
        Some(length) => length.to_str().ok().and_then(|text| text.parse().ok()) == Some(body_length),
        None => true,
    };
    if agrees(&header::ETAG) && agrees(&header::LAST_MODIFIED) && same_length {
        HeadUpdate::Freshened(Box::new(freshen(request, stored, response, policy)))
    } else {
        HeadUpdate::Contradicted
    }
}

/// Updates the stored fields from a newer response (§3.2) and judges the result.
fn freshen(
    request: &RequestView<'_>,
    stored: &StoredHead,
    response: &Timed<'_>,
    policy: &HttpCachePolicy,
) -> Freshened {
    let headers = updated_fields(stored.headers(), response, policy);
    // Judged as the exchange that would have stored it: the stored method, the request's own fields and directives.
    let request = RequestView {
        method: stored.method(),
        ..*request
    };
    let whole = Timed {
        status: stored.status(),
        headers: &headers,
        ..*response
    };
    let (nominated, keep) = match storable::judge(&request, stored.uri(), &whole, policy) {
        Ok(judged) => (judged.nominated, Keep::Replace),
        Err(reason @ (NotStored::RequestNoStore | NotStored::Credentials)) => {
            (stored.nominated().clone(), Keep::Leave(reason))
        }
        Err(reason) => (stored.nominated().clone(), Keep::Evict(reason)),
    };
    let update = Update {
        headers,
        nominated,
        requested: response.requested,
        received: response.received,
    };
    Freshened {
        head: stored.with_update(update, policy),
        keep,
    }
}

/// "The cache MUST add each header field in the provided response to the stored response, replacing field values that are
/// already present, with the following exceptions" (§3.2).
fn updated_fields(stored: &HeaderMap, response: &Timed<'_>, policy: &HttpCachePolicy) -> HeaderMap {
    let mut new = response.headers.clone();
    remove_unstored(&mut new);
    for name in UNCHANGED {
        new.remove(name);
    }
    if !policy.store_set_cookie {
        new.remove(header::SET_COOKIE);
    }
    append_missing_date(&mut new, response.received);
    let mut headers = stored.clone();
    // The age that the older message had on arrival says nothing about this one.
    headers.remove(header::AGE);
    for name in new.keys() {
        headers.remove(name);
        copy(&new, name, &mut headers, name);
    }
    for name in Governing::of(&new, &policy.targeted_fields)
        .control
        .unstored_fields
    {
        headers.remove(name);
    }
    headers
}

fn copy(from: &HeaderMap, name: &HeaderName, to: &mut HeaderMap, as_name: &HeaderName) {
    for value in from.get_all(name) {
        to.append(as_name.clone(), value.clone());
    }
}

/// Fields that describe the stored body, which stays (§3.2).
const UNCHANGED: [HeaderName; 3] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
];

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use super::super::tests::*;
    use super::*;

    const MODIFIED: &str = "last-modified: Sun, 06 Nov 1994 08:00:00 GMT";
    const SINCE: &str = "if-modified-since: Sun, 06 Nov 1994 08:00:00 GMT";

    #[track_caller]
    fn check_conditional(section: &str, stored: &[&str], request: &[&str], expected: &[&str]) {
        let mut lines = vec!["cache-control: max-age=1"];
        lines.extend(stored);
        let stored = stored_with(&HttpCachePolicy::rfc9111(), request, 200, &lines);
        let made = conditional_request(&headers(request), &stored);
        assert_eq!(made, headers(expected), "{section}: {request:?}");
    }

    #[test]
    fn both_validators_are_sent_and_the_rest_of_the_request_stays() {
        check_conditional("9111 4.3.1", &["etag: \"a\""], &[], &["if-none-match: \"a\""]);
        check_conditional("9111 4.3.1 weak", &["etag: W/\"a\""], &[], &["if-none-match: W/\"a\""]);
        check_conditional("9111 4.3.1 unquoted", &["etag: a"], &[], &["if-none-match: a"]);
        check_conditional("9111 4.3.1 date", &[MODIFIED], &[], &[SINCE]);
        check_conditional(
            "9111 4.3.1 both",
            &["etag: \"a\"", MODIFIED],
            &[],
            &["if-none-match: \"a\"", SINCE],
        );
        check_conditional("9111 4.3.1 none", &[], &["accept: a"], &["accept: a"]);
        check_conditional("9111 4.3.1 bad date", &["last-modified: x"], &[], &[]);
        check_conditional(
            "9111 4.3.1 nominated fields stay",
            &["etag: \"a\"", "vary: foo"],
            &["foo: 1", "bar: 2"],
            &["foo: 1", "bar: 2", "if-none-match: \"a\""],
        );
        check_conditional(
            "9111 4.3.1 the client's conditions are replaced",
            &["etag: \"a\""],
            &["if-none-match: \"b\"", "if-modified-since: x", "range: bytes=0-1", "if-range: \"b\""],
            &["if-none-match: \"a\""],
        );
    }

    #[test]
    fn a_request_of_our_own_carries_the_nominated_fields() {
        let lines = ["cache-control: max-age=1", "etag: \"a\"", "vary: foo, bar"];
        let stored = stored_with(&HttpCachePolicy::rfc9111(), &["foo: 1", "other: 2"], 200, &lines);
        assert_eq!(
            synthesized_request(&stored),
            headers(&["foo: 1", "if-none-match: \"a\""]),
            "RFC 9111 4.3.1"
        );
    }

    #[test]
    fn a_304_is_about_the_response_whose_validator_it_repeats() {
        for (section, stored, not_modified, expected) in [
            ("4.3.4 bare", &["etag: \"a\""][..], &[][..], true),
            ("4.3.4 bare, no validator", &[], &[], true),
            ("4.3.4 strong", &["etag: \"a\""], &["etag: \"a\""], true),
            ("4.3.4 strong, other", &["etag: \"a\""], &["etag: \"b\""], false),
            ("4.3.4 strong, stored is weak", &["etag: W/\"a\""], &["etag: \"a\""], false),
            ("4.3.4 strong, stored has none", &[MODIFIED], &["etag: \"a\""], false),
            ("4.3.4 weak", &["etag: W/\"a\""], &["etag: W/\"a\""], true),
            ("4.3.4 weak, stored is strong", &["etag: \"a\""], &["etag: W/\"a\""], true),
            ("4.3.4 weak, other", &["etag: W/\"a\""], &["etag: W/\"b\""], false),
            ("4.3.4 date", &[MODIFIED], &[MODIFIED], true),
            ("4.3.4 date beside a tag", &["etag: \"a\"", MODIFIED], &[MODIFIED], true),
            ("4.3.4 other date", &[MODIFIED], &["last-modified: Sun, 06 Nov 1994 08:00:01 GMT"], false),
            ("4.3.4 tag decides", &["etag: \"a\"", MODIFIED], &["etag: \"a\"", "last-modified: x"], true),
        ] {
            let mut lines = vec!["cache-control: max-age=1"];
            lines.extend(stored);
            let stored = stored_with(&HttpCachePolicy::rfc9111(), &[], 200, &lines);
            assert_eq!(identifies(&headers(not_modified), &stored), expected, "RFC 9111 {section}");
        }
    }

    /// Freshens a response with `stored` lines by a 304 with `new` lines, 100 seconds later.
    fn freshened(policy: &HttpCachePolicy, request: &[&str], stored: &[&str], new: &[&str]) -> Freshened {
        let stored = stored_with(policy, request, 200, stored);
        let (request, new) = (headers(request), headers(new));
        let request = RequestView::new(&http::Method::GET, &request);
        let response = timed_at(304, &new, NOW + 100);
        on_not_modified(&request, &stored, &response, policy).expect("the 304 is about it")
    }

    #[track_caller]
    fn check_update(section: &str, stored: &[&str], new: &[&str], name: &str, expected: &[&str]) {
        let mut lines = vec!["cache-control: max-age=1", "etag: \"a\""];
        lines.extend(stored);
        let freshened = freshened(&HttpCachePolicy::rfc9111(), &[], &lines, new);
        let values: Vec<_> = freshened.head.headers().get_all(name).iter().collect();
        assert_eq!(values, expected, "{section}: {name}");
    }

    #[test]
    fn a_304_replaces_fields_and_leaves_those_of_the_body() {
        check_update("9111 3.2", &["x: 1"], &["x: 2"], "x", &["2"]);
        check_update("9111 3.2 added", &[], &["x: 2"], "x", &["2"]);
        check_update("9111 3.2 omitted", &["x: 1"], &[], "x", &["1"]);
        check_update("9111 3.2 several lines", &["x: 1", "x: 2"], &["x: 3", "x: 4"], "x", &["3", "4"]);
        check_update("9111 3.2 fewer lines", &["x: 1", "x: 2"], &["x: 3"], "x", &["3"]);
        check_update(
            "9111 3.2 type",
            &["content-type: a/b"],
            &["content-type: c/d"],
            "content-type",
            &["c/d"],
        );
        check_update(
            "9111 3.2 length",
            &["content-length: 5"],
            &["content-length: 0"],
            "content-length",
            &["5"],
        );
        check_update("9111 3.2 length, absent", &[], &["content-length: 0"], "content-length", &[]);
        check_update(
            "9111 3.2 coding",
            &["content-encoding: br"],
            &["content-encoding: x"],
            "content-encoding",
            &["br"],
        );
        check_update("9111 3.2 range", &[], &["content-range: bytes 0-1/2"], "content-range", &[]);
        check_update("9110 7.6.1", &[], &["connection: x", "x: 1"], "x", &[]);
        check_update("9110 7.6.1", &[], &["transfer-encoding: chunked"], "transfer-encoding", &[]);
        check_update("9111 3.1", &[], &["proxy-authenticate: x"], "proxy-authenticate", &[]);
        check_update("9111 5.2.2.4", &["x: 1"], &["cache-control: no-cache=\"x\"", "x: 2"], "x", &[]);
        check_update("9111 4.2.3 the older Age goes", &["age: 7000"], &[], "age", &[]);
        check_update("9111 4.2.3 the new Age counts", &["age: 7000"], &["age: 5"], "age", &["5"]);
        check_update("9110 6.6.1", &["date: {0}"], &[], "date", &["Sun, 06 Nov 1994 08:51:17 GMT"]);
        check_update("3.2 cookies, rfc9111()", &[], &["set-cookie: a=b"], "set-cookie", &["a=b"]);
    }

    #[test]
    fn the_safe_profile_takes_no_cookie_from_a_304() {
        let policy = HttpCachePolicy::safe();
        let stored = ["cache-control: max-age=1", "etag: \"a\""];
        let freshened = freshened(&policy, &[], &stored, &["set-cookie: a=b", "x: 1"]);
        assert_eq!(freshened.keep, Keep::Replace);
        assert!(
            !freshened.head.headers().contains_key("set-cookie")
                && freshened.head.headers().contains_key("x")
        );
    }

    #[test]
    fn freshening_starts_a_new_age_and_lifetime() {
        let stored = ["cache-control: max-age=50", "etag: \"a\"", "age: 10"];
        let freshened = freshened(&HttpCachePolicy::safe(), &[], &stored, &["cache-control: max-age=60"]);
        let freshness = freshened.head.freshness();
        assert_eq!(freshness.age(at(NOW + 100)).as_secs(), 0, "RFC 9111 4.3.4");
        assert_eq!(freshness.remaining(at(NOW + 110)).as_secs(), 50, "RFC 9111 4.3.4");
    }

    #[test]
    fn a_validation_removes_the_doubt() {
        let policy = HttpCachePolicy::safe();
        let mut stored = stored_with(&policy, &[], 200, &["cache-control: max-age=1", "etag: \"a\""]);
        stored.mark_suspect();
        let none = HeaderMap::new();
        let request = RequestView::new(&http::Method::GET, &none);
        let freshened = on_not_modified(&request, &stored, &timed_at(304, &none, NOW), &policy).unwrap();
        assert!(stored.is_suspect() && !freshened.head.is_suspect(), "RFC 9111 4.3.4, 4.3.5");
    }

    #[test]
    fn what_a_304_forbids_is_not_kept() {
        let policy = HttpCachePolicy::safe();
        let stored = ["cache-control: max-age=1", "etag: \"a\""];
        for (request, new, expected) in [
            (&[][..], &[][..], Keep::Replace),
            (&[], &["cache-control: private"], Keep::Evict(NotStored::Private)),
            (&[], &["cache-control: no-store"], Keep::Evict(NotStored::NoStore)),
            (&[], &["vary: *"], Keep::Evict(NotStored::Vary(super::super::VaryProblem::Any))),
            (&["authorization: x"], &[], Keep::Leave(NotStored::Credentials)),
            (&["cache-control: no-store"], &[], Keep::Leave(NotStored::RequestNoStore)),
        ] {
            let stored = stored_with(&policy, &[], 200, &stored);
            let (request, new) = (headers(request), headers(new));
            let request = RequestView::new(&http::Method::GET, &request);
            let freshened =
                on_not_modified(&request, &stored, &timed_at(304, &new, NOW + 9), &policy).unwrap();
            assert_eq!(freshened.keep, expected, "RFC 9111 3.2, 4.3.4: {new:?}");
        }
    }

    #[test]
    fn a_304_may_change_which_fields_are_nominated() {
        let stored = ["cache-control: max-age=1", "etag: \"a\"", "vary: a"];
        let freshened = freshened(&HttpCachePolicy::safe(), &["a: 1", "b: 2"], &stored, &["vary: a, b"]);
        assert!(freshened.head.nominated().matches(&headers(&["a: 1", "b: 2"])), "RFC 9111 4.1");
        assert!(!freshened.head.nominated().matches(&headers(&["a: 1", "b: 3"])), "RFC 9111 4.1");
    }

    #[track_caller]
    fn check_head(section: &str, status: u16, stored: &[&str], new: &[&str], expected: &str) {
        let policy = HttpCachePolicy::rfc9111();
        let mut lines = vec!["cache-control: max-age=1"];
        lines.extend(stored);
        let stored = stored_with(&policy, &[], 200, &lines);
        let (none, new) = (HeaderMap::new(), headers(new));
        let request = RequestView::new(&http::Method::HEAD, &none);
        let found = on_head_response(&request, &stored, 5, &timed_at(status, &new, NOW + 9), &policy);
        let found = match found {
            HeadUpdate::Freshened(freshened) => {
                assert_eq!(freshened.keep, Keep::Replace, "{section}");
                "freshened"
            }
            HeadUpdate::Contradicted => "contradicted",
            HeadUpdate::Nothing => "nothing",
        };
        assert_eq!(found, expected, "RFC 9111 {section}: {stored:?}");
    }

    #[test]
    fn a_head_response_freshens_or_casts_doubt() {
        check_head("4.3.5", 200, &["etag: \"a\""], &["etag: \"a\"", "x: 1"], "freshened");
        check_head("4.3.5 no validators", 200, &["etag: \"a\""], &["x: 1"], "freshened");
        check_head("4.3.5 length", 200, &[], &["content-length: 5"], "freshened");
        check_head("4.3.5 other tag", 200, &["etag: \"a\""], &["etag: \"b\""], "contradicted");
        check_head("4.3.5 tag is new", 200, &[], &["etag: \"b\""], "contradicted");
        check_head("4.3.5 date", 200, &[MODIFIED], &[MODIFIED], "freshened");
        check_head("4.3.5 other date", 200, &[MODIFIED], &["last-modified: x"], "contradicted");
        check_head("4.3.5 other length", 200, &[], &["content-length: 6"], "contradicted");
        check_head("4.3.5 unreadable length", 200, &[], &["content-length: x"], "contradicted");
        check_head(
            "4.3.5 same tag, other length",
            200,
            &["etag: \"a\""],
            &["etag: \"a\"", "content-length: 6"],
            "contradicted",
        );
        check_head("4.3.5 not a 200", 404, &["etag: \"a\""], &["etag: \"b\""], "nothing");
        check_head("4.3.5 not a 200", 500, &[], &[], "nothing");
    }
}
