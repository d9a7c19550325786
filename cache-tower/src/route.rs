//! [`CachePolicy`]: how a handler decides about its own response.

use std::borrow::Cow;
use std::time::Duration;

use cache_core::tag::{Tag, TagError};
use http::HeaderName;

use crate::policy::{AssignedLifetime, HttpCachePolicy};

/// A handler's word about caching, as an extension of its response. It is not sent to the client.
///
/// It never overrides `no-store`, `private` or `no-cache`, and makes nothing shareable that the layer's policy
/// refuses: a response with `Set-Cookie`, say, or one to a request with credentials.
///
/// ```
/// use cache_tower::CachePolicy;
/// use std::time::Duration;
///
/// let mut response = http::Response::new(String::from("1.0831"));
/// response
///     .extensions_mut()
///     .insert(CachePolicy::new().ttl(Duration::from_secs(5)).tag("quote:EURUSD"));
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct CachePolicy {
    ttl: Option<Duration>,
    tags: Vec<Result<Tag, TagError>>,
    vary: Vec<HeaderName>,
    bypass: bool,
}

impl CachePolicy {
    /// Everything as the response's fields say.
    pub fn new() -> Self {
        Self::default()
    }

    /// Fresh for `ttl`, in place of what the response's fields say. Clients see the fields, not this.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The response can be invalidated by this tag. One that is no valid tag keeps the response from being stored.
    pub fn tag(mut self, tag: impl AsRef<str>) -> Self {
        self.tags.push(Tag::new(tag));
        self
    }

    /// The response depends on this request field, although its `Vary` does not say so.
    pub fn vary(mut self, name: HeaderName) -> Self {
        self.vary.push(name);
        self
    }

    /// The response is not stored and not shared.
    pub fn bypass(mut self) -> Self {
        self.bypass = true;
        self
    }

    pub(crate) fn is_bypass(&self) -> bool {
        self.bypass
    }

    /// # Errors
    ///
    /// What is wrong with a tag.
    pub(crate) fn tags(&self) -> Result<Vec<Tag>, TagError> {
        self.tags.iter().cloned().collect()
    }

    /// The layer's policy as this response wants it.
    pub(crate) fn adapt<'a>(&self, policy: &'a HttpCachePolicy) -> Cow<'a, HttpCachePolicy> {
        if self.ttl.is_none() && self.vary.is_empty() {
            return Cow::Borrowed(policy);
        }
        let mut policy = policy.clone();
        policy.vary_always.extend(self.vary.iter().cloned());
        if let Some(ttl) = self.ttl {
            policy.lifetime = Some(AssignedLifetime::Always(ttl));
        }
        Cow::Owned(policy)
    }
}

#[cfg(feature = "axum")]
impl axum::response::IntoResponseParts for CachePolicy {
    type Error = std::convert::Infallible;

    fn into_response_parts(
        self,
        mut response: axum::response::ResponseParts,
    ) -> Result<axum::response::ResponseParts, Self::Error> {
        response.extensions_mut().insert(self);
        Ok(response)
    }
}
