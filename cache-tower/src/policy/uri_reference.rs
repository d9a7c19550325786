//! Resolving a URI reference against a target URI (RFC 3986 §5), as `Location` and `Content-Location` need it.

use super::key_uri::write_authority;

/// Resolves a reference against a canonical target URI and returns the result in the same canonical form, without a
/// fragment; `None` when it is not an `http` or `https` URI with an authority that a key could have.
pub fn resolve(base: &str, reference: &[u8]) -> Option<String> {
    // Characters that no URI has mean that the field is not a URI; a lenient reader would guess.
    let reference = std::str::from_utf8(super::fields::trim(reference)).ok()?;
    if !reference.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let reference = reference.split('#').next().unwrap_or_default();
    let base = Split::of(base)?;
    if let Some((scheme, rest)) = split_scheme(reference) {
        let scheme = scheme.to_ascii_lowercase();
        return absolute(&scheme, rest.strip_prefix("//")?);
    }
    if let Some(rest) = reference.strip_prefix("//") {
        return absolute(base.scheme, rest);
    }
    let (path, query) = split_query(reference);
    let (path, query) = match path {
        "" => (base.path.to_owned(), query.or(base.query)),
        rooted if rooted.starts_with('/') => (without_dot_segments(rooted), query),
        relative => (without_dot_segments(&merged(base.path, relative)), query),
    };
    Some(joined(base.origin, &path, query))
}

/// The origin, `scheme://authority`, of a canonical URI.
pub fn origin(uri: &str) -> Option<&str> {
    Split::of(uri).map(|split| split.origin)
}

struct Split<'a> {
    scheme: &'a str,
    origin: &'a str,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Split<'a> {
    fn of(uri: &'a str) -> Option<Self> {
        let (scheme, rest) = split_scheme(uri)?;
        let rest = rest.strip_prefix("//")?;
        let authority_length = rest.find(['/', '?']).unwrap_or(rest.len());
        let (origin, target) = uri.split_at(uri.len() - rest.len() + authority_length);
        let (path, query) = split_query(target);
        Some(Self {
            scheme,
            origin,
            path,
            query,
        })
    }
}

fn absolute(scheme: &str, rest: &str) -> Option<String> {
    let authority_length = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(authority_length);
    let mut origin = format!("{scheme}://");
    write_authority(&mut origin, scheme, authority.as_bytes())?;
    let (path, query) = split_query(target);
    let path = if path.is_empty() {
        "/".to_owned()
    } else {
        without_dot_segments(path)
    };
    Some(joined(&origin, &path, query))
}

fn joined(origin: &str, path: &str, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{origin}{path}?{query}"),
        None => format!("{origin}{path}"),
    }
}

fn split_scheme(uri: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = uri.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    is_scheme.then_some((scheme, rest))
}

fn split_query(target: &str) -> (&str, Option<&str>) {
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

/// Everything of the base path up to its last slash, then the reference (RFC 3986 §5.2.3).
fn merged(base: &str, relative: &str) -> String {
    let directory = base.rfind('/').map_or("/", |slash| &base[..=slash]);
    format!("{directory}{relative}")
}

/// RFC 3986 §5.2.4, for a path that begins with a slash.
fn without_dot_segments(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
        match segment {
            "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        // A dot segment at the end leaves its slash.
        segments.push("");
    }
    format!("/{}", segments.join("/"))
}

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(section: &str, reference: &str, expected: Option<&str>) {
        let resolved = resolve("http://a/b/c/d;p?q", reference.as_bytes());
        assert_eq!(resolved.as_deref(), expected, "RFC 3986 {section}: {reference:?}");
    }

    #[test]
    fn references_resolve_as_the_rfc_lists() {
        for (section, reference, expected) in [
            ("5.4.1", "g", Some("http://a/b/c/g")),
            ("5.4.1", "./g", Some("http://a/b/c/g")),
            ("5.4.1", "g/", Some("http://a/b/c/g/")),
            ("5.4.1", "/g", Some("http://a/g")),
            ("5.4.1", "//g", Some("http://g/")),
            ("5.4.1", "?y", Some("http://a/b/c/d;p?y")),
            ("5.4.1", "g?y", Some("http://a/b/c/g?y")),
            ("5.4.1", "#s", Some("http://a/b/c/d;p?q")),
            ("5.4.1", "g#s", Some("http://a/b/c/g")),
            ("5.4.1", "g?y#s", Some("http://a/b/c/g?y")),
            ("5.4.1", ";x", Some("http://a/b/c/;x")),
            ("5.4.1", "", Some("http://a/b/c/d;p?q")),
            ("5.4.1", ".", Some("http://a/b/c/")),
            ("5.4.1", "./", Some("http://a/b/c/")),
            ("5.4.1", "..", Some("http://a/b/")),
            ("5.4.1", "../g", Some("http://a/b/g")),
            ("5.4.1", "../..", Some("http://a/")),
            ("5.4.1", "../../g", Some("http://a/g")),
            ("5.4.2", "../../../g", Some("http://a/g")),
            ("5.4.2", "/./g", Some("http://a/g")),
            ("5.4.2", "/../g", Some("http://a/g")),
            ("5.4.2", "g.", Some("http://a/b/c/g.")),
            ("5.4.2", "..g", Some("http://a/b/c/..g")),
            ("5.4.2", "./../g", Some("http://a/b/g")),
            ("5.4.2", "g/../h", Some("http://a/b/c/h")),
            ("5.4.2", "g?y/../x", Some("http://a/b/c/g?y/../x")),
            ("3.1 not a scheme", "g_:h", Some("http://a/b/c/g_:h")),
            ("3.1 not a scheme", "1g:h", Some("http://a/b/c/1g:h")),
            ("3.1 absolute", "HTTP://A/b", Some("http://a/b")),
            ("6.2.3 default port", "http://a:80/b", Some("http://a/b")),
            ("6.2.3 empty path", "https://b", Some("https://b/")),
            ("6.2.3 empty path with query", "https://b?x", Some("https://b/?x")),
            ("5.2.4 absolute", "http://a/b/../c", Some("http://a/c")),
            ("3.2 userinfo", "http://u@a/b", None),
            ("3.1 other scheme", "mailto:a@b", None),
            ("3.1 other scheme", "javascript:x", None),
            ("3.1 no authority", "http:g", None),
            ("2 space", "/a b", None),
            ("2 control", "/a\u{7f}", None),
        ] {
            check(section, reference, expected);
        }
    }

    #[test]
    fn an_origin_ends_before_the_path() {
        for (uri, expected) in [
            ("http://a/b", Some("http://a")),
            ("https://a:8443/?x", Some("https://a:8443")),
            ("https://[::1]:8443/", Some("https://[::1]:8443")),
            ("/b", None),
            ("", None),
        ] {
            assert_eq!(origin(uri), expected, "RFC 6454 4: {uri}");
        }
    }

    proptest! {
        #[test]
        fn a_resolved_uri_resolves_to_itself(reference in "[a-z./?:#-]{0,30}") {
            if let Some(resolved) = resolve("http://a/b/c", reference.as_bytes()) {
                prop_assert_eq!(resolve("http://z/", resolved.as_bytes()), Some(resolved));
            }
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60), base in "[ -~]{0,20}") {
            let _ = resolve(&base, &bytes);
            let _ = resolve("http://a/", &bytes);
        }
    }
}
