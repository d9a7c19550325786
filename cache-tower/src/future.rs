//! [`ResponseFuture`]: a hit is there already, everything else is awaited.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;

use crate::body::CacheBody;
use crate::stored::Hit;

/// The future of a [`CacheService`](crate::CacheService).
///
/// # Cancellation
///
/// Dropping it gives up this client's interest. A request to the inner service that others may share goes on, and its
/// response is stored; one that nobody can share is dropped with its client.
pub struct ResponseFuture<B, E> {
    kind: Kind<B, E>,
}

/// Small, whatever the inner service's future is: it is moved more than once before it is polled.
enum Kind<B, E> {
    /// `None` once it was given away.
    Hit(Option<Hit>),
    Awaited(Awaited<B, E>),
}

type Awaited<B, E> = Pin<Box<dyn Future<Output = Result<Response<CacheBody<B>>, E>> + Send>>;

impl<B, E> ResponseFuture<B, E> {
    pub(crate) fn hit(hit: Hit) -> Self {
        Self {
            kind: Kind::Hit(Some(hit)),
        }
    }

    pub(crate) fn awaited(
        response: impl Future<Output = Result<Response<CacheBody<B>>, E>> + Send + 'static,
    ) -> Self {
        Self {
            kind: Kind::Awaited(Box::pin(response)),
        }
    }
}

impl<B, E> Future for ResponseFuture<B, E> {
    type Output = Result<Response<CacheBody<B>>, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.kind {
            Kind::Hit(hit) => {
                let hit = hit.take().expect("a future is not polled after it is ready");
                Poll::Ready(Ok(hit.into_response()))
            }
            Kind::Awaited(response) => response.as_mut().poll(context),
        }
    }
}

impl<B, E> fmt::Debug for ResponseFuture<B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.kind {
            Kind::Hit(_) => "ResponseFuture::Hit",
            Kind::Awaited(_) => "ResponseFuture::Awaited",
        })
    }
}
