//! Workers as processes, of which one is killed half way.

use std::process::Command;
use std::time::Duration;

use market::upstream::Exchange;
use support::{Child, RedisServer, wait_until};

use crate::exchange;

const CANDLES: u64 = 5_000;
const LONG: Duration = Duration::from_secs(120);

fn worker(exchange: &Exchange, redis: &RedisServer) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_market-data"));
    command.args([
        "work",
        "--exchange",
        &exchange.address().to_string(),
        "--redis",
        &redis.url(),
    ]);
    command.env_remove("REDIS_URL").env("CANDLE_LEASE", "2");
    Child::spawn(&mut command)
}

fn processed(workers: &[&Child]) -> u64 {
    let lines = workers.iter().flat_map(|worker| worker.output());
    lines.filter(|line| line.starts_with("processed")).count() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_half_way_loses_no_candle_and_repeats_none() {
    let (exchange, redis) = (exchange().await, RedisServer::start());
    let (one, two) = (worker(&exchange, &redis), worker(&exchange, &redis));
    wait_until(LONG, "half of the candles are processed", async || {
        processed(&[&one, &two]) >= CANDLES / 2
    })
    .await;
    exchange.hold_analyses(true);
    wait_until(LONG, "each worker has a candle in its hands", async || {
        exchange.held() == 2
    })
    .await;
    two.kill();
    wait_until(LONG, "what it had in its hands is gone", async || {
        exchange.held() == 1
    })
    .await;
    exchange.hold_analyses(false);
    let again = worker(&exchange, &redis);
    for worker in [&one, &again] {
        let done = worker.next_line_with("done", LONG);
        assert!(done.contains("processed"), "{done}");
        assert!(worker.wait(LONG).success());
    }
    let asked = exchange.asked();
    assert_eq!((asked.analyses, asked.repeated), (CANDLES, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_go_on_without_redis_and_say_what_they_cannot_guarantee() {
    let (exchange, redis) = (exchange().await, RedisServer::start());
    let workers = [worker(&exchange, &redis), worker(&exchange, &redis)];
    wait_until(LONG, "a fifth is processed", async || {
        processed(&[&workers[0], &workers[1]]) >= CANDLES / 5
    })
    .await;
    redis.kill();
    wait_until(LONG, "work goes on", async || {
        processed(&[&workers[0], &workers[1]]) >= CANDLES / 2
    })
    .await;
    redis.restart();
    for worker in &workers {
        let done = worker.next_line_with("done", LONG);
        assert!(worker.wait(LONG).success(), "{done}");
        assert!(
            worker.output().iter().any(|line| line.contains("Redis was away")),
            "{:?}",
            worker.output()
        );
        let warnings = worker.errors().join("\n");
        assert!(
            warnings.contains("other processes may process it as well"),
            "{warnings}"
        );
    }
    assert_eq!(exchange.asked().analyses, CANDLES, "none is lost");
}
