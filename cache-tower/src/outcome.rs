//! [`CacheOutcome`]: what the cache did with a request. `Cache-Status`, logs and tests speak from it.

use http::HeaderValue;

use crate::policy::status::{CacheStatus, ForwardCause};
use crate::policy::{Serve, StaleReason};

/// What the cache did with a request; an extension of every response that passed through a
/// [`CacheService`](crate::CacheService), for layers outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheOutcome {
    /// What happened, in one word.
    pub kind: OutcomeKind,
    /// Why the request went forward; `None` if it did not.
    pub forwarded: Option<ForwardCause>,
    /// The status that the inner service answered with, where it is not the one that was sent.
    pub forward_status: Option<u16>,
    /// The response is being stored.
    pub stored: bool,
    /// Whether the request shared another one's response: `false` if it waited for one in vain, `None` if there was none to
    /// wait for.
    pub collapsed: Option<bool>,
    /// Remaining freshness in seconds, negative when stale.
    pub ttl: Option<i64>,
    /// The reason: for bypassing, for not storing, for serving a stale response.
    pub detail: Option<&'static str>,
}

/// The closed list of what can happen to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutcomeKind {
    /// Answered from the store by a fresh response.
    Hit,
    /// Answered from the store by a stale one.
    Stale,
    /// Answered from the store after the inner service confirmed it.
    Revalidated,
    /// Answered by the inner service.
    Miss,
    /// Answered by the response to another request.
    Collapsed,
    /// Passed by the cache.
    Bypass,
    /// Answered 504 because of `only-if-cached`.
    GatewayTimeout,
}

impl OutcomeKind {
    /// All of them, in the order of their declaration.
    pub(crate) const ALL: [Self; 7] = [
        Self::Hit,
        Self::Stale,
        Self::Revalidated,
        Self::Miss,
        Self::Collapsed,
        Self::Bypass,
        Self::GatewayTimeout,
    ];

    /// The kind in one word, as in logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Collapsed => "collapsed",
            Self::Bypass => "bypass",
            Self::GatewayTimeout => "gateway_timeout",
        }
    }
}

impl CacheOutcome {
    fn new(kind: OutcomeKind) -> Self {
        Self {
            kind,
            forwarded: None,
            forward_status: None,
            stored: false,
            collapsed: None,
            ttl: None,
            detail: None,
        }
    }

    /// Answered from the store.
    pub(crate) fn served(serve: &Serve) -> Self {
        let kind = if serve.stale.is_some() {
            OutcomeKind::Stale
        } else {
            OutcomeKind::Hit
        };
        Self {
            ttl: Some(serve.ttl),
            detail: serve.stale.map(StaleReason::as_str),
            ..Self::new(kind)
        }
    }

    /// Went to the inner service.
    pub(crate) fn forwarded(kind: OutcomeKind, cause: ForwardCause, detail: Option<&'static str>) -> Self {
        Self {
            forwarded: Some(cause),
            detail,
            ..Self::new(kind)
        }
    }

    pub(crate) fn bypassed(cause: ForwardCause, detail: &'static str) -> Self {
        Self::forwarded(OutcomeKind::Bypass, cause, Some(detail))
    }

    pub(crate) fn gateway_timeout() -> Self {
        Self::new(OutcomeKind::GatewayTimeout)
    }

    /// The member of `Cache-Status`; `None` for a name that cannot be written, and for a 504 of our own, which has no
    /// response of an origin to speak about.
    pub(crate) fn status(&self, name: &str, key: Option<String>) -> Option<HeaderValue> {
        if self.kind == OutcomeKind::GatewayTimeout {
            return None;
        }
        let mut status = self
            .forwarded
            .map_or_else(CacheStatus::hit, CacheStatus::forwarded);
        if let Some(code) = self.forward_status {
            status = status.forward_status(code);
        }
        if let Some(ttl) = self.ttl {
            status = status.ttl(ttl);
        }
        if self.stored {
            status = status.stored();
        }
        if let Some(shared) = self.collapsed {
            status = status.collapsed(shared);
        }
        if let Some(key) = key {
            status = status.key(key);
        }
        if let Some(detail) = self.detail {
            status = status.detail(detail);
        }
        status.to_value(name)
    }
}

#[cfg(all(test, feature = "metrics"))]
mod tests {
    use super::OutcomeKind;

    #[test]
    fn each_kind_has_its_own_counter() {
        for (place, kind) in OutcomeKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place, "{kind:?}");
        }
    }
}
