//! System B: signals with averages that are carried on, against averages that are recomputed.

use std::time::Duration;

use cache_core::time::{Clock as _, SystemClock};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;

use super::measure::{Latencies, timed};
use super::{Failed, World, symbols};
use crate::candles::{Symbol, Timeframe};
use crate::indicators::{Average, PERIODS, Signal};
use crate::upstream::{Behaviour, Client, Exchange, UpstreamError};

/// What a number of symbols cost, one way.
#[derive(Clone, Debug, Default)]
pub(super) struct Half {
    pub(super) latencies: Latencies,
    pub(super) calls: u64,
    pub(super) candles: u64,
    pub(super) hit_ratio: f64,
}

/// A number of symbols, both ways.
#[derive(Clone, Debug)]
pub(super) struct Sides {
    pub(super) signals: u64,
    pub(super) without: Half,
    pub(super) with: Half,
    /// Candles per question that the averages asked once they stood, at most.
    pub(super) most_candles: f64,
}

/// The market moves on by one to five candles, and every symbol's signal is asked for a few times, again and again.
pub(super) async fn run(world: &World, count: usize, rounds: usize) -> Result<Sides, Failed> {
    let exchange = world.exchange(Behaviour::default()).await?;
    let client = Client::new(exchange.address());
    let symbols = symbols(count)?;
    let mut moves = SmallRng::seed_from_u64(count as u64);
    let steps: Vec<usize> = (0..rounds).map(|_| moves.random_range(1..=5)).collect();

    let mut without = Half::default();
    drive(&exchange, &symbols, &steps, &mut without, move |symbol| {
        let client = client.clone();
        async move { recomputed(&client, &symbol).await }
    })
    .await?;

    let service = world.service(&exchange)?;
    exchange.set_now(BEGINNING);
    for symbol in &symbols {
        service
            .indicators
            .clone()
            .signal(symbol.clone(), Timeframe::Hour)
            .await?;
    }
    let before = service.cache.stats().counters;
    let mut with = Half::default();
    let indicators = service.indicators.clone();
    drive(&exchange, &symbols, &steps, &mut with, move |symbol| {
        let indicators = indicators.clone();
        async move { indicators.signal(symbol, Timeframe::Hour).await }
    })
    .await?;
    let after = service.cache.stats().counters;
    let (hits, calls) = (after.hits() - before.hits(), after.calls() - before.calls());
    with.hit_ratio = hits as f64 / calls.max(1) as f64;
    let most_candles = with.candles as f64 / with.calls.max(1) as f64;
    let signals = (count * rounds * ASKS) as u64;
    service.close().await?;
    Ok(Sides {
        signals,
        without,
        with,
        most_candles,
    })
}

async fn drive<F, Fut>(
    exchange: &Exchange,
    symbols: &[Symbol],
    steps: &[usize],
    half: &mut Half,
    signal: F,
) -> Result<(), Failed>
where
    F: Fn(Symbol) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<Option<Signal>, UpstreamError>> + Send,
{
    let before = exchange.asked();
    let mut now = BEGINNING;
    for step in steps {
        now += step;
        exchange.set_now(now);
        let begun = SystemClock.now();
        let mut visitors = JoinSet::new();
        for symbol in symbols {
            let (signal, symbol) = (signal.clone(), symbol.clone());
            visitors.spawn(async move {
                let mut latencies = Latencies::default();
                for _ in 0..ASKS {
                    let (answer, took) = timed(signal(symbol.clone())).await;
                    answer?.ok_or_else(|| UpstreamError::Unknown("signal".to_owned()))?;
                    latencies.add(took);
                    tokio::time::sleep(ROUND / ASKS as u32 / 2).await;
                }
                Ok::<_, UpstreamError>(latencies)
            });
        }
        while let Some(visitor) = visitors.join_next().await {
            half.latencies.merge(visitor??);
        }
        let rest = ROUND.saturating_sub(SystemClock.now().since(begun));
        tokio::time::sleep(rest).await;
    }
    let after = exchange.asked();
    (half.calls, half.candles) = (after.calls - before.calls, after.candles - before.candles);
    Ok(())
}

/// As it was done by hand before: two hundred candles for each signal.
async fn recomputed(client: &Client, symbol: &Symbol) -> Result<Option<Signal>, UpstreamError> {
    let candles = client.candles(symbol, Timeframe::Hour, None, PERIODS[1]).await?;
    Ok(Signal::of(&PERIODS.map(|period| Average::over(period, &candles))))
}

/// The first signal of a symbol against the bare question and computation, one after the other: with the cache, without.
pub(super) async fn cold(world: &World, count: usize) -> Result<(Latencies, Latencies), Failed> {
    let steady = Duration::from_millis(200);
    let exchange = world
        .exchange(Behaviour {
            latency: steady..steady,
            ..Behaviour::default()
        })
        .await?;
    let (service, client) = (world.service(&exchange)?, Client::new(exchange.address()));
    let (mut with, mut without) = (Latencies::default(), Latencies::default());
    for symbol in symbols(count)? {
        without.add(timed(recomputed(&client, &symbol)).await.1);
        let signal = service.indicators.clone().signal(symbol, Timeframe::Hour);
        let (signal, took) = timed(signal).await;
        signal?;
        with.add(took);
    }
    service.close().await?;
    Ok((with, without))
}

/// How long the first signals of so many symbols at once take, and what each symbol costs in memory, in bytes.
pub(super) async fn at_once(world: &World, count: usize) -> Result<(Duration, f64), Failed> {
    let exchange = world.exchange(Behaviour::default()).await?;
    let service = world.service(&exchange)?;
    let empty = service.cache.stats().weight;
    let begun = SystemClock.now();
    let mut visitors = JoinSet::new();
    for symbol in symbols(count)? {
        visitors.spawn(service.indicators.clone().signal(symbol, Timeframe::Hour));
    }
    while let Some(signal) = visitors.join_next().await {
        signal??.ok_or("a symbol has no signal")?;
    }
    let took = SystemClock.now().since(begun);
    let weight = service.cache.stats().weight - empty;
    service.close().await?;
    Ok((took, weight as f64 / count as f64))
}

/// How often each signal is asked for in a round.
const ASKS: usize = 4;
/// A bit longer than a signal is good for.
const ROUND: Duration = Duration::from_millis(1_200);
/// Candles that there are in the beginning.
const BEGINNING: usize = 1_000;
