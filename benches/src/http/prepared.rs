//! The least that a cache can cost: a layer that decides nothing, and answers each request with a copy of one response.
//!
//! What is above the bare handler here is the price of the place in the stack, and of a response that has to be copied
//! because others will want it too; no cache for the same place can be cheaper.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderValue, Response, header};
use http_body_util::Full;
use tower::{Layer, Service};

use super::services::{FRESH, SMALL, TAG};

/// Makes [`Prepared`] services.
#[derive(Clone)]
pub(super) struct PreparedLayer {
    response: Arc<Response<Bytes>>,
}

/// Stands in front of `S`, and never asks it.
#[derive(Clone)]
pub(super) struct Prepared<S> {
    inner: S,
    response: Arc<Response<Bytes>>,
}

impl PreparedLayer {
    pub(super) fn new() -> Self {
        // What a hit of the real layer has.
        let mut response = Response::new(Bytes::from_static(&SMALL));
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        fields.insert(header::CACHE_CONTROL, FRESH);
        fields.insert(header::ETAG, TAG);
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(SMALL.len()));
        fields.insert(header::AGE, HeaderValue::from(1));
        let status = HeaderValue::from_static("cache; hit; ttl=3599");
        fields.insert("cache-status", status);
        Self {
            response: Arc::new(response),
        }
    }
}

impl<S> Layer<S> for PreparedLayer {
    type Service = Prepared<S>;

    fn layer(&self, inner: S) -> Prepared<S> {
        Prepared {
            inner,
            response: self.response.clone(),
        }
    }
}

impl<S> Service<Request> for Prepared<S>
where
    S: Service<Request, Error = Infallible>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, _request: Request) -> Self::Future {
        let mut answer = Response::new(Full::new(self.response.body().clone()));
        *answer.headers_mut() = HeaderMap::clone(self.response.headers());
        *answer.extensions_mut() = Extensions::clone(self.response.extensions());
        ready(Ok(answer))
    }
}
