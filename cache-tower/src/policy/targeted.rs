//! Targeted cache control (RFC 9213): a field such as `CDN-Cache-Control` that speaks to some caches only.

use http::{HeaderMap, HeaderName};

use super::cache_control::{ResponseControl, Seconds};
use super::structured::{BareItem, Member, parse_dictionary};

/// The directives that govern a response, and where they stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Governing {
    /// The directives.
    pub control: ResponseControl,
    /// Whether they come from a targeted field; `Cache-Control` and `Expires` are then ignored (RFC 9213 §2.2).
    pub is_targeted: bool,
}

impl Governing {
    /// Reads the first valid, non-empty targeted field of the list, else `Cache-Control` (RFC 9213 §2.2).
    pub fn of(headers: &HeaderMap, targeted_fields: &[HeaderName]) -> Self {
        match targeted_fields
            .iter()
            .find_map(|name| targeted_control(headers, name))
        {
            Some(control) => Self {
                control,
                is_targeted: true,
            },
            None => Self {
                control: ResponseControl::of(headers),
                is_targeted: false,
            },
        }
    }
}

/// The directives of one targeted field; `None` when it is absent, empty, not a dictionary, or gives a known directive a
/// value of the wrong type, in which cases it counts as absent (RFC 9213 §2.1).
pub fn targeted_control(headers: &HeaderMap, name: &HeaderName) -> Option<ResponseControl> {
    if !headers.contains_key(name) {
        return None;
    }
    let members = parse_dictionary(headers, name).ok()?;
    if members.is_empty() {
        return None;
    }
    let mut control = ResponseControl::default();
    for (directive, value) in &members {
        apply(&mut control, directive, value)?;
    }
    Some(control)
}

fn apply(control: &mut ResponseControl, directive: &str, value: &Member) -> Option<()> {
    match directive {
        "max-age" => control.max_age = seconds(value)?,
        "s-maxage" => control.s_maxage = seconds(value)?,
        "stale-while-revalidate" => control.stale_while_revalidate = seconds(value)?,
        "stale-if-error" => control.stale_if_error = seconds(value)?,
        "must-revalidate" | "proxy-revalidate" | "must-understand" | "no-store" | "public" => {
            let set = flag(value)?;
            set.then(|| control.apply_text(directive, None));
        }
        "no-cache" | "private" => {
            if let Member::Item(BareItem::String(fields)) = value {
                control.apply_text(directive, Some(fields));
            } else if flag(value)? {
                control.apply_text(directive, None);
            }
        }
        _ => {}
    }
    Some(())
}

/// Delta-seconds are Integers here (RFC 9213 §2.1); a negative one is stale, as in `Cache-Control`.
fn seconds(value: &Member) -> Option<Seconds> {
    match value {
        Member::Item(BareItem::Integer(value)) if *value < 0 => Some(Seconds::Malformed),
        Member::Item(BareItem::Integer(value)) => {
            let saturated = u32::try_from(*value)
                .unwrap_or(u32::MAX)
                .min(super::fields::MAX_DELTA_SECONDS);
            Some(Seconds::Valid(saturated))
        }
        _ => None,
    }
}

fn flag(value: &Member) -> Option<bool> {
    match value {
        Member::Item(BareItem::Boolean(set)) => Some(*set),
        _ => None,
    }
}

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const CDN: HeaderName = HeaderName::from_static("cdn-cache-control");

    fn governing(targeted: &[&str], cache_control: &str) -> Governing {
        let mut headers = HeaderMap::new();
        for line in targeted {
            headers.append(CDN, HeaderValue::from_str(line).unwrap());
        }
        headers.insert("cache-control", HeaderValue::from_str(cache_control).unwrap());
        Governing::of(&headers, &[HeaderName::from_static("other-cache-control"), CDN])
    }

    #[track_caller]
    fn check(section: &str, targeted: &[&str], is_targeted: bool, max_age: Seconds) {
        let governing = governing(targeted, "max-age=1");
        assert_eq!(governing.is_targeted, is_targeted, "RFC 9213 {section}: {targeted:?}");
        assert_eq!(governing.control.max_age, max_age, "RFC 9213 {section}: {targeted:?}");
    }

    /// H2.4
    #[test]
    fn a_valid_targeted_field_replaces_cache_control() {
        use Seconds::{Absent, Malformed, Valid};
        for (section, lines, is_targeted, max_age) in [
            ("2.2", &["max-age=60"][..], true, Valid(60)),
            ("2.2 zero", &["max-age=0"], true, Valid(0)),
            ("2.2 no freshness", &["public"], true, Absent),
            ("2.2 several lines", &["public", "max-age=60"], true, Valid(60)),
            ("2.2 absent", &[], false, Valid(1)),
            ("2.1 empty", &[""], false, Valid(1)),
            ("2.1 spaces", &["  "], false, Valid(1)),
            ("2.1 unknown directive", &["foo=1, max-age=60"], true, Valid(60)),
            ("2.1 only unknown", &["foo"], true, Absent),
            ("2.1 parameters ignored", &["max-age=60;x=1"], true, Valid(60)),
            ("2.1 last wins", &["max-age=5, max-age=60"], true, Valid(60)),
            ("2.1 saturation", &["max-age=999999999999999"], true, Valid(2_147_483_648)),
            ("2.1 negative", &["max-age=-1"], true, Malformed),
            ("2.1 wrong type: string", &["max-age=\"60\""], false, Valid(1)),
            ("2.1 wrong type: token", &["max-age=x"], false, Valid(1)),
            ("2.1 wrong type: decimal", &["max-age=60.5"], false, Valid(1)),
            ("2.1 wrong type: boolean", &["max-age"], false, Valid(1)),
            ("2.1 wrong type: inner list", &["max-age=(60)"], false, Valid(1)),
            ("2.1 wrong type: flag with a number", &["max-age=60, no-store=1"], false, Valid(1)),
            ("2.1 case", &["Max-Age=60"], false, Valid(1)),
            ("2.1 junk", &["max-age=60, &&"], false, Valid(1)),
            ("2.1 trailing comma", &["max-age=60,"], false, Valid(1)),
            ("2.1 spaces around =", &["max-age = 60"], false, Valid(1)),
            ("2.1 too many digits", &["max-age=1234567890123456"], false, Valid(1)),
        ] {
            check(section, lines, is_targeted, max_age);
        }
    }

    #[test]
    fn flags_and_qualified_forms_are_typed() {
        let control = governing(&["no-store, private=\"a, b\", no-cache, public=?0"], "max-age=1").control;
        assert!(control.no_store && control.no_cache && !control.private && !control.public, "RFC 9213 2.1");
        assert_eq!(control.unstored_fields, ["a", "b"].map(HeaderName::from_static));
    }

    #[test]
    fn a_target_list_takes_the_first_that_is_there() {
        let mut headers = HeaderMap::new();
        headers.insert("a-cache-control", HeaderValue::from_static("&"));
        headers.insert("b-cache-control", HeaderValue::from_static("max-age=2"));
        headers.insert("c-cache-control", HeaderValue::from_static("max-age=3"));
        let list = ["a-cache-control", "b-cache-control", "c-cache-control"].map(HeaderName::from_static);
        assert_eq!(Governing::of(&headers, &list).control.max_age, Seconds::Valid(2), "RFC 9213 2.2");
    }
}
