//! Cache groups (RFC 9875), and the tag lists of content delivery networks.

use http::{HeaderMap, HeaderName, Method};

use super::invalidation::is_safe;
use super::structured::{BareItem, Member, parse_list};

/// The field that puts a response into groups (RFC 9875 §2).
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
/// The field that invalidates groups (RFC 9875 §3).
pub const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// The groups a response belongs to, all of them: one that was left out could not be invalidated by it. A group counts
/// only together with the origin of the response's URI (§2.1): see [`group_tag`].
pub fn groups(response: &HeaderMap) -> Vec<String> {
    strings(response, &CACHE_GROUPS)
}

/// The groups that a response makes invalid, of its own origin only; empty for safe methods: "the Cache-Group-Invalidation
/// header field MUST be ignored on responses to requests that have a safe method" (§3).
pub fn invalidated_groups(method: &Method, response: &HeaderMap) -> Vec<String> {
    if is_safe(method) {
        Vec::new()
    } else {
        strings(response, &CACHE_GROUP_INVALIDATION)
    }
}

/// One text for a group of an origin. Different pairs give different texts, since an origin has no space.
pub fn group_tag(origin: &str, group: &str) -> String {
    format!("{origin} {group}")
}

/// The tags in list fields such as `Surrogate-Key` (separated by spaces) and `Cache-Tag` (by commas). Tags with other than
/// visible ASCII characters are left out.
pub fn listed_tags(response: &HeaderMap, fields: &[HeaderName]) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for line in fields.iter().flat_map(|name| response.get_all(name)) {
        for tag in line.as_bytes().split(|byte| matches!(byte, b' ' | b'\t' | b',')) {
            let is_usable = !tag.is_empty() && tag.iter().all(u8::is_ascii_graphic);
            let text: String = tag.iter().copied().map(char::from).collect();
            if is_usable && !tags.contains(&text) {
                tags.push(text);
            }
        }
    }
    tags
}

/// A list of strings; a field that is anything else is ignored as a whole (RFC 9651 §1.1).
fn strings(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    if !headers.contains_key(name) {
        return Vec::new();
    }
    let members = parse_list(headers, name).unwrap_or_default();
    let strings: Option<Vec<String>> = members
        .into_iter()
        .map(|member| match member {
            Member::Item(BareItem::String(text)) => Some(text),
            _ => None,
        })
        .collect();
    let mut groups = strings.unwrap_or_default();
    groups.retain(|group| !group.is_empty());
    groups
}

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use super::super::tests::headers;
    use super::*;

    #[track_caller]
    fn check(section: &str, lines: &[&str], expected: &[&str]) {
        let lines: Vec<_> = lines.iter().map(|line| format!("cache-groups: {line}")).collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        assert_eq!(groups(&headers(&lines)), expected, "RFC 9875 {section}: {lines:?}");
    }

    #[test]
    fn groups_are_a_list_of_strings() {
        check("2", &["\"a\""], &["a"]);
        check("2", &["\"a\", \"b c\""], &["a", "b c"]);
        check("2 lines", &["\"a\"", "\"b\""], &["a", "b"]);
        check("2 parameters are ignored", &["\"a\";x=1"], &["a"]);
        check("2 case matters", &["\"a\", \"A\""], &["a", "A"]);
        check("2 escapes", &[r#""a\"b""#], &["a\"b"]);
        check("2 tokens are not strings", &["a"], &[]);
        check("2 one wrong member voids the field", &["\"a\", b"], &[]);
        check("2 inner lists are not strings", &["(\"a\")"], &[]);
        check("2 unreadable", &["\"a"], &[]);
        check("2 empty", &["\"\""], &[]);
        let long = "x".repeat(5_000);
        check("2 long", &[&format!("\"{long}\"")], &[&long]);
    }

    #[test]
    fn all_of_many_groups_count() {
        let names: Vec<_> = (0..200).map(|index| format!("{index:032}")).collect();
        let line = names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let expected: Vec<_> = names.iter().map(String::as_str).collect();
        check("2", &[&line], &expected);
    }

    #[test]
    fn only_unsafe_methods_invalidate_groups() {
        let response = headers(&["cache-group-invalidation: \"a\", \"b\""]);
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::from_bytes(b"FOO").unwrap()] {
            assert_eq!(invalidated_groups(&method, &response), ["a", "b"], "RFC 9875 3: {method}");
        }
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            assert!(invalidated_groups(&method, &response).is_empty(), "RFC 9875 3: {method}");
        }
    }

    #[test]
    fn a_group_belongs_to_its_origin() {
        assert_ne!(group_tag("http://a", "g"), group_tag("https://a", "g"), "RFC 9875 2.1");
        assert_ne!(group_tag("http://a", "b"), group_tag("http://ab", ""), "RFC 9875 2.1");
    }

    #[test]
    fn tag_lists_are_split_at_spaces_and_commas() {
        let response = headers(&["surrogate-key: a b  c", "cache-tag: d,e, a"]);
        let fields = ["surrogate-key", "cache-tag"].map(HeaderName::from_static);
        assert_eq!(listed_tags(&response, &fields), ["a", "b", "c", "d", "e"]);
        assert_eq!(listed_tags(&response, &fields[..1]), ["a", "b", "c"]);
    }
}
