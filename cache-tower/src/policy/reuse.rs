//! Whether a stored response may answer a request now (RFC 9111 §4).

use std::time::{Duration, SystemTime};

use http::{Method, StatusCode, header};

use super::cache_control::{MaxStale, Seconds};
use super::profile::HttpCachePolicy;
use super::range;
use super::request::RequestView;
use super::stored_head::StoredHead;
use super::vary::Selection;

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Answer from the store.
    Serve(Serve),
    /// Ask the origin whether the stored response still holds (§4.3).
    Revalidate(RevalidateReason),
    /// Send the request to the origin; the store has nothing for it.
    Forward(ForwardReason),
    /// `only-if-cached`, and the store cannot answer: 504 (§5.2.1.7).
    GatewayTimeout,
}

/// How a stored response is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serve {
    /// The current age, for the `Age` field.
    pub age: Duration,
    /// Remaining freshness in seconds, negative when stale, for `Cache-Status`.
    pub ttl: i64,
    /// Why a stale response may be served; `None` when it is fresh.
    pub stale: Option<StaleReason>,
}

impl Serve {
    /// Whether a validation is to be made in the background (RFC 5861 §3).
    pub fn revalidates_in_background(&self) -> bool {
        self.stale == Some(StaleReason::WhileRevalidating)
    }
}

/// Why a stale response may be served (§4.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaleReason {
    /// The client accepts it with `max-stale` (§5.2.1.2).
    MaxStale,
    /// `stale-while-revalidate` (RFC 5861 §3).
    WhileRevalidating,
    /// `stale-if-error`, of the response or the request (RFC 5861 §4).
    IfError,
    /// The origin cannot be reached (§4.2.4, §4.3.3).
    Unreachable,
    /// It is fresh: only the client had asked for a validation, and the origin failed to make one.
    StillFresh,
}

impl StaleReason {
    /// The reason as a token for `Cache-Status` and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxStale => "max-stale",
            Self::WhileRevalidating => "stale-while-revalidate",
            Self::IfError => "stale-if-error",
            Self::Unreachable => "origin-unreachable",
            Self::StillFresh => "origin-failed",
        }
    }
}

/// Why a stored response is validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevalidateReason {
    /// It is stale.
    Stale,
    /// It says `no-cache` (§5.2.2.4).
    NoCache,
    /// A HEAD response contradicted it (§4.3.5).
    Suspect,
    /// The request says `no-cache` (§5.2.1.4).
    RequestNoCache,
    /// It is older than the request's `max-age` (§5.2.1.1).
    RequestMaxAge,
    /// It is not fresh for as long as the request's `min-fresh` (§5.2.1.3).
    RequestMinFresh,
}

impl RevalidateReason {
    /// Whether only the client wants the validation; such ones may be rate-limited.
    pub fn is_forced_by_request(self) -> bool {
        matches!(
            self,
            Self::RequestNoCache | Self::RequestMaxAge | Self::RequestMinFresh
        )
    }

    /// The reason as a token for `Cache-Status` and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::NoCache => "no-cache",
            Self::Suspect => "suspect",
            Self::RequestNoCache => "request-no-cache",
            Self::RequestMaxAge => "request-max-age",
            Self::RequestMinFresh => "request-min-fresh",
        }
    }
}

/// Why a request goes to the origin although it is not to validate anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardReason {
    /// Nothing is stored for the URI.
    NothingStored,
    /// Nothing is stored for these nominated fields.
    NoVariant,
    /// The method is not answered from the store.
    Method,
    /// `If-Match` and `If-Unmodified-Since` are for the origin (§4.3.2).
    OriginCondition,
    /// The request has credentials, and the stored response does not say that it may be shared (§3.5).
    Credentials,
    /// What is stored is a part that does not cover what is asked for.
    Part,
}

impl ForwardReason {
    /// The reason as a token for `Cache-Status` and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NothingStored => "nothing-stored",
            Self::NoVariant => "no-variant",
            Self::Method => "method",
            Self::OriginCondition => "origin-condition",
            Self::Credentials => "credentials",
            Self::Part => "part",
        }
    }
}

/// Decides about one request, from the stored response that [`select`](super::vary::select) found.
///
/// The common case, a GET without conditions or directives of its own, allocates nothing.
pub fn decide(
    request: &RequestView<'_>,
    selection: Selection<'_>,
    now: SystemTime,
    policy: &HttpCachePolicy,
) -> Decision {
    let decision = match selection {
        Selection::Found(stored) => decide_for(request, stored, now, policy),
        Selection::NoVariant => Decision::Forward(ForwardReason::NoVariant),
        Selection::Nothing => Decision::Forward(ForwardReason::NothingStored),
    };
    match decision {
        Decision::Revalidate(_) | Decision::Forward(_) if request.control.only_if_cached => {
            Decision::GatewayTimeout
        }
        decision => decision,
    }
}

fn decide_for(
    request: &RequestView<'_>,
    stored: &StoredHead,
    now: SystemTime,
    policy: &HttpCachePolicy,
) -> Decision {
    if let Some(reason) = reason_to_forward(request, stored, policy) {
        return Decision::Forward(reason);
    }
    let freshness = stored.freshness();
    let age = freshness.age(now);
    if let Some(reason) = reason_to_validate(request, stored, age) {
        return Decision::Revalidate(reason);
    }
    let serve = |stale| {
        Decision::Serve(Serve {
            age,
            ttl: freshness.ttl_seconds(now),
            stale,
        })
    };
    if freshness.lifetime > age {
        return serve(None);
    }
    match permitted_staleness(request, stored, freshness.staleness(now)) {
        Some(reason) => serve(Some(reason)),
        None => Decision::Revalidate(RevalidateReason::Stale),
    }
}

fn reason_to_forward(
    request: &RequestView<'_>,
    stored: &StoredHead,
    policy: &HttpCachePolicy,
) -> Option<ForwardReason> {
    if !method_fits(request.method, stored.method()) {
        return Some(ForwardReason::Method);
    }
    if request.headers.contains_key(header::IF_MATCH)
        || request.headers.contains_key(header::IF_UNMODIFIED_SINCE)
    {
        return Some(ForwardReason::OriginCondition);
    }
    if !policy.serve_credentialed_requests
        && !stored.control().permits_shared_credentials()
        && policy.has_credentials(request.headers)
    {
        return Some(ForwardReason::Credentials);
    }
    match stored.part() {
        Some(part) if !range::part_answers(request, stored, part) => Some(ForwardReason::Part),
        _ => None,
    }
}

/// A stored GET answers GET and HEAD, and so does a stored POST (RFC 9110 §9.3.3); a stored QUERY answers QUERY.
fn method_fits(request: &Method, stored: &Method) -> bool {
    match stored.as_str() {
        "QUERY" => request == stored,
        _ => request == Method::GET || request == Method::HEAD,
    }
}

/// What forbids reuse without validation, whether the response is fresh or not.
fn reason_to_validate(
    request: &RequestView<'_>,
    stored: &StoredHead,
    age: Duration,
) -> Option<RevalidateReason> {
    if stored.is_suspect() {
        return Some(RevalidateReason::Suspect);
    }
    if stored.control().no_cache || stored.control().unreadable {
        return Some(RevalidateReason::NoCache);
    }
    if request.control.no_cache {
        return Some(RevalidateReason::RequestNoCache);
    }
    // "Unless the max-stale request directive is also present, the client does not wish to receive a stale response"
    // (§5.2.1.1); with it, the age limit is extended by what `max-stale` grants.
    if request.control.max_age.is_some_and(|limit| age > seconds(limit)) && !is_within_max_stale(request, age)
    {
        return Some(RevalidateReason::RequestMaxAge);
    }
    let needed = request.control.min_fresh.map(seconds);
    if needed.is_some_and(|needed| age.saturating_add(needed) > stored.freshness().lifetime) {
        return Some(RevalidateReason::RequestMinFresh);
    }
    None
}

fn is_within_max_stale(request: &RequestView<'_>, age: Duration) -> bool {
    let limit = request.control.max_age.map(seconds).unwrap_or_default();
    match request.control.max_stale {
        Some(MaxStale::Any) => true,
        Some(MaxStale::Seconds(grant)) => age <= limit.saturating_add(seconds(grant)),
        None => false,
    }
}

/// Why a response that has been stale for so long may be served without asking first (§4.2.4).
fn permitted_staleness(
    request: &RequestView<'_>,
    stored: &StoredHead,
    staleness: Duration,
) -> Option<StaleReason> {
    if stored.control().forbids_stale() {
        return None;
    }
    match request.control.max_stale {
        Some(MaxStale::Any) => return Some(StaleReason::MaxStale),
        Some(MaxStale::Seconds(limit)) if staleness <= seconds(limit) => return Some(StaleReason::MaxStale),
        _ => {}
    }
    // A client that limits the age, or wants more freshness, does not want this either.
    let client_objects = request.control.max_age.is_some() || request.control.min_fresh.is_some();
    let window = stored.control().stale_while_revalidate;
    (!client_objects && is_within(staleness, window)).then_some(StaleReason::WhileRevalidating)
}

/// How the origin failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginFailure {
    /// No response: refused, broken, or timed out.
    Unreachable,
    /// A response that says so.
    Status(StatusCode),
}

impl OriginFailure {
    /// Whether a status counts as a failure: 500, 502, 503, 504 (RFC 5861 §4).
    pub fn of_status(status: StatusCode) -> Option<Self> {
        matches!(status.as_u16(), 500 | 502 | 503 | 504).then_some(Self::Status(status))
    }
}

/// Whether the stored response may be served because the origin failed, and why (RFC 5861 §4, RFC 9111 §4.2.4, §4.3.3).
///
/// The caller knows what was invalidated explicitly; such a response is not to be passed here.
pub fn serve_on_failure(
    request: &RequestView<'_>,
    stored: &StoredHead,
    failure: OriginFailure,
    now: SystemTime,
    policy: &HttpCachePolicy,
) -> Option<Serve> {
    if reason_to_forward(request, stored, policy).is_some() || stored.is_suspect() || request.control.no_cache
    {
        return None;
    }
    let stale = if stored.freshness().is_fresh(now) && !stored.control().no_cache {
        StaleReason::StillFresh
    } else {
        failure_permits_stale(request, stored, failure, now, policy)?
    };
    let freshness = stored.freshness();
    Some(Serve {
        age: freshness.age(now),
        ttl: freshness.ttl_seconds(now),
        stale: Some(stale),
    })
}

fn failure_permits_stale(
    request: &RequestView<'_>,
    stored: &StoredHead,
    failure: OriginFailure,
    now: SystemTime,
    policy: &HttpCachePolicy,
) -> Option<StaleReason> {
    if stored.control().forbids_stale() {
        return None;
    }
    let staleness = stored.freshness().staleness(now);
    let of_request = request
        .control
        .stale_if_error
        .map_or(Seconds::Absent, Seconds::Valid);
    if is_within(staleness, stored.control().stale_if_error) || is_within(staleness, of_request) {
        return Some(StaleReason::IfError);
    }
    let may_be_disconnected = policy.stale_when_unreachable && failure == OriginFailure::Unreachable;
    may_be_disconnected.then_some(StaleReason::Unreachable)
}

fn is_within(staleness: Duration, window: Seconds) -> bool {
    window.valid().is_some_and(|window| staleness < seconds(window))
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(u64::from(count))
}
