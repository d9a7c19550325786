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
use averages::Sides;
use measure::{percent, show};
use report::{Row, table};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What to compare, and where to put the result.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// A tenth of the work: a minute instead of five.
    pub quick: bool,
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
    /// If a measurement could not be made. A figure that misses its goal is a result, not an error.
    pub async fn run(&self, mut say: impl FnMut(&str)) -> Result<(), Failed> {
        let mut own = match self.redis {
            Some(_) => None,
            None => redis::Server::start().await?,
        };
        let url = self.redis.clone().or(own.as_ref().map(redis::Server::url));
        let world = World::new(url.as_deref())?;
        let mut report = Report::default();
        report
            .averages(&world, self.scale(3, 12), self.scale(10, 30))
            .await?;
        report.symbols_at_once(&world).await?;
        report
            .hits(
                &world,
                url.as_deref(),
                self.scale(200_000, 2_000_000),
                self.scale(500, 5_000),
            )
            .await?;
        report.replay(&world, self.scale(100_000, 600_000)).await?;
        report.once(&world).await?;
        report.outage(&world, own.as_mut(), self.scale(150, 600)).await?;
        let text = report.text(url.is_some());
        say(&text);
        if let Some(folder) = &self.report {
            std::fs::create_dir_all(folder)?;
            std::fs::write(folder.join("report.md"), &text)?;
            for (name, plot) in &report.plots {
                std::fs::write(folder.join(name), plot)?;
            }
            say(&format!("written to {}", folder.display()));
        }
        Ok(())
    }

    fn scale<T>(&self, quick: T, full: T) -> T {
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

/// What was measured so far.
#[derive(Default)]
struct Report {
    rows: Vec<Row>,
    averages: Vec<Vec<String>>,
    memory: Vec<Vec<String>>,
    replay: Vec<Vec<String>>,
    plots: Vec<(&'static str, String)>,
}

impl Report {
    async fn averages(&mut self, world: &World, rounds: usize, cold: usize) -> Result<(), Failed> {
        let mut largest: Option<Sides> = None;
        let bar = progress("B averages", 4);
        for symbols in [1, 10, 100] {
            let sides = averages::run(world, symbols, rounds).await?;
            for (name, half) in [("without", &sides.without), ("with", &sides.with)] {
                self.averages.push(vec![
                    symbols.to_string(),
                    name.to_owned(),
                    sides.signals.to_string(),
                    show(half.latencies.quantile(0.5)),
                    show(half.latencies.quantile(0.99)),
                    half.calls.to_string(),
                    half.candles.to_string(),
                    if name == "with" {
                        percent(half.hit_ratio)
                    } else {
                        "-".to_owned()
                    },
                ]);
            }
            largest = Some(sides);
            bar.inc(1);
        }
        let sides = largest.ok_or("nothing was measured")?;
        let warm = sides.with.latencies.quantile(0.99);
        let before = sides.without.latencies.quantile(0.99);
        self.row(
            "B",
            "signal, warm, p99",
            "2-5 s → < 500 ms",
            "< 5 ms",
            show(warm),
            times(before, warm),
            warm < Duration::from_millis(5),
        );
        let (with, without) = averages::cold(world, cold).await?;
        bar.inc(1);
        bar.finish_and_clear();
        let (cold, upstream) = (with.quantile(0.5), without.quantile(0.5));
        let ratio = cold.as_secs_f64() / upstream.as_secs_f64();
        let ours = format!("{} against {}", show(cold), show(upstream));
        self.row(
            "B",
            "signal, cold, p50, against upstream alone",
            "-",
            "≤ 1.10 ×",
            ours,
            format!("{ratio:.3} ×"),
            ratio <= 1.10,
        );
        let fewer = 1.0 - sides.with.candles as f64 / sides.without.candles as f64;
        let ours = format!("{}, {:.1} a question", percent(fewer), sides.most_candles);
        let ratio = format!(
            "{:.0} ×",
            sides.without.candles as f64 / sides.with.candles.max(1) as f64
        );
        self.row(
            "B",
            "fewer candles fetched",
            "95 %",
            "≥ 97.5 %",
            ours,
            ratio,
            fewer >= 0.975,
        );
        let plot = [
            ("without cache", &sides.without.latencies),
            ("with cache", &sides.with.latencies),
        ];
        self.plots.push((
            "averages.svg",
            svg::latencies("Time to a signal, 100 symbols: share of the calls", &plot),
        ));
        Ok(())
    }

    async fn symbols_at_once(&mut self, world: &World) -> Result<(), Failed> {
        let bar = progress("B at once", 3);
        let mut per_symbol = Vec::new();
        for symbols in [10, 100, 1_000] {
            let (took, bytes) = averages::at_once(world, symbols).await?;
            self.memory
                .push(vec![symbols.to_string(), show(took), format!("{bytes:.0} B")]);
            per_symbol.push(bytes);
            bar.inc(1);
        }
        bar.finish_and_clear();
        let (first, last) = (per_symbol[0], per_symbol[2]);
        let ours = format!("{last:.0} B a symbol at 1,000; {first:.0} B at 10");
        self.row(
            "B",
            "symbols at once",
            "10+",
            "1,000, linear",
            ours,
            format!("{:.2} ×", last / first),
            last <= first * 1.1,
        );
        Ok(())
    }

    async fn hits(&mut self, world: &World, url: Option<&str>, calls: u32, keys: u64) -> Result<(), Failed> {
        let bar = progress("C hits", 3);
        let memory = hits::memory(world, calls).await?;
        bar.inc(1);
        self.row(
            "C",
            "hit in memory, mean",
            "-",
            "< 1 µs",
            show(memory),
            "-".to_owned(),
            memory < Duration::from_micros(1),
        );
        match url {
            Some(url) => {
                let (ours, bare) = hits::redis(world, url, keys).await?;
                let ratio = ours.quantile(0.5).as_secs_f64() / bare.quantile(0.5).as_secs_f64();
                let told = format!(
                    "{} against {}",
                    show(ours.quantile(0.5)),
                    show(bare.quantile(0.5))
                );
                self.row(
                    "C",
                    "hit on Redis, p50, against a bare GET",
                    "-",
                    "≤ 1.25 ×",
                    told,
                    format!("{ratio:.2} ×"),
                    ratio <= 1.25,
                );
                let plot = [("bare GET", &bare), ("hit on Redis", &ours)];
                self.plots.push((
                    "redis.svg",
                    svg::latencies("A hit on Redis: share of the calls", &plot),
                ));
            }
            None => self.not_run(
                "C",
                "hit on Redis, against a bare GET",
                "≤ 1.25 ×",
                "no redis-server is installed",
            ),
        }
        bar.inc(1);
        let (mean, ratio) = hits::mixed(world, 20_000).await?;
        bar.finish_and_clear();
        let theirs = Duration::from_micros(2_300);
        let ours = format!("{}, {} hits", show(mean), percent(ratio));
        self.row(
            "C",
            "operation, mean, users by popularity",
            "2.3 ms",
            "< 2.3 ms",
            ours,
            times(theirs, mean),
            mean < theirs,
        );
        Ok(())
    }

    async fn replay(&mut self, world: &World, requests: usize) -> Result<(), Failed> {
        let bar = progress("D replay", 2 * requests as u64);
        let (old, new) = replay::run(world, requests, &bar).await?;
        bar.finish_and_clear();
        for (name, replay) in [("old times and keys", &old), ("here, after 10 minutes", &new)] {
            self.replay.push(vec![
                name.to_owned(),
                replay.calls.to_string(),
                percent(replay.hit_ratio()),
                replay.upstream.to_string(),
                percent(replay.upstream_share()),
            ]);
        }
        let ours = format!(
            "{} ({} before)",
            percent(new.hit_ratio()),
            percent(old.hit_ratio())
        );
        let ratio = format!("{:.2} ×", new.hit_ratio() / old.hit_ratio());
        self.row(
            "D",
            "hit ratio on the replayed log",
            "31.76 % → 80-90 %",
            "≥ 98 %",
            ours,
            ratio,
            new.hit_ratio() >= 0.98,
        );
        let ratio = format!("{:.0} ×", old.upstream_share() / new.upstream_share());
        self.row(
            "D",
            "requests that reach upstream",
            "68 % → 10-20 %",
            "< 2 %",
            percent(new.upstream_share()),
            ratio,
            new.upstream_share() < 0.02,
        );
        let plot: [(&str, &[f64]); 2] = [("old times and keys", &old.over_time), ("here", &new.over_time)];
        self.plots.push((
            "replay.svg",
            svg::ratios("Hit ratio over the time of the log", &plot, replay::HOURS),
        ));
        Ok(())
    }

    async fn once(&mut self, world: &World) -> Result<(), Failed> {
        let bar = progress("A, E once", 3);
        let without = once::workers(world, false).await?;
        bar.inc(1);
        let with = once::workers(world, true).await?;
        bar.inc(1);
        let ours = format!(
            "{} of {} in {} ({} without)",
            with.repeated,
            with.analysed,
            show(with.took),
            without.repeated
        );
        self.row(
            "A",
            "candles analysed twice by two workers",
            "0",
            "0",
            ours,
            "-".to_owned(),
            with.repeated == 0 && with.analysed == 5_000,
        );
        let (first, second, calls) = once::model(world).await?;
        bar.finish_and_clear();
        let ours = format!("{} then {}, {calls} call", show(first), show(second));
        self.row(
            "E",
            "the same text asked twice",
            "1 call",
            "1 call",
            ours,
            times(first, second),
            calls == 1,
        );
        Ok(())
    }

    async fn outage(
        &mut self,
        world: &World,
        redis: Option<&mut redis::Server>,
        rounds: u64,
    ) -> Result<(), Failed> {
        let (what, goal) = ("all checks with Redis killed in the middle", "none fails");
        let Some(redis) = redis else {
            self.not_run("A-E", what, goal, "it has no Redis of its own to kill");
            return Ok(());
        };
        let bar = progress("A-E outage", 1);
        let survived = outage::run(world, redis, rounds).await?;
        bar.finish_and_clear();
        let outage::Survived {
            rounds,
            failed,
            slowest,
            unguarded,
            recovery,
        } = survived;
        let ours = format!(
            "{failed} of {rounds} rounds failed; {} the slowest without Redis; {unguarded} effects told as unguarded; healthy {} after the restart",
            show(slowest),
            show(recovery),
        );
        self.row(
            "A-E",
            what,
            "\"works without Redis\"",
            goal,
            ours,
            "-".to_owned(),
            failed == 0,
        );
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of a table, in their order")]
    fn row(
        &mut self,
        system: &'static str,
        what: &str,
        theirs: &str,
        goal: &str,
        ours: String,
        ratio: String,
        met: bool,
    ) {
        let (what, theirs, goal) = (what.to_owned(), theirs.to_owned(), goal.to_owned());
        self.rows.push(Row {
            system,
            what,
            theirs,
            goal,
            ours,
            ratio,
            met: Some(met),
        });
    }

    fn not_run(&mut self, system: &'static str, what: &str, goal: &str, why: &str) {
        self.row(system, what, "-", goal, why.to_owned(), "-".to_owned(), false);
        if let Some(row) = self.rows.last_mut() {
            row.met = None;
        }
    }

    fn text(&self, redis: bool) -> String {
        let place = if redis {
            "in memory and on Redis"
        } else {
            "in memory; no redis-server is installed"
        };
        let mut text = format!(
            "# Comparison\n\n`cargo run --release --bin market-data -- compare`, {place}, on {} processors.\n\n",
            std::thread::available_parallelism().map_or(1, usize::from)
        );
        text += &report::rows(&self.rows);
        text += "\nThe figures by hand are those that the teams reported of their own services; the ratio is between \
                 what was measured side by side here, where there is something beside it.\n";
        text += "\n## B: signals, without and with the cache\n\nThe exchange takes 100 to 500 ms. The market moves on \
                 by one to five candles every 1.2 s, and each signal is asked for four times in between. With the cache an \
                 answer may be up to a second and one question to the exchange behind.\n\n";
        text += &table(
            &[
                "symbols",
                "cache",
                "signals",
                "p50",
                "p99",
                "questions",
                "candles",
                "hits",
            ],
            &self.averages,
        );
        text += "\n![Time to a signal](averages.svg)\n\nThe first signals of so many symbols at once, and the memory that each symbol takes:\n\n";
        text += &table(&["symbols", "time", "memory per symbol"], &self.memory);
        text += "\n## D: the replayed log\n\nTwo hours of requests, made up: 40 symbols and seven classes by popularity, \
                 200 clients. The old way keeps everything for 60 s under keys that contain the client's parameters.\n\n";
        text += &table(
            &["", "requests", "hits", "upstream calls", "of the requests"],
            &self.replay,
        );
        text += "\n![Hit ratio](replay.svg)\n";
        if redis {
            text += "\n## C: a hit on Redis\n\n![A hit on Redis](redis.svg)\n";
        }
        text
    }
}

/// How many times faster.
fn times(before: Duration, now: Duration) -> String {
    format!("{:.0} ×", before.as_secs_f64() / now.as_secs_f64().max(1e-9))
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
