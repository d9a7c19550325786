//! What an unsafe method makes invalid (RFC 9111 §4.4).

use http::{HeaderMap, Method, StatusCode, header};

use super::uri_reference::{origin, resolve};

/// Whether a method is known to be safe (RFC 9110 §9.2.1 and the method registry). An unknown one counts as unsafe: "a
/// cache MUST invalidate [...] when it receives a non-error status code in response to an unsafe request method
/// (including methods whose safety is unknown)".
pub fn is_safe(method: &Method) -> bool {
    matches!(
        method.as_str(),
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "QUERY" | "PROPFIND" | "REPORT" | "SEARCH" | "PRI"
    )
}

/// The canonical URIs that a response makes invalid: the target, and those of `Location` and `Content-Location` when they
/// have the same origin. Empty for safe methods and for statuses other than 2xx and 3xx.
pub fn invalidated_uris(
    method: &Method,
    target: &str,
    status: StatusCode,
    response: &HeaderMap,
) -> Vec<String> {
    if is_safe(method) || !(status.is_success() || status.is_redirection()) {
        return Vec::new();
    }
    let mut uris = vec![target.to_owned()];
    let lines = [header::LOCATION, header::CONTENT_LOCATION]
        .into_iter()
        .flat_map(|name| response.get_all(name));
    for line in lines {
        // "A cache MUST NOT trigger an invalidation [...] if the origin of the URI to be invalidated differs".
        let uri = resolve(target, line.as_bytes()).filter(|uri| origin(uri) == origin(target));
        uris.extend(uri.filter(|uri| !uris.contains(uri)));
    }
    uris
}

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use super::super::tests::headers;
    use super::*;

    #[track_caller]
    fn check(section: &str, method: &str, status: u16, lines: &[&str], expected: &[&str]) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let status = StatusCode::from_u16(status).unwrap();
        let found = invalidated_uris(&method, "http://a/b/c?d", status, &headers(lines));
        assert_eq!(found, expected, "RFC 9111 4.4 {section}: {method} {status} {lines:?}");
    }

    #[test]
    fn unsafe_methods_invalidate_when_they_succeed() {
        const TARGET: &[&str] = &["http://a/b/c?d"];
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "FOO", "post", "get"] {
            check("unsafe or unknown", method, 200, &[], TARGET);
            check("unsafe or unknown", method, 299, &[], TARGET);
            check("redirection", method, 303, &[], TARGET);
            check("client error", method, 404, &["location: /x"], &[]);
            check("server error", method, 500, &["location: /x"], &[]);
        }
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "PROPFIND", "REPORT", "SEARCH"] {
            check("safe", method, 200, &["location: /x"], &[]);
        }
    }

    #[test]
    fn locations_of_the_same_origin_go_too() {
        check("Location", "POST", 201, &["location: /x"], &["http://a/b/c?d", "http://a/x"]);
        check("Content-Location", "POST", 200, &["content-location: x"], &["http://a/b/c?d", "http://a/b/x"]);
        check(
            "both",
            "PUT",
            200,
            &["location: http://A:80/x", "content-location: /y"],
            &["http://a/b/c?d", "http://a/x", "http://a/y"],
        );
        check("the target itself", "PUT", 200, &["content-location: /b/c?d"], &["http://a/b/c?d"]);
        check("other host", "POST", 200, &["location: http://b/x"], &["http://a/b/c?d"]);
        check("other scheme", "POST", 200, &["location: https://a/x"], &["http://a/b/c?d"]);
        check("other port", "POST", 200, &["location: http://a:81/x"], &["http://a/b/c?d"]);
        check("other host, relative", "POST", 200, &["location: //b/x"], &["http://a/b/c?d"]);
        check("userinfo", "POST", 200, &["location: http://a@b/x"], &["http://a/b/c?d"]);
        check("unreadable", "POST", 200, &["location: http://["], &["http://a/b/c?d"]);
    }
}
