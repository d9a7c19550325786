//! Cases of RFC 9111 §4 and §5.2.1: what is stored, how old it is, what is asked, and what is decided.

use crate::policy::tests::*;
use crate::policy::vary::select;
use crate::policy::failure::{OriginFailure, serve_on_failure};
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
