//! System B: signals with averages that are carried on, against averages that are recomputed.

use std::time::Duration;

use cache_core::time::{Clock as _, SystemClock};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;

use super::measure::{Latencies, percent, show, timed};
use super::report::{Report, Row, table, times};
use super::{Failed, Scale, World, progress, svg, symbols};
use crate::candles::{Symbol, Timeframe, recorded};
use crate::indicators::{Average, PERIODS, Signal};
use crate::upstream::{Behaviour, Client, Exchange, UpstreamError};

/// What a number of symbols cost, one way.
#[derive(Clone, Debug, Default)]
struct Half {
    latencies: Latencies,
    calls: u64,
    candles: u64,
    hits: u64,
}

/// A number of symbols, both ways.
#[derive(Clone, Debug)]
struct Sides {
    signals: u64,
    without: Half,
    with: Half,
    /// Symbols whose averages are not what recomputing gives.
    wrong: usize,
}

/// Signals of few and of many symbols, without and with the cache.
pub(super) async fn signals(report: &mut Report, world: &World, scale: Scale) -> Result<(), Failed> {
    let bar = progress("B signals", 4);
    let (mut cells, mut wrong, mut largest) = (Vec::new(), 0, None);
    for symbols in [1, 10, 100] {
        let sides = run(world, symbols, scale.of(3, 12)).await?;
        for (name, half) in [("without", &sides.without), ("with", &sides.with)] {
            cells.push(vec![
                symbols.to_string(),
                name.to_owned(),
                sides.signals.to_string(),
                show(half.latencies.quantile(0.5)),
                show(half.latencies.quantile(0.99)),
                half.calls.to_string(),
                half.candles.to_string(),
                percent(half.hits as f64 / sides.signals as f64),
            ]);
        }
        wrong += sides.wrong;
        largest = Some(sides);
        bar.inc(1);
    }
    let Sides {
        signals,
        without,
        with,
        ..
    } = largest.ok_or("nothing was measured")?;
    let (before, warm) = (without.latencies.quantile(0.99), with.latencies.quantile(0.99));
    report.add(Row {
        system: "B",
        what: "signal, warm, p99",
        theirs: "2-5 s → < 500 ms",
        goal: "< 5 ms",
        ours: format!("{} ({} without)", show(warm), show(before)),
        ratio: times(before, warm),
        met: report.figure(warm < Duration::from_millis(5)),
    });
    let hits = with.hits as f64 / signals as f64;
    report.add(Row {
        system: "B",
        what: "signals answered by the cache",
        theirs: "> 90 %",
        goal: "≥ 98 %",
        ours: percent(hits),
        ratio: "-".to_owned(),
        met: report.figure(hits >= 0.98),
    });
    cold(report, world, scale.of(10, 30)).await?;
    bar.inc(1);
    bar.finish_and_clear();
    let fewer = 1.0 - with.candles as f64 / without.candles as f64;
    let each = with.candles as f64 / with.calls.max(1) as f64;
    report.add(Row {
        system: "B",
        what: "fewer candles fetched",
        theirs: "95 %",
        goal: "≥ 97.5 %",
        ours: format!("{}; {each:.1} a question", percent(fewer)),
        ratio: format!("{:.0} ×", without.candles as f64 / with.candles.max(1) as f64),
        met: report.figure(fewer >= 0.975),
    });
    report.add(Row {
        system: "B",
        what: "averages that differ from recomputed ones",
        theirs: "-",
        goal: "0",
        ours: format!("{wrong} of 111"),
        ratio: "-".to_owned(),
        met: report.promise(wrong == 0),
    });
    report.section(format!(
        "## B: signals, without and with the cache\n\nThe exchange takes 100 to 500 ms. The market moves on by one to five \
         candles every 1.2 s, and each signal is asked for {ASKS} times in between. With the cache an answer may be up to a \
         second and one question to the exchange behind.\n\n{}\n![Time to a signal](averages.svg)\n",
        table(
            &["symbols", "cache", "signals", "p50", "p99", "questions", "candles", "hits"],
            &cells
        )
    ));
    let plot = [
        ("without cache", &without.latencies),
        ("with cache", &with.latencies),
    ];
    let title = "Time to a signal of 100 symbols";
    report.plot("averages.svg", svg::latencies(title, &plot));
    Ok(())
}

/// A thousand symbols at once, and what each takes.
pub(super) async fn at_once(report: &mut Report, world: &World) -> Result<(), Failed> {
    let bar = progress("B at once", 3);
    let (mut cells, mut per_symbol) = (Vec::new(), Vec::new());
    for symbols in [10, 100, 1_000] {
        let (took, bytes) = first_signals(world, symbols).await?;
        cells.push(vec![symbols.to_string(), show(took), format!("{bytes:.0} B")]);
        per_symbol.push(bytes);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let (first, last) = (per_symbol[0], per_symbol[2]);
    report.add(Row {
        system: "B",
        what: "symbols at once",
        theirs: "10+",
        goal: "1,000, linear memory",
        ours: format!("1,000; {last:.0} B a symbol ({first:.0} B at 10)"),
        ratio: format!("{:.2} ×", last / first),
        met: report.figure(last <= first * 1.1),
    });
    report.section(format!(
        "## B: the first signals of many symbols at once\n\nThe memory is what the cache keeps of a symbol in this process: \
         two averages and a signal. 64 loads run at once, as the settings say, so a thousand of 300 ms take five seconds.\n\n{}",
        table(&["symbols", "all of them after", "memory per symbol"], &cells)
    ));
    Ok(())
}

/// The market moves on by one to five candles, and every symbol's signal is asked for a few times, again and again.
async fn run(world: &World, count: usize, rounds: usize) -> Result<Sides, Failed> {
    let exchange = world.exchange(Behaviour::default()).await?;
    let client = Client::new(exchange.address());
    let symbols = symbols(count)?;
    let mut moves = SmallRng::seed_from_u64(count as u64);
    let steps: Vec<usize> = (0..rounds).map(|_| moves.random_range(1..=5)).collect();

    let mut without = Half::default();
    drive(&exchange, &symbols, &steps, &mut without, move |symbol| {
        let client = client.clone();
        async move { Ok((recomputed(&client, &symbol).await?, false)) }
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
    let mut with = Half::default();
    let indicators = service.indicators.clone();
    drive(&exchange, &symbols, &steps, &mut with, move |symbol| {
        let indicators = indicators.clone();
        async move {
            let (signal, outcome) = indicators.signal_outcome(symbol, Timeframe::Hour).await?;
            Ok((signal, outcome.is_hit()))
        }
    })
    .await?;
    let now = BEGINNING + steps.iter().sum::<usize>();
    let series = recorded()?.remove("EURUSD").ok_or("there are no candles")?;
    let recomputed = PERIODS.map(|period| Average::over(period, &series[now - period..now]));
    let mut wrong = 0;
    for symbol in &symbols {
        let averages = service.indicators.averages(symbol, Timeframe::Hour).await?;
        wrong += usize::from(averages != recomputed);
    }
    service.close().await?;
    Ok(Sides {
        signals: (count * rounds * ASKS) as u64,
        without,
        with,
        wrong,
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
    Fut: Future<Output = Result<(Option<Signal>, bool), UpstreamError>> + Send,
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
                let (mut latencies, mut hits) = (Latencies::default(), 0);
                for _ in 0..ASKS {
                    let (answer, took) = timed(signal(symbol.clone())).await;
                    let (answer, is_hit) = answer?;
                    answer.ok_or_else(|| UpstreamError::Unknown("signal".to_owned()))?;
                    latencies.add(took);
                    hits += u64::from(is_hit);
                    tokio::time::sleep(ROUND / ASKS as u32 / 2).await;
                }
                Ok::<_, UpstreamError>((latencies, hits))
            });
        }
        while let Some(visitor) = visitors.join_next().await {
            let (latencies, hits) = visitor??;
            half.latencies.merge(latencies);
            half.hits += hits;
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

/// The first signal of a symbol against the bare question and computation, one after the other.
async fn cold(report: &mut Report, world: &World, count: usize) -> Result<(), Failed> {
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
    let (with, without) = (with.quantile(0.5), without.quantile(0.5));
    let ratio = with.as_secs_f64() / without.as_secs_f64();
    report.add(Row {
        system: "B",
        what: "signal, cold, p50, beside upstream alone",
        theirs: "-",
        goal: "≤ 1.10 ×",
        ours: format!("{} beside {}", show(with), show(without)),
        ratio: format!("{ratio:.3} ×"),
        met: report.figure(ratio <= 1.10),
    });
    Ok(())
}

/// How long the first signals of so many symbols at once take, and what each symbol costs in memory, in bytes.
async fn first_signals(world: &World, count: usize) -> Result<(Duration, f64), Failed> {
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
    let weight = service.cache.stats().weight.saturating_sub(empty);
    service.close().await?;
    Ok((took, weight as f64 / count as f64))
}

/// How often each signal is asked for in a round.
const ASKS: usize = 4;
/// A bit longer than a signal is good for.
const ROUND: Duration = Duration::from_millis(1_200);
/// Candles that there are in the beginning.
const BEGINNING: usize = 1_000;
