//! System D: a log of requests, replayed with the old times to live and the old keys, and with the new ones.
//!
//! The log is made up: symbols by popularity (Zipf), seven classes of facts, and what clients send along. What was old is
//! modelled on how the ratio came to be so low: short times for everything, and keys that contain the client's
//! parameters. With the seed as it is, that gives a ratio close to the measured one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::time::{Clock, Timestamp, seconds};
use cache_core::{Cache, CacheKey, EntryOptions};
use indicatif::ProgressBar;
use rand::distr::{Distribution as _, weighted::WeightedIndex};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::{Failed, World, symbols, zipf};
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
pub(super) struct Replay {
    pub(super) hits: u64,
    pub(super) calls: u64,
    pub(super) upstream: u64,
    /// The hit ratio in each slice of the log.
    pub(super) over_time: Vec<f64>,
}

impl Replay {
    pub(super) fn hit_ratio(&self) -> f64 {
        self.hits as f64 / self.calls.max(1) as f64
    }

    /// Of all requests of the log, those that reached upstream.
    pub(super) fn upstream_share(&self) -> f64 {
        self.upstream as f64 / self.calls.max(1) as f64
    }
}

/// How long the log is.
pub(super) const HOURS: f64 = 2.0;

/// The old way, and the new one after its warm-up.
pub(super) async fn run(
    world: &World,
    requests: usize,
    bar: &ProgressBar,
) -> Result<(Replay, Replay), Failed> {
    let log = log(requests)?;
    let old = old(&log, bar).await?;
    let new = new(world, &log, bar).await?;
    Ok((old, new))
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
        replay.note(line.at, loaded.outcome().is_hit());
        bar.inc(1);
    }
    cache.close(seconds(5)).await?;
    Ok(replay.end(upstream.load(Ordering::Relaxed), Duration::ZERO))
}

async fn new(world: &World, log: &[Line], bar: &ProgressBar) -> Result<Replay, Failed> {
    let time = LogTime::default();
    let exchange = world
        .exchange(Behaviour {
            latency: Duration::ZERO..Duration::ZERO,
            ..Behaviour::default()
        })
        .await?;
    let service = world.in_memory(&exchange, time.clone())?;
    let mut replay = Slices::default();
    let mut warm_up = 0;
    for line in log {
        time.0.store(nanos(line.at), Ordering::Relaxed);
        let fact = service.quotes.read(line.class, &line.symbol).await?;
        if line.at < WARM_UP {
            warm_up = exchange.asked().calls;
        }
        replay.note(line.at, fact.outcome().is_hit());
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

/// Hits and calls of each slice of the log.
#[derive(Default)]
struct Slices(Vec<(u64, u64)>);

impl Slices {
    fn note(&mut self, at: Duration, hit: bool) {
        let slice = (at.as_secs() / SLICE.as_secs()) as usize;
        self.0.resize(self.0.len().max(slice + 1), (0, 0));
        self.0[slice].0 += u64::from(hit);
        self.0[slice].1 += 1;
    }

    fn end(self, upstream: u64, from: Duration) -> Replay {
        let measured = &self.0[(from.as_secs() / SLICE.as_secs()) as usize..];
        Replay {
            hits: measured.iter().map(|(hits, _)| hits).sum(),
            calls: measured.iter().map(|(_, calls)| calls).sum(),
            upstream,
            over_time: self
                .0
                .iter()
                .map(|(hits, calls)| *hits as f64 / (*calls).max(1) as f64)
                .collect(),
        }
    }
}

fn log(requests: usize) -> Result<Vec<Line>, Failed> {
    let symbols = symbols(SYMBOLS)?;
    let classes = WeightedIndex::new([40, 25, 10, 10, 5, 5, 5])?;
    let mut random = SmallRng::seed_from_u64(7);
    let (chosen, clients) = (zipf(SYMBOLS, 1.1, requests, 1)?, zipf(CLIENTS, 0.7, requests, 2)?);
    let length = Duration::from_secs_f64(HOURS * 3_600.0);
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

const SYMBOLS: usize = 40;
const CLIENTS: usize = 200;
const OLD_TTL: Duration = Duration::from_secs(60);
const WARM_UP: Duration = Duration::from_secs(600);
const SLICE: Duration = Duration::from_secs(60);
