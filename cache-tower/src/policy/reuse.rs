//! Whether a stored response may answer a request now (RFC 9111 §4).

use std::time::{Duration, SystemTime};

use http::Method;

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

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use super::super::tests::*;
    use super::super::vary::select;
    use super::super::failure::{OriginFailure, serve_on_failure};
    use super::*;

    /// The decision in short: `hit`, `stale-…`, `validate-…`, `forward-…` or `504`.
    fn outcome(decision: Decision) -> String {
        match decision {
            Decision::Serve(Serve { stale: None, .. }) => "hit".into(),
            Decision::Serve(Serve { stale: Some(reason), .. }) => format!("serve {}", reason.as_str()),
            Decision::Revalidate(reason) => format!("validate {}", reason.as_str()),
            Decision::Forward(reason) => format!("forward {}", reason.as_str()),
            Decision::GatewayTimeout => "504".into(),
        }
    }

    fn decided(
        policy: &HttpCachePolicy,
        stored: &[&str],
        age: u64,
        method: &str,
        request: &[&str],
    ) -> String {
        let stored = stored_with(policy, &[], 200, stored);
        let (method, fields) = (Method::from_bytes(method.as_bytes()).unwrap(), headers(request));
        let request = RequestView::new(&method, &fields);
        outcome(decide(&request, select([&stored], &request), at(NOW + age), policy))
    }

    /// A GET under both profiles.
    #[track_caller]
    fn check(section: &str, stored: &[&str], age: u64, request: &[&str], expected: &str) {
        for policy in [HttpCachePolicy::safe(), HttpCachePolicy::rfc9111()] {
            let found = decided(&policy, stored, age, "GET", request);
            assert_eq!(found, expected, "RFC {section}: {stored:?} after {age} s, {request:?}");
        }
    }

    const MINUTE: &[&str] = &["cache-control: max-age=60", "etag: \"a\""];

    #[test]
    fn a_fresh_response_is_served_and_a_stale_one_validated() {
        check("9111 4.2", MINUTE, 0, &[], "hit");
        check("9111 4.2", MINUTE, 59, &[], "hit");
        check("9111 4.2 age equals lifetime", MINUTE, 60, &[], "validate stale");
        check("9111 4.2", MINUTE, 61, &[], "validate stale");
        check("9111 4.2.3 Age counts", &["cache-control: max-age=60", "age: 50"], 11, &[], "validate stale");
        check(
            "9111 4.2.3 Date counts",
            &["cache-control: max-age=60", "date: {-50}"],
            11,
            &[],
            "validate stale",
        );
        check(
            "9111 5.2.2.4",
            &["cache-control: max-age=60, no-cache", "etag: \"a\""],
            0,
            &[],
            "validate no-cache",
        );
        check("9111 5.2.2.4 qualified", &["cache-control: max-age=60, no-cache=\"x\""], 0, &[], "hit");
        check("9111 5.2.2.2 while fresh", &["cache-control: max-age=60, must-revalidate"], 9, &[], "hit");
        check("9111 5.2.2.10", &["cache-control: s-maxage=60, max-age=1"], 9, &[], "hit");
        check("9111 5.2.2.10", &["cache-control: s-maxage=1, max-age=60"], 9, &[], "validate stale");
    }

    #[test]
    fn request_directives_are_heeded() {
        check("9111 5.2.1.1", MINUTE, 10, &["cache-control: max-age=0"], "validate request-max-age");
        check("9111 5.2.1.1", MINUTE, 10, &["cache-control: max-age=9"], "validate request-max-age");
        check("9111 5.2.1.1 equal", MINUTE, 10, &["cache-control: max-age=10"], "hit");
        check("9111 5.2.1.1", MINUTE, 10, &["cache-control: max-age=600"], "hit");
        check("9111 5.2.1.1 does not extend", MINUTE, 90, &["cache-control: max-age=600"], "validate stale");
        check(
            "9111 5.2.1.1 malformed",
            MINUTE,
            10,
            &["cache-control: max-age=x"],
            "validate request-max-age",
        );
        check("9111 5.2.1.1 with max-stale", MINUTE, 10, &["cache-control: max-age=5, max-stale=9"], "hit");
        check("9111 5.2.1.1 with max-stale", MINUTE, 14, &["cache-control: max-age=5, max-stale=9"], "hit");
        check(
            "9111 5.2.1.1 with max-stale",
            MINUTE,
            20,
            &["cache-control: max-age=5, max-stale=9"],
            "validate request-max-age",
        );
        check("9111 5.2.1.2", MINUTE, 90, &["cache-control: max-stale"], "serve max-stale");
        check("9111 5.2.1.2", MINUTE, 90, &["cache-control: max-stale=30"], "serve max-stale");
        check("9111 5.2.1.2 exceeded", MINUTE, 91, &["cache-control: max-stale=30"], "validate stale");
        check("9111 5.2.1.2 while fresh", MINUTE, 9, &["cache-control: max-stale=30"], "hit");
        check("9111 5.2.1.3", MINUTE, 10, &["cache-control: min-fresh=50"], "hit");
        check("9111 5.2.1.3", MINUTE, 10, &["cache-control: min-fresh=51"], "validate request-min-fresh");
        check(
            "9111 5.2.1.3 malformed",
            MINUTE,
            10,
            &["cache-control: min-fresh"],
            "validate request-min-fresh",
        );
        check("9111 5.2.1.4", MINUTE, 10, &["cache-control: no-cache"], "validate request-no-cache");
        check("9111 5.4", MINUTE, 10, &["pragma: no-cache"], "validate request-no-cache");
        check("9111 5.4 with Cache-Control", MINUTE, 10, &["pragma: no-cache", "cache-control: x"], "hit");
        check("9111 5.2.1.5 reuse is allowed", MINUTE, 10, &["cache-control: no-store"], "hit");
        check("9111 5.2.1.7 fresh", MINUTE, 10, &["cache-control: only-if-cached"], "hit");
        check("9111 5.2.1.7 stale", MINUTE, 90, &["cache-control: only-if-cached"], "504");
        check(
            "9111 5.2.1.7 with max-stale",
            MINUTE,
            90,
            &["cache-control: only-if-cached, max-stale"],
            "serve max-stale",
        );
        check("9111 5.2.3 unknown", MINUTE, 10, &["cache-control: foo, bar=\"no-cache\""], "hit");
    }

    #[test]
    fn a_client_that_forces_too_much_is_answered_without_its_wishes() {
        let policy = HttpCachePolicy::safe();
        let stored = stored_with(&policy, &[], 200, MINUTE);
        for line in [
            "cache-control: no-cache",
            "cache-control: max-age=0",
            "cache-control: min-fresh=99",
            "pragma: no-cache",
        ] {
            let fields = headers(&[line]);
            let request = RequestView::new(&Method::GET, &fields);
            let found = decide(&request, select([&stored], &request), at(NOW + 9), &policy);
            assert!(matches!(found, Decision::Revalidate(reason) if reason.is_forced_by_request()), "{line}");
            let request = request.without_forced_validation();
            let found = decide(&request, select([&stored], &request), at(NOW + 9), &policy);
            assert_eq!(outcome(found), "hit", "{line}");
        }
    }

    #[test]
    fn an_empty_store_forwards() {
        let policy = HttpCachePolicy::safe();
        for (lines, expected) in
            [(&[][..], "forward nothing-stored"), (&["cache-control: only-if-cached"], "504")]
        {
            let fields = headers(lines);
            let request = RequestView::new(&Method::GET, &fields);
            assert_eq!(
                outcome(decide(&request, Selection::Nothing, at(NOW), &policy)),
                expected,
                "RFC 9111 5.2.1.7"
            );
        }
        let stored = ["cache-control: max-age=60", "vary: foo"];
        check("9111 4.1", &stored, 0, &["foo: 2"], "forward no-variant");
        check("9111 4.1", &stored, 0, &[], "hit");
        check("9111 4.1", &stored, 0, &["foo: 2", "cache-control: only-if-cached"], "504");
    }

    #[test]
    fn methods_are_answered_as_they_define() {
        let policy = HttpCachePolicy::safe();
        for (method, expected) in [
            ("GET", "hit"),
            ("HEAD", "hit"),
            ("POST", "forward method"),
            ("PUT", "forward method"),
            ("OPTIONS", "forward method"),
            ("QUERY", "forward method"),
            ("FOO", "forward method"),
        ] {
            assert_eq!(decided(&policy, MINUTE, 9, method, &[]), expected, "RFC 9110 9.3: {method}");
        }
        let lines = ["cache-control: max-age=60", "content-location: /a"];
        let stored = try_store(&policy, "POST", &[], 200, &lines).unwrap();
        let fields = headers(&[]);
        for (method, expected) in
            [(Method::GET, "hit"), (Method::HEAD, "hit"), (Method::POST, "forward method")]
        {
            let request = RequestView::new(&method, &fields);
            let found = decide(&request, select([&stored], &request), at(NOW), &policy);
            assert_eq!(outcome(found), expected, "RFC 9110 9.3.3: {method}");
        }
    }

    #[test]
    fn conditions_of_the_origin_go_to_the_origin() {
        check("9111 4.3.2", MINUTE, 9, &["if-match: \"a\""], "forward origin-condition");
        check("9111 4.3.2", MINUTE, 9, &["if-unmodified-since: x"], "forward origin-condition");
        check("9111 4.3.2", MINUTE, 9, &["if-none-match: \"a\""], "hit");
    }

    #[test]
    fn the_safe_profile_answers_credentials_only_by_permission() {
        for (line, permitted) in [
            ("cache-control: max-age=60", false),
            ("cache-control: max-age=60, public", true),
            ("cache-control: max-age=60, must-revalidate", true),
            ("cache-control: s-maxage=60", true),
        ] {
            for request in ["authorization: x", "cookie: a=b"] {
                let expected = if permitted { "hit" } else { "forward credentials" };
                assert_eq!(
                    decided(&HttpCachePolicy::safe(), &[line], 9, "GET", &[request]),
                    expected,
                    "{line}"
                );
                assert_eq!(
                    decided(&HttpCachePolicy::rfc9111(), &[line], 9, "GET", &[request]),
                    "hit",
                    "RFC 9111 3.5"
                );
            }
        }
    }

    #[test]
    fn stale_is_served_while_revalidating_unless_forbidden() {
        const WINDOW: &[&str] = &["cache-control: max-age=60, stale-while-revalidate=30"];
        check("5861 3 fresh", WINDOW, 59, &[], "hit");
        check("5861 3", WINDOW, 60, &[], "serve stale-while-revalidate");
        check("5861 3", WINDOW, 89, &[], "serve stale-while-revalidate");
        check("5861 3 after the window", WINDOW, 90, &[], "validate stale");
        check(
            "5861 3 zero",
            &["cache-control: max-age=60, stale-while-revalidate=0"],
            60,
            &[],
            "validate stale",
        );
        check(
            "5861 3 malformed",
            &["cache-control: max-age=60, stale-while-revalidate"],
            60,
            &[],
            "validate stale",
        );
        for forbids in ["must-revalidate", "proxy-revalidate", "s-maxage=60"] {
            let line = format!("cache-control: max-age=60, stale-while-revalidate=30, {forbids}");
            check("9111 4.2.4", &[&line], 70, &[], "validate stale");
            check("9111 4.2.4", &[&line], 70, &["cache-control: max-stale"], "validate stale");
        }
        let line = "cache-control: max-age=60, stale-while-revalidate=30, no-cache";
        check("9111 5.2.2.4", &[line, "etag: \"a\""], 70, &["cache-control: max-stale"], "validate no-cache");
        check("9111 5.2.1.1", WINDOW, 70, &["cache-control: max-age=65"], "validate request-max-age");
        check("9111 5.2.1.1", WINDOW, 70, &["cache-control: max-age=80"], "validate stale");
        check("9111 5.2.1.4", WINDOW, 70, &["cache-control: no-cache"], "validate request-no-cache");
    }

    #[test]
    fn only_while_revalidating_asks_for_a_background_validation() {
        let serve = |stale| Serve { age: Duration::ZERO, ttl: 0, stale };
        assert!(serve(Some(StaleReason::WhileRevalidating)).revalidates_in_background(), "RFC 5861 3");
        assert!(!serve(Some(StaleReason::MaxStale)).revalidates_in_background());
        assert!(!serve(None).revalidates_in_background());
    }

    #[test]
    fn a_suspect_response_is_validated_first_and_never_served_stale() {
        let policy = HttpCachePolicy::rfc9111();
        let mut stored =
            stored_with(&policy, &[], 200, &["cache-control: max-age=60, stale-if-error=60", "etag: \"a\""]);
        stored.mark_suspect();
        let fields = headers(&[]);
        let request = RequestView::new(&Method::GET, &fields);
        let found = decide(&request, select([&stored], &request), at(NOW), &policy);
        assert_eq!(outcome(found), "validate suspect", "RFC 9111 4.3.5");
        assert_eq!(serve_on_failure(&request, &stored, OriginFailure::Unreachable, at(NOW), &policy), None);
    }

    #[test]
    fn a_serve_tells_age_and_ttl() {
        let policy = HttpCachePolicy::safe();
        let stored = stored_with(
            &policy,
            &[],
            200,
            &["cache-control: max-age=60, stale-while-revalidate=30", "age: 5"],
        );
        let fields = headers(&[]);
        let request = RequestView::new(&Method::GET, &fields);
        for (after, age, ttl) in [(10, 15, 45), (65, 70, -10)] {
            match decide(&request, select([&stored], &request), at(NOW + after), &policy) {
                Decision::Serve(serve) => assert_eq!((serve.age.as_secs(), serve.ttl), (age, ttl)),
                other => panic!("{other:?}"),
            }
        }
    }
}
