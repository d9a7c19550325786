//! `No-Vary-Search` (draft-ietf-httpbis-no-vary-search): a response says which parts of the query do not select it.
//!
//! A stored response with the field may answer a request whose URI differs only there. Values are compared decoded but
//! byte for byte, which is stricter than the draft for text that is not UTF-8.

use http::{HeaderMap, HeaderName};

use super::structured::{BareItem, Member, parse_dictionary};

/// The field name.
pub const NO_VARY_SEARCH: HeaderName = HeaderName::from_static("no-vary-search");

/// Which differences between two queries do not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoVarySearch {
    order_matters: bool,
    params: Params,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Params {
    /// All matter but these.
    AllBut(Vec<Vec<u8>>),
    /// None matters but these.
    NoneBut(Vec<Vec<u8>>),
}

impl NoVarySearch {
    /// Reads the field; `None` when it is absent, cannot be read, or changes nothing: then every difference matters.
    pub fn of(response: &HeaderMap) -> Option<Self> {
        if !response.contains_key(NO_VARY_SEARCH) {
            return None;
        }
        let members = parse_dictionary(response, &NO_VARY_SEARCH).ok()?;
        let member = |key: &str| {
            members
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value)
        };
        let order_matters = match member("key-order") {
            None => true,
            Some(Member::Item(BareItem::Boolean(ignored))) => !ignored,
            Some(_) => return None,
        };
        let params = match (member("params"), member("except")) {
            (None | Some(Member::Item(BareItem::Boolean(false))), None) => Params::AllBut(Vec::new()),
            (Some(Member::Item(BareItem::Boolean(true))), None) => Params::NoneBut(Vec::new()),
            (Some(Member::Item(BareItem::Boolean(true))), Some(except)) => Params::NoneBut(names(except)?),
            (Some(list), None) => Params::AllBut(names(list)?),
            // "except" has a meaning only beside "params" without a list.
            _ => return None,
        };
        let changes_nothing = order_matters && params == Params::AllBut(Vec::new());
        (!changes_nothing).then_some(Self {
            order_matters,
            params,
        })
    }

    /// Whether two queries are the same for this response.
    pub fn matches(&self, a: Option<&str>, b: Option<&str>) -> bool {
        self.significant(a) == self.significant(b)
    }

    /// The significant part of a query as a text that is equal exactly for queries that [`match`](Self::matches).
    pub fn key(&self, query: Option<&str>) -> Vec<u8> {
        let mut key = Vec::new();
        for (name, value) in self.significant(query) {
            for text in [name, value] {
                key.extend_from_slice(text.len().to_string().as_bytes());
                key.push(b':');
                key.extend_from_slice(&text);
            }
        }
        key
    }

    fn significant(&self, query: Option<&str>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut pairs: Vec<_> = pairs(query.unwrap_or_default())
            .filter(|(name, _)| self.has_meaning(name))
            .collect();
        if !self.order_matters {
            // Stable: the order of values of one name still matters.
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
        }
        pairs
    }

    fn has_meaning(&self, name: &[u8]) -> bool {
        let is_in = |names: &[Vec<u8>]| names.iter().any(|other| other == name);
        match &self.params {
            Params::AllBut(names) => !is_in(names),
            Params::NoneBut(names) => is_in(names),
        }
    }
}

fn names(list: &Member) -> Option<Vec<Vec<u8>>> {
    let Member::InnerList(items) = list else {
        return None;
    };
    items
        .iter()
        .map(|item| match item {
            BareItem::String(name) => Some(decoded(name)),
            _ => None,
        })
        .collect()
}

/// The parameters of a query in `application/x-www-form-urlencoded`.
fn pairs(query: &str) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    query
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (decoded(name), decoded(value))
        })
}

fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex(*high) << 4 | hex(*low));
                rest = after;
            }
            (other, _) => out.push(*other),
        }
    }
    out
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit.to_ascii_lowercase() - b'a' + 10,
    }
}

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::headers;
    use super::*;

    fn read(value: &str) -> Option<NoVarySearch> {
        NoVarySearch::of(&headers(&[&format!("no-vary-search: {value}")]))
    }

    #[track_caller]
    fn check(value: &str, a: &str, b: &str, expected: bool) {
        let rule = read(value).unwrap();
        assert_eq!(rule.matches(Some(a), Some(b)), expected, "{value}: {a} {b}");
        assert_eq!(rule.key(Some(a)) == rule.key(Some(b)), expected, "{value}: {a} {b}: the key disagrees");
    }

    #[test]
    fn the_order_of_keys_may_not_matter() {
        check("key-order", "a=1&b=2", "b=2&a=1", true);
        check("key-order", "a=1&b=2", "b=2&a=2", false);
        check("key-order", "a=1&a=2", "a=2&a=1", false);
        check("key-order", "a=1&b=2", "a=1&b=2&c=3", false);
        check("params=(\"x\")", "a=1&b=2", "b=2&a=1", false);
    }

    #[test]
    fn some_parameters_may_not_matter() {
        check("params", "a=1", "b=2", true);
        check("params", "", "b=2", true);
        check("params=(\"a\")", "a=1&b=2", "b=2", true);
        check("params=(\"a\")", "a=1&b=2", "b=2&a=5", true);
        check("params=(\"a\")", "a=1&b=2", "a=1&b=3", false);
        check("params=(\"a\" \"b\")", "a=1&b=2&c=3", "c=3", true);
        check("params, except=(\"c\")", "a=1&c=3", "b=1&c=3", true);
        check("params, except=(\"c\")", "a=1&c=3", "a=1&c=4", false);
        check("params, except=(\"c\" \"d\"), key-order", "d=1&c=3", "c=3&x&d=1", true);
    }

    #[test]
    fn names_and_values_are_compared_decoded() {
        check("params=(\"x\")", "a=%41", "a=A", true);
        check("params=(\"x\")", "a=b+c", "a=b%20c", true);
        check("params=(\"%78\")", "x=1", "", true);
        check("params=(\"x\")", "a", "a=", true);
        check("params=(\"x\")", "&a=1&&", "a=1", true);
        check("params=(\"x\")", "a=%4", "a=%4", true);
        check("params=(\"x\")", "a=%ff", "a=%fe", false);
    }

    #[test]
    fn a_field_that_cannot_be_read_changes_nothing() {
        for value in [
            "",
            "params=?0",
            "key-order=?0",
            "key-order=1",
            "params=a",
            "params=(a)",
            "params=\"a\"",
            "except=(\"a\")",
            "params=?0, except=(\"a\")",
            "params=(\"a\"), except=(\"b\")",
            "params, except",
            "params, except=(a)",
            "params=(\"a\"",
            "other",
        ] {
            assert_eq!(read(value), None, "{value}");
        }
        assert_eq!(NoVarySearch::of(&HeaderMap::new()), None);
    }

    proptest! {
        #[test]
        fn a_query_matches_itself(query in "[ -~]{0,40}", which in 0_usize..4) {
            let value = ["key-order", "params", "params=(\"a\")", "params, except=(\"a\")"][which];
            check(value, &query, &query, true);
        }
    }
}
