//! What is asked of an inner service and of its bodies: the same everywhere, and written down once.

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::BoxError;

/// A service that the cache can stand in front of.
pub(crate) trait Inner<Q, B>:
    Service<Request<Q>, Response = Response<B>, Error: Send + 'static, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S, Q, B> Inner<Q, B> for S where
    S: Service<Request<Q>, Response = Response<B>, Error: Send + 'static, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// The body of a request. An empty one is its default: the cache's own requests have no content.
pub(crate) trait RequestBody: Body + Default + Send + 'static {}

impl<Q> RequestBody for Q where Q: Body + Default + Send + 'static {}

/// The body of an inner service's response. It need not be `Sync`.
pub(crate) trait ResponseBody: Body<Data: Send, Error: Into<BoxError>> + Send + 'static {}

impl<B> ResponseBody for B where B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static {}
