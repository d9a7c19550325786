//! The `Cache-Status` field (RFC 9211): what this cache did with a request, as one member of the list.

use std::fmt::{self, Write};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::structured::{is_token, write_string};

/// The field name.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Why a request went forward (RFC 9211 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardCause {
    /// The cache was configured not to handle it.
    Bypass,
    /// The method's semantics require it.
    Method,
    /// Nothing stored matched the URI.
    UriMiss,
    /// Something matched the URI, but not the nominated fields.
    VaryMiss,
    /// Nothing stored matched, for reasons that are not told apart.
    Miss,
    /// A fresh response was stored, but the request's directives asked for more.
    Request,
    /// The stored response was stale.
    Stale,
    /// Only a part was stored, not the one that was needed.
    Partial,
}

impl ForwardCause {
    /// The token of RFC 9211 §2.2.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Miss => "miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

impl From<super::reuse::ForwardReason> for ForwardCause {
    fn from(reason: super::reuse::ForwardReason) -> Self {
        use super::reuse::ForwardReason;
        match reason {
            ForwardReason::NothingStored => Self::UriMiss,
            ForwardReason::NoVariant => Self::VaryMiss,
            ForwardReason::Method => Self::Method,
            ForwardReason::OriginCondition => Self::Request,
            ForwardReason::Credentials => Self::Miss,
            ForwardReason::Part => Self::Partial,
        }
    }
}

impl From<super::reuse::RevalidateReason> for ForwardCause {
    fn from(reason: super::reuse::RevalidateReason) -> Self {
        if reason.is_forced_by_request() {
            Self::Request
        } else {
            Self::Stale
        }
    }
}

/// One member of `Cache-Status`, without the cache's name.
///
/// ```
/// use cache_tower::policy::status::{CacheStatus, ForwardCause};
///
/// let status = CacheStatus::forwarded(ForwardCause::Stale).forward_status(304).ttl(60).collapsed(true);
/// assert_eq!(status.named("edge").to_string(), "edge; fwd=stale; fwd-status=304; ttl=60; collapsed");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheStatus {
    forwarded: Option<ForwardCause>,
    forward_status: Option<u16>,
    ttl: Option<i64>,
    stored: bool,
    collapsed: Option<bool>,
    key: Option<String>,
    detail: Option<&'static str>,
}

impl CacheStatus {
    /// Answered from the store, without going forward (§2.1).
    pub fn hit() -> Self {
        Self::default()
    }

    /// Went forward (§2.2).
    pub fn forwarded(cause: ForwardCause) -> Self {
        Self {
            forwarded: Some(cause),
            ..Self::default()
        }
    }

    /// The status that came back, when it is not the one sent to the client (§2.3).
    #[must_use]
    pub fn forward_status(mut self, status: u16) -> Self {
        self.forward_status = Some(status);
        self
    }

    /// The remaining freshness in seconds, negative when stale (§2.4).
    #[must_use]
    pub fn ttl(mut self, seconds: i64) -> Self {
        self.ttl = Some(seconds);
        self
    }

    /// The response was stored (§2.5).
    #[must_use]
    pub fn stored(mut self) -> Self {
        self.stored = true;
        self
    }

    /// The request was collapsed with another, and shared its response, or had to be made all the same (§2.6).
    #[must_use]
    pub fn collapsed(mut self, shared: bool) -> Self {
        self.collapsed = Some(shared);
        self
    }

    /// The key, for operators who asked for it (§2.7). It is left out when it has characters that a string cannot hold.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// A reason from one of the policy's `as_str()` functions (§2.8).
    #[must_use]
    pub fn detail(mut self, detail: &'static str) -> Self {
        self.detail = Some(detail);
        self
    }

    /// The member with the name of a cache, for display.
    pub fn named<'a>(&'a self, cache: &'a str) -> impl fmt::Display + 'a {
        Named { cache, status: self }
    }

    /// Appends the member to the field. Each cache adds itself at the end, so the last member is the one nearest to the
    /// client (§2); it becomes a line of its own. A name that cannot be written leaves the field as it is.
    pub fn append_to(&self, headers: &mut HeaderMap, cache: &str) {
        if let Some(value) = self.to_value(cache) {
            headers.append(CACHE_STATUS, value);
        }
    }

    /// The member as a field value; `None` for a name that cannot be written.
    pub fn to_value(&self, cache: &str) -> Option<HeaderValue> {
        let mut text = String::with_capacity(64);
        self.write_member(&mut text, cache).ok()?;
        HeaderValue::from_str(&text).ok()
    }

    fn write_member(&self, out: &mut String, cache: &str) -> fmt::Result {
        if is_token(cache) {
            out.push_str(cache);
        } else {
            write_string(cache, out).ok_or(fmt::Error)?;
        }
        self.write_parameters(out)
    }

    fn write_parameters(&self, out: &mut String) -> fmt::Result {
        match self.forwarded {
            None => out.write_str("; hit")?,
            Some(cause) => write!(out, "; fwd={}", cause.as_str())?,
        }
        if let Some(status) = self.forward_status.filter(|_| self.forwarded.is_some()) {
            write!(out, "; fwd-status={status}")?;
        }
        if let Some(ttl) = self.ttl {
            // An integer has at most 15 digits (RFC 9651 §3.3.1).
            write!(
                out,
                "; ttl={}",
                ttl.clamp(-999_999_999_999_999, 999_999_999_999_999)
            )?;
        }
        if self.forwarded.is_some() && self.stored {
            out.write_str("; stored")?;
        }
        match self.collapsed.filter(|_| self.forwarded.is_some()) {
            Some(true) => out.write_str("; collapsed")?,
            Some(false) => out.write_str("; collapsed=?0")?,
            None => {}
        }
        if let Some(key) = &self.key {
            write_parameter(out, "key", key);
        }
        if let Some(detail) = self.detail {
            write_parameter(out, "detail", detail);
        }
        Ok(())
    }
}

struct Named<'a> {
    cache: &'a str,
    status: &'a CacheStatus,
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(64);
        self.status.write_member(&mut text, self.cache)?;
        formatter.write_str(&text)
    }
}

/// Writes a token as such and other text as a string; text that neither can hold is left out.
fn write_parameter(out: &mut String, name: &str, value: &str) {
    let start = out.len();
    out.push_str("; ");
    out.push_str(name);
    out.push('=');
    if name == "detail" && is_token(value) {
        out.push_str(value);
    } else if write_string(value, out).is_none() {
        out.truncate(start);
    }
}

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::structured::{BareItem, Member, parse_list};

    #[track_caller]
    fn check(section: &str, status: &CacheStatus, cache: &str, expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        status.append_to(&mut headers, cache);
        let line = headers.get(CACHE_STATUS).map(|value| value.to_str().unwrap());
        assert_eq!(line, expected, "RFC 9211 {section}");
    }

    #[test]
    fn a_member_says_what_happened() {
        use ForwardCause::*;
        let forwarded = CacheStatus::forwarded;
        check("2.1", &CacheStatus::hit(), "c", Some("c; hit"));
        check("2.4", &CacheStatus::hit().ttl(376), "c", Some("c; hit; ttl=376"));
        check("2.4 stale", &CacheStatus::hit().ttl(-412), "c", Some("c; hit; ttl=-412"));
        check("2.4 limit", &CacheStatus::hit().ttl(i64::MAX), "c", Some("c; hit; ttl=999999999999999"));
        check("2.2", &forwarded(UriMiss), "c", Some("c; fwd=uri-miss"));
        check("2.2", &forwarded(VaryMiss).stored(), "c", Some("c; fwd=vary-miss; stored"));
        check("2.6", &forwarded(Miss).collapsed(true), "c", Some("c; fwd=miss; collapsed"));
        check("2.6", &forwarded(Miss).collapsed(false), "c", Some("c; fwd=miss; collapsed=?0"));
        check(
            "2.2",
            &forwarded(Bypass).detail("host-missing"),
            "c",
            Some("c; fwd=bypass; detail=host-missing"),
        );
        check("2.2", &forwarded(Method), "c", Some("c; fwd=method"));
        check("2.2", &forwarded(Request), "c", Some("c; fwd=request"));
        check("2.2", &forwarded(Partial), "c", Some("c; fwd=partial"));
        check("2.3", &forwarded(Stale).forward_status(304), "c", Some("c; fwd=stale; fwd-status=304"));
        check("2.3 only when forwarded", &CacheStatus::hit().forward_status(304), "c", Some("c; hit"));
        check("2.6 only when forwarded", &CacheStatus::hit().collapsed(true).stored(), "c", Some("c; hit"));
        check("2.7", &CacheStatus::hit().key("a\"b"), "c", Some("c; hit; key=\"a\\\"b\""));
        check("2.7 not a string", &CacheStatus::hit().key("a\r\nset-cookie: x"), "c", Some("c; hit"));
        check("2.7 not ASCII", &CacheStatus::hit().key("ü"), "c", Some("c; hit"));
        check("2.8 text", &CacheStatus::hit().detail("a b"), "c", Some("c; hit; detail=\"a b\""));
        check("2 name as a string", &CacheStatus::hit(), "my cache", Some("\"my cache\"; hit"));
        check("2 name as a string", &CacheStatus::hit(), "1cache", Some("\"1cache\"; hit"));
        check("2 name that cannot be written", &CacheStatus::hit(), "a\r\nb", None);
    }

    #[test]
    fn a_member_goes_to_the_end_of_the_list() {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_STATUS, HeaderValue::from_static("origin; hit, mid; fwd=miss"));
        CacheStatus::hit().append_to(&mut headers, "edge");
        let token = |text: &str| Member::Item(BareItem::Token(text.into()));
        let list = parse_list(&headers, &CACHE_STATUS).unwrap();
        assert_eq!(list, ["origin", "mid", "edge"].map(token), "RFC 9211 2");
    }

    #[test]
    fn reasons_become_causes() {
        use crate::policy::reuse::{ForwardReason, RevalidateReason};
        for (reason, cause) in [
            (ForwardReason::NothingStored, "uri-miss"),
            (ForwardReason::NoVariant, "vary-miss"),
            (ForwardReason::Method, "method"),
            (ForwardReason::OriginCondition, "request"),
            (ForwardReason::Credentials, "miss"),
            (ForwardReason::Part, "partial"),
        ] {
            assert_eq!(ForwardCause::from(reason).as_str(), cause, "RFC 9211 2.2: {}", reason.as_str());
        }
        for (reason, cause) in [
            (RevalidateReason::Stale, "stale"),
            (RevalidateReason::NoCache, "stale"),
            (RevalidateReason::Suspect, "stale"),
            (RevalidateReason::RequestNoCache, "request"),
            (RevalidateReason::RequestMaxAge, "request"),
            (RevalidateReason::RequestMinFresh, "request"),
        ] {
            assert_eq!(ForwardCause::from(reason).as_str(), cause, "RFC 9211 2.2: {}", reason.as_str());
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_a_list_of_one(cache in "\\PC{1,10}", key in "\\PC{0,20}", ttl in any::<i64>()) {
            let mut headers = HeaderMap::new();
            CacheStatus::hit().key(key).ttl(ttl).append_to(&mut headers, &cache);
            let list = parse_list(&headers, &CACHE_STATUS);
            prop_assert!(list.is_ok_and(|list| list.len() <= 1));
        }
    }
}
