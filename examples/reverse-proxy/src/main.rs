//! A caching reverse proxy: the HTTP cache with the `rfc9111()` profile in front of any HTTP/1.1 origin.
//!
//! ```text
//! cargo run --release --bin reverse-proxy -- --listen 127.0.0.1:8081 --origin http://127.0.0.1:8000
//! ```
//!
//! The order, from the client inwards: connection (interim responses are written here) → what a proxy owes a request →
//! cache → origin. `Cache-Status` on every response says what the cache did; so does the access log.
//!
//! * Requests that miss together make one request to the origin; with `--redis` one for all proxies, which then share
//!   what they store.
//! * A failing origin is answered for from the store where its responses allow that, else by 502 or 504.
//! * `Upgrade` is not taken up (RFC 9110 §7.8 leaves that to the server) and CONNECT is refused: this is no tunnel.
//! * It takes itself for the first proxy that clients meet: what they say about forwarding is not believed.
//! * SIGTERM ends it after the responses under way, at most ten seconds later.
//!
//! `conformance.mjs`, next to the sources, runs the public suite of <https://cache-tests.fyi> against it.

mod interim;
mod origin;
mod respond;

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cache_core::codec::Codec;
use cache_core::{Cache, Redis};
use cache_tower::policy::HttpCachePolicy;
use cache_tower::{CacheConfig, CacheLayer, CacheService};
use clap::Parser;
use http::Uri;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tower_layer::Layer;

use crate::interim::{Interim, WithInterim};
use crate::origin::Origin;
use crate::respond::{MAX_HEAD, respond};

/// A caching reverse proxy in front of one origin.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// The origin, scheme and authority only.
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    origin: Uri,
    /// A Redis to share with other proxies, such as redis://127.0.0.1/0.
    #[arg(long)]
    redis: Option<String>,
    /// How much to hold in memory: bytes, or with KiB, MiB or GiB.
    #[arg(long, default_value = "256MiB", value_parser = parse_size)]
    memory: u64,
    /// The largest body to store.
    #[arg(long, default_value = "8MiB", value_parser = parse_size)]
    body_limit: u64,
    /// How many seconds the origin has for the head of a response.
    #[arg(long, default_value_t = 60)]
    origin_timeout: u64,
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
    // Colours are for people, not for files.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stdout().is_terminal())
        .init();

    let mut builder = Cache::builder("reverse-proxy").memory_bytes(arguments.memory);
    if let Some(url) = &arguments.redis {
        // Postcard: bodies as they are, neither escaped nor in digits.
        builder = builder.redis(Redis::from_url(url)?).codec(Codec::Postcard);
    }
    let cache = builder.build()?;
    let config = CacheConfig {
        body_limit: arguments.body_limit,
        status_name: Some(String::from("reverse-proxy")),
        keep_stale: Duration::from_secs(24 * 60 * 60),
        ..CacheConfig::new(HttpCachePolicy::rfc9111())
    };
    let proxy = CacheLayer::with_config(cache.clone(), config)?.layer(Origin::new(
        &arguments.origin,
        Duration::from_secs(arguments.origin_timeout),
    )?);
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
        // Beyond it a connection is not even read from; up to it, what is too long is refused with a reason.
        .max_buf_size(2 * MAX_HEAD)
        .serve_connection(WithInterim::new(TokioIo::new(stream), interim), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, %client, "a connection ended early");
        }
    });
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
