//! Freshness lifetime and age (RFC 9111 §4.2).
//!
//! Everything that depends only on the response is computed once, when it is received; a lookup then costs one
//! subtraction and one comparison.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, StatusCode};

use super::cache_control::Seconds;
use super::fields::{self, Expires};
use super::profile::{AssignedLifetime, Heuristic, HttpCachePolicy};
use super::targeted::Governing;

/// How long a response is fresh, and how old it was when it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// The freshness lifetime (§4.2.1); zero when nothing gives it one.
    pub lifetime: Duration,
    /// Where the lifetime comes from.
    pub source: LifetimeSource,
    /// The corrected initial age (§4.2.3).
    pub initial_age: Duration,
    /// When the response was received.
    pub received: SystemTime,
}

impl Freshness {
    /// Computes both from a response received at `received` to a request sent at `requested`. `assigned` is the lifetime
    /// a route gives; it is an argument since it must survive storage even if the configuration changes.
    pub fn of(
        response: &Timed<'_>,
        governing: &Governing,
        assigned: Option<AssignedLifetime>,
        policy: &HttpCachePolicy,
    ) -> Self {
        let (lifetime, source) = lifetime(response, governing, assigned, policy.heuristic);
        let lifetime = policy.max_lifetime.map_or(lifetime, |most| lifetime.min(most));
        Self {
            lifetime,
            source,
            initial_age: initial_age(response),
            received: response.received,
        }
    }

    /// The current age (§4.2.3): the initial age and the time since. A clock that went back counts as standing still.
    pub fn age(&self, now: SystemTime) -> Duration {
        let resident_time = now.duration_since(self.received).unwrap_or_default();
        self.initial_age.saturating_add(resident_time)
    }

    /// Whether the response is fresh: "freshness_lifetime > current_age" (§4.2).
    pub fn is_fresh(&self, now: SystemTime) -> bool {
        self.lifetime > self.age(now)
    }

    /// How long it stays fresh; zero once it is stale.
    pub fn remaining(&self, now: SystemTime) -> Duration {
        self.lifetime.saturating_sub(self.age(now))
    }

    /// How long it has been stale; zero while it is fresh.
    pub fn staleness(&self, now: SystemTime) -> Duration {
        self.age(now).saturating_sub(self.lifetime)
    }

    /// The remaining freshness in whole seconds, negative when stale, as `Cache-Status` gives it (RFC 9211 §2.4).
    pub fn ttl_seconds(&self, now: SystemTime) -> i64 {
        self.ttl_at(self.age(now))
    }

    /// The same for a response of that age.
    pub(crate) fn ttl_at(&self, age: Duration) -> i64 {
        let whole = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        whole(self.lifetime).saturating_sub(whole(age))
    }
}

/// Where a freshness lifetime comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifetimeSource {
    /// A route's configuration or a handler.
    Assigned,
    /// `s-maxage`.
    SharedMaxAge,
    /// `max-age`.
    MaxAge,
    /// `Expires`.
    Expires,
    /// A fraction of the time since the last modification (§4.2.2).
    Heuristic,
    /// A freshness directive that cannot be read: stale (§4.2.1).
    Malformed,
    /// Nothing: not reusable without validation.
    Nothing,
}

impl LifetimeSource {
    /// Whether the origin, or the route, named the lifetime.
    pub fn is_explicit(self) -> bool {
        matches!(
            self,
            Self::Assigned | Self::SharedMaxAge | Self::MaxAge | Self::Expires
        )
    }
}

/// A response and the times of its exchange.
#[derive(Debug, Clone, Copy)]
pub struct Timed<'a> {
    /// The status.
    pub status: StatusCode,
    /// The header section as received.
    pub headers: &'a HeaderMap,
    /// When the request was sent.
    pub requested: SystemTime,
    /// When the response's head was received.
    pub received: SystemTime,
}

/// Whether the status is heuristically cacheable by definition (RFC 9110 §15.1).
pub fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// The freshness lifetime (§4.2.1): the first of `s-maxage`, `max-age`, `Expires` that is present decides, readable or
/// not; then the heuristic.
fn lifetime(
    response: &Timed<'_>,
    governing: &Governing,
    assigned: Option<AssignedLifetime>,
    heuristic: Option<Heuristic>,
) -> (Duration, LifetimeSource) {
    if let Some(AssignedLifetime::Always(lifetime)) = assigned {
        return (lifetime, LifetimeSource::Assigned);
    }
    let control = &governing.control;
    let directives = [
        (control.s_maxage, LifetimeSource::SharedMaxAge),
        (control.max_age, LifetimeSource::MaxAge),
    ];
    for (seconds, source) in directives {
        match seconds {
            Seconds::Valid(seconds) => return (Duration::from_secs(u64::from(seconds)), source),
            Seconds::Malformed => return (Duration::ZERO, LifetimeSource::Malformed),
            Seconds::Absent => {}
        }
    }
    if let Some(lifetime) = expires_lifetime(response).filter(|_| !governing.is_targeted) {
        return (lifetime, LifetimeSource::Expires);
    }
    if let Some(AssignedLifetime::WhenAbsent(lifetime)) = assigned {
        return (lifetime, LifetimeSource::Assigned);
    }
    let may_guess = is_heuristically_cacheable(response.status) || control.public;
    match heuristic
        .filter(|_| may_guess)
        .and_then(|heuristic| heuristic_lifetime(response, heuristic))
    {
        Some(lifetime) => (lifetime, LifetimeSource::Heuristic),
        None => (Duration::ZERO, LifetimeSource::Nothing),
    }
}

/// `Expires` minus `Date` (§4.2.1); without a readable `Date`, minus the time of receipt (RFC 9110 §6.6.1).
fn expires_lifetime(response: &Timed<'_>) -> Option<Duration> {
    match fields::expires(response.headers, response.received) {
        Expires::Absent => None,
        Expires::AlreadyExpired => Some(Duration::ZERO),
        Expires::At(expires) => Some(expires.duration_since(date_value(response)).unwrap_or_default()),
    }
}

fn heuristic_lifetime(response: &Timed<'_>, heuristic: Heuristic) -> Option<Duration> {
    let modified = fields::last_modified(response.headers, response.received)?;
    let unchanged_for = date_value(response).duration_since(modified).ok()?;
    let fraction = u128::from(unchanged_for.as_secs()) * u128::from(heuristic.percent) / 100;
    Some(Duration::from_secs(u64::try_from(fraction).unwrap_or(u64::MAX)).min(heuristic.cap))
}

/// The corrected initial age (§4.2.3).
fn initial_age(response: &Timed<'_>) -> Duration {
    let apparent_age = whole_seconds(response.received)
        .duration_since(date_value(response))
        .unwrap_or_default();
    let response_delay = response
        .received
        .duration_since(response.requested)
        .unwrap_or_default();
    let age_value = fields::age(response.headers).unwrap_or_default();
    apparent_age.max(age_value.saturating_add(response_delay))
}

fn date_value(response: &Timed<'_>) -> SystemTime {
    fields::date(response.headers, response.received).unwrap_or_else(|| whole_seconds(response.received))
}

/// `Date` counts whole seconds, so whatever is compared with it must too: otherwise each response would arrive up to a
/// second old.
pub(crate) fn whole_seconds(time: SystemTime) -> SystemTime {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since_epoch.as_secs())
}

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use super::super::tests::*;
    use super::*;

    fn freshness(policy: &HttpCachePolicy, status: u16, lines: &[&str]) -> Freshness {
        let headers = headers(lines);
        let response = Timed {
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
            requested: at(NOW),
            received: at(NOW),
        };
        let governing = Governing::of(&headers, &policy.targeted_fields);
        Freshness::of(&response, &governing, policy.lifetime, policy)
    }

    #[track_caller]
    fn check(section: &str, status: u16, lines: &[&str], lifetime: u64, source: LifetimeSource) {
        let found = freshness(&HttpCachePolicy::rfc9111(), status, lines);
        assert_eq!((found.lifetime.as_secs(), found.source), (lifetime, source), "{section}: {lines:?}");
    }

    #[test]
    fn the_lifetime_comes_from_the_most_specific_directive() {
        use LifetimeSource::*;
        let cases: &[(&str, &[&str], u64, LifetimeSource)] = &[
            ("4.2.1", &["cache-control: max-age=60"], 60, MaxAge),
            ("4.2.1 s-maxage first", &["cache-control: max-age=60, s-maxage=10"], 10, SharedMaxAge),
            ("4.2.1 s-maxage longer", &["cache-control: s-maxage=100, max-age=1"], 100, SharedMaxAge),
            ("4.2.1 s-maxage malformed", &["cache-control: s-maxage=x, max-age=60"], 0, Malformed),
            ("4.2.1 max-age over Expires", &["cache-control: max-age=60", "expires: {10}"], 60, MaxAge),
            ("4.2.1 max-age over past Expires", &["cache-control: max-age=60", "expires: {-9}"], 60, MaxAge),
            ("4.2.1 max-age over bad Expires", &["cache-control: max-age=60", "expires: 0"], 60, MaxAge),
            ("4.2.1 zero max-age over Expires", &["cache-control: max-age=0", "expires: {60}"], 0, MaxAge),
            ("4.2.1 malformed over Expires", &["cache-control: max-age=x", "expires: {60}"], 0, Malformed),
            ("4.2.1 negative over Expires", &["cache-control: max-age=-1", "expires: {60}"], 0, Malformed),
            ("5.3", &["expires: {60}", "date: {0}"], 60, Expires),
            ("5.3 relative to Date", &["expires: {60}", "date: {-40}"], 100, Expires),
            ("5.3 Date ahead", &["expires: {60}", "date: {40}"], 20, Expires),
            ("5.3 without Date", &["expires: {60}"], 60, Expires),
            ("5.3 bad Date", &["expires: {60}", "date: yesterday"], 60, Expires),
            ("5.3 equal to Date", &["expires: {0}", "date: {0}"], 0, Expires),
            ("5.3 before Date", &["expires: {-60}", "date: {0}"], 0, Expires),
            ("5.3 zero", &["expires: 0", "date: {0}"], 0, Expires),
            ("5.3 unreadable beats the heuristic", &["expires: 0", "last-modified: {-9000}"], 0, Expires),
            ("5.3 two lines", &["expires: {60}", "expires: {60}"], 0, Expires),
            ("5.3 with other directives", &["cache-control: public", "expires: {60}"], 60, Expires),
            ("4.2.2", &["last-modified: {-1000}", "date: {0}"], 100, Heuristic),
            ("4.2.2 from Date", &["last-modified: {-1000}", "date: {-500}"], 50, Heuristic),
            ("4.2.2 without Date", &["last-modified: {-1000}"], 100, Heuristic),
            ("4.2.2 capped", &["last-modified: {-99999999}"], 86_400, Heuristic),
            ("4.2.2 modified in the future", &["last-modified: {1000}"], 0, Nothing),
            ("4.2.2 modified unreadable", &["last-modified: x"], 0, Nothing),
            ("4.2.2 explicit wins", &["last-modified: {-1000}", "cache-control: max-age=1"], 1, MaxAge),
            ("4.2.1 nothing", &[], 0, Nothing),
            ("9213 2.2", &["cdn-cache-control: max-age=9", "cache-control: max-age=1"], 9, MaxAge),
            ("9213 2.2 Expires ignored", &["cdn-cache-control: public", "expires: {60}"], 0, Nothing),
            ("9213 2.2 max-age ignored", &["cdn-cache-control: foo", "cache-control: max-age=6"], 0, Nothing),
        ];
        for (section, lines, lifetime, source) in cases {
            check(section, 200, lines, *lifetime, *source);
        }
    }

    #[test]
    fn only_some_statuses_may_be_guessed() {
        use LifetimeSource::{Heuristic, Nothing};
        let modified = ["last-modified: {-1000}"];
        for status in [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501] {
            check("9110 15.1", status, &modified, 100, Heuristic);
        }
        for status in [201, 202, 205, 299, 302, 303, 307, 400, 401, 403, 413, 429, 500, 502, 503, 504, 599] {
            check("9110 15.1", status, &modified, 0, Nothing);
            check(
                "4.2.2 public",
                status,
                &["last-modified: {-1000}", "cache-control: public"],
                100,
                Heuristic,
            );
        }
    }

    #[test]
    fn the_safe_profile_guesses_nothing() {
        let policy = HttpCachePolicy::safe();
        assert_eq!(freshness(&policy, 200, &["last-modified: {-1000}"]).source, LifetimeSource::Nothing);
        let targeted = freshness(&policy, 200, &["cdn-cache-control: max-age=9", "cache-control: max-age=1"]);
        assert_eq!(targeted.lifetime.as_secs(), 1);
    }

    #[test]
    fn a_route_may_assign_a_lifetime_and_bound_it() {
        let mut policy = HttpCachePolicy::safe();
        policy.lifetime = Some(AssignedLifetime::WhenAbsent(Duration::from_secs(30)));
        assert_eq!(freshness(&policy, 200, &[]).lifetime.as_secs(), 30);
        assert_eq!(freshness(&policy, 200, &["cache-control: max-age=5"]).lifetime.as_secs(), 5);
        assert_eq!(freshness(&policy, 200, &["cache-control: max-age=x"]).lifetime.as_secs(), 0);
        policy.lifetime = Some(AssignedLifetime::Always(Duration::from_secs(30)));
        assert_eq!(freshness(&policy, 200, &["cache-control: max-age=5"]).lifetime.as_secs(), 30);
        policy.max_lifetime = Some(Duration::from_secs(10));
        assert_eq!(freshness(&policy, 200, &[]).lifetime.as_secs(), 10);
    }

    /// Initial age of a response with these lines, `delay` seconds after the request.
    #[track_caller]
    fn check_age(section: &str, lines: &[&str], delay: u64, expected: u64) {
        let headers = headers(lines);
        let response = Timed {
            status: StatusCode::OK,
            headers: &headers,
            requested: at(NOW - delay),
            received: at(NOW),
        };
        assert_eq!(initial_age(&response).as_secs(), expected, "RFC 9111 {section}: {lines:?}");
    }

    #[test]
    fn the_initial_age_is_the_larger_of_two_estimates() {
        let cases: &[(&str, &[&str], u64, u64)] = &[
            ("4.2.3 nothing known", &[], 0, 0),
            ("4.2.3 delay alone", &[], 3, 3),
            ("4.2.3 Age", &["age: 10"], 0, 10),
            ("4.2.3 Age and delay", &["age: 10"], 3, 13),
            ("4.2.3 apparent", &["date: {-20}"], 0, 20),
            ("4.2.3 apparent is larger", &["date: {-20}", "age: 10"], 3, 20),
            ("4.2.3 Age is larger", &["date: {-2}", "age: 10"], 3, 13),
            ("4.2.3 Date ahead", &["date: {60}"], 0, 0),
            ("4.2.3 bad Date is now", &["date: foo"], 0, 0),
            ("5.1 bad Age", &["age: -5"], 0, 0),
            ("5.1 saturates", &["age: 99999999999"], 0, 2_147_483_648),
        ];
        for (section, lines, delay, expected) in cases {
            check_age(section, lines, *delay, *expected);
        }
    }

    #[test]
    fn age_grows_with_residence_and_survives_a_clock_that_goes_back() {
        let found = freshness(&HttpCachePolicy::rfc9111(), 200, &["cache-control: max-age=60", "age: 10"]);
        let after = |seconds| at(NOW + seconds);
        assert_eq!(found.age(after(5)).as_secs(), 15, "RFC 9111 4.2.3");
        assert_eq!(found.age(at(NOW - 100)).as_secs(), 10);
        assert!(found.is_fresh(after(49)) && !found.is_fresh(after(50)), "RFC 9111 4.2");
        assert_eq!((found.remaining(after(20)).as_secs(), found.staleness(after(20)).as_secs()), (30, 0));
        assert_eq!((found.remaining(after(70)).as_secs(), found.staleness(after(70)).as_secs()), (0, 20));
        assert_eq!((found.ttl_seconds(after(20)), found.ttl_seconds(after(70))), (30, -20));
    }

    #[test]
    fn a_fraction_of_a_second_is_not_an_apparent_age() {
        let headers = headers(&["date: {0}"]);
        let received = at(NOW) + Duration::from_millis(999);
        let response = Timed { status: StatusCode::OK, headers: &headers, requested: received, received };
        assert_eq!(initial_age(&response), Duration::ZERO, "RFC 9111 4.2.3");
    }
}
