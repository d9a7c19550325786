//! The choices a cache may make where RFC 9111 leaves room, as plain data with two profiles.

use std::time::Duration;

use http::{HeaderName, StatusCode, header, uri::Scheme};

use super::untrusted::FieldSet;

/// What the cache is allowed to do. Every field is a choice that RFC 9111 leaves to the cache; what it demands is not
/// configurable.
///
/// [`safe`](Self::safe), the default, is for applications: a response reaches a second user only when nothing suggests
/// that it belongs to the first. [`rfc9111`](Self::rfc9111) is for proxies and CDNs: it stores and reuses all that the
/// RFC allows a shared cache to. They differ in exactly these points:
///
/// | | `safe()` | `rfc9111()` |
/// |---|---|---|
/// | statuses ([`statuses`](Self::statuses)) | 2xx, 3xx, 404, 410 | any final status |
/// | `Cookie` in a request ([`cookie_is_credential`](Self::cookie_is_credential)) | like `Authorization`, both ways | ignored |
/// | `Set-Cookie` ([`store_set_cookie`](Self::store_set_cookie)) | never stored, not taken from a 304 | stored verbatim |
/// | heuristic freshness ([`heuristic`](Self::heuristic)) | off | 10 % of the time since `Last-Modified`, at most a day |
/// | targeted fields ([`targeted_fields`](Self::targeted_fields)) | none | `CDN-Cache-Control` |
/// | requests that ask for validation ([`limit_forced_validation`](Self::limit_forced_validation)) | rate-limited | always honoured |
/// | unreachable origin ([`stale_when_unreachable`](Self::stale_when_unreachable)) | stale only with `stale-if-error` | stale unless forbidden |
///
/// ```
/// use cache_tower::policy::HttpCachePolicy;
/// use http::StatusCode;
///
/// let mut policy = HttpCachePolicy::safe();
/// policy.extra_statuses.push(StatusCode::FORBIDDEN);
/// assert!(policy.allows_status(StatusCode::FORBIDDEN));
/// assert!(!policy.allows_status(StatusCode::BAD_REQUEST));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct HttpCachePolicy {
    /// Which statuses may be stored when the response says that it is fresh.
    pub statuses: Statuses,
    /// Statuses allowed beyond [`statuses`](Self::statuses). Default: none.
    pub extra_statuses: Vec<StatusCode>,
    /// Whether `Cookie` counts as a credential like `Authorization` (RFC 9111 §3.5): the exchange is stored, and the
    /// request answered from the store, only with `public`, `must-revalidate` or `s-maxage`.
    pub cookie_is_credential: bool,
    /// Whether a request with credentials may be answered with any stored response. RFC 9111 §3.5 restricts only what
    /// such a request leaves behind, so `rfc9111()` says yes and `safe()` asks for the same permission as for storing.
    pub serve_credentialed_requests: bool,
    /// Whether a response with `Set-Cookie` may be stored, and whether a 304 may bring one into a stored response.
    pub store_set_cookie: bool,
    /// Heuristic freshness (RFC 9111 §4.2.2); `None` turns it off.
    pub heuristic: Option<Heuristic>,
    /// Response fields that take the place of `Cache-Control` and `Expires`, the first that is valid wins (RFC 9213).
    pub targeted_fields: Vec<HeaderName>,
    /// Whether the layer limits how often a request may force a validation with its own `no-cache`, `max-age` or
    /// `min-fresh`. The decision says so in [`RevalidateReason::is_forced_by_request`](super::RevalidateReason); counting
    /// is the layer's part.
    pub limit_forced_validation: bool,
    /// Whether a stale response is served when the origin cannot be reached (RFC 9111 §4.2.4, "disconnected"), unless
    /// the response forbids it. `stale-if-error` works in either case.
    pub stale_when_unreachable: bool,
    /// A lifetime that a route gives its responses. Default: none, there is no TTL that nobody asked for.
    pub lifetime: Option<AssignedLifetime>,
    /// The longest freshness lifetime this cache believes. Default: none.
    pub max_lifetime: Option<Duration>,
    /// Request fields that select variants even when `Vary` does not name them. Default: none.
    pub vary_always: Vec<HeaderName>,
    /// How many variants of one URI are kept; the one that was used longest ago makes room. Default: 16; more is nearly always an origin that varies on `User-Agent`.
    pub variants_limit: usize,
    /// Whether 206 responses are stored and combined (RFC 9111 §3.3, §3.4). Default: yes.
    pub store_parts: bool,
    /// Whether QUERY is cached. Its content is then part of the key, for which somebody has to read it: see
    /// [`QueryContent`](crate::QueryContent). Default: no.
    pub cache_query_method: bool,
    /// Whether `No-Vary-Search` takes part in matching. Default: no, it is a draft.
    pub no_vary_search: bool,
    /// Request fields that bypass the cache. Default: the fields that frameworks are known to build answers from, such
    /// as `X-Forwarded-Host`, without them being part of the key. Remove those which your own front end sets.
    pub untrusted_fields: FieldSet,
    /// The scheme of a request whose URI has none. Default: `http`.
    pub default_scheme: Scheme,
    /// The longest target URI that is cached, in bytes. Default: 8,000, the length RFC 9110 §4.1 recommends to support.
    pub uri_limit: usize,
}

impl HttpCachePolicy {
    /// The profile for applications; also the [`Default`].
    pub fn safe() -> Self {
        Self {
            statuses: Statuses::WithoutUserData,
            extra_statuses: Vec::new(),
            cookie_is_credential: true,
            serve_credentialed_requests: false,
            store_set_cookie: false,
            heuristic: None,
            targeted_fields: Vec::new(),
            limit_forced_validation: true,
            stale_when_unreachable: false,
            lifetime: None,
            max_lifetime: None,
            vary_always: Vec::new(),
            variants_limit: 16,
            store_parts: true,
            cache_query_method: false,
            no_vary_search: false,
            untrusted_fields: FieldSet::known_untrusted(),
            default_scheme: Scheme::HTTP,
            uri_limit: 8_000,
        }
    }

    /// The profile for proxies and CDNs.
    pub fn rfc9111() -> Self {
        Self {
            statuses: Statuses::AnyFinal,
            cookie_is_credential: false,
            serve_credentialed_requests: true,
            store_set_cookie: true,
            heuristic: Some(Heuristic::default()),
            targeted_fields: vec![HeaderName::from_static("cdn-cache-control")],
            limit_forced_validation: false,
            stale_when_unreachable: true,
            ..Self::safe()
        }
    }

    /// Whether a response with this status may be stored at all.
    pub fn allows_status(&self, status: StatusCode) -> bool {
        let by_rule = match self.statuses {
            Statuses::AnyFinal => !status.is_informational(),
            Statuses::WithoutUserData => {
                status.is_success()
                    || status.is_redirection()
                    || status == StatusCode::NOT_FOUND
                    || status == StatusCode::GONE
            }
        };
        by_rule || self.extra_statuses.contains(&status)
    }

    /// Whether a request carries something that makes its answer personal.
    pub fn has_credentials(&self, headers: &http::HeaderMap) -> bool {
        headers.contains_key(header::AUTHORIZATION)
            || (self.cookie_is_credential && headers.contains_key(header::COOKIE))
    }
}

impl Default for HttpCachePolicy {
    fn default() -> Self {
        Self::safe()
    }
}

/// Which statuses may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statuses {
    /// Every final status, unknown ones included (RFC 9111 §3).
    AnyFinal,
    /// 2xx, 3xx, 404 and 410. Other error pages tend to speak about the user who got them.
    WithoutUserData,
}

/// Heuristic freshness (RFC 9111 §4.2.2): a fraction of the time since the last modification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heuristic {
    /// Per cent of `Date` minus `Last-Modified`. Default: 10, "a typical setting" in the RFC's words.
    pub percent: u32,
    /// The longest lifetime it may give. Default: one day, since the origin promised nothing.
    pub cap: Duration,
}

impl Default for Heuristic {
    fn default() -> Self {
        Self {
            percent: 10,
            cap: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// A freshness lifetime given by configuration or by a handler. It never overrides `no-store`, `private` or `no-cache`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum AssignedLifetime {
    /// For responses that say nothing about their freshness.
    WhenAbsent(Duration),
    /// In place of whatever the response says.
    Always(Duration),
}

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profiles_differ_only_where_the_table_says() {
        let (safe, mut wide) = (HttpCachePolicy::safe(), HttpCachePolicy::rfc9111());
        assert_eq!(HttpCachePolicy::default(), safe);
        assert!(safe.limit_forced_validation && !wide.limit_forced_validation);
        wide.statuses = safe.statuses;
        wide.cookie_is_credential = safe.cookie_is_credential;
        wide.serve_credentialed_requests = safe.serve_credentialed_requests;
        wide.store_set_cookie = safe.store_set_cookie;
        wide.heuristic = safe.heuristic;
        wide.targeted_fields.clone_from(&safe.targeted_fields);
        wide.limit_forced_validation = safe.limit_forced_validation;
        wide.stale_when_unreachable = safe.stale_when_unreachable;
        assert_eq!(wide, safe);
    }

    #[test]
    fn nothing_that_needs_asking_for_is_on() {
        let safe = HttpCachePolicy::safe();
        assert!(!safe.no_vary_search && !safe.cache_query_method && safe.store_parts);
        assert!(safe.extra_statuses.is_empty() && safe.vary_always.is_empty());
        assert!(safe.lifetime.is_none() && safe.max_lifetime.is_none());
    }

    #[test]
    fn statuses_follow_the_profile() {
        for (code, safe, wide) in [
            (101, false, false),
            (200, true, true),
            (299, true, true),
            (301, true, true),
            (400, false, true),
            (401, false, true),
            (403, false, true),
            (404, true, true),
            (410, true, true),
            (499, false, true),
            (500, false, true),
            (503, false, true),
            (599, false, true),
            (999, false, true),
        ] {
            let status = StatusCode::from_u16(code).unwrap();
            assert_eq!(HttpCachePolicy::safe().allows_status(status), safe, "{code}");
            assert_eq!(HttpCachePolicy::rfc9111().allows_status(status), wide, "{code}");
        }
    }
}
