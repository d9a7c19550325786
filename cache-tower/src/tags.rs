//! The tags that every stored response carries, and purging by them.
//!
//! A stored response is tagged with its URI and with its first eight path prefixes, so that one invalidation reaches
//! all its variants and the requests in flight, on every node. They live in the one tag space of the
//! [`Cache`], beside the tags that handlers and functions use, and begin with `http-`.

use std::future::IntoFuture;

use cache_core::key::{Prefix, Secret};
use cache_core::tag::{MAX_TAG_BYTES, Tag, TagError, TagSet};
use cache_core::{Cache, Error};

use crate::policy::groups::group_tag;
use crate::policy::uri_reference::origin;

/// Purges stored responses by URI, by the beginning of their path, or by cache group.
///
/// URIs are canonical: scheme and host in lower case, without the default port, path and query as they were sent.
///
/// ```
/// use cache_core::Cache;
/// use cache_tower::Purge;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), cache_core::Error> {
/// let cache = Cache::builder("app").build()?;
/// let purge = Purge::new(cache);
/// purge.uri("http://example.com/quotes/GOOG?range=1d").await?;
/// purge.prefix("http://example.com/quotes").await?; // and everything below
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Purge {
    cache: Cache,
    is_soft: bool,
}

impl Purge {
    /// Purges what layers store in `cache`.
    pub fn new(cache: Cache) -> Self {
        Self {
            cache,
            is_soft: false,
        }
    }

    /// Makes responses stale instead of removing them: they are validated before they are used again, and may meanwhile
    /// be served where a stale response may be (`stale-while-revalidate`, `stale-if-error`, an unreachable origin).
    /// [`Cache::invalidate_tag_soft`] does the same for tags.
    #[must_use]
    pub fn soft(mut self) -> Self {
        self.is_soft = true;
        self
    }

    /// Invalidates every response stored for this URI: all variants, all methods.
    ///
    /// # Errors
    ///
    /// As for [`Cache::invalidate_tag`].
    pub async fn uri(&self, uri: &str) -> Result<(), Error> {
        self.tag(uri_tag(uri)).await
    }

    /// Invalidates every response stored for this path and the paths below it. `http://h/a` covers `/a`, `/a?q` and
    /// `/a/b`, not `/ab`; `http://h` covers the host. Paths of more than eight segments are covered by their first
    /// eight.
    ///
    /// # Errors
    ///
    /// As for [`Cache::invalidate_tag`].
    pub async fn prefix(&self, prefix: &str) -> Result<(), Error> {
        match path_prefixes(prefix).last() {
            Some(prefix) => self.tag(prefix_tag(prefix)).await,
            None => Ok(()),
        }
    }

    /// Invalidates a cache group (RFC 9875) of an origin such as `http://example.com`.
    ///
    /// # Errors
    ///
    /// As for [`Cache::invalidate_tag`].
    pub async fn group(&self, origin: &str, group: &str) -> Result<(), Error> {
        self.tag(cache_group_tag(origin, group)).await
    }

    async fn tag(&self, tag: Tag) -> Result<(), Error> {
        if self.is_soft {
            return self.cache.invalidate_tag_soft(tag).await;
        }
        self.cache.invalidate_tag(tag).into_future().await
    }
}

/// The tag of all that is stored for a URI.
pub(crate) fn uri_tag(uri: &str) -> Tag {
    tag("http-uri", uri)
}

pub(crate) fn cache_group_tag(origin: &str, group: &str) -> Tag {
    tag("http-group", &group_tag(origin, group))
}

fn prefix_tag(prefix: &str) -> Tag {
    tag("http-prefix", prefix)
}

/// The tags that a response to `uri` carries without being told to.
pub(crate) fn implicit_tags(uri: &str) -> Vec<Tag> {
    let mut tags = vec![uri_tag(uri)];
    tags.extend(path_prefixes(uri).map(prefix_tag));
    tags
}

/// The set of all tags of a response.
///
/// # Errors
///
/// [`TagError::TooMany`], or what is wrong with a tag.
pub(crate) fn tag_set(tags: impl IntoIterator<Item = Tag>) -> Result<TagSet, TagError> {
    TagSet::new(tags)
}

/// `http://h`, `http://h/a`, `http://h/a/b` of `http://h/a/b?q`: the host, then the first segments.
fn path_prefixes(uri: &str) -> impl Iterator<Item = &str> {
    let end = uri.find(['?', '#']).unwrap_or(uri.len());
    let whole = &uri[..end];
    let whole = whole.strip_suffix('/').unwrap_or(whole);
    let start = origin(uri).map_or(whole.len(), str::len).min(whole.len());
    let ends = whole[start..]
        .match_indices('/')
        .map(move |(at, _)| start + at)
        .filter(move |&at| at > start)
        .chain([whole.len()]);
    let host = (start < whole.len()).then_some(start);
    host.into_iter()
        .chain(ends)
        .take(PREFIXES)
        .map(move |end| &whole[..end])
}

/// A tag from a text of any length and any characters.
fn tag(kind: &'static str, text: &str) -> Tag {
    let fits = kind.len() + 1 + text.len() <= MAX_TAG_BYTES && !text.contains(char::is_control);
    let direct = if fits {
        Tag::new(format!("{kind} {text}")).ok()
    } else {
        None
    };
    direct.unwrap_or_else(|| digest_tag(kind, text))
}

fn digest_tag(kind: &'static str, text: &str) -> Tag {
    let digest = DIGEST.key((kind, Secret(text)));
    Tag::new(digest.text()).expect("a key is shorter than a tag may be and has no control characters")
}

const DIGEST: Prefix = Prefix::literal("http-digest");

/// How many prefixes of a path are tags: the host and seven segments.
const PREFIXES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &str, expected: &[&str]) {
        assert_eq!(path_prefixes(uri).collect::<Vec<_>>(), expected, "{uri}");
    }

    #[test]
    fn prefixes_are_the_host_and_whole_segments() {
        check("http://h", &["http://h"]);
        check("http://h/", &["http://h"]);
        check("http://h/?q=/x", &["http://h"]);
        check("http://h/a", &["http://h", "http://h/a"]);
        check("http://h/a/", &["http://h", "http://h/a"]);
        check("http://h/a/b?q=1/2", &["http://h", "http://h/a", "http://h/a/b"]);
        check(
            "http://h:81/a//b",
            &[
                "http://h:81",
                "http://h:81/a",
                "http://h:81/a/",
                "http://h:81/a//b",
            ],
        );
        assert_eq!(path_prefixes("http://h/1/2/3/4/5/6/7/8/9").count(), PREFIXES);
    }

    #[test]
    fn long_and_odd_texts_are_tags_too_and_stay_apart() {
        let long = |end: &str| format!("http://h/{}{end}", "x".repeat(9_000));
        assert_ne!(uri_tag(&long("a")), uri_tag(&long("b")));
        assert_eq!(uri_tag(&long("a")), uri_tag(&long("a")));
        assert_ne!(uri_tag("http://h/a"), prefix_tag("http://h/a"));
        assert_ne!(
            cache_group_tag("http://h", "\u{1}"),
            cache_group_tag("http://h", "\u{2}")
        );
    }
}
