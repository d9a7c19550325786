//! [`ResponseFuture`]: a hit is there already, everything else is awaited.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;

use crate::body::CacheBody;
use crate::exchange::HttpCache;
use crate::outcome::CacheOutcome;

pin_project! {
    /// The future of a [`CacheService`](crate::CacheService).
    ///
    /// # Cancellation
    ///
    /// Dropping it gives up this client's interest. A request to the inner service that others may share goes on, and its
    /// response is stored; one that nobody can share is dropped with its client.
    pub struct ResponseFuture<F, B, E> {
        #[pin]
        kind: Kind<F, B, E>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<F, B, E> {
        Ready { response: Option<Response<CacheBody<B>>> },
        Passing { #[pin] inner: F, cache: Arc<HttpCache>, outcome: CacheOutcome },
        Exchange { exchange: Exchange<B, E> },
    }
}

type Exchange<B, E> = Pin<Box<dyn Future<Output = Result<Response<CacheBody<B>>, E>> + Send>>;

impl<F, B, E> ResponseFuture<F, B, E> {
    pub(crate) fn ready(response: Response<CacheBody<B>>) -> Self {
        Self {
            kind: Kind::Ready {
                response: Some(response),
            },
        }
    }

    pub(crate) fn passing(inner: F, cache: Arc<HttpCache>, outcome: CacheOutcome) -> Self {
        Self {
            kind: Kind::Passing {
                inner,
                cache,
                outcome,
            },
        }
    }

    pub(crate) fn exchange(
        exchange: impl Future<Output = Result<Response<CacheBody<B>>, E>> + Send + 'static,
    ) -> Self {
        Self {
            kind: Kind::Exchange {
                exchange: Box::pin(exchange),
            },
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<CacheBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjection::Ready { response } => Poll::Ready(Ok(response
                .take()
                .expect("a future is not polled after it is ready"))),
            KindProjection::Passing {
                inner,
                cache,
                outcome,
            } => {
                let mut response = ready!(inner.poll(context))?;
                response.extensions_mut().remove::<crate::CachePolicy>();
                Poll::Ready(Ok(cache.finish(response.map(CacheBody::passing), *outcome, None)))
            }
            KindProjection::Exchange { exchange } => exchange.as_mut().poll(context),
        }
    }
}

impl<F, B, E> fmt::Debug for ResponseFuture<F, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.kind {
            Kind::Ready { .. } => "ResponseFuture::Ready",
            Kind::Passing { .. } => "ResponseFuture::Passing",
            Kind::Exchange { .. } => "ResponseFuture::Exchange",
        })
    }
}
