//! Parts of a representation: when they may be stored, completed and combined (RFC 9111 §3.3, §3.4).
//!
//! A part is kept only with a strong validator, since nothing else proves that two parts belong together.

use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, header};

use super::fields::EntityTag;
use super::freshness::Timed;
use super::profile::HttpCachePolicy;
use super::range::{ContentRange, is_strong_date};
use super::stored_head::StoredHead;

/// Whether a received 206 may be stored: one readable range, and a strong validator to combine it by (RFC 9111 §3.4).
pub(crate) fn is_combinable(response: &Timed<'_>) -> bool {
    let has_range = ContentRange::of(response.headers).is_some();
    has_range && has_strong_validator(response.headers, response.received)
}

/// The request that completes a stored part: the range that is missing, when it is one piece at an end. The response, a
/// 206, is then [`combine`]d; `If-Range` makes the origin send everything if the representation has changed.
pub fn completing_request(request: &HeaderMap, stored: &StoredHead) -> Option<HeaderMap> {
    let part = stored.part()?;
    let missing = match part.complete() {
        _ if part.first() > 0 && part.complete() == Some(part.last() + 1) => {
            format!("bytes=0-{}", part.first() - 1)
        }
        _ if part.first() == 0 && !part.is_whole() => format!("bytes={}-", part.last() + 1),
        _ => return None,
    };
    let validator = strong_validator(stored.headers(), stored.received())?;
    let mut headers = request.clone();
    super::precondition::remove_conditions(&mut headers);
    headers.insert(header::RANGE, HeaderValue::try_from(missing).ok()?);
    headers.insert(header::IF_RANGE, validator);
    Some(headers)
}

/// Two parts of one representation put together.
#[derive(Debug, Clone)]
pub struct Combined {
    /// The head to store: a 200 when nothing is missing, else a 206 with the larger range.
    pub head: StoredHead,
    /// From where in the old body to take octets.
    pub from_old: std::ops::Range<u64>,
    /// Whether the new body comes first.
    pub new_comes_first: bool,
}

/// Combines a stored part with a newly received one (RFC 9111 §3.4, RFC 9110 §15.3.7.3): "if they all share the same strong
/// validator", and when they touch or overlap. Where they overlap the new octets count.
pub fn combine(old: &StoredHead, new: &StoredHead, policy: &HttpCachePolicy) -> Option<Combined> {
    let (a, b) = (old.part()?, new.part()?);
    if !share_validator(old, new) {
        return None;
    }
    let complete = match (a.complete(), b.complete()) {
        (Some(a), Some(b)) if a != b => return None,
        (a, b) => b.or(a),
    };
    let touches = a.first() <= b.last().saturating_add(1) && b.first() <= a.last().saturating_add(1);
    if !touches || a.contains(b) || b.contains(a) {
        // Far apart, or one inside the other: the larger one alone is what is known.
        return None;
    }
    let union = ContentRange::new(a.first().min(b.first()), a.last().max(b.last()), complete)?;
    let new_comes_first = b.first() < a.first();
    let from_old = if new_comes_first {
        (b.last() + 1 - a.first())..a.length()
    } else {
        0..(b.first() - a.first())
    };
    // "A header field of the new response replaces those of the stored ones" (RFC 9110 §15.3.7.3).
    let head = if union.is_whole() {
        new.completed(union.length(), policy)
    } else {
        new.with_part(union)
    };
    Some(Combined {
        head,
        from_old,
        new_comes_first,
    })
}

/// Whether two responses have the same strong validator, so that they are of one representation (RFC 9111 §3.4).
pub(crate) fn share_validator(a: &StoredHead, b: &StoredHead) -> bool {
    let validator = |head: &StoredHead| strong_validator(head.headers(), head.received());
    validator(a).is_some_and(|own| validator(b) == Some(own))
}

fn has_strong_validator(headers: &HeaderMap, received: SystemTime) -> bool {
    strong_validator(headers, received).is_some()
}

/// The strong entity tag, else a `Last-Modified` that is strong.
fn strong_validator(headers: &HeaderMap, received: SystemTime) -> Option<HeaderValue> {
    match EntityTag::of(headers) {
        Some(tag) if !tag.is_weak() => headers.get(header::ETAG).cloned(),
        Some(_) => None,
        None if is_strong_date(headers, received) => headers.get(header::LAST_MODIFIED).cloned(),
        None => None,
    }
}

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::*;
    use super::*;

    const FRESH: &str = "cache-control: max-age=60";

    fn part(range: &str, lines: &[&str]) -> StoredHead {
        let range = format!("content-range: bytes {range}");
        let mut all = vec![FRESH, &range];
        all.extend(lines);
        stored_with(&HttpCachePolicy::rfc9111(), &["range: bytes=0-"], 206, &all)
    }

    const TAG: &[&str] = &["etag: \"a\""];

    #[track_caller]
    fn check_completing(stored: &str, lines: &[&str], expected: Option<&[&str]>) {
        let request = headers(&["accept: a", "range: bytes=0-1", "if-none-match: \"x\"", "if-range: \"x\""]);
        let found = completing_request(&request, &part(stored, lines));
        assert_eq!(found, expected.map(headers), "RFC 9111 3.3: {stored}");
    }

    #[test]
    fn the_missing_end_is_asked_for() {
        check_completing("0-4/10", TAG, Some(&["accept: a", "range: bytes=5-", "if-range: \"a\""]));
        check_completing("0-4/*", TAG, Some(&["accept: a", "range: bytes=5-", "if-range: \"a\""]));
        check_completing("4-9/10", TAG, Some(&["accept: a", "range: bytes=0-3", "if-range: \"a\""]));
        check_completing("4-6/10", TAG, None);
        check_completing("0-9/10", TAG, None);
        let dated = ["last-modified: {-600}", "date: {0}"];
        let date = "if-range: Sun, 06 Nov 1994 08:39:37 GMT";
        check_completing("0-4/10", &dated, Some(&["accept: a", "range: bytes=5-", date]));
    }

    /// The combination as (status, range or length, octets of the old body, whether the new ones come first).
    fn combined(
        old: (&str, &[&str]),
        new: (&str, &[&str]),
    ) -> Option<(u16, String, std::ops::Range<u64>, bool)> {
        let combined = combine(&part(old.0, old.1), &part(new.0, new.1), &HttpCachePolicy::rfc9111())?;
        let head = &combined.head;
        let extent = head.headers().get("content-range").or(head.headers().get("content-length")).unwrap();
        let extent = extent.to_str().unwrap().replace("bytes ", "");
        Some((head.status().as_u16(), extent, combined.from_old, combined.new_comes_first))
    }

    #[track_caller]
    fn check_combined(old: &str, new: &str, expected: Option<(u16, &str, std::ops::Range<u64>, bool)>) {
        let expected = expected.map(|(status, extent, old, first)| (status, extent.to_owned(), old, first));
        assert_eq!(combined((old, TAG), (new, TAG)), expected, "RFC 9111 3.4: {old} and {new}");
    }

    #[test]
    fn parts_that_touch_are_combined() {
        check_combined("0-4/10", "5-9/10", Some((200, "10", 0..5, false)));
        check_combined("5-9/10", "0-4/10", Some((200, "10", 0..5, true)));
        check_combined("0-4/10", "3-9/10", Some((200, "10", 0..3, false)));
        check_combined("5-9/10", "0-6/10", Some((200, "10", 2..5, true)));
        check_combined("0-2/10", "3-5/10", Some((206, "0-5/10", 0..3, false)));
        check_combined("3-5/10", "1-3/10", Some((206, "1-5/10", 1..3, true)));
        check_combined("0-4/*", "5-9/10", Some((200, "10", 0..5, false)));
        check_combined("0-2/10", "4-5/10", None);
        check_combined("0-9/10", "2-3/10", None);
        check_combined("0-5/10", "0-2/10", None);
        check_combined("2-5/10", "4-5/10", None);
        check_combined("2-5/10", "2-5/10", None);
        check_combined("2-3/10", "0-9/10", None);
        check_combined("0-4/10", "5-9/11", None);
    }

    #[test]
    fn parts_are_combined_only_with_the_same_strong_validator() {
        const DATED: &[&str] = &["last-modified: {-600}", "date: {0}"];
        const LATER: &[&str] = &["last-modified: {-500}", "date: {0}"];
        let (first, second) = ("0-4/10", "5-9/10");
        assert!(combined((first, TAG), (second, &["etag: \"b\""])).is_none(), "RFC 9111 3.4");
        assert!(combined((first, TAG), (second, DATED)).is_none(), "RFC 9111 3.4");
        assert!(combined((first, DATED), (second, LATER)).is_none(), "RFC 9111 3.4");
        assert!(combined((first, DATED), (second, DATED)).is_some(), "RFC 9111 3.4");
    }

    #[test]
    fn a_completed_response_takes_the_newer_fields() {
        let old = part("0-4/10", &["etag: \"a\"", "x: old"]);
        let new = part("5-9/10", &["etag: \"a\"", "x: new"]);
        let head = combine(&old, &new, &HttpCachePolicy::rfc9111()).unwrap().head;
        assert_eq!(head.headers().get("x").unwrap(), "new", "RFC 9110 15.3.7.3");
        assert!(head.part().is_none() && !head.headers().contains_key("content-range"));
        assert_eq!(head.freshness().lifetime.as_secs(), 60);
    }

    proptest! {
        #[test]
        fn combined_octets_fill_the_combined_range(a in 0_u64..12, b in 0_u64..12, c in 0_u64..12, d in 0_u64..12) {
            let (old, new) = (format!("{}-{}/12", a.min(b), a.max(b)), format!("{}-{}/12", c.min(d), c.max(d)));
            let (old, new) = (part(&old, TAG), part(&new, TAG));
            if let Some(combined) = combine(&old, &new, &HttpCachePolicy::rfc9111()) {
                let octets = combined.from_old.end - combined.from_old.start + new.part().unwrap().length();
                let range = combined.head.part().map_or(12, |range| range.length());
                prop_assert_eq!(octets, range);
                prop_assert!(combined.from_old.end <= old.part().unwrap().length());
            }
        }
    }
}
