//! `market-data compare`: each system's workload with and without the cache, side by side in one run, against the
//! figures of those who wrote these caches by hand.

mod averages;
mod hits;
mod measure;
mod once;
mod outage;
mod redis;
mod replay;
mod report;
mod svg;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use cache_core::config::Config;
use cache_core::time::Clock;
use indicatif::{ProgressBar, ProgressStyle};
use rand::SeedableRng as _;
use rand::distr::{Distribution as _, weighted::WeightedIndex};
use rand::rngs::SmallRng;

use crate::candles::Symbol;
use crate::dedup::DedupConfig;
use crate::service::{CACHE, Service, configuration};
use crate::upstream::{Behaviour, Client, Exchange};
use redis::{Disturbance, Server};
use report::Report;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What to compare, and where to put the result.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// A tenth of the work: three minutes instead of six.
    pub quick: bool,
    /// Redis is killed again and again, and restarted, while everything runs.
    pub kill_redis: bool,
    /// The Redis to use. Default: a `redis-server` that is started for it, if one is installed.
    pub redis: Option<String>,
    /// Where `report.md` and the plots go. Default: nowhere.
    pub report: Option<PathBuf>,
}

impl Comparison {
    /// Measures everything, prints the tables through `say`, and writes the report.
    ///
    /// # Errors
    ///
    /// If a measurement could not be made. A figure that misses its goal is a result, not an error; but with `kill_redis`
    /// nothing is judged but what is promised then, and a broken promise is an error.
    pub async fn run(&self, mut say: impl FnMut(&str)) -> Result<(), Failed> {
        let mut own = match self.redis {
            Some(_) => None,
            None => Server::start().await?,
        };
        let url = self.redis.clone().or(own.as_ref().map(Server::url));
        let disturbance = match own.take_if(|_| self.kill_redis) {
            None if self.kill_redis => {
                return Err("`--kill-redis` kills a Redis of its own: install `redis-server`, and leave `--redis` out".into());
            }
            taken => taken.map(Disturbance::begin),
        };
        let world = World::new(url.as_deref())?;
        let scale = Scale { quick: self.quick };
        let mut report = Report::new(self.kill_redis);
        let bare = match (&url, self.kill_redis) {
            (Some(url), false) => Ok(url.as_str()),
            (Some(_), true) => Err("a bare GET fails while Redis is killed"),
            (None, _) => Err("no redis-server is installed"),
        };
        averages::signals(&mut report, &world, scale).await?;
        averages::at_once(&mut report, &world).await?;
        hits::run(&mut report, &world, bare, scale).await?;
        if self.kill_redis {
            report.not_run(
                "D",
                "hit ratio on the replayed log",
                "≥ 98 %",
                "the log is replayed in memory",
            );
        } else {
            replay::run(&mut report, &world, scale).await?;
        }
        once::candles(&mut report, &world, url.as_deref()).await?;
        once::questions(&mut report, &world).await?;
        let mut kills = 0;
        if let Some(disturbance) = disturbance {
            let (server, times) = disturbance.end().await?;
            (own, kills) = (Some(server), times);
        }
        outage::run(&mut report, &world, own.as_mut(), scale).await?;
        let text = report.text(&self.preamble(url.is_some(), kills));
        say(&text);
        if let Some(folder) = &self.report {
            report.write(folder, &text)?;
            say(&format!("written to {}", folder.display()));
        }
        match report.missed() {
            broken if self.kill_redis && !broken.is_empty() => {
                Err(format!("promises were broken: {}", broken.join(", ")).into())
            }
            _ => Ok(()),
        }
    }

    fn preamble(&self, redis: bool, kills: u64) -> String {
        let mut options = String::new();
        for (is_set, option) in [(self.quick, " --quick"), (self.kill_redis, " --kill-redis")] {
            options += if is_set { option } else { "" };
        }
        let place = if redis {
            "in memory and on Redis"
        } else {
            "in memory; no redis-server is installed"
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let mut text = format!(
            "`cargo run --release --bin market-data -- compare{options}`, {place}, on {processors} processors."
        );
        if self.kill_redis {
            text += &format!(
                "\n\nRedis was killed and restarted {kills} times while this ran. Times and shares are told but not judged: what \
                 is promised then is that everything goes on, and is right."
            );
        }
        text
    }
}

/// How much work is done.
#[derive(Clone, Copy, Debug)]
struct Scale {
    quick: bool,
}

impl Scale {
    fn of<T>(self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// What measurements take place in.
struct World {
    config: Config,
}

impl World {
    fn new(redis: Option<&str>) -> Result<Self, Failed> {
        let mut config = configuration(None, redis)?;
        if redis.is_none() {
            config.redis = None;
        }
        Ok(Self { config })
    }

    async fn exchange(&self, behaviour: Behaviour) -> Result<Exchange, Failed> {
        Ok(Exchange::open((Ipv4Addr::LOCALHOST, 0).into(), behaviour).await?)
    }

    /// A node with an empty cache, on Redis if there is one.
    fn service(&self, exchange: &Exchange) -> Result<Service, Failed> {
        let [service] = self.fleet(exchange)?;
        Ok(service)
    }

    /// Nodes that share what they keep with each other, and with nobody else: a namespace of their own.
    fn fleet<const N: usize>(&self, exchange: &Exchange) -> Result<[Service; N], Failed> {
        let namespace = format!("compare-{:016x}", rand::random::<u64>());
        let node = |_| -> Result<Service, Failed> {
            let cache = self.config.cache_builder(CACHE)?.build()?.namespace(&namespace)?;
            Ok(Service::over(
                cache,
                Client::new(exchange.address()),
                DedupConfig::default(),
            )?)
        };
        let nodes: Result<Vec<Service>, Failed> = (0..N).map(node).collect();
        nodes?
            .try_into()
            .map_err(|_| "as many nodes as were asked for".into())
    }

    /// A node in memory, with a time of its own.
    fn in_memory(&self, exchange: &Exchange, clock: impl Clock) -> Result<Service, Failed> {
        let mut config = self.config.clone();
        config.redis = None;
        let cache = config.cache_builder(CACHE)?.clock(clock).build()?;
        Ok(Service::over(
            cache,
            Client::new(exchange.address()),
            DedupConfig::default(),
        )?)
    }
}

/// Symbols that are traded: `S1`, `S2`, ..
fn symbols(count: usize) -> Result<Vec<Symbol>, Failed> {
    (1..=count)
        .map(|number| Ok(Symbol::new(&format!("S{number}"))?))
        .collect()
}

/// So many numbers below `among`, the lower the more often.
fn zipf(among: usize, exponent: f64, count: usize, seed: u64) -> Result<Vec<usize>, Failed> {
    let weights = WeightedIndex::new((1..=among).map(|rank| 1.0 / (rank as f64).powf(exponent)))?;
    Ok(weights
        .sample_iter(SmallRng::seed_from_u64(seed))
        .take(count)
        .collect())
}

fn progress(what: &'static str, steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:<12} {bar:40} {elapsed}");
    let bar = ProgressBar::new(steps).with_message(what);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
