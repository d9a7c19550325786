//! A market data service over real candles, cached by `#[cached]` functions and by a `CacheLayer` on its routes.
//!
//! ```text
//! cargo run --release --bin market-data              serves on 127.0.0.1:8080, in memory
//! cargo run --release --bin market-data -- --demo    compares itself with and without caches, and ends
//! ```

mod candles;
mod demo;
mod exchange;
mod market;
mod routes;

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use cache_core::{Cache, EntryOptions};
use clap::Parser;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use crate::exchange::Exchange;

/// A market data service over real candles, with caches in front of a slow exchange.
#[derive(Debug, Parser)]
struct Arguments {
    /// Port on 127.0.0.1 to serve on.
    #[arg(long, default_value_t = 8080, conflicts_with = "demo")]
    port: u16,

    /// Drives a load against itself, with and without caches, prints a table and ends.
    #[arg(long)]
    demo: bool,

    /// Seconds for each half of the demo.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .init();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("market-data: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let exchange = Exchange::open(Duration::from_millis(100)..Duration::from_millis(500))?;
    let cache = Cache::builder("market")
        .memory_bytes(64 << 20)
        .defaults(EntryOptions::new().jitter(0.1))
        .build()?;
    Cache::install(cache.clone())?;
    let service = routes::cached(&cache, exchange.clone());
    if arguments.demo {
        demo::run(
            service,
            routes::uncached(exchange.clone()),
            &exchange,
            arguments.seconds,
        )
        .await?;
    } else {
        serve(service, arguments.port).await?;
    }
    cache.close(Duration::from_secs(5)).await?;
    Ok(())
}

async fn serve(service: axum::Router, port: u16) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => {
                format!("port {port} is taken; stop what listens there, or choose another with --port")
            }
            _ => format!("cannot listen on {address}: {error}"),
        })?;
    let address = listener.local_addr()?;
    say(format_args!(
        "serving market data on http://{address}; Ctrl-C ends it. Ask twice, and see the difference:\n"
    ))?;
    for path in [
        "/price/GOOG",
        "/candles/EURUSD?period=2017-06-01",
        "/signal/EURUSD?short=50&long=200",
        "/stats",
    ] {
        say(format_args!("  curl -i 'http://{address}{path}'"))?;
    }
    say(format_args!("  curl -X POST 'http://{address}/invalidate/GOOG'"))?;
    axum::serve(listener, service)
        .with_graceful_shutdown(interrupted())
        .await?;
    Ok(())
}

/// Prints a line. Whoever reads it may have closed the pipe; that ends nothing.
pub(crate) fn say(line: impl Display) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

async fn interrupted() {
    // Without a signal handler the process ends at once, which is what the user asked for anyway.
    let _ = tokio::signal::ctrl_c().await;
}
