//! What a proxy owes a request and its response (RFC 9110 §7.6, RFC 9112 §3.2), around the cache.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use cache_tower::policy::hop_by_hop::remove_hop_by_hop;
use cache_tower::{CacheOutcome, CacheService};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use tower::ServiceExt;

use crate::interim::Interim;
use crate::origin::{Origin, OriginError};

/// One request, from the connection to the cache and back.
pub(crate) async fn respond(
    proxy: CacheService<Origin>,
    request: Request<Incoming>,
    client: SocketAddr,
    interim: Arc<Interim>,
) -> Result<Response<Body>, Infallible> {
    let started = now();
    let line = format!("{} {}", request.method(), request.uri());
    let mut response = match accept(request, client) {
        Err(refusal) => refusal.response(),
        Ok(mut request) => {
            let exchange = interim.begin(request.version() == Version::HTTP_11);
            request.extensions_mut().insert(exchange.sender());
            match exchange.run(proxy.oneshot(request)).await {
                Ok(response) => response.map(Body::new),
                Err(error) => failed(&error),
            }
        }
    };
    remove_hop_by_hop(response.headers_mut());
    let version = response.version();
    add_via(response.headers_mut(), version);
    let outcome = response.extensions().get::<CacheOutcome>();
    tracing::info!(
        status = response.status().as_u16(),
        outcome = outcome.map_or("none", |outcome| outcome.kind.as_str()),
        reason = outcome.and_then(|outcome| outcome.detail),
        milliseconds = started.elapsed().as_millis() as u64,
        %client,
        "{line}"
    );
    Ok(response)
}

/// The request as the cache and the origin are to see it, or why it goes no further.
fn accept(mut request: Request<Incoming>, client: SocketAddr) -> Result<Request<Body>, Refusal> {
    if *request.method() == Method::CONNECT {
        return Err(Refusal(StatusCode::NOT_IMPLEMENTED, "this is not a tunnel"));
    }
    let head: usize = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if head > MAX_HEAD {
        return Err(Refusal(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "the fields are too long",
        ));
    }
    settle_host(&mut request)?;
    let (version, method) = (request.version(), request.method().clone());
    let fields = request.headers_mut();
    remove_hop_by_hop(fields);
    for name in CLAIMS {
        fields.remove(name);
    }
    // hyper answers it as soon as the content is asked for; the origin gets the content without being asked.
    fields.remove(header::EXPECT);
    count_down(fields, &method)?;
    add_via(fields, version);
    request.extensions_mut().insert(client);
    Ok(request.map(Body::new))
}

/// RFC 9112 §3.2: a request of HTTP/1.1 has one `Host`; an absolute target takes its place.
fn settle_host(request: &mut Request<Incoming>) -> Result<(), Refusal> {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Err(Refusal(StatusCode::BAD_REQUEST, "one Host is needed"));
    }
    if let Some(authority) = request.uri().authority() {
        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|_| Refusal(StatusCode::BAD_REQUEST, "the target's authority is no host"))?;
        request.headers_mut().insert(header::HOST, host);
    }
    Ok(())
}

/// RFC 9110 §7.6.2: OPTIONS and TRACE say how far they go. TRACE shows what clients may not see, and is refused here.
fn count_down(fields: &mut HeaderMap, method: &Method) -> Result<(), Refusal> {
    if *method == Method::TRACE {
        return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "TRACE is not answered"));
    }
    if *method != Method::OPTIONS {
        return Ok(());
    }
    let left = fields
        .get(header::MAX_FORWARDS)
        .and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    match left {
        None => Ok(()),
        Some(0) => Err(Refusal(StatusCode::NO_CONTENT, "")),
        Some(left) => {
            fields.insert(header::MAX_FORWARDS, HeaderValue::from(left - 1));
            Ok(())
        }
    }
}

/// RFC 9110 §7.6.3: the version is that of the message that was received.
fn add_via(headers: &mut HeaderMap, received: Version) {
    let via = if received == Version::HTTP_10 {
        "1.0 reverse-proxy"
    } else {
        "1.1 reverse-proxy"
    };
    headers.append(header::VIA, HeaderValue::from_static(via));
}

/// 502, or 504 for an origin that took too long.
fn failed(error: &OriginError) -> Response<Body> {
    tracing::warn!(%error, "the origin failed");
    let status = match error {
        OriginError::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
        OriginError::Unreachable(_) => StatusCode::BAD_GATEWAY,
    };
    // What the origin's network looks like is for the log.
    let text = match status {
        StatusCode::GATEWAY_TIMEOUT => "the origin took too long",
        _ => "the origin could not be reached",
    };
    Refusal(status, text).response()
}

/// An answer of the proxy's own.
struct Refusal(StatusCode, &'static str);

impl Refusal {
    fn response(self) -> Response<Body> {
        let Self(status, text) = self;
        let mut response = Response::new(if text.is_empty() {
            Body::empty()
        } else {
            Body::from(format!("{text}\n"))
        });
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// For the access log only; nothing is decided by it.
#[expect(clippy::disallowed_methods, reason = "a program reads the clock for its log")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// The longest header section, in bytes. A longer one is a mistake or an attack.
pub(crate) const MAX_HEAD: usize = 64 << 10;

/// What only a proxy in front of this one could say; there is none, so it is a client's claim.
const CLAIMS: [HeaderName; 7] = [
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];
