//! A request as the policy sees it: method, fields, and the directives parsed once.

use http::{HeaderMap, HeaderName, Method};

use super::cache_control::RequestControl;
use super::untrusted::FieldSet;

/// The parts of a request that decide about reuse. Building one looks once at each field, and parses `Cache-Control` and
/// `Pragma` where they are.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// The method.
    pub method: &'a Method,
    /// The header section.
    pub headers: &'a HeaderMap,
    /// The request's own directives.
    pub control: RequestControl,
    pub(super) present: Present<'a>,
}

/// Which of the fields that decide about the target and about reuse a request has. Most requests have few of them: one
/// pass over all fields costs less than a look-up of each.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Present<'a> {
    pub(super) host: Host<'a>,
    /// Content is announced: any is coded, or its length is not 0.
    pub(super) content: bool,
    pub(super) upgrade: bool,
    /// The first field that must not have influence.
    pub(super) untrusted: Option<&'a HeaderName>,
    control: bool,
    credentials: bool,
    /// `If-Match` or `If-Unmodified-Since`, which are the origin's to evaluate.
    origin_condition: bool,
    cache_condition: bool,
    range: bool,
}

/// The `Host` of a request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Host<'a> {
    #[default]
    Absent,
    One(&'a [u8]),
    Repeated,
}

impl<'a> RequestView<'a> {
    /// Reads a request.
    pub fn new(method: &'a Method, headers: &'a HeaderMap) -> Self {
        Self::looking_for(&NONE, method, headers)
    }

    /// Reads a request, and notes which fields it has that must not have influence.
    #[inline]
    pub(crate) fn looking_for(untrusted: &FieldSet, method: &'a Method, headers: &'a HeaderMap) -> Self {
        let mut view = Self {
            method,
            headers,
            control: RequestControl::default(),
            present: Present::of(headers, untrusted),
        };
        if view.present.control {
            view.control = RequestControl::of(headers);
        }
        view
    }

    /// Whether it has credentials, should the policy take all that could be ones for such.
    pub(crate) fn may_have_credentials(&self) -> bool {
        self.present.credentials
    }

    /// Whether it has a condition that is the origin's to evaluate (RFC 9111 §4.3.2).
    pub(crate) fn has_origin_condition(&self) -> bool {
        self.present.origin_condition
    }

    /// Whether it wants the whole response: no condition, no range.
    pub(crate) fn wants_all(&self) -> bool {
        !(self.present.origin_condition || self.present.cache_condition || self.present.range)
    }

    /// The same request as if it did not ask for anything fresher: for a client that has forced too many validations
    /// (see [`HttpCachePolicy::limit_forced_validation`](super::HttpCachePolicy)). `no-store` and `only-if-cached` stay.
    #[must_use]
    pub fn without_forced_validation(mut self) -> Self {
        self.control.max_age = None;
        self.control.min_fresh = None;
        self.control.no_cache = false;
        self
    }
}

impl<'a> Present<'a> {
    #[inline]
    fn of(headers: &'a HeaderMap, untrusted: &FieldSet) -> Self {
        let mut present = Self::default();
        for (name, value) in headers {
            // Names are in lower case.
            match name.as_str() {
                "host" => present.host = present.host.and(value.as_bytes()),
                "transfer-encoding" => present.content = true,
                "content-length" => present.content |= value.as_bytes() != b"0",
                "upgrade" => present.upgrade = true,
                "cache-control" | "pragma" => present.control = true,
                "authorization" | "cookie" => present.credentials = true,
                "if-match" | "if-unmodified-since" => present.origin_condition = true,
                "if-none-match" | "if-modified-since" => present.cache_condition = true,
                "range" => present.range = true,
                _ => {}
            }
            if untrusted.contains(name) && present.untrusted.is_none() {
                present.untrusted = Some(name);
            }
        }
        present
    }
}

impl<'a> Host<'a> {
    fn and(self, line: &'a [u8]) -> Self {
        match self {
            Self::Absent => Self::One(line),
            Self::One(_) | Self::Repeated => Self::Repeated,
        }
    }
}

static NONE: FieldSet = FieldSet::EMPTY;
