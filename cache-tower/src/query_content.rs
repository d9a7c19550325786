//! The content of QUERY requests, which is a part of their key.
//!
//! QUERY is safe and cacheable, but what it asks for is in its content: "the cache key MUST incorporate the request
//! content and related metadata" (draft-ietf-httpbis-safe-method-w-body §2.7). A cache that looks at heads cannot know
//! it, so somebody reads it first and leaves it as an extension of the request.

use bytes::Bytes;
use cache_core::key::{Prefix, Secret};
use http::{HeaderMap, HeaderName, header};

#[cfg(feature = "axum")]
pub use self::layer::{QueryContentLayer, QueryContentService};

/// The content of a QUERY request, as an extension of the request.
///
/// With [`cache_query_method`](crate::policy::HttpCachePolicy::cache_query_method) a QUERY that carries this is looked up
/// and stored under its target, its content and the fields that say what the content is; one without it passes by. For
/// axum's bodies `QueryContentLayer` (feature `axum`) sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryContent(pub Bytes);

impl QueryContent {
    /// A text that is equal exactly for equal contents of equal meaning.
    pub(crate) fn key(&self, fields: &HeaderMap) -> String {
        let mut whole = Vec::with_capacity(self.0.len() + 64);
        let mut add = |part: &[u8]| {
            whole.extend_from_slice(&(part.len() as u64).to_be_bytes());
            whole.extend_from_slice(part);
        };
        for name in &MEANING {
            add(name.as_str().as_bytes());
            fields
                .get_all(name)
                .iter()
                .for_each(|value| add(value.as_bytes()));
        }
        add(&self.0);
        DIGEST.key((Secret(&whole[..]),)).text().to_owned()
    }
}

/// The fields that say how content is to be understood (RFC 9110 §8.3 to §8.5).
const MEANING: [HeaderName; 3] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
];

const DIGEST: Prefix = Prefix::literal("query-content");

#[cfg(feature = "axum")]
mod layer {
    use std::pin::Pin;
    use std::task::{Context, Poll, ready};

    use axum::body::Body;
    use bytes::{Bytes, BytesMut};
    use http::Request;
    use http_body::{Body as _, Frame, SizeHint};
    use tower_layer::Layer;
    use tower_service::Service;

    use super::QueryContent;

    /// Reads the content of QUERY requests, for a [`CacheLayer`](crate::CacheLayer) inside of it.
    ///
    /// Content that is longer than the limit, or breaks off, is passed on as it is; such a request is not cached.
    ///
    /// ```
    /// use axum::Router;
    /// use cache_core::Cache;
    /// use cache_tower::{CacheConfig, CacheLayer, QueryContentLayer};
    ///
    /// # fn main() -> Result<(), cache_core::Error> {
    /// let mut config = CacheConfig::default();
    /// config.policy.cache_query_method = true;
    /// let cache = Cache::builder("app").build()?;
    /// let app: Router = Router::new()
    ///     .layer(CacheLayer::with_config(cache, config)?)
    ///     .layer(QueryContentLayer::default()); // added later: outside
    /// # let _ = app;
    /// # Ok(()) }
    /// ```
    #[derive(Clone, Copy, Debug)]
    pub struct QueryContentLayer {
        limit: usize,
    }

    impl QueryContentLayer {
        /// Reads at most `limit` bytes.
        pub fn new(limit: usize) -> Self {
            Self { limit }
        }
    }

    impl Default for QueryContentLayer {
        /// 64 KiB: a question, not an upload.
        fn default() -> Self {
            Self::new(64 << 10)
        }
    }

    impl<S> Layer<S> for QueryContentLayer {
        type Service = QueryContentService<S>;

        fn layer(&self, inner: S) -> QueryContentService<S> {
            QueryContentService {
                inner,
                limit: self.limit,
            }
        }
    }

    /// The service of a [`QueryContentLayer`].
    #[derive(Clone, Debug)]
    pub struct QueryContentService<S> {
        inner: S,
        limit: usize,
    }

    impl<S> Service<Request<Body>> for QueryContentService<S>
    where
        S: Service<Request<Body>> + Clone + Send + 'static,
        S::Future: Send + 'static,
    {
        type Response = S::Response;
        type Error = S::Error;
        type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

        fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
            self.inner.poll_ready(context)
        }

        fn call(&mut self, request: Request<Body>) -> Self::Future {
            if request.method().as_str() != "QUERY" {
                return Box::pin(self.inner.call(request));
            }
            let clone = self.inner.clone();
            let mut ready = std::mem::replace(&mut self.inner, clone);
            let limit = self.limit;
            Box::pin(async move {
                let (mut parts, body) = request.into_parts();
                let (content, body) = read(body, limit).await;
                parts.extensions.remove::<QueryContent>();
                if let Some(content) = content {
                    parts.extensions.insert(QueryContent(content));
                }
                ready.call(Request::from_parts(parts, body)).await
            })
        }
    }

    /// The whole content, if it fits, and a body that gives what was read and then the rest.
    async fn read(mut body: Body, limit: usize) -> (Option<Bytes>, Body) {
        let mut content = BytesMut::new();
        loop {
            let next = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            match next {
                None => {
                    let content = content.freeze();
                    return (Some(content.clone()), Body::from(content));
                }
                Some(Ok(frame)) if frame.is_data() && content.len() <= limit => {
                    content.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                    if content.len() > limit {
                        return (None, again(content.freeze(), None, body));
                    }
                }
                Some(odd) => return (None, again(content.freeze(), Some(odd), body)),
            }
        }
    }

    fn again(read: Bytes, next: Option<Result<Frame<Bytes>, axum::Error>>, rest: Body) -> Body {
        let read = (!read.is_empty()).then(|| Ok(Frame::data(read)));
        Body::new(Again { read, next, rest })
    }

    /// A body from its beginning.
    struct Again {
        read: Option<Result<Frame<Bytes>, axum::Error>>,
        next: Option<Result<Frame<Bytes>, axum::Error>>,
        rest: Body,
    }

    impl http_body::Body for Again {
        type Data = Bytes;
        type Error = axum::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
            if let Some(frame) = self.read.take().or_else(|| self.next.take()) {
                return Poll::Ready(Some(frame));
            }
            Poll::Ready(ready!(Pin::new(&mut self.rest).poll_frame(context)))
        }

        fn is_end_stream(&self) -> bool {
            self.read.is_none() && self.next.is_none() && self.rest.is_end_stream()
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::default()
        }
    }
}
