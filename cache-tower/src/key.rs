//! From a request to the keys of what is stored for it.
//!
//! The primary key is the canonical target URI ([`policy::key_uri`](crate::policy::key_uri)) and what a [`KeyPolicy`]
//! adds. Under it lie the response without nominated fields, the index of variants, and each variant under a key of
//! its own.
//!
//! ```text
//! prefix:kind-policy:scheme:authority:path:query[:part][:query:content]
//! http:r-5f3a09c1:https:example.com:/quotes/GOOG:range=1d
//! http:r-5f3a09c1:https:example.com:/quotes/GOOG:~              no query
//! ```
//!
//! Each piece of the URI is a part of its own, so that the separators between them need no escaping, and so that of a long
//! URI only the long piece is replaced by its SHA-256.

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use cache_core::key::{CacheKey, KeyBuf, KeyError, Prefix};
use http::{Extensions, HeaderMap, Method, Request, Uri};

use crate::policy::key_uri::{Bypass, CanonicalUri};
use crate::policy::query::QueryRules;
use crate::policy::{HttpCachePolicy, RequestView};

/// How a request becomes a key, beyond its target URI.
#[derive(Clone, Default)]
pub struct KeyPolicy {
    query: QueryRules,
    part: Option<Part>,
}

type Part = Arc<dyn Fn(&RequestHead<'_>) -> Option<String> + Send + Sync>;

/// What a key part may be made of.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target as the client sent it.
    pub uri: &'a Uri,
    /// The header section.
    pub headers: &'a HeaderMap,
    /// What layers outside the cache have added.
    pub extensions: &'a Extensions,
}

impl KeyPolicy {
    /// Rules for the query: ignored parameters, and order that does not matter. An ignored parameter is removed from
    /// what the handler sees as well. Default: the query counts as it is, byte for byte.
    #[must_use]
    pub fn query(mut self, rules: QueryRules) -> Self {
        self.query = rules;
        self
    }

    /// A further part of the key, such as the tenant. A request for which `part` gives `None` passes by the cache:
    /// there is no default tenant. Default: none.
    ///
    /// ```
    /// use cache_tower::KeyPolicy;
    ///
    /// let per_tenant = KeyPolicy::default().part(|request| {
    ///     let tenant = request.headers.get("x-tenant")?.to_str().ok()?;
    ///     Some(tenant.to_owned())
    /// });
    /// # let _ = per_tenant;
    /// ```
    #[must_use]
    pub fn part(mut self, part: impl Fn(&RequestHead<'_>) -> Option<String> + Send + Sync + 'static) -> Self {
        self.part = Some(Arc::new(part));
        self
    }

    /// The target for the handler, if it differs from the client's.
    pub(crate) fn target_for_handler(&self, uri: &Uri) -> Option<Uri> {
        if self.query.ignored.is_empty() {
            return None;
        }
        let query = uri.query()?;
        let kept = self.query.for_handler(query);
        (kept.as_deref() != Some(query)).then(|| with_query(uri, kept.as_deref()))
    }

    /// The query as it counts.
    fn query_for_key<'q>(&self, query: Cow<'q, str>) -> Option<Cow<'q, str>> {
        if self.query.ignored.is_empty() && !self.query.sorted {
            return Some(query);
        }
        match query {
            Cow::Borrowed(query) => self.query.for_key(query),
            Cow::Owned(query) => Some(Cow::Owned(self.query.for_key(&query)?.into_owned())),
        }
    }
}

impl fmt::Debug for KeyPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPolicy")
            .field("query", &self.query)
            .field("part", &self.part.is_some())
            .finish()
    }
}

/// Builds the keys of one layer.
#[derive(Debug)]
pub(crate) struct Keys {
    prefix: Prefix,
    /// The second part of each kind of key: the kind, and what tells apart what was judged by different policies.
    kinds: Kinds,
}

#[derive(Debug)]
struct Kinds {
    response: String,
    index: String,
    variant: String,
    flight: String,
    unshareable: String,
    search: String,
}

/// What a request asks for.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The canonical target URI.
    pub(crate) uri: String,
    part: Option<String>,
    /// What a QUERY asks with its content.
    content: Option<String>,
}

/// The same while it still stands in the request: enough for a look into memory, and nothing is copied for it.
#[derive(Debug)]
pub(crate) struct Asked<'r> {
    uri: CanonicalUri<'r>,
    part: Option<Cow<'r, str>>,
    content: Option<Cow<'r, str>>,
}

impl Keys {
    /// `apart` is whatever else keeps layers from sharing what they store.
    pub(crate) fn new(prefix: &str, policy: &HttpCachePolicy, apart: impl Hash) -> Result<Self, KeyError> {
        // Only equality matters, and a change of the hash between releases would only cost misses.
        let mut hasher = DefaultHasher::new();
        format!("{policy:?}").hash(&mut hasher);
        apart.hash(&mut hasher);
        Ok(Self {
            prefix: Prefix::new(prefix)?,
            kinds: Kinds::new(hasher.finish()),
        })
    }

    /// The response without nominated fields.
    pub(crate) fn response(&self, target: &Target) -> KeyBuf {
        self.of(target, &self.kinds.response)
    }

    /// The same of a target that still stands in its request.
    #[inline]
    pub(crate) fn response_asked(&self, asked: &Asked<'_>) -> KeyBuf {
        self.of_asked(asked, &self.kinds.response)
    }

    /// The index of variants.
    pub(crate) fn index(&self, target: &Target) -> KeyBuf {
        self.of(target, &self.kinds.index)
    }

    /// The variant for these values of nominated fields.
    pub(crate) fn variant(&self, target: &Target, secondary: &[u8]) -> KeyBuf {
        let mut key = self.of(target, &self.kinds.variant);
        key.secret(secondary);
        key
    }

    /// The request in flight, told apart by the fields that are known to be nominated.
    pub(crate) fn flight(&self, target: &Target, secondary: &[u8]) -> CacheKey {
        let mut key = self.of(target, &self.kinds.flight);
        if !secondary.is_empty() {
            key.secret(secondary);
        }
        key.finish()
    }

    /// The rules by which responses under this path say that queries are the same.
    pub(crate) fn search_rules(&self, path: &Target) -> CacheKey {
        self.of(path, &self.kinds.search).finish()
    }

    /// The URI that was stored last for the queries that are the same by a rule.
    pub(crate) fn search(&self, path: &Target, rule: &str, significant: &[u8]) -> CacheKey {
        let mut key = self.of(path, &self.kinds.search);
        key.secret(rule).secret(significant);
        key.finish()
    }

    /// Whether the response to this request in flight cannot be shared, as another node found out.
    pub(crate) fn unshareable(&self, flight: &CacheKey) -> CacheKey {
        let mut key = KeyBuf::new(&self.prefix);
        key.part(&*self.kinds.unshareable).secret(flight.text());
        key.finish()
    }

    fn of(&self, target: &Target, kind: &str) -> KeyBuf {
        self.of_asked(&target.asked(), kind)
    }

    #[inline]
    fn of_asked(&self, asked: &Asked<'_>, kind: &str) -> KeyBuf {
        let mut key = KeyBuf::new(&self.prefix);
        let uri = &asked.uri;
        key.part(kind)
            .part(uri.scheme)
            .part(&*uri.authority)
            .part(uri.path)
            .part(&uri.query.as_deref());
        if let Some(part) = &asked.part {
            key.part(&**part);
        }
        if let Some(content) = &asked.content {
            key.part("query").part(&**content);
        }
        key
    }
}

impl Kinds {
    fn new(policy: u64) -> Self {
        let kind = |kind: &str| format!("{kind}-{:08x}", policy & 0xffff_ffff);
        Self {
            response: kind("r"),
            index: kind("i"),
            variant: kind("v"),
            flight: kind("f"),
            unshareable: kind("u"),
            search: kind("s"),
        }
    }
}

impl<'r> Asked<'r> {
    /// What a request asks for, or why that cannot be told. `view` is the same request as the policy sees it.
    #[inline]
    pub(crate) fn of<B>(
        request: &'r Request<B>,
        view: &RequestView<'r>,
        keys: &KeyPolicy,
        policy: &HttpCachePolicy,
    ) -> Result<Self, KeyProblem> {
        let mut uri = CanonicalUri::of(original_uri(request), view, policy).map_err(KeyProblem::Target)?;
        uri.query = uri.query.and_then(|query| keys.query_for_key(query));
        let uri = uri.within_limit(policy).map_err(KeyProblem::Target)?;
        let part = match &keys.part {
            None => None,
            Some(part) => Some(Cow::Owned(part(&head(request)).ok_or(KeyProblem::Part)?)),
        };
        Ok(Self {
            uri,
            part,
            content: None,
        })
    }

    /// The same, asked with this content.
    pub(crate) fn with_content(self, content: String) -> Self {
        Self {
            content: Some(Cow::Owned(content)),
            ..self
        }
    }

    /// The same, to be kept.
    pub(crate) fn to_target(&self) -> Target {
        let mut uri = String::new();
        self.uri.write_to(&mut uri);
        Target {
            uri,
            part: self.part.as_deref().map(str::to_owned),
            content: self.content.as_deref().map(str::to_owned),
        }
    }
}

impl Target {
    fn asked(&self) -> Asked<'_> {
        Asked {
            uri: CanonicalUri::parse(&self.uri),
            part: self.part.as_deref().map(Cow::Borrowed),
            content: self.content.as_deref().map(Cow::Borrowed),
        }
    }

    /// The same target at another URI.
    pub(crate) fn moved_to(&self, uri: String) -> Self {
        Self { uri, ..self.clone() }
    }

    #[cfg(test)]
    pub(crate) fn at(uri: &str) -> Self {
        Self {
            uri: uri.to_owned(),
            part: None,
            content: None,
        }
    }
}

/// Why a request has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyProblem {
    Target(Bypass),
    /// The key policy's part is missing.
    Part,
}

impl KeyProblem {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Target(bypass) => bypass.as_str(),
            Self::Part => "key-part-missing",
        }
    }
}

fn head<B>(request: &Request<B>) -> RequestHead<'_> {
    RequestHead {
        method: request.method(),
        uri: original_uri(request),
        headers: request.headers(),
        extensions: request.extensions(),
    }
}

/// The target as the client sent it: a nested router sees only the rest of the path.
pub(crate) fn original_uri<B>(request: &Request<B>) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(original) = request.extensions().get::<axum::extract::OriginalUri>() {
        return &original.0;
    }
    request.uri()
}

/// Removes ignored parameters from what the handler will see.
pub(crate) fn hide_ignored_parameters<B>(request: &mut Request<B>, keys: &KeyPolicy) {
    if let Some(uri) = keys.target_for_handler(request.uri()) {
        *request.uri_mut() = uri;
    }
    #[cfg(feature = "axum")]
    if let Some(original) = request.extensions_mut().get_mut::<axum::extract::OriginalUri>()
        && let Some(uri) = keys.target_for_handler(&original.0)
    {
        original.0 = uri;
    }
}

/// The same URI with another query; unchanged if that is no URI, which a shorter query cannot cause.
fn with_query(uri: &Uri, query: Option<&str>) -> Uri {
    let path_and_query = match query {
        Some(query) => format!("{}?{query}", uri.path()),
        None => uri.path().to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    let Ok(path_and_query) = path_and_query.parse() else {
        return uri.clone();
    };
    parts.path_and_query = Some(path_and_query);
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str) -> Request<()> {
        Request::get(uri).header("host", "h").body(()).unwrap()
    }

    fn try_target(request: &Request<()>, keys: &KeyPolicy) -> Result<Target, KeyProblem> {
        let view = RequestView::new(request.method(), request.headers());
        Ok(Asked::of(request, &view, keys, &HttpCachePolicy::safe())?.to_target())
    }

    fn target(uri: &str, keys: &KeyPolicy) -> Target {
        try_target(&request(uri), keys).unwrap()
    }

    #[test]
    fn a_key_is_the_same_before_and_after_its_target_was_taken_from_the_request() {
        let keys = Keys::new("http", &HttpCachePolicy::safe(), ()).unwrap();
        let parts = KeyPolicy::default().part(|_| Some(String::from("tenant")));
        for (uri, host, end) in [
            ("/a/b", "h", ":http:h:/a/b:~"),
            ("/a?", "h", ":http:h:/a:'"),
            ("/a?b=%41&c", "H:80", ":http:h:/a:b=%2541&c"),
            ("/a?b?c", "h:8080", ":http:h%3A8080:/a:b%3Fc"),
            ("https://h", "h", ":https:h:/:~"),
            ("/a:b", "[::1]", ":http:%5B%3A%3A1%5D:/a%3Ab:~"),
        ] {
            for (policy, end) in [
                (&KeyPolicy::default(), end.to_owned()),
                (&parts, format!("{end}:tenant")),
            ] {
                let request = Request::get(uri).header("host", host).body(()).unwrap();
                let view = RequestView::new(request.method(), request.headers());
                let asked = Asked::of(&request, &view, policy, &HttpCachePolicy::safe()).unwrap();
                let key = keys.response_asked(&asked).finish();
                assert_eq!(key, keys.response(&asked.to_target()).finish(), "{uri}");
                assert!(key.text().ends_with(&end), "{} {end}", key.text());
            }
        }
    }

    #[test]
    fn no_piece_of_a_target_runs_into_another() {
        let keys = Keys::new("http", &HttpCachePolicy::safe(), ()).unwrap();
        let part = |text: &'static str| KeyPolicy::default().part(move |_| Some(String::from(text)));
        let mut all = std::collections::HashSet::new();
        for (uri, policy) in [
            ("/a", KeyPolicy::default()),
            ("/a?", KeyPolicy::default()),
            ("/a?~", KeyPolicy::default()),
            ("/a?'", KeyPolicy::default()),
            ("/a:b", KeyPolicy::default()),
            ("/a?b", KeyPolicy::default()),
            ("/a", part("b")),
            ("/a?b", part("b")),
            ("/a?b", part("")),
            ("/a?b:b", KeyPolicy::default()),
            ("/a", part("~")),
        ] {
            let target = target(uri, &policy);
            assert!(all.insert(keys.response(&target).finish()), "{uri}");
            let with_content = Target {
                content: Some(String::from("b")),
                ..target
            };
            assert!(all.insert(keys.response(&with_content).finish()), "{uri}");
        }
    }

    #[test]
    fn kinds_variants_and_policies_never_share_a_key() {
        let target = Target::at("http://h/");
        let safe = Keys::new("http", &HttpCachePolicy::safe(), ()).unwrap();
        let wide = Keys::new("http", &HttpCachePolicy::rfc9111(), ()).unwrap();
        let keys = [
            safe.response(&target).finish(),
            wide.response(&target).finish(),
            safe.index(&target).finish(),
            safe.variant(&target, b"a").finish(),
            safe.variant(&target, b"b").finish(),
            safe.flight(&target, b""),
            safe.flight(&target, b"a"),
        ];
        let unique: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(unique.len(), keys.len());
    }

    #[test]
    fn an_ignored_parameter_is_neither_in_the_key_nor_visible_to_the_handler() {
        let keys = KeyPolicy::default().query(QueryRules {
            ignored: vec![String::from("utm_*")],
            sorted: true,
        });
        assert_eq!(target("/p?utm_source=x&b=1&a=2", &keys).uri, "http://h/p?a=2&b=1");
        let mut seen = request("/p?utm_source=x&b=1&a=2");
        hide_ignored_parameters(&mut seen, &keys);
        assert_eq!(seen.uri(), "/p?b=1&a=2");
    }

    #[test]
    fn a_request_without_its_key_part_has_no_key() {
        let keys = KeyPolicy::default().part(|request| request.uri.query().map(str::to_owned));
        let missing = try_target(&request("/p"), &keys);
        assert_eq!(missing.unwrap_err(), KeyProblem::Part);
        assert_eq!(target("/p?a", &keys).part.as_deref(), Some("a"));
    }
}
