//! Whether a response may be stored (RFC 9111 §3).

use http::{HeaderMap, Method, StatusCode, header};

use super::cache_control::Seconds;
use super::fields::{self, EntityTag};
use super::freshness::{Freshness, LifetimeSource, Timed};
use super::profile::HttpCachePolicy;
use super::range;
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
        return if policy.store_parts && range::is_combinable(response) {
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
