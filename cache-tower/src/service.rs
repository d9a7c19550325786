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
use crate::inner::{Inner, RequestBody, ResponseBody};

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
            // The inner service stays ready for the next request.
            Admission::Hit(hit) => ResponseFuture::hit(hit),
            admission => self.more(admission, request),
        }
    }
}

impl<S> CacheService<S> {
    /// What is more than a hit. Apart from it, since these futures are made on the stack before they are boxed: a hit
    /// would have to make room for them.
    #[inline(never)]
    fn more<Q, B>(&mut self, admission: Admission<B>, request: Request<Q>) -> ResponseFuture<B, S::Error>
    where
        S: Inner<Q, B>,
        Q: RequestBody,
        B: ResponseBody,
    {
        let cache = self.cache.clone();
        match admission {
            Admission::Hit(hit) => ResponseFuture::hit(hit),
            Admission::Answer(response) => ResponseFuture::awaited(ready(Ok(response))),
            Admission::Pass(outcome) => {
                ResponseFuture::awaited(pass(cache, self.inner.call(request), outcome))
            }
            Admission::Unsafe(target) => {
                ResponseFuture::awaited(change(cache, self.take_ready(), request, target))
            }
            Admission::Lookup(target) => {
                ResponseFuture::awaited(exchange(cache, self.take_ready(), request, target))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::Ready;

    use cache_core::Cache;
    use tower_layer::Layer;

    use super::*;
    use crate::CacheLayer;
    use crate::key::Target;

    #[derive(Clone)]
    struct Origin;

    impl Service<Request<String>> for Origin {
        type Response = Response<String>;
        type Error = Infallible;
        type Future = Ready<Result<Response<String>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<String>) -> Self::Future {
            ready(Ok(Response::default()))
        }
    }

    /// They are moved into their boxes, and a task moves them again.
    #[test]
    fn the_futures_of_requests_that_go_to_the_origin_stay_small() {
        let service = CacheLayer::new(Cache::builder("sizes").build().unwrap()).layer(Origin);
        let (cache, target) = (service.cache, Target::at("http://h/"));
        let lookup = exchange(cache.clone(), Origin, Request::default(), target.clone());
        let change = change(cache, Origin, Request::default(), target);
        let sizes = [size_of_val(&lookup), size_of_val(&change)];
        assert!(sizes.iter().all(|size| *size <= 8 << 10), "{sizes:?}");
    }
}
