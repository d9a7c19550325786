//! An application with every usual layer, in the order in which they belong.
//!
//! ```text
//! client → tracing → CORS → compression → auth → cache → handlers
//! ```
//!
//! * tracing sees hits as well;
//! * CORS adds `Access-Control-Allow-Origin` for each client, after the store;
//! * compression encodes for each client, so that one copy is stored;
//! * auth runs for hits too;
//! * the cache stores only what the handlers say.
//!
//! ```text
//! cargo run --release --bin axum-app
//! curl -i localhost:8082/news                                 # public, stored for 10 seconds
//! curl -i -H 'authorization: Bearer ann' localhost:8082/me    # Ann's own, never stored
//! curl -i -X POST localhost:8082/news                         # makes the stored news invalid
//! ```

mod app;

use std::io::IsTerminal as _;
use std::net::SocketAddr;

use cache_core::Cache;
use clap::Parser;

/// A small news site.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8082")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "info,tower_http=debug,cache_tower=debug".into());
    // Colours are for people, not for files.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stdout().is_terminal())
        .init();
    let cache = Cache::builder("news").build()?;
    let listener = tokio::net::TcpListener::bind(arguments.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", arguments.listen))?;
    tracing::info!("http://{}/news", listener.local_addr()?);
    axum::serve(listener, app::router(cache)).await?;
    Ok(())
}
