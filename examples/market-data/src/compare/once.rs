//! Systems A and E: what is done once, and what is asked once.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;
use tokio::task::{JoinHandle, JoinSet};

use super::measure::{Latencies, show, timed};
use super::report::{Report, Row, table};
use super::{Failed, World, progress, zipf};
use crate::candles::{Symbol, Timeframe};
use crate::dedup;
use crate::llm::Kind;
use crate::upstream::{Asked, Behaviour, Client, Exchange, UpstreamError};
use crate::worker;

/// Two workers over the same 5,000 candles: processes on Redis if there is one, of which one is killed half way.
pub(super) async fn candles(report: &mut Report, world: &World, redis: Option<&str>) -> Result<(), Failed> {
    let bar = progress("A candles", 2);
    let (without, _) = in_this_process(world, false).await?;
    bar.inc(1);
    let (what, with, took, unguarded) = match redis {
        Some(url) => {
            let (work, took) = timed(processes(world, url)).await;
            let (asked, unguarded) = work?;
            let what = "candles analysed twice by two processes, one killed half way";
            (what, asked, took, unguarded)
        }
        None => {
            let (asked, took) = in_this_process(world, true).await?;
            ("candles analysed twice by two workers", asked, took, 0)
        }
    };
    bar.finish_and_clear();
    let told = match unguarded {
        0 => String::new(),
        times => format!("; {times} told as unguarded"),
    };
    report.add(Row {
        system: "A",
        what,
        theirs: "-",
        goal: "0",
        ours: format!(
            "{} of {CANDLES} in {} ({} without){told}",
            with.repeated,
            show(took),
            without.repeated
        ),
        ratio: "-".to_owned(),
        met: report.figure(with.repeated == 0),
    });
    let lost = CANDLES.saturating_sub(with.analyses);
    report.add(Row {
        system: "A",
        what: "candles lost",
        theirs: "-",
        goal: "0",
        ours: format!("{lost} of {CANDLES}"),
        ratio: "-".to_owned(),
        met: report.promise(lost == 0),
    });
    Ok(())
}

/// Two workers as tasks, without deduplication or with it.
async fn in_this_process(world: &World, deduplicated: bool) -> Result<(Asked, Duration), Failed> {
    let exchange = world.exchange(Behaviour::immediate()).await?;
    let service = world.service(&exchange)?;
    let (client, symbol) = (Client::new(exchange.address()), Symbol::new("EURUSD")?);
    if deduplicated {
        dedup::initialise(service.dedup.clone());
    }
    let work = || worker::run(&client, &symbol, Timeframe::Hour, |_| {});
    let (done, took) = timed(async { tokio::try_join!(work(), work()) }).await;
    done?;
    service.close().await?;
    Ok((exchange.asked(), took))
}

/// Two workers as processes. One is killed with a candle in its hands, and started again.
async fn processes(world: &World, redis: &str) -> Result<(Asked, u64), Failed> {
    let exchange = world.exchange(Behaviour::immediate()).await?;
    let worker = || process(&exchange, redis);
    let (one, two) = (worker()?, worker()?);
    until("half of the candles are done", || {
        exchange.asked().analyses >= CANDLES / 2
    })
    .await?;
    exchange.hold_analyses(true);
    until("each worker has a candle in its hands", || exchange.held() == 2).await?;
    two.abort();
    until("what the killed one had in its hands is gone", || {
        exchange.held() == 1
    })
    .await?;
    exchange.hold_analyses(false);
    let mut unguarded = 0;
    for worker in [one, worker()?] {
        let Output { status, stdout, .. } = worker.await??;
        if !status.success() {
            return Err(format!("a worker ended with {status}").into());
        }
        let printed = String::from_utf8_lossy(&stdout);
        let told = printed.lines().find(|line| line.contains("times Redis was away"));
        let times = told.and_then(|line| line.split(' ').next()?.parse::<u64>().ok());
        unguarded += times.unwrap_or(0);
    }
    Ok((exchange.asked(), unguarded))
}

/// A worker, which is killed when its task is.
fn process(exchange: &Exchange, redis: &str) -> Result<JoinHandle<std::io::Result<Output>>, Failed> {
    let process = Command::new(std::env::current_exe()?)
        .args([
            "work",
            "--exchange",
            &exchange.address().to_string(),
            "--redis",
            redis,
        ])
        .env("CANDLE_LEASE", "2")
        .env("REDIS_ENABLED", "true")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    Ok(tokio::spawn(process.wait_with_output()))
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) -> Result<(), Failed> {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .map_err(|_| format!("not within {PATIENCE:?}: {what}").into())
}

/// Questions about texts, some of them often, eight at once.
pub(super) async fn questions(report: &mut Report, world: &World) -> Result<(), Failed> {
    let bar = progress("E questions", 2);
    let mut cells = Vec::new();
    let mut halves = Vec::new();
    for is_cached in [false, true] {
        let (latencies, asked) = ask(world, is_cached).await?;
        let (p50, p99) = (latencies.quantile(0.5), latencies.quantile(0.99));
        let name = if is_cached { "with" } else { "without" };
        cells.push(vec![
            name.to_owned(),
            QUESTIONS.to_string(),
            show(p50),
            show(p99),
            asked.to_string(),
        ]);
        halves.push(asked);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let [all, asked] = halves[..] else {
        return Err("there are two ways".into());
    };
    report.add(Row {
        system: "E",
        what: "calls of the model, of which each costs a second",
        theirs: "1 for each text",
        goal: "1 for each text",
        ours: format!("{asked} for {TEXTS} texts ({all} without)"),
        ratio: format!("{:.0} ×", all as f64 / asked.max(1) as f64),
        met: report.figure(asked == TEXTS as u64),
    });
    report.section(format!(
        "## E: a model's answers, without and with the cache\n\n{QUESTIONS} questions about {TEXTS} texts, by popularity, eight \
         at once.\n\n{}",
        table(&["cache", "questions", "p50", "p99", "calls of the model"], &cells)
    ));
    Ok(())
}

async fn ask(world: &World, is_cached: bool) -> Result<(Latencies, u64), Failed> {
    let exchange = world.exchange(Behaviour::immediate()).await?;
    let service = world.service(&exchange)?;
    let client = Client::new(exchange.address());
    // Each text at least once.
    let mut texts: Vec<usize> = (0..TEXTS).collect();
    texts.extend(zipf(TEXTS, 1.1, QUESTIONS - TEXTS, 3)?);
    let texts = Arc::new(texts);
    let mut askers = JoinSet::new();
    for asker in 0..ASKERS {
        let (texts, model, client) = (texts.clone(), service.model.clone(), client.clone());
        askers.spawn(async move {
            let mut latencies = Latencies::default();
            for text in texts.iter().skip(asker).step_by(ASKERS) {
                let input = format!("What does text {text} say?");
                let (answer, took) = if is_cached {
                    timed(model.analysis(Kind::Sentiment, &input)).await
                } else {
                    timed(client.post(&format!("/model/{}", Kind::Sentiment), &input)).await
                };
                answer?;
                latencies.add(took);
            }
            Ok::<_, UpstreamError>(latencies)
        });
    }
    let mut latencies = Latencies::default();
    while let Some(asker) = askers.join_next().await {
        latencies.merge(asker??);
    }
    service.close().await?;
    Ok((latencies, exchange.asked().model_calls))
}

const CANDLES: u64 = 5_000;
const QUESTIONS: usize = 80;
const TEXTS: usize = 10;
const ASKERS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(120);
