//! System D: a log of requests, replayed with the old times to live and the old keys, and with the new ones.
//!
//! The log is made up: symbols by popularity (Zipf), seven classes of facts, and what clients send along. What was old is
//! modelled on how the ratio came to be so low: short times for everything, and keys that contain the client's
//! parameters. That gives a ratio of about 37 %, somewhat better than the one that was measured.
//!
//! What reaches upstream depends on how many facts there are and how long they keep, and hardly on how often they are
//! asked for; so the same requests are replayed over five times as many symbols as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::time::{Clock, Timestamp, seconds};
use cache_core::{Cache, CacheKey, EntryOptions, Outcome};
use indicatif::ProgressBar;
use rand::distr::{Distribution as _, weighted::WeightedIndex};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::measure::percent;
use super::report::{Report, Row, table};
use super::{Failed, Scale, World, progress, svg, symbols, zipf};
use crate::candles::Symbol;
use crate::quotes::Class;
use crate::upstream::Behaviour;

/// The time of the log.
#[derive(Clone, Debug, Default)]
struct LogTime(Arc<AtomicU64>);

impl Clock for LogTime {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// A request of the log.
struct Line {
    at: Duration,
    class: Class,
    symbol: Symbol,
    client: u32,
}

/// What a replay came to.
#[derive(Clone, Debug, Default)]
struct Replay {
    hits: u64,
    /// Of these, those that were answered with what was past its time.
    stale: u64,
    calls: u64,
    upstream: u64,
    /// The hit ratio in each slice of the log.
    over_time: Vec<f64>,
}

impl Replay {
    fn share(&self, part: u64) -> f64 {
        part as f64 / self.calls.max(1) as f64
    }

    fn cells(&self, name: &str, symbols: usize) -> Vec<String> {
        vec![
            name.to_owned(),
            symbols.to_string(),
            self.calls.to_string(),
            percent(self.share(self.hits)),
            percent(self.share(self.stale)),
            self.upstream.to_string(),
            percent(self.share(self.upstream)),
        ]
    }
}

/// The old way, and the new one after its warm-up.
pub(super) async fn run(report: &mut Report, world: &World, scale: Scale) -> Result<(), Failed> {
    let requests = scale.of(150_000, 600_000);
    let hours = requests as f64 / PER_HOUR;
    let bar = progress("D replay", 3 * requests as u64);
    let known = log(requests, hours, SYMBOLS)?;
    let old = old(&known, &bar).await?;
    let new = new(world, &known, &bar).await?;
    let many = self::new(world, &log(requests, hours, MANY_SYMBOLS)?, &bar).await?;
    bar.finish_and_clear();
    let (hits_before, hits) = (old.share(old.hits), new.share(new.hits));
    report.add(Row {
        system: "D",
        what: "hit ratio on the replayed log",
        theirs: "31.76 % → 80-90 %",
        goal: "≥ 98 %",
        ours: format!("{} ({} the old way)", percent(hits), percent(hits_before)),
        ratio: format!("{:.2} ×", hits / hits_before),
        met: report.promise(hits >= 0.98),
    });
    let (asked_before, asked) = (old.share(old.upstream), new.share(new.upstream));
    report.add(Row {
        system: "D",
        what: "requests that reach upstream",
        theirs: "68 % → 10-20 %",
        goal: "< 2 %",
        ours: format!("{} ({} the old way)", percent(asked), percent(asked_before)),
        ratio: format!("{:.0} ×", asked_before / asked),
        met: report.promise(asked < 0.02),
    });
    report.section(format!(
        "## D: the replayed log\n\n{hours} hours of requests, {:.0} a second, made up: symbols and seven classes of facts by \
         popularity (Zipf, 1.1), 200 clients; in memory, in the time of the log. The old way keeps everything for 60 s under \
         keys that contain the client's parameters. Without a cache every request would reach upstream. What is stale is \
         answered at once while it is fetched anew, as the settings say; it counts as a hit.\n\nWhat reaches upstream depends \
         on how many facts are kept fresh, not on how many ask for them: with five times the symbols and no more requests its \
         share is larger.\n\n{}\n![Hit ratio](replay.svg)\n",
        PER_HOUR / 3_600.0,
        table(
            &["", "symbols", "requests", "hits", "stale", "upstream calls", "of the requests"],
            &[
                old.cells("old times and keys", SYMBOLS),
                new.cells("here, after 10 minutes", SYMBOLS),
                many.cells("here, after 10 minutes", MANY_SYMBOLS),
            ]
        )
    ));
    let many_symbols = format!("here, {MANY_SYMBOLS} symbols");
    let lines: [(&str, &[f64]); 3] = [
        ("old times and keys", &old.over_time),
        ("here", &new.over_time),
        (&many_symbols, &many.over_time),
    ];
    let title = "Hit ratio in each minute of the log";
    report.plot("replay.svg", svg::ratios(title, &lines, hours));
    Ok(())
}

async fn old(log: &[Line], bar: &ProgressBar) -> Result<Replay, Failed> {
    let (time, upstream) = (LogTime::default(), Arc::new(AtomicU64::new(0)));
    let cache = Cache::builder("old")
        .memory_bytes(1 << 30)
        .clock(time.clone())
        .build()?;
    let mut replay = Slices::default();
    for line in log {
        time.0.store(nanos(line.at), Ordering::Relaxed);
        let key = CacheKey::build("quotes", (line.class, &line.symbol, line.client))?;
        let upstream = upstream.clone();
        let load = move |_| async move {
            upstream.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Failed>(0_u64)
        };
        let options = EntryOptions::ttl(OLD_TTL).jitter(0.0);
        let loaded = cache
            .get_or_load(&key, options, load)
            .await
            .map_err(|error| error.to_string())?;
        replay.note(line.at, loaded.outcome());
        bar.inc(1);
    }
    cache.close(seconds(5)).await?;
    Ok(replay.end(upstream.load(Ordering::Relaxed), Duration::ZERO))
}

async fn new(world: &World, log: &[Line], bar: &ProgressBar) -> Result<Replay, Failed> {
    let time = LogTime::default();
    let exchange = world.exchange(Behaviour::immediate()).await?;
    let service = world.in_memory(&exchange, time.clone())?;
    let mut replay = Slices::default();
    let mut warm_up = 0;
    for line in log {
        time.0.store(nanos(line.at), Ordering::Relaxed);
        let fact = service.quotes.read(line.class, &line.symbol).await?;
        if line.at < WARM_UP {
            warm_up = exchange.asked().calls;
        }
        replay.note(line.at, fact.outcome());
        // Time stands still while the exchange is asked: it is a thousand times faster here than in truth.
        while service.cache.loads_in_flight() > 0 {
            tokio::task::yield_now().await;
        }
        bar.inc(1);
    }
    let calls = exchange.asked().calls - warm_up;
    service.close().await?;
    Ok(replay.end(calls, WARM_UP))
}

/// Hits, those that were stale, and calls of each slice of the log.
#[derive(Default)]
struct Slices(Vec<[u64; 3]>);

impl Slices {
    fn note(&mut self, at: Duration, outcome: Outcome) {
        let slice = (at.as_secs() / SLICE.as_secs()) as usize;
        self.0.resize(self.0.len().max(slice + 1), [0; 3]);
        let told = [outcome.is_hit(), outcome.is_hit() && outcome.is_stale(), true];
        for (count, happened) in self.0[slice].iter_mut().zip(told) {
            *count += u64::from(happened);
        }
    }

    fn end(self, upstream: u64, from: Duration) -> Replay {
        let measured = self.0.get((from.as_secs() / SLICE.as_secs()) as usize..);
        let sum = |column: usize| {
            measured
                .unwrap_or_default()
                .iter()
                .map(|slice| slice[column])
                .sum()
        };
        let ratio = |[hits, _, calls]: &[u64; 3]| *hits as f64 / (*calls).max(1) as f64;
        Replay {
            hits: sum(0),
            stale: sum(1),
            calls: sum(2),
            upstream,
            over_time: self.0.iter().map(ratio).collect(),
        }
    }
}

fn log(requests: usize, hours: f64, count: usize) -> Result<Vec<Line>, Failed> {
    let symbols = symbols(count)?;
    let classes = WeightedIndex::new([40, 25, 10, 10, 5, 5, 5])?;
    let mut random = SmallRng::seed_from_u64(7);
    let (chosen, clients) = (zipf(count, 1.1, requests, 1)?, zipf(CLIENTS, 0.7, requests, 2)?);
    let length = Duration::from_secs_f64(hours * 3_600.0);
    let mut times: Vec<f64> = (0..requests).map(|_| random.random()).collect();
    times.sort_by(f64::total_cmp);
    let lines = times.into_iter().zip(chosen).zip(clients);
    Ok(lines
        .map(|((time, symbol), client)| Line {
            at: length.mul_f64(time),
            class: Class::ALL[classes.sample(&mut random)],
            symbol: symbols[symbol].clone(),
            client: client as u32,
        })
        .collect())
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Requests of an hour of the log.
const PER_HOUR: f64 = 300_000.0;
const SYMBOLS: usize = 40;
const MANY_SYMBOLS: usize = 200;
const CLIENTS: usize = 200;
const OLD_TTL: Duration = Duration::from_secs(60);
const WARM_UP: Duration = Duration::from_secs(600);
const SLICE: Duration = Duration::from_secs(60);
