//! The program itself: the service, a fleet of it, the exchange as a process, and how they end.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use market::upstream::{Asked, Behaviour, Exchange};
use support::{Child, RedisServer, wait_until, wait_until_blocking};
use tokio::task::spawn_blocking;

use crate::exchange_that;

const LONG: Duration = Duration::from_secs(60);
const TOKEN: &str = "0123456789abcdef-operator";

/// The program, in an environment without settings.
fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_market-data"));
    command.args(arguments);
    for variable in ["REDIS_URL", "REDIS_ENABLED", "MARKET_DATA_TOKEN"] {
        command.env_remove(variable);
    }
    command
}

/// The service as a process, and where it listens.
struct Serving {
    process: Child,
    address: String,
}

impl Serving {
    fn start(command: &mut Command) -> Self {
        let process = Child::spawn(command.args(["--port", "0"]));
        let line = process.next_line_with("serving", LONG);
        let address = line.split("http://").nth(1).unwrap().split(';').next().unwrap();
        Self {
            address: address.to_owned(),
            process,
        }
    }

    /// A node of a fleet that asks nothing by itself.
    fn node(exchange: &Exchange, redis: &RedisServer) -> Self {
        let mut command = program(&["--exchange", &exchange.address().to_string()]);
        for warmer in [
            "USERS",
            "SIGNALS",
            "MARKET",
            "STATISTICS",
            "TOP_SYMBOLS",
            "WATCHLIST",
            "MOVERS",
        ] {
            command.env(format!("CACHE_WARMERS__{warmer}__ENABLED"), "false");
        }
        Self::start(
            command
                .env("REDIS_URL", redis.url())
                .env("MARKET_DATA_TOKEN", TOKEN),
        )
    }

    async fn get(&self, path: &str) -> String {
        let (address, path) = (self.address.clone(), path.to_owned());
        spawn_blocking(move || request(&address, "GET", &path, TOKEN, ""))
            .await
            .unwrap()
    }

    async fn post(&self, path: &str, body: &str) -> String {
        let (address, path, body) = (self.address.clone(), path.to_owned(), body.to_owned());
        spawn_blocking(move || request(&address, "POST", &path, TOKEN, &body))
            .await
            .unwrap()
    }
}

fn ask(address: &str, method: &str, path: &str, token: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn request(address: &str, method: &str, path: &str, token: &str, body: &str) -> String {
    let mut answer = String::new();
    ask(address, method, path, token, body)
        .read_to_string(&mut answer)
        .unwrap();
    answer
}

#[test]
fn the_program_serves_as_it_is_configured_and_ends_when_it_is_asked_to() {
    let folder = std::env::temp_dir().join(format!("market-data-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("my.toml");
    std::fs::write(&file, "[policies.ticker]\nttl = \"1h\"\n").unwrap();
    let service = Serving::start(&mut program(&["--config", file.to_str().unwrap()]));
    let line = service.process.next_line_with("Its token", LONG);
    let token = line.rsplit(' ').next().unwrap();
    let get = |path, token| request(&service.address, "GET", path, token, "");

    let health = get("/health", "");
    assert!(
        health.starts_with("HTTP/1.1 200") && health.contains("\"healthy\""),
        "{health}"
    );
    assert!(get("/price/EURUSD", "").contains("\"price\":"));
    let policies = get("/admin/cache/caches/ai_trading/policies", token);
    assert!(policies.contains("\"1h\""), "{policies}");
    let dashboard = get("/admin/cache", "");
    assert!(
        dashboard.contains("text/html"),
        "the dashboard is there for everybody, what it shows is not: {dashboard}"
    );
    assert!(
        get("/admin/cache/", "").starts_with("HTTP/1.1 308"),
        "a slash too many leads there as well"
    );
    let metrics = get("/admin/cache/metrics", token);
    for series in ["cache_hits_total{", "market_data_candles_total{"] {
        assert!(metrics.contains(series), "{series}: {metrics}");
    }
    assert!(get("/admin/cache/metrics", "wrong").starts_with("HTTP/1.1 401"));

    service.process.terminate();
    assert!(
        service.process.wait(LONG).success(),
        "{:?}",
        service.process.errors()
    );
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
        let program = Child::spawn(&mut program(arguments));
        assert!(!program.wait(LONG).success());
        let errors = program.errors().join("\n");
        assert!(
            errors.contains(words) && !errors.contains("panicked"),
            "{arguments:?}: {errors}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_on_one_redis_are_a_fleet() {
    let slow = Duration::from_millis(200);
    let exchange = exchange_that(Behaviour {
        latency: slow..slow,
        ..Behaviour::default()
    })
    .await;
    let redis = RedisServer::start();
    let nodes = [Serving::node(&exchange, &redis), Serving::node(&exchange, &redis)];
    let [one, two] = &nodes;
    for node in &nodes {
        wait_until(LONG, "it is on Redis, and hears the other", async || {
            node.get("/fear-greed").await;
            let health = node.get("/health").await;
            let metrics = node.get("/admin/cache/metrics").await;
            health.contains("\"healthy\"") && metrics.contains("cache_log_heard{cache=\"ai_trading\"} 1")
        })
        .await;
    }
    let before = exchange.asked().calls;
    let calls = || exchange.asked().calls - before;

    let mut callers = tokio::task::JoinSet::new();
    for n in 0..20 {
        let address = nodes[n % 2].address.clone();
        callers.spawn_blocking(move || request(&address, "GET", "/quotes/news/GOOG", "", ""));
    }
    for answer in callers.join_all().await {
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert_eq!(calls(), 1, "one of all nodes asks");

    one.get("/ticker/GOOG").await;
    assert_eq!(calls(), 2);
    two.get("/ticker/GOOG").await;
    assert_eq!(calls(), 2, "what one node has, the other finds");

    let answer = one.post("/cache/invalidate", r#"{"symbol":"GOOG"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    wait_until(LONG, "the other node hears of it", async || {
        two.get("/ticker/GOOG").await;
        calls() == 3
    })
    .await;
    one.get("/ticker/GOOG").await;
    assert_eq!(calls(), 3, "what the other loaded anew is there for all");

    let alone = Serving::start(
        program(&["--exchange", &exchange.address().to_string(), "--token", TOKEN])
            .env("REDIS_URL", redis.url())
            .env("REDIS_ENABLED", "false"),
    );
    let doctor = alone.get("/cache/statistics").await;
    assert!(doctor.contains("\"redis\":null"), "it works in memory: {doctor}");

    one.process.kill();
    assert!(two.get("/ticker/GOOG").await.starts_with("HTTP/1.1 200"));
    two.process.terminate();
    assert!(two.process.wait(LONG).success());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_under_way_are_answered_before_it_ends_and_open_streams_keep_nobody() {
    let slow = Duration::from_secs(2);
    let exchange = exchange_that(Behaviour {
        latency: slow..slow,
        ..Behaviour::default()
    })
    .await;
    let service = Serving::node(&exchange, &RedisServer::start());
    let mut stream = ask(&service.address, "GET", "/admin/cache/events", TOKEN, "");
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");

    let address = service.address.clone();
    let under_way = spawn_blocking(move || request(&address, "GET", "/users/7", "", ""));
    wait_until(LONG, "the exchange is asked", async || {
        exchange.asked().calls == 1
    })
    .await;
    service.process.terminate();
    let address = service.address.clone();
    let refused = spawn_blocking(move || {
        wait_until_blocking(LONG, "nobody is let in any more", || {
            TcpStream::connect(&address).is_err()
        });
    });
    let answer = under_way.await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("\"id\":7"),
        "{answer}"
    );
    refused.await.unwrap();
    assert!(
        service.process.wait(LONG).success(),
        "{:?}",
        service.process.errors()
    );
}

#[test]
fn the_exchange_as_a_process_fails_and_refuses_as_it_is_told_and_counts() {
    let exchange = |arguments: &[&str]| {
        let settings = [
            "upstream",
            "--listen",
            "127.0.0.1:0",
            "--fastest",
            "0",
            "--slowest",
            "0",
        ];
        let process = Child::spawn(program(&settings).args(arguments));
        let line = process.next_line_with("the exchange listens on", LONG);
        let address = line.split(' ').nth(4).unwrap().trim_end_matches(';').to_owned();
        (process, address)
    };
    let asked = |address: &str| -> Asked {
        let answer = request(address, "GET", "/asked", "", "");
        serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
    };
    let statuses = |address: &str| -> Vec<String> {
        let ask = |_| request(address, "GET", "/ticker/GOOG", "", "");
        (0..20).map(ask).map(|answer| answer[9..12].to_owned()).collect()
    };

    let (_limited, address) = exchange(&["--per-second", "1"]);
    let answers = statuses(&address);
    let refused = answers.iter().filter(|status| *status == "429").count() as u64;
    assert!((1..20).contains(&refused), "{answers:?}");
    let counted = asked(&address);
    assert_eq!((counted.calls, counted.refused, counted.failed), (20, refused, 0));

    let (failing, address) = exchange(&["--failure-rate", "1"]);
    assert!(statuses(&address).iter().all(|status| status == "503"));
    assert_eq!(asked(&address).failed, 20);
    let service = Serving::start(&mut program(&["--exchange", &address]));
    let answer = request(&service.address, "GET", "/ticker/GOOG", "", "");
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    failing.terminate();
    assert!(failing.wait(LONG).success());
}

#[test]
fn the_whole_comparison_passes_with_redis_killed_and_restarted_again_and_again() {
    let folder = std::env::temp_dir().join(format!("market-data-report-{}", std::process::id()));
    let report = folder.to_str().unwrap();
    let comparison = Child::spawn(&mut program(&[
        "compare",
        "--quick",
        "--kill-redis",
        "--report",
        report,
    ]));
    assert!(
        comparison.wait(8 * LONG).success(),
        "{:?} {:?}",
        comparison.output(),
        comparison.errors()
    );
    let text = std::fs::read_to_string(folder.join("report.md")).unwrap();
    let kills = text.split("killed and restarted ").nth(1).unwrap();
    let kills: u32 = kills.split(' ').next().unwrap().parse().unwrap();
    assert!(kills > 3, "{text}");
    let promises = text.lines().filter(|line| line.ends_with("| yes        |"));
    assert_eq!(promises.count(), 3, "{text}");
    assert!(!text.contains("**no**"), "{text}");
    assert!(folder.join("averages.svg").exists());
    std::fs::remove_dir_all(&folder).unwrap();
}
