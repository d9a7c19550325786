//! `--demo`: the same load against the service with and without its caches, over real connections, as one table.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use indicatif::{ProgressBar, ProgressStyle};
use rand::SeedableRng as _;
use rand::distr::{Distribution as _, weighted::WeightedIndex};
use rand::rngs::SmallRng;
use tokio::net::TcpListener;

use crate::exchange::Exchange;
use crate::say;

type HttpClient = Client<HttpConnector, Body>;
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Runs both halves and prints the comparison.
pub(crate) async fn run(
    cached: Router,
    uncached: Router,
    exchange: &Exchange,
    seconds: u64,
) -> Result<(), Failed> {
    let paths: Arc<[String]> = popular_paths(exchange).into();
    say(format_args!(
        "{} visitors ask for {} resources, popular ones more often (Zipf), {seconds} s each:\n",
        VISITORS,
        paths.len()
    ))?;
    let without = drive("without cache", uncached, exchange, &paths, seconds).await?;
    let with = drive("with cache", cached, exchange, &paths, seconds).await?;
    say(table(&[&without, &with]))?;
    Ok(())
}

/// What the visitors of one half saw.
struct Half {
    name: &'static str,
    latencies: Vec<Duration>,
    upstream_calls: u64,
}

async fn drive(
    name: &'static str,
    service: Router,
    exchange: &Exchange,
    paths: &Arc<[String]>,
    seconds: u64,
) -> Result<Half, Failed> {
    let (address, server) = serve(service).await?;
    let before = exchange.calls();
    let progress = progress(name, seconds);
    let client: HttpClient = Client::builder(TokioExecutor::new()).build_http();
    let visitors: Vec<_> = (0..VISITORS)
        .map(|seed| {
            tokio::spawn(visit(
                client.clone(),
                address,
                paths.clone(),
                seed,
                Duration::from_secs(seconds),
            ))
        })
        .collect();
    for _ in 0..seconds * 10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        progress.inc(1);
    }
    let mut latencies = Vec::new();
    for visitor in visitors {
        latencies.extend(visitor.await??);
    }
    progress.finish();
    server.abort();
    latencies.sort_unstable();
    Ok(Half {
        name,
        latencies,
        upstream_calls: exchange.calls() - before,
    })
}

async fn serve(service: Router) -> Result<(SocketAddr, tokio::task::JoinHandle<()>), Failed> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        // Ends when it is aborted; an error would show as failed requests.
        let _ = axum::serve(listener, service).await;
    });
    Ok((address, server))
}

/// One visitor: asks, waits for the whole answer, asks again.
async fn visit(
    client: HttpClient,
    address: SocketAddr,
    paths: Arc<[String]>,
    seed: u64,
    time: Duration,
) -> Result<Vec<Duration>, Failed> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let by_popularity = WeightedIndex::new((1..=paths.len()).map(|rank| 1.0 / rank as f64))?;
    let mut latencies = Vec::new();
    let begun = now();
    while begun.elapsed() < time {
        let path = &paths[by_popularity.sample(&mut rng)];
        let asked = now();
        let request = Request::get(format!("http://{address}{path}")).body(Body::empty())?;
        let response = client.request(request).await?;
        let status = response.status();
        response.into_body().collect().await?;
        if !status.is_success() {
            return Err(format!("{path} answered {status}").into());
        }
        latencies.push(asked.elapsed());
    }
    Ok(latencies)
}

/// Prices and signals first, then the months of candles: about 220 resources, in the order of their popularity.
fn popular_paths(exchange: &Exchange) -> Vec<String> {
    let mut paths = Vec::new();
    for symbol in exchange.symbols() {
        paths.push(format!("/price/{symbol}"));
        for (short, long) in [(10, 50), (20, 100), (50, 200)] {
            paths.push(format!("/signal/{symbol}?short={short}&long={long}"));
        }
    }
    paths.extend(
        exchange
            .months()
            .into_iter()
            .rev()
            .map(|(symbol, month)| format!("/candles/{symbol}?period={month}")),
    );
    paths
}

fn table(halves: &[&Half]) -> String {
    let row = |what: &str, value: &dyn Fn(&Half) -> String| {
        let values: String = halves.iter().map(|half| format!("{:>16}", value(half))).collect();
        format!("{what:<22}{values}\n")
    };
    let requests = |half: &Half| half.latencies.len() as u64;
    let mut table = row("", &|half| half.name.to_owned());
    table += &row("requests", &|half| requests(half).to_string());
    table += &row("upstream calls", &|half| half.upstream_calls.to_string());
    table += &row("answered by cache", &|half| {
        let answered = requests(half).saturating_sub(half.upstream_calls);
        if requests(half) == 0 {
            "-".into()
        } else {
            format!("{:.1} %", 100.0 * answered as f64 / requests(half) as f64)
        }
    });
    table += &row("p50", &|half| percentile(&half.latencies, 50));
    table += &row("p99", &|half| percentile(&half.latencies, 99));
    table
}

fn percentile(sorted: &[Duration], percent: usize) -> String {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or_else(
        || "-".to_owned(),
        |latency| format!("{:.2} ms", latency.as_secs_f64() * 1_000.0),
    )
}

fn progress(name: &'static str, seconds: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:>14} {bar:40} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(seconds * 10)
        .with_style(style)
        .with_message(name)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the demo measures real requests; it is a visitor, not a part of the cache"
)]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

const VISITORS: u64 = 32;
