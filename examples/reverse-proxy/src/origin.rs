//! The origin as a service: connections are kept alive, failures are errors, so that the cache may stand in.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, Version, header};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower_service::Service;

use crate::interim;

/// A client of one origin.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    client: Client<HttpConnector, Body>,
    scheme: Scheme,
    authority: Authority,
    /// For the head of a response.
    timeout: Duration,
}

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum OriginError {
    /// It took too long.
    TimedOut(Duration),
    /// It could not be reached, or broke the connection.
    Unreachable(String),
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut(timeout) => write!(f, "the origin did not answer within {timeout:?}"),
            Self::Unreachable(reason) => write!(f, "the origin could not be reached: {reason}"),
        }
    }
}

impl std::error::Error for OriginError {}

impl Origin {
    /// # Errors
    ///
    /// A URI that is not `http://authority`.
    pub(crate) fn new(uri: &Uri, timeout: Duration) -> Result<Self, String> {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(format!("`{uri}` is not an origin such as http://127.0.0.1:8000"));
        };
        if *scheme != Scheme::HTTP {
            return Err(format!("`{uri}`: only http origins are supported"));
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Ok(Self {
            client,
            scheme: scheme.clone(),
            authority: authority.clone(),
            timeout,
        })
    }

    fn target(&self, uri: &Uri) -> Result<Uri, OriginError> {
        let path = uri.path_and_query().cloned();
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
            .build()
            .map_err(|error| OriginError::Unreachable(error.to_string()))
    }
}

impl Service<Request<Body>> for Origin {
    type Response = Response<Incoming>;
    type Error = OriginError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, OriginError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OriginError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (client, target, timeout) = (self.client.clone(), self.target(request.uri()), self.timeout);
        Box::pin(async move {
            *request.uri_mut() = target?;
            *request.version_mut() = Version::HTTP_11;
            let address = request.extensions().get::<SocketAddr>().copied();
            add_forwarded(request.headers_mut(), address);
            interim::forward(&mut request);
            match tokio::time::timeout(timeout, client.request(request)).await {
                Ok(Ok(response)) => Ok(response),
                Ok(Err(error)) => Err(OriginError::Unreachable(with_causes(&error))),
                Err(_) => Err(OriginError::TimedOut(timeout)),
            }
        })
    }
}

/// Says for whom the request is made. Behind the cache, so that it varies by none of this.
fn add_forwarded(headers: &mut HeaderMap, client: Option<SocketAddr>) {
    if let Some(client) = client
        && let Ok(address) = HeaderValue::try_from(client.ip().to_string())
    {
        headers.append(FORWARDED_FOR, address);
    }
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.insert(FORWARDED_HOST, host);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than the keep-alive of common servers, so that a connection is rarely reused while they close it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
