//! The program itself: workers, of which one is killed half way, and the service.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use market::upstream::{Behaviour, Exchange};
use support::{Child, RedisServer, wait_until};

use crate::exchange_that;

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

async fn exchange() -> Exchange {
    exchange_that(Behaviour {
        latency: Duration::ZERO..Duration::ZERO,
        ..Behaviour::default()
    })
    .await
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

#[test]
fn the_program_serves_as_it_is_configured_and_ends_when_it_is_asked_to() {
    let folder = std::env::temp_dir().join(format!("market-data-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("my.toml");
    std::fs::write(&file, "[policies.ticker]\nttl = \"1h\"\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_market-data"));
    command
        .args(["--port", "0", "--config", file.to_str().unwrap()])
        .env_remove("REDIS_URL");
    let service = Child::spawn(command.env_remove("MARKET_DATA_TOKEN"));
    let line = service.next_line_with("serving", LONG);
    let address = line
        .split("http://")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let token = service
        .next_line_with("Its token", LONG)
        .rsplit(' ')
        .next()
        .unwrap()
        .to_owned();

    let health = get(&address, "/health", "");
    assert!(
        health.starts_with("HTTP/1.1 200") && health.contains("\"healthy\""),
        "{health}"
    );
    assert!(get(&address, "/price/EURUSD", "").contains("\"price\":"));
    let policies = get(&address, "/admin/cache/caches/ai_trading/policies", &token);
    assert!(policies.contains("\"1h\""), "{policies}");
    assert!(get(&address, "/admin/cache/metrics", &token).contains("cache_hits_total{"));
    assert!(get(&address, "/admin/cache/metrics", "wrong").starts_with("HTTP/1.1 401"));

    service.terminate();
    assert!(service.wait(LONG).success(), "{:?}", service.errors());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_is_configured_wrong_is_named() {
    for (arguments, words) in [
        (&["--config", "/nowhere.toml"][..], "/nowhere.toml"),
        (&["--redis", "http://h"], "redis"),
        (&["--token", "short", "--port", "0"], "16"),
        (&["--port", "http"], "--port"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_market-data"));
        let program = Child::spawn(
            command
                .args(arguments)
                .env_remove("REDIS_URL")
                .env_remove("MARKET_DATA_TOKEN"),
        );
        assert!(!program.wait(LONG).success());
        let errors = program.errors().join("\n");
        assert!(
            errors.contains(words) && !errors.contains("panicked"),
            "{arguments:?}: {errors}"
        );
    }
}

fn get(address: &str, path: &str, token: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let authorization = if token.is_empty() {
        String::new()
    } else {
        format!("authorization: Bearer {token}\r\n")
    };
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{authorization}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
