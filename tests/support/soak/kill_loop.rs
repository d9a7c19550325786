//! S1: Redis is killed and restarted under HTTP services.

use std::io;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cache_core::time::seconds;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::resources::Watch;
use super::{Findings, Run, Tally};
use crate::children::Children;
use crate::clock::Stopwatch;
use crate::redis::RedisServer;
use crate::wait::wait_until;

pub(super) async fn run(run: &Run, tally: &Arc<Tally>) -> Findings {
    let redis = RedisServer::start();
    let shops = Children::spawn(&run.program, SHOPS, |_, command: &mut Command| {
        command.args(["shop", &redis.url()]);
    });
    let mut ports = Vec::new();
    for shop in shops.iter() {
        let line = shop.next_line_with("listening ", seconds(20));
        ports.push(line.trim_start_matches("listening ").parse::<u16>().unwrap());
    }
    let watches: Vec<Watch> = shops
        .iter()
        .zip(1..)
        .map(|(shop, number)| Watch::start(format!("shop {number}"), shop.pid()))
        .collect();
    let popular = Arc::new(Zipf::of(KEYS));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (tally, stop, popular) = (tally.clone(), stop.clone(), popular.clone());
            let rng = SmallRng::seed_from_u64(run.seed + number);
            let (port, rest) = (ports[number as usize % SHOPS], REST * run.patience.pow(2));
            tokio::spawn(async move { visit(port, rng, rest, &popular, &stop, &tally).await })
        })
        .collect();
    let mut findings = Findings::default();
    kill_again_and_again(run, tally, &redis, &ports, &mut findings).await;
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    let slowest_loads = slowest_loads(&ports, &mut findings).await;
    for watch in watches {
        findings.resources.push(watch.stop().await);
    }
    findings.check_recoveries(run.recovery(RECOVERY));
    findings.within(
        "99 % of the requests during faults, against 99 % of the loads and the budget for Redis",
        tally.faulty.at(0.99),
        run.within(slowest_loads + BUDGET) + run.lateness.0.at(0.99),
    );
    findings
}

async fn kill_again_and_again(
    run: &Run,
    tally: &Tally,
    redis: &RedisServer,
    ports: &[u16],
    findings: &mut Findings,
) {
    let mut rng = SmallRng::seed_from_u64(run.seed);
    // 10 to 30 seconds, and less in a run of less than five minutes.
    let longest = (run.length / 10).clamp(seconds(2), seconds(30));
    let began = Stopwatch::start();
    let mut kills = 0;
    while began.elapsed() < run.length || kills == 0 {
        let pause = longest.mul_f64(rng.random_range(0.34..1.0));
        let away = Duration::from_millis(rng.random_range(200..2_000));
        tokio::time::sleep(pause).await;
        run.journal
            .note(format_args!("Redis is killed, and away for {away:?}"));
        tally.disturb(true);
        redis.kill();
        tokio::time::sleep(away).await;
        tokio::task::block_in_place(|| redis.restart());
        let back = Stopwatch::start();
        for port in ports {
            wait_until(seconds(30), "the shop uses Redis again", async || {
                ask(*port, "/shares").await.is_ok_and(|answer| answer == "yes")
            })
            .await;
        }
        findings.recovered(back.elapsed());
        tally.disturb(false);
        kills += 1;
    }
    findings.count("kills", kills);
}

/// One client: asks its shop over one connection, with a rest between two requests.
async fn visit(
    port: u16,
    mut rng: SmallRng,
    rest: Duration,
    popular: &Zipf,
    stop: &AtomicBool,
    tally: &Tally,
) {
    let mut connection = None;
    while !stop.load(Ordering::SeqCst) {
        let (n, what) = (popular.draw(&mut rng), ["item", "page"][rng.random_range(0..2)]);
        let call = tally.begin();
        match exchange(&mut connection, port, &format!("/{what}/{n}")).await {
            Ok(answer) => call.answered(answer == format!("{what} {n}")),
            Err(error) => {
                println!("/{what}/{n}: {error}");
                connection = None;
                call.failed();
            }
        }
        tokio::time::sleep(rest.mul_f64(rng.random())).await;
    }
}

async fn ask(port: u16, path: &str) -> io::Result<String> {
    exchange(&mut None, port, path).await
}

/// Asks over the connection, which is made if there is none. Anything but a 200 with a length is an error.
async fn exchange(connection: &mut Option<TcpStream>, port: u16, path: &str) -> io::Result<String> {
    let stream = match connection {
        Some(stream) => stream,
        none => none.insert(TcpStream::connect(("127.0.0.1", port)).await?),
    };
    let request = format!("GET {path} HTTP/1.1\r\nhost: shop\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut received = Vec::with_capacity(1_024);
    loop {
        if stream.read_buf(&mut received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&received);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        if !head.starts_with("HTTP/1.1 200") {
            return Err(io::Error::other(format!("{head}\n{body}")));
        }
        let length: Option<usize> = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .and_then(|length| length.parse().ok());
        match length {
            Some(length) if body.len() == length => return Ok(body.to_owned()),
            Some(_) => {}
            None => return Err(io::Error::other("an answer without a length")),
        }
    }
}

/// The slowest shop's 99th percentile.
async fn slowest_loads(ports: &[u16], findings: &mut Findings) -> Duration {
    let (mut slowest, mut loads) = (Duration::ZERO, 0);
    for (port, shop) in ports.iter().zip(1..) {
        let answer = ask(*port, "/loader").await.unwrap();
        let numbers: Vec<u64> = answer.split(' ').map(|number| number.parse().unwrap()).collect();
        slowest = slowest.max(Duration::from_micros(numbers[0]));
        loads += numbers[1];
        findings.count(format!("tasks of shop {shop} at last"), numbers[2]);
    }
    findings.count("loads", loads);
    findings.count("99th percentile of a load, µs", slowest.as_micros() as u64);
    slowest
}

/// Few keys are asked for often, and most of them seldom: the `k`-th in proportion to `1 / k`.
#[derive(Debug)]
struct Zipf {
    cumulative: Vec<f64>,
}

impl Zipf {
    fn of(keys: u64) -> Self {
        let mut sum = 0.0;
        let cumulative = (1..=keys)
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        Self { cumulative }
    }

    fn draw(&self, rng: &mut SmallRng) -> u64 {
        let total = self.cumulative[self.cumulative.len() - 1];
        let at = rng.random_range(0.0..total);
        self.cumulative.partition_point(|sum| *sum <= at) as u64
    }
}

const SHOPS: usize = 3;
const CLIENTS: u64 = 200;
const KEYS: u64 = 5_000;
/// 200 clients ask 2,000 times a second then; fewer times where other tests run.
const REST: Duration = Duration::from_millis(200);
/// What Redis may cost a request before its load.
const BUDGET: Duration = Duration::from_millis(250);
const RECOVERY: Duration = Duration::from_millis(1_500);
