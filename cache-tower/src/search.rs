//! `No-Vary-Search` in the store: finding a response whose query differs from the request's only where it says that this
//! does not matter.
//!
//! Per path the rules of its responses are kept, and per rule and significant part of a query the URI that was stored last.
//! What is found this way is checked against the response's own field before it is used.

use std::time::Duration;

use cache_core::StorePermit;
use http::{HeaderMap, HeaderValue};

use crate::key::Target;
use crate::policy::StoredHead;
use crate::policy::no_vary_search::{NO_VARY_SEARCH, NoVarySearch};
use crate::store::{Found, INDEX_TTL, Store, fixed};

impl Store {
    /// What is stored for an equivalent URI; empty if nothing is.
    pub(crate) async fn find_equivalent(&self, target: &Target, request: &HeaderMap) -> Found {
        let (path, query) = split(&target.uri);
        let path = target.moved_to(path.to_owned());
        let rules = self
            .cache
            .get::<Vec<String>>(&self.keys.search_rules(&path))
            .await;
        for text in rules.iter().flat_map(|rules| rules.iter()) {
            let Some(rule) = read(text) else { continue };
            let key = self.keys.search(&path, text, &rule.key(query));
            let Some(uri) = self.cache.get::<String>(&key).await else {
                continue;
            };
            let found = self.find(&target.moved_to(String::clone(&uri)), request).await;
            let found = found.only(|candidate| {
                let head = candidate.head(&self.config.policy);
                head.and_then(|head| NoVarySearch::of(head.headers()))
                    .is_some_and(|own| own.matches(split(&uri).1, query))
            });
            if !found.is_empty() {
                return found;
            }
        }
        Found::default()
    }

    /// Notes for which other URIs a response may answer.
    pub(crate) async fn note_search(
        &self,
        target: &Target,
        permit: &StorePermit,
        head: &StoredHead,
        ttl: Duration,
    ) {
        let Some(rule) = NoVarySearch::of(head.headers()) else {
            return;
        };
        let Some(text) = text(head.headers()) else {
            return;
        };
        let (path, query) = split(&target.uri);
        let path = target.moved_to(path.to_owned());
        let key = self.keys.search(&path, &text, &rule.key(query));
        // Both only say where to look: what fails here costs a miss.
        drop(permit.store(&key, target.uri.clone(), fixed(ttl)).await);
        let rules = self.keys.search_rules(&path);
        let known = self.cache.get::<Vec<String>>(&rules).await;
        if known.is_some_and(|known| known.contains(&text)) {
            return;
        }
        let options = fixed(ttl.max(INDEX_TTL));
        let noted = self
            .cache
            .update::<Vec<String>, _>(&rules, options, |rules| {
                let mut rules = rules.unwrap_or_default();
                rules.retain(|other| *other != text);
                rules.insert(0, text.clone());
                rules.truncate(RULES);
                rules
            })
            .await;
        if let Err(error) = noted {
            tracing::debug!(%error, "the rules of a path were not updated");
        }
    }
}

/// Path and query of a canonical URI.
fn split(uri: &str) -> (&str, Option<&str>) {
    match uri.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (uri, None),
    }
}

fn text(fields: &HeaderMap) -> Option<String> {
    let lines = fields.get_all(&NO_VARY_SEARCH).iter();
    let lines: Result<Vec<_>, _> = lines.map(HeaderValue::to_str).collect();
    Some(lines.ok()?.join(", ")).filter(|text| text.len() <= RULE_BYTES)
}

fn read(text: &str) -> Option<NoVarySearch> {
    let mut fields = HeaderMap::new();
    fields.insert(NO_VARY_SEARCH, HeaderValue::from_str(text).ok()?);
    NoVarySearch::of(&fields)
}

/// Of one path: an origin has one rule for it, or is changing from one to the next.
const RULES: usize = 4;
const RULE_BYTES: usize = 4_096;
