//! A request as the policy sees it: method, fields, and the directives parsed once.

use http::{HeaderMap, Method};

use super::cache_control::RequestControl;

/// The parts of a request that decide about reuse. Building one parses `Cache-Control` and `Pragma`; a request that has
/// neither costs two look-ups.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// The method.
    pub method: &'a Method,
    /// The header section.
    pub headers: &'a HeaderMap,
    /// The request's own directives.
    pub control: RequestControl,
}

impl<'a> RequestView<'a> {
    /// Reads a request.
    pub fn new(method: &'a Method, headers: &'a HeaderMap) -> Self {
        Self {
            method,
            headers,
            control: RequestControl::of(headers),
        }
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
