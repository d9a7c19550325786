//! A market data service: five caching systems on one cache, over an exchange that answers in 100 to 500 ms.
//!
//! ```text
//! cargo run --release --bin market-data                        # serves on 127.0.0.1:8080, in memory
//! cargo run --release --bin market-data -- --redis redis://127.0.0.1:6379
//! cargo run --release --bin market-data -- compare             # measures itself with and without the caches
//! ```

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use market::candles::Symbol;
use market::compare::Comparison;
use market::service::{Service, configuration, timeframe_of};
use market::upstream::{Behaviour, Client, Exchange};
use market::{dedup, warmers, worker};
use rand::Rng as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// A market data service behind a cache.
#[derive(Parser)]
#[command(name = "market-data", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Subcommand)]
enum Command {
    /// Processes every candle of a symbol once, together with all other workers on the same Redis.
    Work(Work),
    /// Runs the exchange as a process of its own.
    Upstream(Upstream),
    /// Measures each system with and without the cache, against the figures of those who wrote it by hand.
    Compare(Compare),
}

#[derive(Args)]
struct Serve {
    /// The address to listen on.
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST.into())]
    address: std::net::IpAddr,
    /// The port to listen on.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The token of operators, at least 16 bytes. Default: a random one, which is printed.
    #[arg(long, env = "MARKET_DATA_TOKEN", hide_env_values = true)]
    token: Option<String>,
    #[command(flatten)]
    shared: Shared,
}

#[derive(Args)]
struct Shared {
    /// Redis, for a fleet of instances. Default: REDIS_URL, or what the configuration says, or else memory only.
    #[arg(long)]
    redis: Option<String>,
    /// Settings that win over those of the program.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Host and port of an exchange that runs already. Default: one in this process.
    #[arg(long)]
    exchange: Option<String>,
}

#[derive(Args)]
struct Work {
    /// Whose candles.
    #[arg(long, default_value = "EURUSD")]
    symbol: String,
    #[command(flatten)]
    shared: Shared,
}

#[derive(Args)]
struct Upstream {
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// The shortest time that an answer takes, in milliseconds.
    #[arg(long, default_value_t = 100)]
    fastest: u64,
    /// The longest time that an answer takes, in milliseconds.
    #[arg(long, default_value_t = 500)]
    slowest: u64,
    /// The share of the questions that fail.
    #[arg(long, default_value_t = 0.0)]
    failure_rate: f64,
    /// So many questions are answered in a second.
    #[arg(long, default_value_t = 1_000_000)]
    per_second: u64,
}

#[derive(Args)]
struct Compare {
    /// A tenth of the work.
    #[arg(long)]
    quick: bool,
    /// Kills a Redis of its own again and again while everything runs, and restarts it. Fails if a promise is broken.
    #[arg(long, conflicts_with = "redis")]
    kill_redis: bool,
    /// The Redis to use, which then is not killed. Default: a redis-server that is started, if one is installed.
    #[arg(long)]
    redis: Option<String>,
    /// Where to write report.md and the plots.
    #[arg(long)]
    report: Option<PathBuf>,
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // Colours are for people, not for files.
        .with_ansi(io::stderr().is_terminal())
        .init();
    let arguments = Arguments::parse();
    let ended = match arguments.command {
        None => serve(arguments.serve).await,
        Some(Command::Work(work)) => process(work).await,
        Some(Command::Upstream(upstream)) => run_exchange(&upstream).await,
        Some(Command::Compare(compare)) => {
            let comparison = Comparison {
                quick: compare.quick,
                kill_redis: compare.kill_redis,
                redis: compare.redis,
                report: compare.report,
            };
            tokio::select! {
                // Whoever reads this may have closed the pipe; the report is written nevertheless.
                compared = comparison.run(|text| drop(say(text))) => compared,
                // The Redis that it started ends with it.
                () = asked_to_end() => Err("ended before the end".into()),
            }
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("market-data: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Serve) -> Result<(), Failed> {
    let (service, exchange) = start(&arguments.shared).await?;
    let (token, is_ours) = match arguments.token {
        Some(token) => (token, false),
        None => (format!("{:032x}", rand::rng().random::<u128>()), true),
    };
    let router = service.router(&token)?;
    warmers::add(&service)?;
    let listener = listen((arguments.address, arguments.port).into()).await?;
    let address = listener.local_addr()?;
    say(format_args!(
        "serving market data on http://{address}; Ctrl-C ends it. Ask twice, and see the difference:\n"
    ))?;
    for path in [
        "/price/EURUSD",
        "/signal/EURUSD",
        "/bars/GOOG/1d?limit=3",
        "/quotes/news/S1",
        "/cache/metrics",
    ] {
        say(format_args!("  curl -i 'http://{address}{path}'"))?;
    }
    say(format_args!("\nThe dashboard is at http://{address}/admin/cache"))?;
    if is_ours {
        say(format_args!(
            "Its token, for this run (another one: --token, MARKET_DATA_TOKEN): {token}"
        ))?;
    }
    let app = router.into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, app).with_graceful_shutdown(asked_to_end());
    let late = async {
        asked_to_end().await;
        tokio::select! {
            () = tokio::time::sleep(DRAIN) => {}
            () = asked_to_end() => {}
        }
    };
    tokio::select! {
        served = serving.into_future() => served?,
        // An open dashboard, say, whose stream has no end.
        () = late => say("some connections are still open; closing them")?,
    }
    service.close().await?;
    drop(exchange);
    Ok(())
}

/// How long requests that are under way may take yet.
const DRAIN: Duration = Duration::from_secs(5);

async fn process(work: Work) -> Result<(), Failed> {
    let symbol = Symbol::new(&work.symbol)?;
    let (service, _exchange) = start(&work.shared).await?;
    let exchange = service.exchange.clone();
    let worked = worker::run(&exchange, &symbol, timeframe_of(&symbol), |candle| {
        // Whoever reads this may have closed the pipe; the work goes on.
        let _ = say(format_args!("processed {}", candle.time));
    });
    tokio::select! {
        done = worked => {
            let done = done?;
            say(format_args!("done: {} processed, {} by others", done.processed, done.duplicates))?;
        }
        () = asked_to_end() => say("ended before the end; what was under way is free when its lease ends")?,
    }
    let unguarded = service.dedup.unguarded();
    if unguarded > 0 {
        say(format_args!(
            "{unguarded} times Redis was away: other workers may have repeated those candles"
        ))?;
    }
    service.close().await?;
    Ok(())
}

async fn run_exchange(upstream: &Upstream) -> Result<(), Failed> {
    let behaviour = Behaviour {
        latency: Duration::from_millis(upstream.fastest)..Duration::from_millis(upstream.slowest),
        failure_rate: upstream.failure_rate,
        per_second: upstream.per_second,
        ..Behaviour::default()
    };
    let exchange = Exchange::open(upstream.listen, behaviour).await?;
    say(format_args!(
        "the exchange listens on {}; GET /asked tells what it was asked",
        exchange.address()
    ))?;
    asked_to_end().await;
    Ok(())
}

/// The service, and the exchange that it asks if that runs here.
async fn start(shared: &Shared) -> Result<(Service, Option<Exchange>), Failed> {
    let config = configuration(shared.config.as_deref(), shared.redis.as_deref())?;
    let exchange = match shared.exchange {
        Some(_) => None,
        None => Some(Exchange::open((Ipv4Addr::LOCALHOST, 0).into(), Behaviour::default()).await?),
    };
    let own = exchange.as_ref().map(|exchange| exchange.address().to_string());
    let address = shared.exchange.clone().or(own).ok_or("there is no exchange")?;
    let service = Service::build(&config, Client::new(address))?;
    dedup::initialise(service.dedup.clone());
    Ok((service, exchange))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address)
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => {
                let port = address.port();
                format!("port {port} is taken; stop what listens there, or choose another with --port")
            }
            _ => format!("cannot listen on {address}: {error}"),
        })
}

/// Prints a line. Whoever reads it may have closed the pipe; that ends nothing.
fn say(line: impl Display) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// By Ctrl-C, or by SIGTERM as service managers send it.
async fn asked_to_end() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => signals.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated => {}
    }
}
