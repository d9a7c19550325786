//! [`CacheConfig`]: what a layer does, as plain data.

use std::time::Duration;

use cache_core::Error;
use http::HeaderName;

use crate::key::KeyPolicy;
use crate::policy::HttpCachePolicy;

/// What a [`CacheLayer`](crate::CacheLayer) does. Every field is public and has a default; see
/// [`HttpCachePolicy`] for the choices that RFC 9111 leaves open.
///
/// ```
/// use cache_tower::{CacheConfig, policy::HttpCachePolicy};
///
/// let config = CacheConfig {
///     body_limit: 256 << 10,
///     ..CacheConfig::new(HttpCachePolicy::rfc9111())
/// };
/// # let _ = config;
/// ```
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// What may be stored and reused. Default: [`HttpCachePolicy::safe`].
    pub policy: HttpCachePolicy,
    /// How a request becomes a key. Default: the target URI as it is.
    pub key: KeyPolicy,
    /// The first part of every key. Default: `http`. Layers with different policies or names never share entries; two layers
    /// with the same policy that stand for *different* origins under one authority need different prefixes.
    pub prefix: String,
    /// The largest body that is stored, in bytes. Larger ones stream through. Default: 1 MiB, so that what is being
    /// stored at any moment stays small beside what is stored. A shared tier takes up to 8 MiB; what is larger stays with
    /// the node that got it.
    pub body_limit: u64,
    /// How long a request waits for another one's response, of this process or another, before it goes to the origin
    /// itself. A node that dies keeps the others waiting for half of it. Default: 5 seconds.
    pub wait_timeout: Duration,
    /// How many requests may wait for one response; the others go to the origin themselves. Default: 1,024.
    pub max_waiters: usize,
    /// How long a URI whose response could not be shared is asked without waiting for one another. A response that
    /// can be shared ends it; an error of the origin does not begin it. Default: 1 minute.
    pub unshareable_for: Duration,
    /// How long a body that is to be stored may take. When it ends, the response goes on to its own client and is not
    /// stored; if nobody reads it any more, it is dropped. Default: 1 minute.
    pub load_timeout: Duration,
    /// How long a response is kept beyond its freshness, to be validated or to stand in for a failing origin. Default:
    /// 1 hour.
    pub keep_stale: Duration,
    /// The least time between two validations of one response that only clients ask for; it counts where the policy
    /// says [`limit_forced_validation`](HttpCachePolicy::limit_forced_validation). Default: 5 seconds.
    pub forced_validation_interval: Duration,
    /// Response fields that list tags, such as `Surrogate-Key` or `Cache-Tag`. They are removed from the response.
    /// Default: none.
    pub tag_fields: Vec<HeaderName>,
    /// This cache's name in `Cache-Status` (RFC 9211); `None` sends no such field. Default: `cache`.
    pub status_name: Option<String>,
    /// Whether `Cache-Status` shows the key. Default: no, it tells clients how the cache is keyed.
    pub status_shows_key: bool,
}

impl CacheConfig {
    /// The defaults with this policy.
    pub fn new(policy: HttpCachePolicy) -> Self {
        Self {
            policy,
            key: KeyPolicy::default(),
            prefix: String::from("http"),
            body_limit: 1 << 20,
            wait_timeout: Duration::from_secs(5),
            max_waiters: 1_024,
            unshareable_for: Duration::from_secs(60),
            load_timeout: Duration::from_secs(60),
            keep_stale: Duration::from_secs(3_600),
            forced_validation_interval: Duration::from_secs(5),
            tag_fields: Vec::new(),
            status_name: Some(String::from("cache")),
            status_shows_key: false,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        for (field, value) in [
            ("wait_timeout", self.wait_timeout),
            ("load_timeout", self.load_timeout),
        ] {
            if value.is_zero() {
                return Err(Error::invalid(format!(
                    "`{field}` is zero; give it at least 1 ms"
                )));
            }
        }
        if self.policy.variants_limit == 0 {
            return Err(Error::invalid(
                "`variants_limit` is zero; allow at least one variant",
            ));
        }
        Ok(())
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self::new(HttpCachePolicy::safe())
    }
}
