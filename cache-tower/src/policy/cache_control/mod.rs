//! `Cache-Control` of requests and responses (RFC 9111 §5.2), and `Pragma` (§5.4).
//!
//! Names are compared without case, unknown directives are ignored, several field lines are one list, and a directive
//! that occurs twice means the more restrictive of the two (§4.2.1). Both argument forms, token and quoted string, are
//! accepted (§5.2). What cannot be read never makes a response more reusable: a malformed number is
//! [`Seconds::Malformed`], an unfinished quoted string makes the whole field [`unreadable`](ResponseControl::unreadable).

mod members;

use http::{HeaderMap, HeaderName, header};

use self::members::{Argument, Member, Members};

/// The argument of a directive that counts seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Seconds {
    /// The directive is not there.
    #[default]
    Absent,
    /// A number of seconds, at most 2^31 (RFC 9111 §1.2.2).
    Valid(u32),
    /// The directive is there, its argument is missing or not a number: stale (RFC 9111 §4.2.1).
    Malformed,
}

impl Seconds {
    /// The number, when it could be read.
    pub fn valid(self) -> Option<u32> {
        match self {
            Self::Valid(seconds) => Some(seconds),
            Self::Absent | Self::Malformed => None,
        }
    }

    /// Whether the directive is there, readable or not.
    pub fn is_present(self) -> bool {
        self != Self::Absent
    }

    /// The more restrictive of two occurrences.
    pub(crate) fn restrict(&mut self, other: Self) {
        *self = match (*self, other) {
            (Self::Absent, any) | (any, Self::Absent) => any,
            (Self::Valid(a), Self::Valid(b)) => Self::Valid(a.min(b)),
            _ => Self::Malformed,
        };
    }
}

/// The response directives of RFC 9111 §5.2.2 and RFC 5861 that govern one response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseControl {
    /// `max-age` (§5.2.2.1).
    pub max_age: Seconds,
    /// `s-maxage` (§5.2.2.10).
    pub s_maxage: Seconds,
    /// `stale-while-revalidate` (RFC 5861 §3).
    pub stale_while_revalidate: Seconds,
    /// `stale-if-error` (RFC 5861 §4).
    pub stale_if_error: Seconds,
    /// `must-revalidate` (§5.2.2.2).
    pub must_revalidate: bool,
    /// `proxy-revalidate` (§5.2.2.8).
    pub proxy_revalidate: bool,
    /// `must-understand` (§5.2.2.3).
    pub must_understand: bool,
    /// `no-cache` without a list of fields (§5.2.2.4).
    pub no_cache: bool,
    /// `no-store` (§5.2.2.5).
    pub no_store: bool,
    /// `private` without a list of fields (§5.2.2.7).
    pub private: bool,
    /// `public` (§5.2.2.9).
    pub public: bool,
    /// Fields named by a qualified `no-cache` or `private`: a shared cache leaves them out of what it stores (§3.1).
    pub unstored_fields: Vec<HeaderName>,
    /// The field has a quoted string without an end: nobody knows which directives it hides.
    pub unreadable: bool,
}

impl ResponseControl {
    /// Reads every `Cache-Control` line of a response; without one, `Pragma: no-cache` counts as `no-cache`.
    ///
    /// RFC 9111 §5.4 leaves `Pragma` in responses without a meaning. Origins that still send it mean `no-cache`, and the
    /// restrictive reading costs one validation.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        if !headers.contains_key(header::CACHE_CONTROL) {
            control.no_cache = has_pragma_no_cache(headers);
            return control;
        }
        for line in headers.get_all(header::CACHE_CONTROL) {
            for member in Members::new(line.as_bytes()) {
                control.unreadable |= member.argument == Argument::Unfinished;
                control.apply(member.name, &member.argument);
            }
        }
        control
    }

    /// Whether the response may never be served stale (RFC 9111 §4.2.4): `no-cache`, `must-revalidate`,
    /// `proxy-revalidate`, and `s-maxage`, which implies the latter for shared caches (§5.2.2.10).
    pub fn forbids_stale(&self) -> bool {
        self.no_cache
            || self.must_revalidate
            || self.proxy_revalidate
            || self.s_maxage.is_present()
            || self.unreadable
    }

    /// Whether the origin allows a response to a request with credentials to be shared (RFC 9111 §3.5).
    pub fn permits_shared_credentials(&self) -> bool {
        self.public || self.must_revalidate || self.s_maxage.valid().is_some()
    }

    /// Whether a freshness directive is there whose number cannot be read.
    pub fn is_malformed(&self) -> bool {
        let governing = if self.s_maxage.is_present() {
            self.s_maxage
        } else {
            self.max_age
        };
        self.unreadable || governing == Seconds::Malformed
    }

    fn apply(&mut self, name: &[u8], argument: &Argument<'_>) {
        let is = |directive: &str| name.eq_ignore_ascii_case(directive.as_bytes());
        if is("max-age") {
            self.max_age.restrict(argument.seconds());
        } else if is("s-maxage") {
            self.s_maxage.restrict(argument.seconds());
        } else if is("stale-while-revalidate") {
            self.stale_while_revalidate.restrict(argument.seconds());
        } else if is("stale-if-error") {
            self.stale_if_error.restrict(argument.seconds());
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("must-understand") {
            // The two permissive directives count only as they are written in the RFC.
            self.must_understand |= *argument == Argument::None;
        } else if is("public") {
            self.public |= *argument == Argument::None;
        } else if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache |= !self.qualify(argument);
        } else if is("private") {
            self.private |= !self.qualify(argument);
        }
    }

    /// Takes in the field names of a qualified form; `false` means that the directive counts without qualification.
    fn qualify(&mut self, argument: &Argument<'_>) -> bool {
        let Some(names) = argument.field_names() else {
            return false;
        };
        self.unstored_fields.extend(names);
        true
    }

    /// Takes in one member whose argument is already typed (RFC 9213 §2.1).
    pub(crate) fn apply_text(&mut self, name: &str, argument: Option<&str>) {
        let argument = argument.map_or(Argument::None, |text| Argument::Quoted(text.as_bytes()));
        self.apply(name.as_bytes(), &argument);
    }
}

/// `max-stale` of a request (RFC 9111 §5.2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxStale {
    /// Without an argument: a stale response of any age will do.
    Any,
    /// At most this many seconds beyond the freshness lifetime.
    Seconds(u32),
}

/// The request directives of RFC 9111 §5.2.1 and RFC 5861 §4. They are few and small, so that the common request,
/// which has none, costs two look-ups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestControl {
    /// `max-age`; an unreadable number counts as zero, which asks for validation.
    pub max_age: Option<u32>,
    /// `max-stale`; an unreadable number counts as absent.
    pub max_stale: Option<MaxStale>,
    /// `min-fresh`; an unreadable number counts as the largest.
    pub min_fresh: Option<u32>,
    /// `stale-if-error`; an unreadable number counts as absent.
    pub stale_if_error: Option<u32>,
    /// `no-cache`, or `Pragma: no-cache` when there is no `Cache-Control` (§5.4).
    pub no_cache: bool,
    /// `no-store` (§5.2.1.5): nothing of this exchange is stored; an answer from the store is allowed.
    pub no_store: bool,
    /// `only-if-cached` (§5.2.1.7): 504 rather than a request to the origin.
    pub only_if_cached: bool,
}

impl RequestControl {
    /// Reads the directives of a request.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        if !headers.contains_key(header::CACHE_CONTROL) {
            control.no_cache = has_pragma_no_cache(headers);
            return control;
        }
        for line in headers.get_all(header::CACHE_CONTROL) {
            for member in Members::new(line.as_bytes()) {
                control.apply(member.name, &member.argument);
            }
        }
        control
    }

    fn apply(&mut self, name: &[u8], argument: &Argument<'_>) {
        let is = |directive: &str| name.eq_ignore_ascii_case(directive.as_bytes());
        let seconds = argument.seconds().valid();
        if is("max-age") {
            self.max_age = Some(self.max_age.unwrap_or(u32::MAX).min(seconds.unwrap_or(0)));
        } else if is("min-fresh") {
            self.min_fresh = Some(self.min_fresh.unwrap_or(0).max(seconds.unwrap_or(u32::MAX)));
        } else if is("max-stale") {
            self.max_stale = self.restricted_max_stale(argument, seconds);
        } else if is("stale-if-error") {
            self.stale_if_error = seconds.map(|new| self.stale_if_error.map_or(new, |old| old.min(new)));
        } else if is("no-cache") {
            self.no_cache = true;
        } else if is("no-store") {
            self.no_store = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        }
    }

    fn restricted_max_stale(&self, argument: &Argument<'_>, seconds: Option<u32>) -> Option<MaxStale> {
        match (self.max_stale, argument, seconds) {
            (Some(MaxStale::Seconds(old)), _, Some(new)) => Some(MaxStale::Seconds(old.min(new))),
            (_, _, Some(new)) => Some(MaxStale::Seconds(new)),
            (old, Argument::None, None) => Some(old.unwrap_or(MaxStale::Any)),
            _ => None,
        }
    }
}

fn has_pragma_no_cache(headers: &HeaderMap) -> bool {
    let is_no_cache = |member: Member<'_>| member.name.eq_ignore_ascii_case(b"no-cache");
    headers
        .get_all(header::PRAGMA)
        .iter()
        .any(|line| Members::new(line.as_bytes()).any(is_no_cache))
}

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::Seconds::{Absent, Malformed, Valid};
    use super::*;

    fn headers(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for line in lines {
            map.append(name.clone(), HeaderValue::from_str(line).unwrap());
        }
        map
    }

    fn response(lines: &[&str]) -> ResponseControl {
        ResponseControl::of(&headers(&header::CACHE_CONTROL, lines))
    }

    fn request(lines: &[&str]) -> RequestControl {
        RequestControl::of(&headers(&header::CACHE_CONTROL, lines))
    }

    #[track_caller]
    fn check_max_age(section: &str, lines: &[&str], expected: Seconds) {
        assert_eq!(response(lines).max_age, expected, "{section}: {lines:?}");
    }

    #[test]
    fn max_age_is_read_strictly() {
        for (section, lines, expected) in [
            ("5.2.2.1", &["max-age=3600"][..], Valid(3600)),
            ("5.2.2.1 zero", &["max-age=0"], Valid(0)),
            ("5.2 names ignore case", &["MaX-aGe=3600"], Valid(3600)),
            ("1.2.2 leading zeros", &["max-age=003600"], Valid(3600)),
            ("1.2.2 saturation", &["max-age=2147483648"], Valid(2_147_483_648)),
            ("1.2.2 saturation", &["max-age=2147483649"], Valid(2_147_483_648)),
            ("1.2.2 saturation", &["max-age=99999999999999999999999999"], Valid(2_147_483_648)),
            ("5.2 quoted form", &["max-age=\"3600\""], Valid(3600)),
            ("5.2 single quotes", &["max-age='3600'"], Malformed),
            ("4.2.1 negative", &["max-age=-3600"], Malformed),
            ("4.2.1 signed", &["max-age=+3600"], Malformed),
            ("4.2.1 fraction", &["max-age=3600.0"], Malformed),
            ("4.2.1 exponent", &["max-age=1e3"], Malformed),
            ("4.2.1 prefix", &["max-age=a3600"], Malformed),
            ("4.2.1 suffix", &["max-age=3600a"], Malformed),
            ("4.2.1 text", &["max-age=abc"], Malformed),
            ("4.2.1 no argument", &["max-age"], Malformed),
            ("4.2.1 empty argument", &["max-age="], Malformed),
            ("4.2.1 empty quotes", &["max-age=\"\""], Malformed),
            ("5.2 space before =", &["max-age =3600"], Malformed),
            ("5.2 space after =", &["max-age= 3600"], Malformed),
            ("5.2 semicolon", &["max-age=3600; public"], Malformed),
            ("5.2 missing comma", &["max-age=3600 public"], Malformed),
            ("5.2 quote left open", &["max-age=\"3600"], Malformed),
            ("5.6.1.2 empty members", &[",, max-age=3600 ,"], Valid(3600)),
            ("5.3 of 9110: several lines", &["public", "max-age=3600"], Valid(3600)),
            ("4.2.1 duplicates", &["max-age=3600, max-age=1"], Valid(1)),
            ("4.2.1 duplicates", &["max-age=1, max-age=3600"], Valid(1)),
            ("4.2.1 duplicates in lines", &["max-age=1", "max-age=3600"], Valid(1)),
            ("4.2.1 duplicates, one malformed", &["max-age=3600, max-age=x"], Malformed),
            ("4.2.1 duplicates, one malformed", &["max-age=x, max-age=3600"], Malformed),
            ("5.2.3 in a quoted string", &["ext=\"max-age=3600\""], Absent),
            ("5.2.3 in a quoted list", &["ext=\"a, max-age=3600, b\""], Absent),
            ("5.2.3 after a quoted string", &["ext=\"max-age=1, x\", max-age=3600"], Valid(3600)),
            ("5.2.3 before a quoted string", &["max-age=3600, ext=\"max-age=1\""], Valid(3600)),
            ("5.2.3 escaped quote", &["ext=\"a\\\", max-age=1\", max-age=3600"], Valid(3600)),
            ("5.2.3 unknown directive", &["foobar, max-age=3600"], Valid(3600)),
            ("5.2.3 unknown with argument", &["max-age=3600, foobar=1"], Valid(3600)),
            ("5.2 no underscore", &["max_age=3600"], Absent),
            ("5.2 longer name", &["max-age-x=3600"], Absent),
            ("5.2 prefix of the name", &["x-max-age=3600"], Absent),
            ("5.2 none", &[""], Absent),
        ] {
            check_max_age(section, lines, expected);
        }
    }

    #[test]
    fn flags_are_set_in_any_case_and_with_any_argument() {
        fn check(section: &str, line: &str, read: fn(&ResponseControl) -> bool, expected: bool) {
            assert_eq!(read(&response(&[line])), expected, "{section}: {line}");
        }
        check("5.2.2.5", "no-store", |c| c.no_store, true);
        check("5.2.2.5 case", "No-StOrE", |c| c.no_store, true);
        check("5.2.2.5 with an argument", "no-store=1", |c| c.no_store, true);
        check("5.2.2.5 followed by junk", "no-store; foo", |c| c.no_store, true);
        check("5.2.2.5 other spelling", "no_store", |c| c.no_store, false);
        check("5.2.2.5 inside quotes", "x=\"no-store\"", |c| c.no_store, false);
        check("5.2.2.4", "no-cache", |c| c.no_cache, true);
        check("5.2.2.4 qualified", "no-cache=\"a\"", |c| c.no_cache, false);
        check("5.2.2.4 qualified by a token", "no-cache=a", |c| c.no_cache, false);
        check("5.2.2.4 empty list", "no-cache=\"\"", |c| c.no_cache, true);
        check("5.2.2.4 list of commas", "no-cache=\" , \"", |c| c.no_cache, true);
        check("5.2.2.4 unreadable list", "no-cache=\"a b\"", |c| c.no_cache, true);
        check("5.2.2.4 both forms", "no-cache=\"a\", no-cache", |c| c.no_cache, true);
        check("5.2.2.7", "private", |c| c.private, true);
        check("5.2.2.7 qualified", "private=\"a\"", |c| c.private, false);
        check("5.2.2.7 both forms", "private, private=\"a\"", |c| c.private, true);
        check("5.2.2.7 unreadable list", "private=\"(\"", |c| c.private, true);
        check("5.2.2.2", "must-revalidate", |c| c.must_revalidate, true);
        check("5.2.2.8", "proxy-revalidate", |c| c.proxy_revalidate, true);
        check("5.2.2.3", "must-understand", |c| c.must_understand, true);
        check("5.2.2.3 with an argument", "must-understand=0", |c| c.must_understand, false);
        check("5.2.2.9", "public", |c| c.public, true);
        check("5.2.2.9 with an argument", "public=false", |c| c.public, false);
        check("unfinished quote", "x=\"y, no-store", |c| c.unreadable, true);
        check("finished quote", "x=\"y\"", |c| c.unreadable, false);
    }

    #[test]
    fn qualified_forms_name_the_fields_that_are_not_stored() {
        for (line, expected) in [
            ("private=\"set-cookie\"", &["set-cookie"][..]),
            ("no-cache=\"A, b\"", &["a", "b"]),
            ("no-cache=\"a,,\" , private=\"b\"", &["a", "b"]),
            ("no-cache=a", &["a"]),
            ("no-cache", &[]),
        ] {
            let control = response(&[line]);
            let names: Vec<_> = control.unstored_fields.iter().map(HeaderName::as_str).collect();
            assert_eq!(names, expected, "RFC 9111 5.2.2.4, 5.2.2.7: {line}");
        }
    }

    #[test]
    fn stale_is_forbidden_by_five_directives() {
        for (line, expected) in [
            ("max-age=1", false),
            ("max-age=1, public, stale-if-error=60", false),
            ("max-age=1, must-revalidate", true),
            ("max-age=1, proxy-revalidate", true),
            ("s-maxage=1", true),
            ("s-maxage=x", true),
            ("max-age=1, no-cache", true),
            ("max-age=1, no-cache=\"a\"", false),
        ] {
            assert_eq!(response(&[line]).forbids_stale(), expected, "RFC 9111 4.2.4: {line}");
        }
    }

    #[test]
    fn credentials_are_shared_only_by_permission() {
        for (line, expected) in [
            ("max-age=60", false),
            ("public", true),
            ("must-revalidate", true),
            ("s-maxage=60", true),
            ("s-maxage=x", false),
            ("proxy-revalidate", false),
        ] {
            assert_eq!(response(&[line]).permits_shared_credentials(), expected, "RFC 9111 3.5: {line}");
        }
    }

    #[test]
    fn extensions_for_staleness_are_read() {
        let control = response(&["stale-while-revalidate=60, stale-if-error=\"120\""]);
        assert_eq!(control.stale_while_revalidate, Valid(60), "RFC 5861 3");
        assert_eq!(control.stale_if_error, Valid(120), "RFC 5861 4");
        let control = response(&["stale-while-revalidate, stale-if-error=60, stale-if-error=5"]);
        assert_eq!(control.stale_while_revalidate, Malformed);
        assert_eq!(control.stale_if_error, Valid(5));
    }

    #[test]
    fn request_directives_are_read() {
        fn check(section: &str, lines: &[&str], expected: RequestControl) {
            assert_eq!(request(lines), expected, "{section}: {lines:?}");
        }
        let none = RequestControl::default();
        check("5.2.1", &[], none);
        check("5.2.3 unknown", &["foo, bar=1"], none);
        check("5.2.1.1", &["max-age=5"], RequestControl { max_age: Some(5), ..none });
        check("5.2.1.1 twice", &["max-age=5, max-age=3"], RequestControl { max_age: Some(3), ..none });
        check("5.2.1.1 malformed", &["max-age=x"], RequestControl { max_age: Some(0), ..none });
        check("5.2.1.2", &["max-stale"], RequestControl { max_stale: Some(MaxStale::Any), ..none });
        check("5.2.1.2", &["max-stale=9"], RequestControl { max_stale: Some(MaxStale::Seconds(9)), ..none });
        check("5.2.1.2 malformed", &["max-stale=x"], none);
        check(
            "5.2.1.2 twice",
            &["max-stale=9, max-stale"],
            RequestControl { max_stale: Some(MaxStale::Seconds(9)), ..none },
        );
        check("5.2.1.3", &["min-fresh=7"], RequestControl { min_fresh: Some(7), ..none });
        check("5.2.1.3 malformed", &["min-fresh"], RequestControl { min_fresh: Some(u32::MAX), ..none });
        check("5.2.1.4", &["NO-CACHE"], RequestControl { no_cache: true, ..none });
        check("5.2.1.5", &["no-store"], RequestControl { no_store: true, ..none });
        check("5.2.1.7", &["only-if-cached"], RequestControl { only_if_cached: true, ..none });
        check(
            "5861 4",
            &["stale-if-error=60", "stale-if-error=5"],
            RequestControl { stale_if_error: Some(5), ..none },
        );
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        let mut only_pragma = headers(&header::PRAGMA, &["foo, No-Cache"]);
        assert!(RequestControl::of(&only_pragma).no_cache, "RFC 9111 5.4");
        assert!(ResponseControl::of(&only_pragma).no_cache);
        only_pragma.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        assert!(!RequestControl::of(&only_pragma).no_cache, "RFC 9111 5.4");
        assert!(!ResponseControl::of(&only_pragma).no_cache);
        assert!(!RequestControl::of(&headers(&header::PRAGMA, &["x-no-cache"])).no_cache);
    }

    proptest! {
        #[test]
        fn no_field_value_makes_the_parser_panic(bytes in proptest::collection::vec(0x20_u8..=0xff, 0..200)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut map = HeaderMap::new();
                map.insert(header::CACHE_CONTROL, value);
                let _ = ResponseControl::of(&map);
                let _ = RequestControl::of(&map);
            }
        }

        #[test]
        fn repeating_a_line_changes_nothing(line in "[a-z=\", 0-9-]{0,60}") {
            let (once, mut twice) = (response(&[&line]), response(&[&line, &line]));
            twice.unstored_fields.truncate(once.unstored_fields.len());
            prop_assert_eq!(once, twice);
        }

        #[test]
        fn an_added_directive_never_makes_no_store_go_away(line in "[a-z=, 0-9-]{0,60}") {
            let line = format!("{line}, no-store");
            prop_assert!(response(&[&line]).no_store);
        }
    }
}
