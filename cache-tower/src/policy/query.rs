//! Opt-in rules for the query of a target URI: parameters that are ignored, and order that does not matter.
//!
//! Both are off unless configured. An ignored parameter is removed from what the handler sees as well: a parameter that
//! is not part of the key must not be able to influence the answer.

use std::borrow::Cow;

/// Which parameters take no part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryRules {
    /// Names of ignored parameters, compared as written, without decoding. A name that ends in `*` stands for all that
    /// begin so.
    pub ignored: Vec<String>,
    /// Whether parameters are sorted by name in the key. Those with the same name keep their order.
    pub sorted: bool,
}

impl QueryRules {
    /// The query for the handler: without the ignored parameters, else byte for byte. `None` when nothing is left.
    pub fn for_handler<'q>(&self, query: &'q str) -> Option<Cow<'q, str>> {
        if !query.split('&').any(|parameter| self.ignores(parameter)) {
            return Some(Cow::Borrowed(query));
        }
        let kept: Vec<_> = query
            .split('&')
            .filter(|parameter| !self.ignores(parameter))
            .collect();
        (!kept.is_empty()).then(|| Cow::Owned(kept.join("&")))
    }

    /// The query for the key: that for the handler, sorted if so configured.
    pub fn for_key<'q>(&self, query: &'q str) -> Option<Cow<'q, str>> {
        let query = self.for_handler(query)?;
        if !self.sorted {
            return Some(query);
        }
        let mut parameters: Vec<_> = query.split('&').collect();
        parameters.sort_by_key(|parameter| name(parameter));
        Some(Cow::Owned(parameters.join("&")))
    }

    fn ignores(&self, parameter: &str) -> bool {
        let name = name(parameter);
        self.ignored.iter().any(|rule| match rule.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == rule,
        })
    }
}

fn name(parameter: &str) -> &str {
    parameter.split('=').next().unwrap_or_default()
}

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(ignored: &[&str], sorted: bool, query: &str, handler: Option<&str>, key: Option<&str>) {
        let rules = QueryRules { ignored: ignored.iter().map(ToString::to_string).collect(), sorted };
        assert_eq!(rules.for_handler(query).as_deref(), handler, "{ignored:?}: {query}");
        assert_eq!(rules.for_key(query).as_deref(), key, "{ignored:?} {sorted}: {query}");
    }

    #[test]
    fn ignored_parameters_reach_neither_key_nor_handler() {
        check(&[], false, "b=1&a=2", Some("b=1&a=2"), Some("b=1&a=2"));
        check(&["utm_*"], false, "a=1&utm_source=x&b=2", Some("a=1&b=2"), Some("a=1&b=2"));
        check(&["utm_source"], false, "utm_source=x", None, None);
        check(&["utm_source"], false, "utm_source", None, None);
        check(&["utm_source"], false, "utm_source2=x", Some("utm_source2=x"), Some("utm_source2=x"));
        check(&["utm_source"], false, "UTM_SOURCE=x", Some("UTM_SOURCE=x"), Some("UTM_SOURCE=x"));
        // What hides behind a semicolon goes with it: the handler does not see it either.
        check(&["utm_a"], false, "utm_a=1;callback=evil&b=2", Some("b=2"), Some("b=2"));
        check(&["utm_a"], false, "utm%5Fa=1", Some("utm%5Fa=1"), Some("utm%5Fa=1"));
        check(&["x"], false, "&&", Some("&&"), Some("&&"));
    }

    #[test]
    fn sorting_touches_only_the_key() {
        check(&[], true, "b=1&a=2", Some("b=1&a=2"), Some("a=2&b=1"));
        check(&[], true, "a=2&a=1", Some("a=2&a=1"), Some("a=2&a=1"));
        check(&["x"], true, "b=1&x=9&a=2", Some("b=1&a=2"), Some("a=2&b=1"));
    }

    proptest! {
        #[test]
        fn applying_the_rules_twice_is_applying_them_once(query in "[a-c=&;]{0,20}") {
            let rules = QueryRules { ignored: vec!["a".into()], sorted: true };
            if let Some(once) = rules.for_key(&query) {
                prop_assert_eq!(rules.for_key(&once), Some(once.clone()));
            }
        }
    }
}
