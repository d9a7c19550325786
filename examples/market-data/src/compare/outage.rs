//! All systems: every call checked, with Redis killed in the middle and restarted.

use std::time::Duration;

use cache_core::Error;
use cache_core::time::{Clock as _, SystemClock};

use super::measure::show;
use super::redis::Server;
use super::report::{Report, Row};
use super::{Failed, Scale, World, progress, symbols};
use crate::candles::{Timeframe, recorded};
use crate::dedup::{CandleId, Processed};
use crate::indicators::{Average, PERIODS};
use crate::llm::Kind;
use crate::quotes::Class;
use crate::service::Service;
use crate::upstream::Behaviour;

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
struct Survived {
    /// Rounds in which a call failed or gave a wrong answer.
    failed: u64,
    /// The longest round while Redis was away.
    slowest: Duration,
    /// Effects that could not be guarded against other processes meanwhile, and were told.
    unguarded: u64,
    /// From the last round until the cache called itself healthy.
    recovery: Duration,
}

pub(super) async fn run(
    report: &mut Report,
    world: &World,
    redis: Option<&mut Server>,
    scale: Scale,
) -> Result<(), Failed> {
    let (what, goal) = (
        "rounds of all checks that fail, with Redis killed in the middle",
        "0",
    );
    let Some(redis) = redis else {
        report.not_run("A-E", what, goal, "it has no Redis of its own to kill");
        return Ok(());
    };
    let rounds = scale.of(150, 600);
    let bar = progress("A-E outage", 1);
    let survived = survive(world, redis, rounds).await?;
    bar.finish_and_clear();
    report.add(Row {
        system: "A-E",
        what,
        theirs: "\"works without Redis\"",
        goal,
        ours: format!(
            "{} of {rounds}; {} the slowest without Redis; {} effects told as unguarded",
            survived.failed,
            show(survived.slowest),
            survived.unguarded
        ),
        ratio: "-".to_owned(),
        met: report.promise(survived.failed == 0 && survived.recovery < PATIENCE),
    });
    report.section(format!(
        "## A-E: all checks, with Redis killed in the middle\n\n{rounds} rounds, each with calls of every system whose answers are \
         checked: a third with Redis, a third after a SIGKILL, a third after the restart. The cache called itself healthy {} after \
         the last round.\n",
        show(survived.recovery)
    ));
    Ok(())
}

/// A third with Redis, a third without it, a third with it again.
async fn survive(world: &World, redis: &mut Server, rounds: u64) -> Result<Survived, Failed> {
    let quick = Duration::ZERO..Duration::from_millis(1);
    let behaviour = Behaviour {
        latency: quick,
        model_latency: Duration::from_millis(2),
        ..Behaviour::default()
    };
    let exchange = world.exchange(behaviour).await?;
    let service = world.service(&exchange)?;
    let mut survived = Survived::default();
    for number in 0..rounds {
        if number == rounds / 3 {
            redis.kill();
        }
        if number == rounds * 2 / 3 {
            redis.restart().await?;
        }
        let begun = SystemClock.now();
        if let Err(error) = round(&service, number).await {
            tracing::error!(number, %error, "a round failed");
            survived.failed += 1;
        }
        if (rounds / 3..rounds * 2 / 3).contains(&number) {
            survived.slowest = survived.slowest.max(SystemClock.now().since(begun));
        }
    }
    let begun = SystemClock.now();
    let mut number = rounds;
    while service.cache.health().status.as_str() != "healthy" && SystemClock.now().since(begun) < PATIENCE {
        round(&service, number).await?;
        number += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    survived.recovery = SystemClock.now().since(begun);
    survived.unguarded = service.dedup.unguarded();
    service.close().await?;
    Ok(survived)
}

/// A call of every system, each checked; the number says what is new in it.
async fn round(service: &Service, number: u64) -> Result<(), Failed> {
    let symbol = symbols(5)?.swap_remove((number % 5) as usize);
    let timeframe = Timeframe::Hour;
    let candle = CandleId {
        symbol: symbol.clone(),
        timeframe,
        time: number * timeframe.seconds(),
    };
    let mut effects = 0;
    for _ in 0..2 {
        let processed = service
            .dedup
            .process(&candle, async { Ok::<_, Error>(()) })
            .await?;
        effects += u64::from(processed == Processed::Now(()));
    }
    check(effects == 1, "the candle was not processed exactly once")?;
    let series = recorded()?.remove("EURUSD").ok_or("there are no candles")?;
    let expected = PERIODS.map(|period| Average::over(period, &series[series.len() - period..]));
    check(
        service.indicators.averages(&symbol, timeframe).await? == expected,
        "an average is wrong",
    )?;
    let user = service
        .api
        .user(number % 100 + 1)
        .await?
        .ok_or("a user is missing")?;
    check(user.id == number % 100 + 1, "another user")?;
    let fact = service.quotes.read(Class::News, &symbol).await?;
    check(fact["symbol"] == symbol.as_str(), "another symbol's fact")?;
    let last = service.bars.last(&symbol, timeframe).await?;
    check(last == series.last().copied(), "not the latest bar")?;
    check(service.tickers.ticker(&symbol).await?.last > 0.0, "no price")?;
    let analysis = service
        .model
        .analysis(Kind::Risk, &format!("text {}", number % 3))
        .await?;
    check(analysis["words"] == 2, "another text's analysis")
}

fn check(holds: bool, otherwise: &str) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

const PATIENCE: Duration = Duration::from_secs(30);
