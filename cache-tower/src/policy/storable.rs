//! Whether a response may be stored (RFC 9111 §3).

use http::{HeaderMap, Method, StatusCode, header};

use super::cache_control::Seconds;
use super::fields::{self, EntityTag};
use super::freshness::{Freshness, LifetimeSource, Timed};
use super::parts;
use super::profile::HttpCachePolicy;
use super::request::RequestView;
use super::targeted::Governing;
use super::vary::{Nominated, VaryProblem};

/// Why a response is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotStored {
    /// The request method is not understood as cacheable (§3).
    Method,
    /// A POST response without explicit freshness and a `Content-Location` equal to its own URI (RFC 9110 §9.3.3).
    PostWithoutOwnLocation,
    /// The request says `no-store` (§5.2.1.5).
    RequestNoStore,
    /// Not a final status, or one that the profile does not store.
    Status,
    /// `must-understand` with a status that this cache does not know (§5.2.2.3).
    StatusNotUnderstood,
    /// The status answers a condition or range of this one request: 304, 412, 416.
    AnswerToCondition,
    /// `no-store` (§5.2.2.5).
    NoStore,
    /// `private` (§5.2.2.7).
    Private,
    /// A freshness directive that cannot be read, or a qualified directive that would hide what governs the response.
    MalformedCacheControl,
    /// `Vary` matches no later request (§4.1).
    Vary(VaryProblem),
    /// The request has credentials, and no directive allows to share the response (§3.5).
    Credentials,
    /// `Set-Cookie`, which the profile never stores.
    SetCookie,
    /// `text/event-stream`: a response that has no end is not a representation to keep.
    EventStream,
    /// A 206 that is switched off, multipart, unreadable, or without a strong validator (§3.4).
    Part,
    /// Neither fresh, nor to be validated, nor allowed to be stale: it could never be used.
    NeverReusable,
}

impl NotStored {
    /// The reason as a token for `Cache-Status` and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::PostWithoutOwnLocation => "post-without-own-location",
            Self::RequestNoStore => "request-no-store",
            Self::Status => "status",
            Self::StatusNotUnderstood => "status-not-understood",
            Self::AnswerToCondition => "answer-to-condition",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::MalformedCacheControl => "malformed-cache-control",
            Self::Vary(VaryProblem::Any) => "vary-any",
            Self::Vary(VaryProblem::Unreadable) => "vary-unreadable",
            Self::Vary(VaryProblem::TooLarge) => "vary-too-large",
            Self::Credentials => "credentials",
            Self::SetCookie => "set-cookie",
            Self::EventStream => "event-stream",
            Self::Part => "part",
            Self::NeverReusable => "never-reusable",
        }
    }

    /// Whether what is stored already must go too. A response that has become private says that the older one should not
    /// have been shared; `no-store` speaks only about itself.
    pub fn evicts_older(self) -> bool {
        self == Self::Private
    }
}

/// What [`judge`] computes on the way, so that storing does not compute it again.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) governing: Governing,
    pub(crate) freshness: Freshness,
    pub(crate) nominated: Nominated,
}

/// Whether the response may be stored and answer a later request.
pub(crate) fn judge(
    request: &RequestView<'_>,
    uri: &str,
    response: &Timed<'_>,
    policy: &HttpCachePolicy,
) -> Result<Judged, NotStored> {
    let governing = Governing::of(response.headers, &policy.targeted_fields);
    let freshness = Freshness::of(response, &governing, policy.lifetime, policy);
    // `private` comes first: it is the one refusal that also removes what is stored.
    if governing.control.private {
        return Err(NotStored::Private);
    }
    check_request(request, uri, response, &freshness, policy)?;
    check_status(request, response, &governing, policy)?;
    check_directives(request, response, &governing, policy)?;
    check_content(response, policy)?;
    let nominated =
        Nominated::of(response.headers, request.headers, &policy.vary_always).map_err(NotStored::Vary)?;
    if !is_ever_reusable(response, &governing, &freshness, policy) {
        return Err(NotStored::NeverReusable);
    }
    Ok(Judged {
        governing,
        freshness,
        nominated,
    })
}

/// "The request method is understood by the cache" (§3).
fn check_request(
    request: &RequestView<'_>,
    uri: &str,
    response: &Timed<'_>,
    freshness: &Freshness,
    policy: &HttpCachePolicy,
) -> Result<(), NotStored> {
    if request.control.no_store {
        return Err(NotStored::RequestNoStore);
    }
    match request.method {
        &Method::GET => Ok(()),
        &Method::POST => {
            let origin_says_fresh = freshness.source.is_explicit()
                && freshness.source != LifetimeSource::Assigned
                && !freshness.lifetime.is_zero();
            if origin_says_fresh && location_is_own(response.headers, uri) {
                Ok(())
            } else {
                Err(NotStored::PostWithoutOwnLocation)
            }
        }
        method if policy.cache_query_method && method.as_str() == "QUERY" => Ok(()),
        _ => Err(NotStored::Method),
    }
}

/// "A Content-Location header field that has the same value as the POST's target URI" (RFC 9110 §9.3.3).
fn location_is_own(headers: &HeaderMap, uri: &str) -> bool {
    let mut lines = headers.get_all(header::CONTENT_LOCATION).iter();
    let (Some(location), None) = (lines.next(), lines.next()) else {
        return false;
    };
    super::uri_reference::resolve(uri, location.as_bytes()).is_some_and(|resolved| resolved == uri)
}

/// "The response status code is final" and, with `must-understand`, understood (§3).
fn check_status(
    request: &RequestView<'_>,
    response: &Timed<'_>,
    governing: &Governing,
    policy: &HttpCachePolicy,
) -> Result<(), NotStored> {
    let status = response.status;
    if status == StatusCode::NOT_MODIFIED || is_answer_to_condition(status, request.headers) {
        return Err(NotStored::AnswerToCondition);
    }
    if governing.control.must_understand && !is_understood(status) {
        return Err(NotStored::StatusNotUnderstood);
    }
    if status == StatusCode::PARTIAL_CONTENT {
        return if policy.store_parts && parts::is_combinable(response) {
            Ok(())
        } else {
            Err(NotStored::Part)
        };
    }
    if policy.allows_status(status) {
        Ok(())
    } else {
        Err(NotStored::Status)
    }
}

/// A 412 or 416 speaks about fields of the request that are not part of any key.
fn is_answer_to_condition(status: StatusCode, request: &HeaderMap) -> bool {
    let conditional = CONDITIONS.iter().any(|name| request.contains_key(name));
    (status == StatusCode::PRECONDITION_FAILED && conditional)
        || (status == StatusCode::RANGE_NOT_SATISFIABLE && request.contains_key(header::RANGE))
}

/// `no-store`, unless `must-understand` with a known status asks to ignore it (§5.2.2.3), and credentials (§3.5).
fn check_directives(
    request: &RequestView<'_>,
    response: &Timed<'_>,
    governing: &Governing,
    policy: &HttpCachePolicy,
) -> Result<(), NotStored> {
    let control = &governing.control;
    if control.no_store && !(control.must_understand && is_understood(response.status)) {
        return Err(NotStored::NoStore);
    }
    let hides_itself = |name| DECISIVE_FIELDS.contains(name) || policy.targeted_fields.contains(name);
    if control.is_malformed() || control.unstored_fields.iter().any(hides_itself) {
        return Err(NotStored::MalformedCacheControl);
    }
    if policy.has_credentials(request.headers) && !control.permits_shared_credentials() {
        return Err(NotStored::Credentials);
    }
    Ok(())
}

fn check_content(response: &Timed<'_>, policy: &HttpCachePolicy) -> Result<(), NotStored> {
    if !policy.store_set_cookie && response.headers.contains_key(header::SET_COOKIE) {
        return Err(NotStored::SetCookie);
    }
    let is_event_stream = |value: &http::HeaderValue| {
        let media_type = value
            .as_bytes()
            .split(|&byte| byte == b';')
            .next()
            .unwrap_or_default();
        fields::trim(media_type).eq_ignore_ascii_case(b"text/event-stream")
    };
    if response
        .headers
        .get_all(header::CONTENT_TYPE)
        .iter()
        .any(is_event_stream)
    {
        return Err(NotStored::EventStream);
    }
    Ok(())
}

/// A response is worth its place when some later request can get it: fresh, validated, or allowed to be stale.
fn is_ever_reusable(
    response: &Timed<'_>,
    governing: &Governing,
    freshness: &Freshness,
    policy: &HttpCachePolicy,
) -> bool {
    let control = &governing.control;
    if has_validator(response)
        && (freshness.source.is_explicit() || policy.heuristic.is_some() || control.no_cache)
    {
        return true;
    }
    if control.no_cache {
        return false;
    }
    let grants_stale = |seconds: Seconds| seconds.valid().is_some_and(|seconds| seconds > 0);
    let may_be_stale = grants_stale(control.stale_while_revalidate)
        || grants_stale(control.stale_if_error)
        || (policy.stale_when_unreachable && freshness.source.is_explicit());
    !freshness.lifetime.is_zero() || (may_be_stale && !control.forbids_stale())
}

fn has_validator(response: &Timed<'_>) -> bool {
    EntityTag::of(response.headers).is_some()
        || fields::last_modified(response.headers, response.received).is_some()
}

/// The statuses whose caching requirements this cache implements: the final ones of RFC 9110 §15 and their common
/// extensions.
fn is_understood(status: StatusCode) -> bool {
    matches!(status.as_u16(),
        200..=206 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 428 | 429 | 431 | 451 | 500..=505 | 511)
}

const CONDITIONS: [http::HeaderName; 4] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

/// Fields that decide about reuse: a response that may not be stored with them is not stored without them.
const DECISIVE_FIELDS: [http::HeaderName; 6] = [
    header::AGE,
    header::CACHE_CONTROL,
    header::DATE,
    header::EXPIRES,
    header::PRAGMA,
    header::VARY,
];

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use super::super::AssignedLifetime;
    use super::super::tests::*;
    use super::NotStored::*;
    use super::*;

    const FRESH: &str = "cache-control: max-age=60";

    #[track_caller]
    fn check(
        section: &str,
        policy: &HttpCachePolicy,
        request: &[&str],
        status: u16,
        response: &[&str],
        expected: Result<(), NotStored>,
    ) {
        let found = try_store(policy, "GET", request, status, response).map(|_| ());
        assert_eq!(found, expected, "{section}: {status} {request:?} {response:?}");
    }

    /// Under both profiles.
    #[track_caller]
    fn check_both(
        section: &str,
        request: &[&str],
        status: u16,
        response: &[&str],
        expected: Result<(), NotStored>,
    ) {
        check(section, &HttpCachePolicy::safe(), request, status, response, expected);
        check(section, &HttpCachePolicy::rfc9111(), request, status, response, expected);
    }

    #[test]
    fn any_final_status_that_says_it_is_fresh_is_stored() {
        let wide = HttpCachePolicy::rfc9111();
        for status in [
            200, 201, 202, 203, 204, 205, 226, 299, 300, 301, 302, 303, 307, 308, 399, 400, 401, 403, 404,
            405, 410, 412, 414, 416, 418, 429, 451, 499, 500, 501, 502, 503, 504, 599, 999,
        ] {
            check("9111 3", &wide, &[], status, &[FRESH], Ok(()));
            check("9111 3", &wide, &[], status, &["expires: {60}", "date: {0}"], Ok(()));
        }
        for status in [100, 101, 103] {
            check_both("9111 3 not final", &[], status, &[FRESH], Err(Status));
        }
        check_both("9111 3.2 a 304 is no representation", &[], 304, &[FRESH], Err(AnswerToCondition));
    }

    #[test]
    fn the_safe_profile_stores_no_status_that_carries_user_data() {
        let safe = HttpCachePolicy::safe();
        for status in [200, 203, 204, 299, 300, 301, 302, 307, 308, 404, 410] {
            check("profile", &safe, &[], status, &[FRESH], Ok(()));
        }
        for status in [400, 401, 402, 403, 405, 407, 414, 429, 499, 500, 501, 502, 503, 504, 599] {
            check("profile", &safe, &[], status, &[FRESH], Err(Status));
            check("profile", &safe, &[], status, &["cache-control: public, max-age=60"], Err(Status));
        }
        let mut route = HttpCachePolicy::safe();
        route.extra_statuses.push(StatusCode::SERVICE_UNAVAILABLE);
        check("profile", &route, &[], 503, &[FRESH], Ok(()));
    }

    #[test]
    fn must_understand_takes_the_place_of_no_store() {
        let wide = HttpCachePolicy::rfc9111();
        const BOTH: &str = "cache-control: max-age=60, no-store, must-understand";
        const ALONE: &str = "cache-control: max-age=60, must-understand";
        for status in [200, 203, 301, 404, 410, 500, 503] {
            check("9111 5.2.2.3", &wide, &[], status, &[BOTH], Ok(()));
            check("9111 5.2.2.3", &wide, &[], status, &[ALONE], Ok(()));
        }
        for status in [299, 399, 418, 499, 599] {
            check("9111 5.2.2.3 unknown", &wide, &[], status, &[BOTH], Err(StatusNotUnderstood));
            check("9111 5.2.2.3 unknown", &wide, &[], status, &[ALONE], Err(StatusNotUnderstood));
        }
        const PRIVATE: &str = "cache-control: private, max-age=60, must-understand";
        check("9111 5.2.2.7", &wide, &[], 200, &[PRIVATE], Err(Private));
    }

    #[test]
    fn directives_forbid_storing() {
        for (section, lines, expected) in [
            ("5.2.2.5", &["cache-control: no-store"][..], Err(NoStore)),
            ("5.2.2.5", &["cache-control: no-store, max-age=60"], Err(NoStore)),
            ("5.2.2.5 second line", &[FRESH, "cache-control: no-store"], Err(NoStore)),
            ("5.2.2.5 case", &["cache-control: No-Store, max-age=60"], Err(NoStore)),
            ("5.2.2.5 public does not help", &["cache-control: public, no-store, max-age=60"], Err(NoStore)),
            ("5.2.2.7", &["cache-control: private, max-age=60"], Err(Private)),
            ("5.2.2.7 with no-store", &["cache-control: no-store, private"], Err(Private)),
            ("5.2.2.7 public does not help", &["cache-control: public, private, max-age=60"], Err(Private)),
            ("5.2.2.7 qualified", &["cache-control: private=\"x\", max-age=60"], Ok(())),
            ("5.2.2.4 with a validator", &["cache-control: no-cache, max-age=60", "etag: \"a\""], Ok(())),
            ("5.2.2.4 date validator", &["cache-control: no-cache", "last-modified: {-60}"], Ok(())),
            ("5.2.2.4 no validator", &["cache-control: no-cache, max-age=60"], Err(NeverReusable)),
            ("4.2.1 malformed", &["cache-control: max-age=abc"], Err(MalformedCacheControl)),
            ("4.2.1 malformed", &["cache-control: max-age=-1", "etag: \"a\""], Err(MalformedCacheControl)),
            (
                "4.2.1 malformed, Expires",
                &["cache-control: max-age=x", "expires: {60}"],
                Err(MalformedCacheControl),
            ),
            ("4.2.1 s-maxage decides", &["cache-control: max-age=x, s-maxage=60"], Ok(())),
            ("4.2.1 open quote", &["cache-control: max-age=60, x=\"y"], Err(MalformedCacheControl)),
            (
                "3.1 hides itself",
                &["cache-control: max-age=60, private=\"vary\""],
                Err(MalformedCacheControl),
            ),
            ("5.2.3 unknown directive", &["cache-control: no_store, max-age=60"], Ok(())),
            ("4.1 Vary any", &[FRESH, "vary: *"], Err(Vary(VaryProblem::Any))),
            ("4.1 Vary any, last", &[FRESH, "vary: a, *"], Err(Vary(VaryProblem::Any))),
            ("4.1 Vary any, second line", &[FRESH, "vary: a", "vary: *"], Err(Vary(VaryProblem::Any))),
            ("4.1 Vary any, empty members", &[FRESH, "vary: ,*,"], Err(Vary(VaryProblem::Any))),
            ("4.1 Vary unreadable", &[FRESH, "vary: a b"], Err(Vary(VaryProblem::Unreadable))),
        ] {
            check_both(section, &[], 200, lines, expected);
        }
    }

    #[test]
    fn a_response_that_nobody_could_get_is_not_stored() {
        let (safe, wide) = (HttpCachePolicy::safe(), HttpCachePolicy::rfc9111());
        for (lines, in_safe, in_wide) in [
            (&[][..], Err(NeverReusable), Err(NeverReusable)),
            (&["cache-control: public"], Err(NeverReusable), Err(NeverReusable)),
            (&["last-modified: {-1000}"], Err(NeverReusable), Ok(())),
            (&["etag: \"a\""], Err(NeverReusable), Ok(())),
            (&["cache-control: max-age=0"], Err(NeverReusable), Ok(())),
            (&["cache-control: max-age=0", "etag: \"a\""], Ok(()), Ok(())),
            (&["cache-control: max-age=0, must-revalidate"], Err(NeverReusable), Err(NeverReusable)),
            (&["cache-control: max-age=0, stale-while-revalidate=9"], Ok(()), Ok(())),
            (&["cache-control: max-age=0, stale-if-error=9"], Ok(()), Ok(())),
            (&["cache-control: max-age=0, stale-while-revalidate=0"], Err(NeverReusable), Ok(())),
            (&["expires: 0"], Err(NeverReusable), Ok(())),
            (&["expires: 0", "etag: \"a\""], Ok(()), Ok(())),
            (&["pragma: no-cache", "expires: {60}"], Err(NeverReusable), Err(NeverReusable)),
            (&["pragma: no-cache", FRESH], Ok(()), Ok(())),
            (&["surrogate-control: max-age=60"], Err(NeverReusable), Err(NeverReusable)),
        ] {
            check("9111 3", &safe, &[], 200, lines, in_safe);
            check("9111 3", &wide, &[], 200, lines, in_wide);
        }
        let mut route = HttpCachePolicy::safe();
        route.lifetime = Some(AssignedLifetime::WhenAbsent(std::time::Duration::from_secs(5)));
        check("route", &route, &[], 200, &[], Ok(()));
        check("route", &route, &[], 200, &["cache-control: no-store"], Err(NoStore));
        check("route", &route, &[], 200, &["cache-control: private"], Err(Private));
    }

    #[test]
    fn credentials_need_a_permission() {
        let (safe, wide) = (HttpCachePolicy::safe(), HttpCachePolicy::rfc9111());
        const AUTHORIZED: &[&str] = &["authorization: Basic x"];
        const COOKIE: &[&str] = &["cookie: a=b"];
        for (lines, permitted) in [
            (FRESH, false),
            ("cache-control: max-age=60, public", true),
            ("cache-control: max-age=60, must-revalidate", true),
            ("cache-control: s-maxage=60", true),
            ("cache-control: max-age=60, proxy-revalidate", false),
            ("cache-control: max-age=60, immutable", false),
            ("expires: {60}", false),
        ] {
            let expected = if permitted { Ok(()) } else { Err(Credentials) };
            check_both("9111 3.5", AUTHORIZED, 200, &[lines], expected);
            check("profile", &safe, COOKIE, 200, &[lines], expected);
            check("9111 3.5 only Authorization", &wide, COOKIE, 200, &[lines], Ok(()));
        }
    }

    #[test]
    fn set_cookie_is_stored_verbatim_or_never() {
        let (safe, wide) = (HttpCachePolicy::safe(), HttpCachePolicy::rfc9111());
        for control in
            [FRESH, "cache-control: public, max-age=60", "cache-control: s-maxage=60, must-revalidate"]
        {
            check("profile", &safe, &[], 200, &[control, "set-cookie: a=b"], Err(SetCookie));
            check("9111 7.3", &wide, &[], 200, &[control, "set-cookie: a=b", "set-cookie: c=d"], Ok(()));
        }
    }

    #[test]
    fn streams_without_an_end_are_not_stored() {
        for media_type in ["text/event-stream", "Text/Event-Stream; charset=utf-8", " text/event-stream ;x"] {
            check_both(
                "event stream",
                &[],
                200,
                &[FRESH, &format!("content-type: {media_type}")],
                Err(EventStream),
            );
        }
        check_both("event stream", &[], 200, &[FRESH, "content-type: text/event-stream2"], Ok(()));
    }

    #[test]
    fn a_request_may_forbid_storing() {
        check_both("9111 5.2.1.5", &["cache-control: no-store"], 200, &[FRESH], Err(RequestNoStore));
        check_both("9111 5.2.1.4", &["cache-control: no-cache"], 200, &[FRESH], Ok(()));
        check_both(
            "9111 5.2.1.5 private evicts",
            &["cache-control: no-store"],
            200,
            &["cache-control: private"],
            Err(Private),
        );
    }

    #[test]
    fn answers_to_conditions_and_ranges_are_not_stored() {
        let wide = HttpCachePolicy::rfc9111();
        check("9110 13.1", &wide, &["if-match: \"a\""], 412, &[FRESH], Err(AnswerToCondition));
        check("9110 13.1", &wide, &["if-unmodified-since: x"], 412, &[FRESH], Err(AnswerToCondition));
        check("9110 14.2", &wide, &["range: bytes=9-"], 416, &[FRESH], Err(AnswerToCondition));
        check("9110 13.1 other status", &wide, &["if-match: \"a\""], 200, &[FRESH], Ok(()));
    }

    #[test]
    fn a_part_needs_a_range_and_a_strong_validator() {
        const RANGE: &str = "content-range: bytes 0-4/10";
        for (section, lines, expected) in [
            ("3.4 strong tag", &[FRESH, RANGE, "etag: \"a\""][..], Ok(())),
            ("3.4 strong date", &[FRESH, RANGE, "last-modified: {-1}", "date: {0}"], Ok(())),
            ("3.4 weak tag", &[FRESH, RANGE, "etag: W/\"a\""], Err(Part)),
            ("3.4 weak date", &[FRESH, RANGE, "last-modified: {0}", "date: {0}"], Err(Part)),
            ("3.4 no validator", &[FRESH, RANGE], Err(Part)),
            ("3.4 no range", &[FRESH, "etag: \"a\""], Err(Part)),
            ("3.4 multipart", &[FRESH, "etag: \"a\"", "content-type: multipart/byteranges"], Err(Part)),
            ("9110 14.4 other unit", &[FRESH, "etag: \"a\"", "content-range: lines 0-4/10"], Err(Part)),
        ] {
            check_both(section, &["range: bytes=0-4"], 206, lines, expected);
        }
        let mut without = HttpCachePolicy::rfc9111();
        without.store_parts = false;
        check("profile", &without, &["range: bytes=0-4"], 206, &[FRESH, RANGE, "etag: \"a\""], Err(Part));
    }

    #[test]
    fn methods_are_stored_as_they_define() {
        let mut policy = HttpCachePolicy::safe();
        let check = |method: &str, lines: &[&str], expected: Result<(), NotStored>| {
            let found = try_store(&policy, method, &[], 200, lines).map(|_| ());
            assert_eq!(found, expected, "RFC 9110 9: {method} {lines:?}");
        };
        for method in ["HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "QUERY", "FOO", "get"]
        {
            check(method, &[FRESH, "content-location: /a"], Err(Method));
        }
        check("POST", &[FRESH], Err(PostWithoutOwnLocation));
        check("POST", &[FRESH, "content-location: /b"], Err(PostWithoutOwnLocation));
        check("POST", &[FRESH, "content-location: http://other/a"], Err(PostWithoutOwnLocation));
        check("POST", &[FRESH, "content-location: /a", "content-location: /a"], Err(PostWithoutOwnLocation));
        check("POST", &["last-modified: {-9000}", "content-location: /a"], Err(PostWithoutOwnLocation));
        check("POST", &["cache-control: max-age=0", "content-location: /a"], Err(PostWithoutOwnLocation));
        check("POST", &[FRESH, "content-location: /a"], Ok(()));
        check("POST", &["expires: {60}", "content-location: http://EXAMPLE.com:80/a"], Ok(()));
        policy.cache_query_method = true;
        assert!(try_store(&policy, "QUERY", &[], 200, &[FRESH]).is_ok(), "RFC 9110 9.2.3");
        policy.lifetime = Some(AssignedLifetime::WhenAbsent(std::time::Duration::from_secs(5)));
        let assigned = try_store(&policy, "POST", &[], 200, &["content-location: /a"]).map(|_| ());
        assert_eq!(assigned, Err(PostWithoutOwnLocation), "RFC 9110 9.3.3: the origin must say so");
    }

    #[test]
    fn only_a_response_that_became_private_removes_an_older_one() {
        for reason in
            [Method, RequestNoStore, Status, NoStore, MalformedCacheControl, Credentials, SetCookie, Part]
        {
            assert!(!reason.evicts_older(), "{}", reason.as_str());
        }
        assert!(Private.evicts_older());
    }
}
