//! A caching reverse proxy: the HTTP cache with the `rfc9111()` profile in front of any HTTP/1.1 origin.
//!
//! ```text
//! cargo run --release --bin reverse-proxy -- --listen 127.0.0.1:8081 --origin http://127.0.0.1:8000
//! ```
//!
//! The order, from the client inwards: connection (interim responses are written here) → hop-by-hop fields and `Via` →
//! cache → origin. `Cache-Status` on every response says what the cache did; so does the access log.

mod interim;
mod origin;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use cache_core::Cache;
use cache_tower::policy::HttpCachePolicy;
use cache_tower::policy::hop_by_hop::remove_hop_by_hop;
use cache_tower::{CacheConfig, CacheLayer, CacheOutcome, CacheService};
use clap::Parser;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;
use tower_layer::Layer;

use crate::interim::{Interim, WithInterim};
use crate::origin::{Origin, OriginError};

/// A caching reverse proxy in front of one origin.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// The origin, scheme and authority only.
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    origin: Uri,
    /// How much to hold in memory: bytes, or with KiB, MiB or GiB.
    #[arg(long, default_value = "256MiB", value_parser = parse_size)]
    memory: u64,
    /// The largest body to store.
    #[arg(long, default_value = "8MiB", value_parser = parse_size)]
    body_limit: u64,
    /// No access log.
    #[arg(long)]
    quiet: bool,
}

type Proxy = CacheService<Origin>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let level = if arguments.quiet { "warn" } else { "info" };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| level.into());
    tracing_subscriber::fmt().with_env_filter(filter).init();

    let cache = Cache::builder("reverse-proxy")
        .memory_bytes(arguments.memory)
        .build()?;
    let config = CacheConfig {
        body_limit: arguments.body_limit,
        status_name: Some(String::from("reverse-proxy")),
        keep_stale: Duration::from_secs(24 * 60 * 60),
        ..CacheConfig::new(HttpCachePolicy::rfc9111())
    };
    let proxy = CacheLayer::with_config(cache.clone(), config)?.layer(Origin::new(&arguments.origin)?);
    let listener = TcpListener::bind(arguments.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", arguments.listen))?;
    tracing::info!(
        "http://{} is a cache in front of {}",
        listener.local_addr()?,
        arguments.origin
    );
    serve(listener, proxy).await;
    // Loads that go on without their clients end here.
    cache.close(Duration::from_secs(5)).await?;
    Ok(())
}

/// Accepts connections until it is told to stop, then lets those that are open finish.
async fn serve(listener: TcpListener, proxy: Proxy) {
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop_signal());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, client)) => connect(stream, client, proxy.clone(), &graceful),
                Err(error) => {
                    // Mostly too many open files: accepting again at once would spin.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            () = &mut stop => break,
        }
    }
    drop(listener);
    tracing::info!("stopping: open connections have ten seconds");
    if tokio::time::timeout(Duration::from_secs(10), graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some connections were still open");
    }
}

async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupted = tokio::signal::ctrl_c();
    match signal(SignalKind::terminate()) {
        Ok(mut terminated) => {
            tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            }
        }
        Err(_) => drop(interrupted.await),
    }
}

/// Serves one connection. Its task ends with it; `graceful` waits for it.
fn connect(stream: TcpStream, client: SocketAddr, proxy: Proxy, graceful: &GracefulShutdown) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    let interim = Arc::new(Interim::default());
    let service = hyper::service::service_fn({
        let interim = interim.clone();
        move |request| respond(proxy.clone(), request, client, interim.clone())
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(75))
        .serve_connection(WithInterim::new(TokioIo::new(stream), interim), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, %client, "a connection ended early");
        }
    });
}

/// One request, from the connection to the cache and back.
async fn respond(
    proxy: Proxy,
    mut request: Request<Incoming>,
    client: SocketAddr,
    interim: Arc<Interim>,
) -> Result<Response<Body>, Infallible> {
    let started = tokio_started();
    let line = format!("{} {}", request.method(), request.uri());
    let is_http_1_1 = request.version() == http::Version::HTTP_11;
    remove_hop_by_hop(request.headers_mut());
    add_via(request.headers_mut());
    request.extensions_mut().insert(client);
    let exchange = interim.begin(is_http_1_1);
    request.extensions_mut().insert(exchange.sender());
    let answer = exchange.run(proxy.oneshot(request.map(Body::new))).await;
    drop(exchange);
    let mut response = match answer {
        Ok(response) => response.map(Body::new),
        Err(error) => failed(&error),
    };
    remove_hop_by_hop(response.headers_mut());
    add_via(response.headers_mut());
    let outcome = response.extensions().get::<CacheOutcome>();
    tracing::info!(
        status = response.status().as_u16(),
        outcome = outcome.map_or("failed", |outcome| outcome.kind.as_str()),
        reason = outcome.and_then(|outcome| outcome.detail),
        milliseconds = started.elapsed().as_millis() as u64,
        "{line}"
    );
    Ok(response)
}

/// For the access log only; nothing is decided by it.
#[expect(clippy::disallowed_methods, reason = "a program reads the clock for its log")]
fn tokio_started() -> std::time::Instant {
    std::time::Instant::now()
}

/// 502, or 504 for an origin that took too long.
fn failed(error: &OriginError) -> Response<Body> {
    tracing::warn!(%error, "the origin failed");
    let mut response = Response::new(Body::from(format!("{error}\n")));
    *response.status_mut() = match error {
        OriginError::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        OriginError::Unreachable(_) => StatusCode::BAD_GATEWAY,
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// RFC 9110 §7.6.3.
fn add_via(headers: &mut http::HeaderMap) {
    headers.append(header::VIA, HeaderValue::from_static("1.1 reverse-proxy"));
}

fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        unit => return Err(format!("unknown unit `{unit}`: use KiB, MiB or GiB")),
    };
    let count: u64 = digits
        .parse()
        .map_err(|_| format!("`{text}` is not a size such as 256MiB"))?;
    count
        .checked_mul(factor)
        .ok_or_else(|| format!("`{text}` is more than can be counted"))
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_are_read_and_nonsense_is_refused() {
        assert_eq!(parse_size("256MiB"), Ok(256 << 20));
        assert_eq!(parse_size("10"), Ok(10));
        for text in ["", "MiB", "1MB", "-1", "99999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
