//! [`CacheService`]: the HTTP cache around one service.

use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::BoxError;
use crate::ask::{change, pass};
use crate::body::CacheBody;
use crate::exchange::{Admission, HttpCache, exchange};
use crate::future::ResponseFuture;

/// An HTTP cache around `S`, made by a [`CacheLayer`](crate::CacheLayer). Clones share the cache.
#[derive(Clone, Debug)]
pub struct CacheService<S> {
    inner: S,
    cache: Arc<HttpCache>,
}

impl<S> CacheService<S> {
    pub(crate) fn new(inner: S, cache: Arc<HttpCache>) -> Self {
        Self { inner, cache }
    }
}

impl<S: Clone> CacheService<S> {
    /// The instance that was polled ready; a fresh clone takes its place. A clone of a ready service is not ready.
    fn take_ready(&mut self) -> S {
        let clone = self.inner.clone();
        std::mem::replace(&mut self.inner, clone)
    }
}

impl<S, Q, B> Service<Request<Q>> for CacheService<S>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Q: Body + Default + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<CacheBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<B, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        match self.cache.admit(&request) {
            Admission::Pass(outcome) => {
                ResponseFuture::awaited(pass(self.cache.clone(), self.inner.call(request), outcome))
            }
            Admission::Unsafe(target) => {
                ResponseFuture::awaited(change(self.cache.clone(), self.take_ready(), request, target))
            }
            // The inner service stays ready for the next request.
            Admission::Hit(hit) => ResponseFuture::hit(hit),
            Admission::Answer(response) => ResponseFuture::awaited(ready(Ok(response))),
            Admission::Lookup(target) => {
                ResponseFuture::awaited(exchange(self.cache.clone(), self.take_ready(), request, target))
            }
        }
    }
}
