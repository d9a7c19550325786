//! Which stored response fits a request: `Vary` and the nominated fields (RFC 9111 §4.1).

mod normal;

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, header};

use self::normal::normal_form;
use crate::policy::fields::trim;
use crate::policy::range::part_answers;
use crate::policy::request::RequestView;
use crate::policy::stored_head::StoredHead;

/// The request fields that `Vary` nominates, with the values of the request that led to a stored response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nominated {
    fields: Vec<NominatedField>,
}

/// One nominated field; the value is `None` when the request had no such field, which differs from an empty one.
#[derive(Debug, Clone)]
struct NominatedField {
    name: HeaderName,
    /// All lines, trimmed and combined.
    value: Option<Box<[u8]>>,
    /// The same in normal form, when that differs.
    normal: Option<Box<[u8]>>,
}

impl PartialEq for NominatedField {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.normal_form() == other.normal_form()
    }
}

impl Eq for NominatedField {}

/// Why a `Vary` field makes a response unusable for a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VaryProblem {
    /// It has the member `*`: no other request matches, ever (§4.1).
    Any,
    /// A member is not a field name.
    Unreadable,
    /// More names, longer names, or longer values than a variant is worth.
    TooLarge,
}

impl Nominated {
    /// Reads `Vary` of a response and the values of its request. `always` nominates fields that `Vary` may not name.
    ///
    /// # Errors
    /// When no later request can match, see [`VaryProblem`].
    pub fn of(response: &HeaderMap, request: &HeaderMap, always: &[HeaderName]) -> Result<Self, VaryProblem> {
        let mut names = vary_names(response)?;
        names.extend(always.iter().cloned());
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        let fields = names
            .into_iter()
            .map(|name| NominatedField::of(name, request))
            .collect();
        Self { fields }.within_limits()
    }

    /// Rebuilds the value from stored pairs.
    ///
    /// # Errors
    /// When the pairs exceed the limits that hold for every stored response.
    pub fn from_pairs(
        pairs: impl IntoIterator<Item = (HeaderName, Option<Vec<u8>>)>,
    ) -> Result<Self, VaryProblem> {
        let fields = pairs
            .into_iter()
            .map(|(name, value)| {
                let normal = value
                    .as_deref()
                    .and_then(|value| normal_unless_same(&name, value));
                NominatedField {
                    name,
                    value: value.map(Vec::into_boxed_slice),
                    normal,
                }
            })
            .collect();
        Self { fields }.within_limits()
    }

    /// The names and combined values, in the order of the names.
    pub fn pairs(&self) -> impl Iterator<Item = (&HeaderName, Option<&[u8]>)> {
        self.fields
            .iter()
            .map(|field| (&field.name, field.value.as_deref()))
    }

    /// The nominated names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.fields.iter().map(|field| &field.name)
    }

    /// The stored values as [`secondary_key`] writes those of a request that matches.
    pub fn secondary_key(&self) -> Vec<u8> {
        let mut key = Vec::new();
        self.fields.iter().for_each(|field| field.write_to(&mut key));
        key
    }

    /// Whether no field is nominated.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Whether a request has the same values (§4.1). Equal spelling is recognised without allocating.
    pub fn matches(&self, request: &HeaderMap) -> bool {
        self.fields.iter().all(|field| field.matches(request))
    }

    fn within_limits(self) -> Result<Self, VaryProblem> {
        let too_large = |field: &NominatedField| {
            field.name.as_str().len() > NAME_LIMIT
                || field
                    .value
                    .as_ref()
                    .is_some_and(|value| value.len() > VALUE_LIMIT)
        };
        if self.fields.len() > NAMES_LIMIT || self.fields.iter().any(too_large) {
            return Err(VaryProblem::TooLarge);
        }
        Ok(self)
    }
}

/// What [`select`] finds.
#[derive(Debug, Clone, Copy)]
pub enum Selection<'a> {
    /// The stored response to use.
    Found(&'a StoredHead),
    /// Responses are stored for the URI, none of them for these request fields.
    NoVariant,
    /// Nothing is stored for the URI.
    Nothing,
}

/// Selects among the responses stored for one primary key (§4.1): those whose nominated fields match; among them a part
/// only when it covers what is asked for, preferably one with a `Vary` field ("some resources mistakenly omit the Vary
/// header field from their default response"), then the most recent by `Date` (§4).
pub fn select<'a>(
    stored: impl IntoIterator<Item = &'a StoredHead>,
    request: &RequestView<'_>,
) -> Selection<'a> {
    let mut selection = Selection::Nothing;
    for candidate in stored {
        if !candidate.nominated().matches(request.headers) {
            if let Selection::Nothing = selection {
                selection = Selection::NoVariant;
            }
            continue;
        }
        match selection {
            Selection::Found(best) if rank(best, request) >= rank(candidate, request) => {}
            _ => selection = Selection::Found(candidate),
        }
    }
    selection
}

/// The values that a request has in the given fields, as text that is equal exactly when [`Nominated::matches`] would
/// say so: the secondary key by which requests are collapsed.
pub fn secondary_key<'n>(names: impl IntoIterator<Item = &'n HeaderName>, request: &HeaderMap) -> Vec<u8> {
    let mut key = Vec::new();
    for name in names {
        NominatedField::of(name.clone(), request).write_to(&mut key);
    }
    key
}

fn rank(stored: &StoredHead, request: &RequestView<'_>) -> (bool, bool, SystemTime) {
    let suffices = stored
        .part()
        .is_none_or(|part| part_answers(request, stored, part));
    (suffices, !stored.nominated().is_empty(), stored.date())
}

impl NominatedField {
    fn of(name: HeaderName, request: &HeaderMap) -> Self {
        let value = combined(&name, request);
        let normal = value
            .as_deref()
            .and_then(|value| normal_unless_same(&name, value));
        Self {
            name,
            value: value.map(Vec::into_boxed_slice),
            normal,
        }
    }

    fn write_to(&self, key: &mut Vec<u8>) {
        key.extend_from_slice(self.name.as_str().as_bytes());
        match self.normal_form() {
            None => key.push(b'-'),
            Some(value) => {
                key.push(b'=');
                // The length goes first, so that no value can imitate the field that follows.
                key.extend_from_slice(value.len().to_string().as_bytes());
                key.push(b':');
                key.extend_from_slice(value);
            }
        }
        key.push(b'\n');
    }

    fn normal_form(&self) -> Option<&[u8]> {
        self.normal.as_deref().or(self.value.as_deref())
    }

    fn matches(&self, request: &HeaderMap) -> bool {
        let mut lines = request.get_all(&self.name).iter();
        match (&self.value, lines.next()) {
            (None, None) => true,
            (None, Some(_)) | (Some(_), None) => false,
            (Some(value), Some(only)) if lines.next().is_none() && trim(only.as_bytes()) == &**value => true,
            (Some(_), Some(_)) => {
                let Some(value) = combined(&self.name, request) else {
                    return false;
                };
                let normal = normal_unless_same(&self.name, &value);
                normal.as_deref().unwrap_or(&value) == self.normal_form().unwrap_or_default()
            }
        }
    }
}

fn vary_names(response: &HeaderMap) -> Result<Vec<HeaderName>, VaryProblem> {
    let mut names = Vec::new();
    for line in response.get_all(header::VARY) {
        if line.len() > VALUE_LIMIT {
            return Err(VaryProblem::TooLarge);
        }
        for member in line.as_bytes().split(|&byte| byte == b',').map(trim) {
            match member {
                b"" => {}
                b"*" => return Err(VaryProblem::Any),
                name => names.push(HeaderName::from_bytes(name).map_err(|_| VaryProblem::Unreadable)?),
            }
        }
    }
    Ok(names)
}

/// "Combining multiple header field lines with the same field name" (§4.1), each without white space at its ends.
fn combined(name: &HeaderName, request: &HeaderMap) -> Option<Vec<u8>> {
    let mut lines = request.get_all(name).iter().map(|line| trim(line.as_bytes()));
    let mut value = lines.next()?.to_vec();
    for line in lines {
        value.extend_from_slice(b", ");
        value.extend_from_slice(line);
    }
    Some(value)
}

fn normal_unless_same(name: &HeaderName, value: &[u8]) -> Option<Box<[u8]>> {
    let normal = normal_form(name, value);
    (normal != value).then(|| normal.into_boxed_slice())
}

/// More nominated fields than this select nothing twice.
const NAMES_LIMIT: usize = 32;
const NAME_LIMIT: usize = 128;
const VALUE_LIMIT: usize = 8 * 1024;

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use crate::policy::HttpCachePolicy;
    use crate::policy::tests::{headers as shared_headers, stored_with};
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    type Lines = &'static [(&'static str, &'static str)];

    #[track_caller]
    fn check(section: &str, vary: &str, stored: Lines, presented: Lines, expected: bool) {
        let nominated = Nominated::of(&headers(&[("vary", vary)]), &headers(stored), &[]).unwrap();
        let presented = headers(presented);
        assert_eq!(nominated.matches(&presented), expected, "{section}: {vary}: {stored:?} {presented:?}");
        let keys = [&headers(stored), &presented].map(|request| secondary_key(nominated.names(), request));
        assert_eq!(keys[0] == keys[1], expected, "{section}: the collapse key disagrees");
    }

    #[test]
    fn nominated_fields_decide() {
        check("4.1", "foo", &[("foo", "1")], &[("foo", "1")], true);
        check("4.1", "foo", &[("foo", "1")], &[("foo", "2")], false);
        check("4.1 name case", "FoO", &[("foo", "1")], &[("Foo", "1")], true);
        check("4.1 value case", "foo", &[("foo", "a")], &[("foo", "A")], false);
        check("4.1 absent in both", "foo", &[], &[], true);
        check("4.1 absent now", "foo", &[("foo", "1")], &[], false);
        check("4.1 absent then", "foo", &[], &[("foo", "1")], false);
        check("4.1 absent is not empty", "foo", &[], &[("foo", "")], false);
        check("4.1 empty is not absent", "foo", &[("foo", "")], &[], false);
        check(
            "4.1 both must match",
            "foo, bar",
            &[("foo", "1"), ("bar", "2")],
            &[("foo", "1"), ("bar", "2")],
            true,
        );
        check(
            "4.1 both must match",
            "foo, bar",
            &[("foo", "1"), ("bar", "2")],
            &[("foo", "1"), ("bar", "3")],
            false,
        );
        check("4.1 others do not", "foo", &[("foo", "1"), ("x", "1")], &[("foo", "1"), ("x", "2")], true);
        check(
            "4.1 order of fields",
            "bar, foo",
            &[("foo", "1"), ("bar", "2")],
            &[("bar", "2"), ("foo", "1")],
            true,
        );
        check("4.1 empty members", ", foo,, ", &[("foo", "1")], &[("foo", "1")], true);
        check("4.1 no vary", "", &[("foo", "1")], &[("foo", "2")], true);
    }

    #[test]
    fn white_space_and_lines_are_normalised() {
        check("4.1 combined lines", "foo", &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")], true);
        check("4.1 combined lines", "foo", &[("foo", "1"), ("foo", "2")], &[("foo", "1,2")], true);
        check(
            "4.1 order of lines",
            "foo",
            &[("foo", "1"), ("foo", "2")],
            &[("foo", "2"), ("foo", "1")],
            false,
        );
        check("4.1 space at commas", "foo", &[("foo", "1,2")], &[("foo", "1 ,\t2")], true);
        check("4.1 space at the ends", "foo", &[("foo", "1")], &[("foo", "  1 ")], true);
        check("4.1 space inside", "foo", &[("foo", "a b")], &[("foo", "a  b")], false);
        check("4.1 space in quotes", "foo", &[("foo", "\"a,b\"")], &[("foo", "\"a, b\"")], false);
        check("4.1 escaped quote", "foo", &[("foo", r#""a\",b""#)], &[("foo", r#""a\", b""#)], false);
        check("4.1 after an escape", "foo", &[("foo", r#""a\b","c""#)], &[("foo", r#""a\b" , "c""#)], true);
        check("4.1 text fields", "user-agent", &[("user-agent", "a,b")], &[("user-agent", "a, b")], false);
        check("4.1 text fields", "cookie", &[("cookie", "a=b,c")], &[("cookie", "a=b, c")], false);
    }

    #[test]
    fn weighted_lists_are_normalised() {
        fn language(section: &str, stored: Lines, presented: Lines, expected: bool) {
            check(section, "Accept-Language", stored, presented, expected);
        }
        const NAME: &str = "accept-language";
        language("12.5.4 order", &[(NAME, "en, de")], &[(NAME, "de, en")], true);
        language("12.5.4 case", &[(NAME, "en-GB")], &[(NAME, "EN-gb")], true);
        language("12.5.4 space", &[(NAME, "en,de")], &[(NAME, "en ,  de")], true);
        language("12.5.4 space at weights", &[(NAME, "en;q=0.5")], &[(NAME, "en ; q=0.5")], true);
        language("12.4.2 weight", &[(NAME, "en;q=0.5")], &[(NAME, "en;Q=0.50")], true);
        language("12.4.2 weight of one", &[(NAME, "en")], &[(NAME, "en;q=1.000")], true);
        language("12.4.2 other weight", &[(NAME, "en;q=0.5")], &[(NAME, "en;q=0.6")], false);
        language("12.4.2 weight of zero", &[(NAME, "en;q=0")], &[(NAME, "en")], false);
        language("12.4.2 swapped weights", &[(NAME, "en;q=0.5, de")], &[(NAME, "de;q=0.5, en")], false);
        language("12.5.4 order with weights", &[(NAME, "de;q=0.5, en")], &[(NAME, "en;q=1, de;q=0.5")], true);
        language("12.5.4 lines", &[(NAME, "en, de")], &[(NAME, "de"), (NAME, "en")], true);
        language("12.5.4 other language", &[(NAME, "en, de")], &[(NAME, "en, fr")], false);
        language("12.5.4 subset", &[(NAME, "en, de")], &[(NAME, "en")], false);
        language("12.5.4 absent is not empty", &[], &[(NAME, "")], false);
        language("12.4.2 weight above one", &[(NAME, "a;q=2, b")], &[(NAME, "b, a;q=2")], false);
        language("12.4.2 too many digits", &[(NAME, "a;q=0.1234, b")], &[(NAME, "b, a;q=0.1234")], false);
        language("12.5.4 not a name", &[(NAME, "e(, b")], &[(NAME, "b, e(")], false);
        language("12.5.4 no name", &[(NAME, ";q=1, b")], &[(NAME, "b, ;q=1")], false);
        language("12.5.4 unknown parameter", &[(NAME, "a;x=1, b")], &[(NAME, "b, a;x=1")], false);
        const CODING: &str = "accept-encoding";
        check("12.5.3", CODING, &[(CODING, "gzip, br")], &[(CODING, "br,GZIP;q=1")], true);
        check(
            "12.5.1 Accept keeps its order",
            "accept",
            &[("accept", "a/b, c/d")],
            &[("accept", "c/d, a/b")],
            false,
        );
    }

    #[test]
    fn a_normal_form_is_short() {
        let normal = |value: &str| normal_form(&header::ACCEPT_LANGUAGE, value.as_bytes());
        assert_eq!(normal("DE;q=0.50 , en;q=1, fr;q=0.125, de;q=0.5"), b"en,de;q=500,fr;q=125");
    }

    #[test]
    fn some_vary_fields_match_nothing() {
        assert!(Nominated::of(&headers(&[("vary", &"x".repeat(128))]), &HeaderMap::new(), &[]).is_ok());
        let long = "x".repeat(200);
        let many = (0..40).map(|index| format!("x{index}")).collect::<Vec<_>>().join(",");
        let huge = "y, ".repeat(30_000);
        for (lines, problem) in [
            (&["*"][..], VaryProblem::Any),
            (&["foo, *"], VaryProblem::Any),
            (&["*, foo"], VaryProblem::Any),
            (&["foo", "*"], VaryProblem::Any),
            (&[", *,"], VaryProblem::Any),
            (&["foo bar"], VaryProblem::Unreadable),
            (&["(foo)"], VaryProblem::Unreadable),
            (&["\"foo\""], VaryProblem::Unreadable),
            (&[&long], VaryProblem::TooLarge),
            (&[&many], VaryProblem::TooLarge),
            (&[&huge], VaryProblem::TooLarge),
        ] {
            let response = headers(&lines.iter().map(|line| ("vary", *line)).collect::<Vec<_>>());
            assert_eq!(Nominated::of(&response, &HeaderMap::new(), &[]), Err(problem), "{lines:.40?}");
        }
        let request = headers(&[("foo", &"v".repeat(8 * 1024))]);
        assert!(Nominated::of(&headers(&[("vary", "foo")]), &request, &[]).is_ok());
        let request = headers(&[("foo", &"v".repeat(64 * 1024))]);
        let response = headers(&[("vary", "foo")]);
        assert_eq!(Nominated::of(&response, &request, &[]), Err(VaryProblem::TooLarge));
    }

    #[test]
    fn configured_fields_are_always_nominated() {
        let always = [HeaderName::from_static("origin")];
        let nominated =
            Nominated::of(&HeaderMap::new(), &headers(&[("origin", "https://a")]), &always).unwrap();
        assert!(nominated.matches(&headers(&[("origin", "https://a")])));
        assert!(!nominated.matches(&headers(&[("origin", "https://b")])));
    }

    #[test]
    fn pairs_rebuild_what_was_stored() {
        let request = headers(&[("foo", "b , a"), ("accept-language", "de,en;q=0.5")]);
        let nominated =
            Nominated::of(&headers(&[("vary", "foo, accept-language, x")]), &request, &[]).unwrap();
        let pairs = nominated.pairs().map(|(name, value)| (name.clone(), value.map(<[u8]>::to_vec)));
        assert_eq!(Nominated::from_pairs(pairs).unwrap(), nominated);
    }

    /// Stores responses with these lines and says which of them a request with these lines gets.
    #[track_caller]
    fn check_selected(section: &str, stored: &[&[&str]], request: &[&str], expected: Option<usize>) {
        let policy = HttpCachePolicy::rfc9111();
        let heads: Vec<_> = stored
            .iter()
            .map(|lines| {
                let status = if lines.iter().any(|line| line.starts_with("content-range")) { 206 } else { 200 };
                let mut all = vec!["cache-control: max-age=60", "etag: \"a\""];
                all.extend(*lines);
                // The values nominated at the time stand in the response's own "x-was" line.
                let was: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("x-was: ")).collect();
                stored_with(&policy, &was, status, &all)
            })
            .collect();
        let fields = shared_headers(request);
        let found = match select(&heads, &RequestView::new(&http::Method::GET, &fields)) {
            Selection::Found(found) => heads.iter().position(|head| std::ptr::eq(head, found)),
            Selection::NoVariant | Selection::Nothing => None,
        };
        assert_eq!(found, expected, "RFC 9111 {section}: {request:?}");
    }

    #[test]
    fn the_most_recent_matching_response_is_selected() {
        const VARIES: &[&str] = &["vary: foo", "x-was: foo: 1", "date: {-9}"];
        check_selected("4.1 nothing", &[], &[], None);
        check_selected("4.1 one", &[&["date: {0}"]], &[], Some(0));
        check_selected("4.1 no match", &[VARIES], &["foo: 2"], None);
        check_selected("4.1 match", &[&["vary: foo", "x-was: foo: 2"], VARIES], &["foo: 1"], Some(1));
        check_selected("4 most recent", &[&["date: {-9}"], &["date: {-1}"], &["date: {-5}"]], &[], Some(1));
        check_selected("4.1 with Vary first", &[&["date: {0}"], VARIES], &["foo: 1"], Some(1));
        check_selected("4.1 without Vary at last", &[&["date: {0}"], VARIES], &["foo: 2"], Some(0));
        const PART: &[&str] = &["content-range: bytes 0-4/10", "date: {0}"];
        check_selected("3.3 a part does not hide the whole", &[&["date: {-9}"], PART], &[], Some(0));
        check_selected("3.3 a part that covers the range", &[&["date: {-9}"], PART], &["range: bytes=0-1"], Some(1));
        check_selected("3.3 a part that does not", &[&["date: {-9}"], PART], &["range: bytes=0-9"], Some(0));
        check_selected("3.3 only a part", &[PART], &[], Some(0));
    }

    proptest! {
        #[test]
        fn normalising_twice_is_normalising_once(value in "[a-z0-9=;,.\" *-]{0,40}", which in 0_usize..4) {
            let name = [header::ACCEPT_LANGUAGE, header::ACCEPT, header::USER_AGENT, header::TE][which].clone();
            let once = normal_form(&name, value.as_bytes());
            prop_assert_eq!(normal_form(&name, &once), once);
        }

        #[test]
        fn a_request_matches_its_own_variant(value in "[ -~]{0,60}", vary in "[a-z-]{1,10}") {
            let request = headers(&[(vary.as_str(), value.as_str())]);
            let response = headers(&[("vary", vary.as_str())]);
            let nominated = Nominated::of(&response, &request, &[]).unwrap();
            prop_assert!(nominated.matches(&request));
        }

        #[test]
        fn no_value_makes_matching_panic(a in proptest::collection::vec(0x20_u8..=0xff, 0..60), b in "[ -~]{0,40}") {
            let mut request = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&a) {
                request.insert(header::ACCEPT_LANGUAGE, value);
            }
            let nominated = Nominated::of(&headers(&[("vary", "accept-language")]), &request, &[]).unwrap();
            nominated.matches(&headers(&[("accept-language", &b)]));
        }
    }
}
