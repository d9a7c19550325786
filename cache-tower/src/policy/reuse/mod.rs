//! Whether a stored response may answer a request now (RFC 9111 §4).

mod decision;
// Tables: one case a line.
#[cfg(test)]
#[rustfmt::skip]
mod tests;

use std::time::{Duration, SystemTime};

use http::Method;

use super::cache_control::{MaxStale, Seconds};
use super::profile::HttpCachePolicy;
use super::range;
use super::request::RequestView;
use super::stored_head::StoredHead;
use super::vary::Selection;

pub use self::decision::{Decision, ForwardReason, RevalidateReason, Serve, StaleReason};

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
            ttl: freshness.ttl_at(age),
            stale,
        })
    };
    if freshness.lifetime > age {
        return serve(None);
    }
    match permitted_staleness(request, stored, age.saturating_sub(freshness.lifetime)) {
        Some(reason) => serve(Some(reason)),
        None => Decision::Revalidate(RevalidateReason::Stale),
    }
}

pub(crate) fn reason_to_forward(
    request: &RequestView<'_>,
    stored: &StoredHead,
    policy: &HttpCachePolicy,
) -> Option<ForwardReason> {
    if !method_fits(request.method, stored.method()) {
        return Some(ForwardReason::Method);
    }
    if request.has_origin_condition() {
        return Some(ForwardReason::OriginCondition);
    }
    if !policy.serve_credentialed_requests
        && request.may_have_credentials()
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

pub(crate) fn is_within(staleness: Duration, window: Seconds) -> bool {
    window.valid().is_some_and(|window| staleness < seconds(window))
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(u64::from(count))
}
