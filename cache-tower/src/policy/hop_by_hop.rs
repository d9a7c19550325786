//! Fields that belong to one connection and are neither stored nor forwarded (RFC 9110 §7.6.1, RFC 9111 §3.1).

use http::{HeaderMap, HeaderName, header};

use super::fields::trim;

/// Removes the fields of RFC 9110 §7.6.1 and those that `Connection` names.
///
/// A field that `Connection` must not name, since it is meant for every recipient, stays: otherwise a message could
/// disarm its own `Cache-Control`, or a client the `Host` of a request.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in connection_options(headers) {
        if !END_TO_END.contains(&name) {
            headers.remove(name);
        }
    }
    for name in CONNECTION_FIELDS {
        headers.remove(name);
    }
}

/// Removes, in addition, what a shared cache does not store (RFC 9111 §3.1): the fields of the proxy in front of it.
pub(crate) fn remove_unstored(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    for name in PROXY_FIELDS {
        headers.remove(name);
    }
}

/// Whether a field belongs to one connection or to a proxy, so that it can never be in a stored response.
pub(crate) fn is_never_stored(name: &HeaderName) -> bool {
    CONNECTION_FIELDS.contains(name) || PROXY_FIELDS.contains(name)
}

fn connection_options(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(header::CONNECTION).iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    members
        .filter_map(|member| HeaderName::from_bytes(trim(member)).ok())
        .collect()
}

const CONNECTION_FIELDS: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// "Effectively, this is limited to Proxy-Authenticate, Proxy-Authentication-Info, and Proxy-Authorization" (RFC 9111 §3.1).
const PROXY_FIELDS: [HeaderName; 3] = [
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    header::PROXY_AUTHORIZATION,
];

/// "A sender MUST NOT send a connection option corresponding to a field that is intended for all recipients of the
/// content. For example, Cache-Control is never appropriate as a connection option" (RFC 9110 §7.6.1).
const END_TO_END: [HeaderName; 17] = [
    header::AGE,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    HeaderName::from_static("cdn-cache-control"),
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::HOST,
    header::LAST_MODIFIED,
    header::PRAGMA,
    header::SET_COOKIE,
    header::VARY,
];

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(section: &str, lines: &[(&str, &str)], left: &[&str]) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        remove_unstored(&mut headers);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, left, "{section}: {lines:?}");
        let once = headers.clone();
        remove_unstored(&mut headers);
        assert_eq!(headers, once, "removing twice is removing once");
    }

    #[test]
    fn fields_of_the_connection_go_and_all_others_stay() {
        check("9110 7.6.1", &[("connection", "close"), ("keep-alive", "1"), ("a", "1")], &["a"]);
        check("9110 7.6.1", &[("te", "x"), ("transfer-encoding", "chunked"), ("upgrade", "h2c")], &[]);
        check("9110 7.6.1", &[("proxy-connection", "close"), ("trailer", "x")], &["trailer"]);
        check("9110 7.6.1 named", &[("connection", "A, b"), ("a", "1"), ("b", "1"), ("c", "1")], &["c"]);
        check(
            "9110 7.6.1 two lines",
            &[("connection", "a"), ("connection", ",b"), ("a", "1"), ("b", "1")],
            &[],
        );
        check("9110 7.6.1 unreadable", &[("connection", "a b, \"c\""), ("a", "1")], &["a"]);
        check(
            "9110 7.6.1 end to end",
            &[("connection", "cache-control"), ("cache-control", "no-cache")],
            &["cache-control"],
        );
        check(
            "9110 7.6.1 end to end",
            &[("connection", "Vary, ETag"), ("vary", "a"), ("etag", "\"a\"")],
            &["etag", "vary"],
        );
        check("9111 3.1", &[("proxy-authenticate", "x"), ("proxy-authentication-info", "x")], &[]);
        check("9111 3.1", &[("proxy-authorization", "x"), ("www-authenticate", "x")], &["www-authenticate"]);
        check("9111 3.1 others stay", &[("set-cookie", "a=b"), ("x", "1")], &["set-cookie", "x"]);
    }
}
