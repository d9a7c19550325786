//! Answering from the store because the origin failed (RFC 5861 §4, RFC 9111 §4.2.4, §4.3.3).

use std::time::SystemTime;

use http::StatusCode;

use super::cache_control::Seconds;
use super::profile::HttpCachePolicy;
use super::request::RequestView;
use super::reuse::{Serve, StaleReason, is_within, reason_to_forward};
use super::stored_head::StoredHead;

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

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use http::Method;

    use super::super::tests::*;
    use super::*;

    #[track_caller]
    fn check_failure(
        section: &str,
        policy: &HttpCachePolicy,
        stored: &str,
        age: u64,
        request: &[&str],
        failure: OriginFailure,
        expected: Option<&str>,
    ) {
        let stored = stored_with(policy, &[], 200, &[stored, "etag: \"a\""]);
        let fields = headers(request);
        let request = RequestView::new(&Method::GET, &fields);
        let found = serve_on_failure(&request, &stored, failure, at(NOW + age), policy);
        let reason = found.and_then(|serve| serve.stale).map(StaleReason::as_str);
        assert_eq!(reason, expected, "RFC {section}: after {age} s, {fields:?}");
    }

    #[test]
    fn a_failing_origin_is_covered_by_stale_if_error() {
        const STALE: &str = "cache-control: max-age=60, stale-if-error=30";
        for policy in [HttpCachePolicy::safe(), HttpCachePolicy::rfc9111()] {
            for status in [500, 502, 503, 504] {
                let failure = OriginFailure::of_status(StatusCode::from_u16(status).unwrap()).unwrap();
                check_failure("5861 4", &policy, STALE, 89, &[], failure, Some("stale-if-error"));
                check_failure("5861 4 after the window", &policy, STALE, 90, &[], failure, None);
                check_failure("5861 4 absent", &policy, "cache-control: max-age=60", 61, &[], failure, None);
                let of_request = ["cache-control: stale-if-error=30"];
                check_failure(
                    "5861 4 request",
                    &policy,
                    "cache-control: max-age=60",
                    89,
                    &of_request,
                    failure,
                    Some("stale-if-error"),
                );
                check_failure(
                    "5861 4 request",
                    &policy,
                    "cache-control: max-age=60",
                    90,
                    &of_request,
                    failure,
                    None,
                );
                check_failure(
                    "9111 4.3.3",
                    &policy,
                    "cache-control: max-age=60",
                    9,
                    &["cache-control: max-age=0"],
                    failure,
                    Some("origin-failed"),
                );
                check_failure(
                    "9111 5.2.1.4",
                    &policy,
                    STALE,
                    70,
                    &["cache-control: no-cache"],
                    failure,
                    None,
                );
                for forbids in ["must-revalidate", "proxy-revalidate", "s-maxage=60", "no-cache"] {
                    let line = format!("{STALE}, {forbids}");
                    check_failure("9111 4.2.4", &policy, &line, 70, &of_request, failure, None);
                }
            }
            check_failure(
                "5861 4 no response",
                &policy,
                STALE,
                70,
                &[],
                OriginFailure::Unreachable,
                Some("stale-if-error"),
            );
        }
        for status in [200, 400, 404, 429, 501, 505, 599] {
            assert_eq!(
                OriginFailure::of_status(StatusCode::from_u16(status).unwrap()),
                None,
                "RFC 5861 4: {status}"
            );
        }
    }

    #[test]
    fn an_unreachable_origin_is_covered_unless_forbidden() {
        let (safe, wide) = (HttpCachePolicy::safe(), HttpCachePolicy::rfc9111());
        const PLAIN: &str = "cache-control: max-age=60";
        const GONE: OriginFailure = OriginFailure::Unreachable;
        check_failure("9111 4.2.4 disconnected", &wide, PLAIN, 9_000, &[], GONE, Some("origin-unreachable"));
        check_failure("profile", &safe, PLAIN, 9_000, &[], GONE, None);
        for forbids in ["must-revalidate", "proxy-revalidate", "s-maxage=2", "no-cache"] {
            check_failure("9111 4.2.4", &wide, &format!("{PLAIN}, {forbids}"), 9_000, &[], GONE, None);
        }
        let failed = OriginFailure::Status(StatusCode::SERVICE_UNAVAILABLE);
        check_failure("9111 4.2.4 a 503 is an answer", &wide, PLAIN, 9_000, &[], failed, None);
    }
}
