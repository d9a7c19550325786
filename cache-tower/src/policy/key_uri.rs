//! The target URI as a key (RFC 9111 §2, RFC 9110 §7.1), and requests that have no trustworthy one.
//!
//! The canonical form is `scheme://authority/path?query`: scheme and host in lower case, the scheme's default port
//! removed, path and query byte for byte as received. Nothing else is normalised: two spellings that some component
//! may tell apart must never share an entry.

use std::borrow::Cow;

use http::{HeaderMap, Method, Uri, uri::Scheme};

use super::profile::HttpCachePolicy;
use super::request::{Host, RequestView};
use super::untrusted::is_method_override;

/// Why a request passes by the cache: neither answered from it nor stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bypass {
    /// No `Host` and no authority in the URI.
    HostMissing,
    /// More than one `Host` line.
    HostRepeated,
    /// A `Host` or authority that is not a host and port: userinfo, white space, a path, non-ASCII characters.
    HostInvalid,
    /// `Host` and the authority of the URI disagree.
    HostMismatch,
    /// A scheme other than `http` and `https`.
    Scheme,
    /// The target has no path (`*`), or is longer than the limit.
    Target,
    /// A field that is known to influence answers without being part of the key.
    UntrustedField,
    /// A field or parameter that asks the handler to act as for another method.
    MethodOverride,
    /// A GET or HEAD with content: the content may influence the answer and is not part of the key (RFC 9110 §9.3.1).
    Content,
    /// The connection is to become something else (RFC 9110 §7.8).
    Upgrade,
}

impl Bypass {
    /// The reason as a token for `Cache-Status` and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HostMissing => "host-missing",
            Self::HostRepeated => "host-repeated",
            Self::HostInvalid => "host-invalid",
            Self::HostMismatch => "host-mismatch",
            Self::Scheme => "scheme",
            Self::Target => "target",
            Self::UntrustedField => "untrusted-field",
            Self::MethodOverride => "method-override",
            Self::Content => "content",
            Self::Upgrade => "upgrade",
        }
    }
}

/// Whether a request must pass by the cache because of its method's content, its fields, or its query. `has_content` is
/// what the caller knows of the body (a body that is at its end has none); announced content is found here.
pub fn bypass_reason(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    has_content: bool,
    policy: &HttpCachePolicy,
) -> Option<Bypass> {
    let request = RequestView::looking_for(&policy.untrusted_fields, method, headers);
    reason_to_bypass(&request, uri, has_content)
}

/// The same of a request that was read with the policy's [`untrusted_fields`](HttpCachePolicy::untrusted_fields).
pub(crate) fn reason_to_bypass(request: &RequestView<'_>, uri: &Uri, has_content: bool) -> Option<Bypass> {
    let (method, present) = (request.method, &request.present);
    if (has_content || present.content) && (method == Method::GET || method == Method::HEAD) {
        return Some(Bypass::Content);
    }
    if present.upgrade {
        return Some(Bypass::Upgrade);
    }
    if uri.query().is_some_and(has_method_parameter) {
        return Some(Bypass::MethodOverride);
    }
    let untrusted = present.untrusted?;
    Some(if is_method_override(untrusted) {
        Bypass::MethodOverride
    } else {
        Bypass::UntrustedField
    })
}

/// The canonical target URI, in pieces: borrowed from the request where it spells them canonically, as nearly all do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CanonicalUri<'r> {
    pub(crate) scheme: &'static str,
    pub(crate) authority: Cow<'r, str>,
    pub(crate) path: &'r str,
    pub(crate) query: Option<Cow<'r, str>>,
}

impl<'r> CanonicalUri<'r> {
    /// The target of a request.
    #[inline]
    pub(crate) fn of(
        uri: &'r Uri,
        request: &RequestView<'r>,
        policy: &HttpCachePolicy,
    ) -> Result<Self, Bypass> {
        let scheme = match uri.scheme().unwrap_or(&policy.default_scheme) {
            scheme if *scheme == Scheme::HTTP => "http",
            scheme if *scheme == Scheme::HTTPS => "https",
            _ => return Err(Bypass::Scheme),
        };
        Ok(Self {
            scheme,
            authority: authority(uri, request.present.host, scheme)?,
            path: match uri.path() {
                path if path.starts_with('/') => path,
                "" => "/",
                _ => return Err(Bypass::Target),
            },
            query: uri.query().map(Cow::Borrowed),
        })
    }

    /// The same, unless it is too long.
    #[inline]
    pub(crate) fn within_limit(self, policy: &HttpCachePolicy) -> Result<Self, Bypass> {
        if self.length() > policy.uri_limit {
            return Err(Bypass::Target);
        }
        Ok(self)
    }

    /// The pieces of a text that [`write_to`](Self::write_to) wrote.
    pub(crate) fn parse(text: &'r str) -> Self {
        let (scheme, rest) = match text.split_once("://") {
            Some(("https", rest)) => ("https", rest),
            Some((_, rest)) => ("http", rest),
            None => ("http", text),
        };
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(Cow::Borrowed(query))),
            None => (rest, None),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Self {
            scheme,
            authority: Cow::Borrowed(authority),
            path,
            query,
        }
    }

    /// Writes it as one text to the end of `out`.
    pub(crate) fn write_to(&self, out: &mut String) {
        out.reserve(self.length());
        out.push_str(self.scheme);
        out.push_str("://");
        out.push_str(&self.authority);
        out.push_str(self.path);
        if let Some(query) = &self.query {
            out.push('?');
            out.push_str(query);
        }
    }

    fn length(&self) -> usize {
        let query = self.query.as_ref().map_or(0, |query| 1 + query.len());
        self.scheme.len() + 3 + self.authority.len() + self.path.len() + query
    }
}

/// Writes the canonical target URI to the end of `out`, which makes a reusable buffer possible.
///
/// # Errors
/// The reason why the request has no trustworthy target; `out` is then as before.
pub fn write_target_uri(
    out: &mut String,
    uri: &Uri,
    headers: &HeaderMap,
    policy: &HttpCachePolicy,
) -> Result<(), Bypass> {
    // The method has no part in it.
    let target = CanonicalUri::of(uri, &RequestView::new(&Method::GET, headers), policy)?;
    target.within_limit(policy)?.write_to(out);
    Ok(())
}

/// The canonical target URI.
///
/// ```
/// use cache_tower::policy::{HttpCachePolicy, key_uri::target_uri};
///
/// let request = http::Request::get("/a?b=%41").header("host", "Example.COM:80").body(()).unwrap();
/// let uri = target_uri(request.uri(), request.headers(), &HttpCachePolicy::safe());
/// assert_eq!(uri.unwrap(), "http://example.com/a?b=%41");
/// ```
///
/// # Errors
/// The reason why the request has no trustworthy target.
pub fn target_uri(uri: &Uri, headers: &HeaderMap, policy: &HttpCachePolicy) -> Result<String, Bypass> {
    let mut out = String::new();
    write_target_uri(&mut out, uri, headers, policy)?;
    Ok(out)
}

/// Writes a host and port in lower case, without the default port; `None` when it is not one.
pub(crate) fn write_authority(out: &mut String, scheme: &str, authority: &[u8]) -> Option<()> {
    out.push_str(&in_lower_case(canonical_bytes(scheme, authority)?)?);
    Some(())
}

/// The authority that URI and `Host` agree on (RFC 9110 §7.2, RFC 9112 §3.2, RFC 9113 §8.3.1).
#[inline]
fn authority<'r>(uri: &'r Uri, host: Host<'r>, scheme: &str) -> Result<Cow<'r, str>, Bypass> {
    let canonical = |authority| canonical_bytes(scheme, authority).ok_or(Bypass::HostInvalid);
    let of_uri = uri.authority().map(|authority| authority.as_str().as_bytes());
    let agreed = match (of_uri, host) {
        (_, Host::Repeated) => return Err(Bypass::HostRepeated),
        (None, Host::Absent | Host::One(b"")) => return Err(Bypass::HostMissing),
        (Some(only), Host::Absent) | (None, Host::One(only)) => canonical(only)?,
        (Some(of_uri), Host::One(host)) => {
            let of_uri = canonical(of_uri)?;
            if !of_uri.eq_ignore_ascii_case(canonical(host)?) {
                return Err(Bypass::HostMismatch);
            }
            of_uri
        }
    };
    in_lower_case(agreed).ok_or(Bypass::HostInvalid)
}

fn in_lower_case(authority: &[u8]) -> Option<Cow<'_, str>> {
    let text = str::from_utf8(authority).ok()?;
    let has_upper_case = authority.iter().any(u8::is_ascii_uppercase);
    Some(if has_upper_case {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    })
}

/// The authority without its default port, case as it is; `None` when it has anything but a host and a port.
fn canonical_bytes<'a>(scheme: &str, authority: &'a [u8]) -> Option<&'a [u8]> {
    let default_port: &[u8] = match scheme {
        "http" => b":80",
        "https" => b":443",
        _ => return None,
    };
    let authority = authority.strip_suffix(default_port).unwrap_or(authority);
    let (host, port) = split_port(authority);
    let is_host = match host {
        [b'[', address @ .., b']'] => address
            .iter()
            .all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')),
        name => name.iter().all(|&byte| is_name_byte(byte)),
    };
    (is_host && !host.is_empty() && port.iter().all(u8::is_ascii_digit)).then_some(authority)
}

/// Splits at the last colon that is not part of an IPv6 address.
fn split_port(authority: &[u8]) -> (&[u8], &[u8]) {
    let colon = authority.iter().rposition(|&byte| byte == b':');
    match colon.filter(|&colon| !authority[colon..].contains(&b']')) {
        Some(colon) => (&authority[..colon], &authority[colon + 1..]),
        None => (authority, &[]),
    }
}

/// reg-name without the sub-delims that some parsers read as separators (RFC 3986 §3.2.2).
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%')
}

fn has_method_parameter(query: &str) -> bool {
    query.contains("_method")
        && query
            .split(['&', ';'])
            .any(|parameter| parameter.starts_with("_method="))
}

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, header};
    use proptest::prelude::*;

    use super::*;
    use crate::policy::untrusted::{KNOWN_UNTRUSTED, METHOD_OVERRIDES};

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[track_caller]
    fn check(section: &str, uri: &str, hosts: &[&str], expected: Result<&str, Bypass>) {
        let lines: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        let found = target_uri(&uri.parse().unwrap(), &headers(&lines), &HttpCachePolicy::safe());
        assert_eq!(found.as_deref(), expected.as_ref().map(|text| *text), "{section}: {uri} {hosts:?}");
    }

    #[test]
    fn scheme_and_authority_are_canonical() {
        for (section, uri, hosts, expected) in [
            ("9110 7.1", "/a", &["example.com"][..], Ok("http://example.com/a")),
            ("9110 4.2.3 case", "/a", &["Example.COM"], Ok("http://example.com/a")),
            ("9110 4.2.3 default port", "/a", &["example.com:80"], Ok("http://example.com/a")),
            ("9110 4.2.3 other port", "/a", &["example.com:443"], Ok("http://example.com:443/a")),
            ("9110 4.2.3 https", "https://example.com:443/a", &[], Ok("https://example.com/a")),
            ("9110 4.2.3 https, port 80", "https://example.com:80/a", &[], Ok("https://example.com:80/a")),
            ("9110 4.2.3 scheme case", "HTTP://EXAMPLE.com/a", &[], Ok("http://example.com/a")),
            ("9112 3.2.2 both", "http://example.com/a", &["example.com"], Ok("http://example.com/a")),
            (
                "9112 3.2.2 both, case",
                "http://example.com/a",
                &["EXAMPLE.com:80"],
                Ok("http://example.com/a"),
            ),
            ("9112 3.2.2 mismatch", "http://example.com/a", &["evil.com"], Err(Bypass::HostMismatch)),
            (
                "9112 3.2.2 mismatch, port",
                "http://example.com/a",
                &["example.com:81"],
                Err(Bypass::HostMismatch),
            ),
            ("9113 8.3.1 empty host", "https://example.com/a", &[""], Err(Bypass::HostInvalid)),
            ("9112 3.2 missing", "/a", &[], Err(Bypass::HostMissing)),
            ("9112 3.2 empty", "/a", &[""], Err(Bypass::HostMissing)),
            ("9112 3.2 repeated", "/a", &["a", "b"], Err(Bypass::HostRepeated)),
            ("9112 3.2 repeated, equal", "/a", &["a", "a"], Err(Bypass::HostRepeated)),
            ("9110 4.2.4 userinfo", "/a", &["u@example.com"], Err(Bypass::HostInvalid)),
            ("9110 4.2.4 userinfo", "http://u:p@example.com/a", &[], Err(Bypass::HostInvalid)),
            ("3986 3.2.2 list", "/a", &["a, b"], Err(Bypass::HostInvalid)),
            ("3986 3.2.2 comma", "/a", &["a,b"], Err(Bypass::HostInvalid)),
            ("3986 3.2.2 path", "/a", &["a/b"], Err(Bypass::HostInvalid)),
            ("3986 3.2.2 query", "/a", &["a?b"], Err(Bypass::HostInvalid)),
            ("3986 3.2.2 backslash", "/a", &["a\\b"], Err(Bypass::HostInvalid)),
            ("3986 3.2.2 space", "/a", &["a b"], Err(Bypass::HostInvalid)),
            ("3986 3.2.3 port", "/a", &["a:b"], Err(Bypass::HostInvalid)),
            ("3986 3.2.3 two ports", "/a", &["a:1:2"], Err(Bypass::HostInvalid)),
            ("3986 3.2.3 only a port", "/a", &[":80"], Err(Bypass::HostInvalid)),
            ("3986 3.2.2 IPv6", "/a", &["[::1]:8080"], Ok("http://[::1]:8080/a")),
            ("3986 3.2.2 IPv6, default port", "/a", &["[FE80::1]:80"], Ok("http://[fe80::1]/a")),
            ("3986 3.2.2 IPv6, open", "/a", &["[::1"], Err(Bypass::HostInvalid)),
            ("kept apart: trailing dot", "/a", &["example.com."], Ok("http://example.com./a")),
            ("kept apart: empty port", "/a", &["example.com:"], Ok("http://example.com:/a")),
            ("kept apart: padded port", "/a", &["example.com:080"], Ok("http://example.com:080/a")),
            ("kept apart: punycode", "/a", &["xn--e1afmkfd.example"], Ok("http://xn--e1afmkfd.example/a")),
            ("9110 7.1 other scheme", "ftp://a/b", &[], Err(Bypass::Scheme)),
            ("9112 3.2.4 asterisk", "*", &["a"], Err(Bypass::Target)),
            ("9110 4.2.3 empty path", "http://a", &[], Ok("http://a/")),
            ("9110 4.2.3 empty path, query", "http://a?b", &[], Ok("http://a/?b")),
        ] {
            check(section, uri, hosts, expected);
        }
    }

    #[test]
    fn path_and_query_stay_raw() {
        for raw in [
            "/%2e%2e/a",
            "/a/../b",
            "//a",
            "/a//b",
            "/A",
            "/%41",
            "/%61",
            "/a%2fb",
            "/a%00",
            "/a%0a",
            "/a;b=c",
            "/a?",
            "/a?b=1&b=2",
            "/a?b=2&b=1",
            "/a?b=%26",
            "/a?b=+",
            "/a?b=%20",
            "/a?&",
            "/a?=",
            "/a?b;c",
            "/a/",
            "/a?b=c?d",
        ] {
            check("kept raw", raw, &["h"], Ok(&format!("http://h{raw}")));
        }
    }

    #[test]
    fn a_long_target_is_not_cached_and_leaves_the_buffer_alone() {
        let longest = format!("/{}", "a".repeat(8_000 - "http://h/".len())).parse().unwrap();
        assert!(target_uri(&longest, &headers(&[("host", "h")]), &HttpCachePolicy::safe()).is_ok());
        let uri = format!("/{}", "a".repeat(8_000)).parse().unwrap();
        let mut out = "kept".to_owned();
        let written = write_target_uri(&mut out, &uri, &headers(&[("host", "h")]), &HttpCachePolicy::safe());
        assert_eq!((written, out.as_str()), (Err(Bypass::Target), "kept"));
    }

    #[track_caller]
    fn check_bypass(why: &str, method: &str, uri: &str, lines: &[(&str, &str)], expected: Option<Bypass>) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let policy = HttpCachePolicy::safe();
        let found = bypass_reason(&method, &uri.parse().unwrap(), &headers(lines), false, &policy);
        assert_eq!(found, expected, "{why}: {method} {uri} {lines:?}");
    }

    #[test]
    fn dangerous_requests_pass_by() {
        use Bypass::*;
        check_bypass("plain", "GET", "/", &[("host", "a"), ("user-agent", "x"), ("cookie", "a=b")], None);
        check_bypass("proxied", "GET", "/", &[("x-forwarded-for", "1.2.3.4"), ("via", "1.1 a")], None);
        check_bypass("content", "GET", "/", &[("content-length", "5")], Some(Content));
        check_bypass("content", "HEAD", "/", &[("transfer-encoding", "chunked")], Some(Content));
        check_bypass("no content", "GET", "/", &[("content-length", "0")], None);
        check_bypass("content of a POST", "POST", "/", &[("content-length", "5")], None);
        check_bypass(
            "upgrade",
            "GET",
            "/",
            &[("upgrade", "websocket"), ("connection", "upgrade")],
            Some(Upgrade),
        );
        check_bypass("method parameter", "GET", "/?_method=DELETE", &[], Some(MethodOverride));
        check_bypass("method parameter", "GET", "/?a=1&_method=PUT", &[], Some(MethodOverride));
        check_bypass("method parameter", "GET", "/?a=1;_method=PUT", &[], Some(MethodOverride));
        check_bypass("other parameter", "GET", "/?x_method=PUT&method=1", &[], None);
        for name in METHOD_OVERRIDES {
            check_bypass("override", "GET", "/", &[(name, "DELETE")], Some(MethodOverride));
        }
        for name in KNOWN_UNTRUSTED {
            check_bypass("untrusted", "GET", "/", &[("accept", "*/*"), (name, "evil")], Some(UntrustedField));
        }
        let policy = HttpCachePolicy::safe();
        let body = bypass_reason(&Method::GET, &Uri::from_static("/"), &HeaderMap::new(), true, &policy);
        assert_eq!(body, Some(Content));
    }

    #[test]
    fn a_declared_field_is_trusted() {
        let mut policy = HttpCachePolicy::safe();
        policy.untrusted_fields.remove(&HeaderName::from_static("x-forwarded-host"));
        let uri = Uri::from_static("/");
        let reason = |name| bypass_reason(&Method::GET, &uri, &headers(&[(name, "a")]), false, &policy);
        assert_eq!(reason("x-forwarded-host"), None);
        assert_eq!(reason("x-forwarded-proto"), Some(Bypass::UntrustedField));
        policy.untrusted_fields.insert(HeaderName::from_static("zone"));
        assert!(policy.untrusted_fields.contains(&HeaderName::from_static("zone")));
        let names: Vec<_> = policy.untrusted_fields.iter().map(HeaderName::as_str).collect();
        assert!(names.is_sorted());
    }

    proptest! {
        /// Two requests share a key only when host (up to case and default port), path and query are the same.
        #[test]
        fn different_targets_never_share_a_key(
            a in ("[a-b.]{1,3}", "(:80|:81|:)?", "/[a%2f?&=]{0,4}"),
            b in ("[a-b.]{1,3}", "(:80|:81|:)?", "/[a%2f?&=]{0,4}"),
        ) {
            let key = |(host, port, target): &(String, String, String)| {
                let uri: Option<Uri> = target.parse().ok();
                uri.and_then(|uri| {
                    let host = format!("{host}{port}");
                    target_uri(&uri, &headers(&[("host", host.as_str())]), &HttpCachePolicy::safe()).ok()
                })
            };
            let effective = |(host, port, target): &(String, String, String)| {
                (host.clone(), if port == ":80" { String::new() } else { port.clone() }, target.clone())
            };
            if let (Some(left), Some(right)) = (key(&a), key(&b)) {
                prop_assert_eq!(left == right, effective(&a) == effective(&b));
            }
        }

        #[test]
        fn no_host_panics(bytes in proptest::collection::vec(0x20_u8..=0xff, 0..40)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut map = HeaderMap::new();
                map.insert(header::HOST, value);
                let _ = target_uri(&Uri::from_static("/"), &map, &HttpCachePolicy::safe());
            }
        }
    }
}
