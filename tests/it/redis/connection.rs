//! The supervised connection under faults: bounded waits, no hot loops, back soon after the fault's end.

use std::time::Duration;

use cache_core::Redis;
use cache_core::shared::FaultKind;
use support::{Accepting, Fault, FaultProxy, RedisServer, Stopwatch, wait_until};

use crate::engine::{others_run, poll_once};

use super::{BUDGET, open, open_url, read, restricted, set};

/// What an operation may take by default, and what a busy machine adds.
const DEADLINE: Duration = Duration::from_millis(250);
const SLACK: Duration = Duration::from_millis(100);
/// From the end of a fault to the first success.
const RECOVERY: Duration = Duration::from_millis(1_500);

async fn try_read(tier: &std::sync::Arc<dyn cache_core::shared::Shared>) -> Result<(), FaultKind> {
    let stopwatch = Stopwatch::start();
    let read = tier.read("m:a", DEADLINE).await;
    let elapsed = stopwatch.elapsed();
    assert!(elapsed <= DEADLINE + SLACK, "an operation took {elapsed:?}");
    read.map(drop).map_err(|fault| fault.kind())
}

async fn recovers(tier: &std::sync::Arc<dyn cache_core::shared::Shared>, within: Duration) {
    wait_until(within, "it is back", async || try_read(tier).await.is_ok()).await;
}

#[tokio::test]
async fn an_absent_server_costs_nothing_and_is_found_when_it_comes() {
    let server = restricted();
    server.kill();
    let tier = open(&server);
    assert_eq!(try_read(&tier).await, Err(FaultKind::Connect));
    let stopwatch = Stopwatch::start();
    for _ in 0..1_000 {
        let fault = try_read(&tier).await.unwrap_err();
        assert!(
            matches!(fault, FaultKind::Connect | FaultKind::BreakerOpen),
            "{fault:?}"
        );
    }
    assert!(
        stopwatch.elapsed() < Duration::from_millis(300),
        "{:?}",
        stopwatch.elapsed()
    );
    server.restart();
    recovers(&tier, RECOVERY).await;
}

#[tokio::test]
async fn a_killed_and_restarted_server_is_found_again_each_time() {
    let server = restricted();
    let tier = open(&server);
    try_read(&tier).await.unwrap();
    for round in 1..=3 {
        server.kill();
        assert!(try_read(&tier).await.is_err());
        server.restart();
        recovers(&tier, RECOVERY).await;
        assert_eq!(tier.health()[0].connects, round + 1, "one connection per restart");
    }
}

/// B14.5
#[tokio::test]
async fn attempts_while_it_is_down_are_about_one_a_second() {
    let server = restricted();
    let proxy = FaultProxy::start(server.address());
    proxy.accept(Accepting::Reset);
    let tier = open_url(&server.url_via(proxy.address()));
    let stopwatch = Stopwatch::start();
    while stopwatch.elapsed() < Duration::from_millis(2_500) {
        let _ = try_read(&tier).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let attempts = proxy.counts().accepted;
    assert!((2..=4).contains(&attempts), "{attempts} attempts in 2.5 s");
}

/// B14.6
#[tokio::test(flavor = "multi_thread")]
async fn a_short_freeze_costs_each_call_its_deadline_once() {
    let server = restricted();
    let tier = open(&server);
    set(&tier, "m:a", "before").await;
    server.freeze();
    assert_eq!(try_read(&tier).await, Err(FaultKind::Timeout));
    assert_eq!(try_read(&tier).await, Err(FaultKind::Timeout));
    server.thaw();
    recovers(&tier, RECOVERY).await;
    assert_eq!(
        read(&tier, "m:a").await.as_deref(),
        Some("before"),
        "no late answer is mixed up"
    );
}

/// B14.1: a process that could not run for a while does not take that for the server's silence.
#[tokio::test]
async fn what_was_answered_while_this_process_was_busy_is_read_before_its_time_is_over() {
    let server = restricted();
    let tier = open(&server);
    try_read(&tier).await.unwrap();
    let mut reads: Vec<_> = (0..20).map(|_| Box::pin(tier.read("m:a", DEADLINE))).collect();
    for read in &mut reads {
        assert!(poll_once(read).is_pending());
    }
    // It sends them, and then something blocks its only thread.
    others_run().await;
    std::thread::sleep(DEADLINE * 3);
    for read in reads {
        read.await.unwrap();
    }
    assert_eq!(tier.health()[0].breaker_openings, 0);
}

/// B14.5, B14.6
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_opens_the_breaker_and_probes_close_it_without_any_caller() {
    let server = restricted();
    let tier = open(&server);
    set(&tier, "m:a", "x").await;
    let mut recoveries = tier.recoveries();
    recoveries.mark_unchanged();
    server.freeze();
    for _ in 0..5 {
        assert_eq!(try_read(&tier).await, Err(FaultKind::Timeout));
    }
    let stopwatch = Stopwatch::start();
    for _ in 0..1_000 {
        assert_eq!(try_read(&tier).await, Err(FaultKind::BreakerOpen));
    }
    assert!(
        stopwatch.elapsed() < Duration::from_millis(50),
        "{:?}",
        stopwatch.elapsed()
    );
    assert_eq!(tier.health()[0].breaker, "open");
    // Long enough that the connection is given up and probes by callers would be far apart.
    tokio::time::sleep(Duration::from_secs(4)).await;
    server.thaw();
    let stopwatch = Stopwatch::start();
    tokio::time::timeout(Duration::from_secs(5), recoveries.changed())
        .await
        .expect("the breaker closes")
        .unwrap();
    assert!(stopwatch.elapsed() < RECOVERY, "{:?}", stopwatch.elapsed());
    assert_eq!(read(&tier, "m:a").await.as_deref(), Some("x"));
}

/// B14.4
#[tokio::test]
async fn an_operator_opens_and_closes_the_breaker() {
    let server = restricted();
    let tier = open(&server);
    set(&tier, "m:a", "x").await;
    tier.force_breaker(true);
    assert_eq!(try_read(&tier).await, Err(FaultKind::BreakerOpen));
    assert_eq!(tier.health()[0].breaker, "forced_open");
    tier.force_breaker(false);
    assert_eq!(try_read(&tier).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_holed_connection_is_replaced_within_three_seconds() {
    let server = restricted();
    let proxy = FaultProxy::start(server.address());
    let tier = open_url(&server.url_via(proxy.address()));
    try_read(&tier).await.unwrap();
    // New connections are fine.
    proxy.set_existing(Fault::BlackHole);
    recovers(&tier, Duration::from_millis(3_500)).await;
    assert_eq!(proxy.counts().accepted, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tarpit_costs_the_deadline_and_not_the_drivers_patience() {
    let server = restricted();
    let proxy = FaultProxy::start(server.address());
    proxy.accept(Accepting::Tarpit);
    let tier = open_url(&server.url_via(proxy.address()));
    assert_eq!(try_read(&tier).await, Err(FaultKind::Timeout));
    wait_until(BUDGET, "the attempt has failed", async || {
        try_read(&tier).await == Err(FaultKind::Handshake)
    })
    .await;
    proxy.heal();
    recovers(&tier, RECOVERY + Duration::from_millis(500)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_in_flight_is_retried_for_reads() {
    let server = restricted();
    let proxy = FaultProxy::start(server.address());
    let tier = open_url(&server.url_via(proxy.address()));
    try_read(&tier).await.unwrap();
    for _ in 0..10 {
        // A connection that ends sooner counts as an attempt that failed.
        tokio::time::sleep(Duration::from_millis(210)).await;
        proxy.set_existing(Fault::CutRepliesAfter(0));
        let answer = tier.read("m:a", BUDGET).await;
        assert!(answer.is_ok(), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blind_set_is_not_retried_and_says_that_it_may_have_happened() {
    let server = restricted();
    let proxy = FaultProxy::start(server.address());
    let tier = open_url(&server.url_via(proxy.address()));
    let store = async |text: &str| {
        let (version, payload) = super::value(text);
        let mutation = cache_core::shared::Mutation {
            key: "m:a",
            version,
            change: cache_core::shared::Change::Set {
                payload,
                condition: cache_core::shared::Condition::Always,
            },
        };
        let op = cache_core::notice::Op::Set;
        tier.mutate(op, vec![mutation], BUDGET).await
    };
    for _ in 0..20 {
        wait_until(Duration::from_secs(5), "it is connected", async || {
            store("one").await.is_ok()
        })
        .await;
        proxy.set_existing(Fault::CutRepliesAfter(0));
        let fault = store("two").await.unwrap_err();
        assert_eq!(fault.kind(), FaultKind::Disconnected);
        // The connection may be gone before anything was sent: then nothing happened.
        if fault.maybe_applied() {
            return;
        }
    }
    panic!("no connection lasted until the question was sent");
}

#[tokio::test]
async fn the_next_operation_after_the_server_closed_the_connection_succeeds() {
    let server = restricted();
    let tier = open(&server);
    for _ in 0..5 {
        set(&tier, "m:a", "x").await;
        tokio::time::sleep(Duration::from_millis(210)).await;
        server.disconnect_clients();
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(read(&tier, "m:a").await.as_deref(), Some("x"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn latency_below_the_deadline_is_served_and_above_it_is_a_timeout() {
    let server = restricted();
    let proxy = FaultProxy::start(server.address());
    let tier = open_url(&server.url_via(proxy.address()));
    try_read(&tier).await.unwrap();
    proxy.set(Fault::DelayReplies(Duration::from_millis(100)));
    assert_eq!(try_read(&tier).await, Ok(()));
    proxy.set(Fault::DelayReplies(Duration::from_secs(1)));
    assert_eq!(try_read(&tier).await, Err(FaultKind::Timeout));
    proxy.heal();
    recovers(&tier, RECOVERY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_of_a_few_bytes_change_nothing() {
    let server = restricted();
    let proxy = FaultProxy::start(server.address());
    proxy.set(Fault::Slice);
    let tier = open_url(&server.url_via(proxy.address()));
    for n in 0..50 {
        let text = format!("value {n}");
        set(&tier, "m:a", &text).await;
        assert_eq!(read(&tier, "m:a").await, Some(text));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_a_protocol_fault_and_the_connection_is_replaced() {
    let server = restricted();
    for garbage in [
        &b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..],
        b"\x00\xff\xfe garbage \r\n",
        b"$99999999999\r\n",
        b"*1000000000\r\n",
    ] {
        let proxy = FaultProxy::start(server.address());
        proxy.accept(Accepting::Answer(garbage.to_vec()));
        let tier = open_url(&server.url_via(proxy.address()));
        assert!(try_read(&tier).await.is_err());
        proxy.accept(Accepting::Relay);
        recovers(&tier, RECOVERY + Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn excess_operations_are_refused_at_once() {
    let server = restricted();
    let proxy = FaultProxy::start(server.address());
    let config = Redis::from_url(&server.url_via(proxy.address())).unwrap();
    let clock = std::sync::Arc::new(cache_core::time::SystemClock);
    let tier = config.max_in_flight(100).unwrap().open("m", clock);
    tier.read("m:a", BUDGET).await.unwrap();
    proxy.set(Fault::BlackHole);
    let mut calls = tokio::task::JoinSet::new();
    let stopwatch = Stopwatch::start();
    for _ in 0..5_000 {
        let tier = tier.clone();
        calls.spawn(async move { tier.read("m:a", DEADLINE).await.unwrap_err().kind() });
    }
    let kinds = calls.join_all().await;
    assert!(
        stopwatch.elapsed() < Duration::from_millis(1_000),
        "{:?}",
        stopwatch.elapsed()
    );
    assert_eq!(
        kinds.iter().filter(|kind| **kind == FaultKind::Timeout).count(),
        100
    );
    assert_eq!(
        kinds.iter().filter(|kind| **kind == FaultKind::Overload).count(),
        4_900
    );
    assert_eq!(tier.health()[0].in_flight, 0);
}

#[tokio::test]
async fn too_many_clients_is_no_hot_loop() {
    let server = RedisServer::builder().max_clients(1).start();
    let first = open(&server);
    first.read("m:a", BUDGET).await.unwrap();
    let proxy = FaultProxy::start(server.address());
    let second = open_url(&server.url_via(proxy.address()));
    wait_until(BUDGET, "the server refuses", async || {
        try_read(&second).await == Err(FaultKind::MaxClients)
    })
    .await;
    let (before, stopwatch) = (proxy.counts().accepted, Stopwatch::start());
    while stopwatch.elapsed() < Duration::from_millis(2_500) {
        let _ = try_read(&second).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let attempts = proxy.counts().accepted - before;
    assert!((1..=4).contains(&attempts), "{attempts} attempts in 2.5 s");
    first.close();
    drop(first);
    recovers(&second, RECOVERY).await;
}

#[tokio::test]
async fn a_moved_endpoint_is_found_by_the_next_connection() {
    let (old, new) = (restricted(), restricted());
    let proxy = FaultProxy::start(old.address());
    let tier = open_url(&old.url_via(proxy.address()));
    set(&tier, "m:a", "old").await;
    proxy.swap_backend(new.address());
    proxy.close_all();
    wait_until(RECOVERY, "the new one answers", async || {
        try_read(&tier).await.is_ok() && read(&tier, "m:a").await.is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loading_server_is_unavailable_until_it_has_loaded() {
    let server = restricted();
    let tier = open(&server);
    try_read(&tier).await.unwrap();
    server.restart_loading(Duration::from_secs(60));
    // The breaker opens before anybody has heard the reason, and may wait twice before it asks.
    wait_until(RECOVERY * 5, "it says that it is loading", async || {
        try_read(&tier).await == Err(FaultKind::Loading)
    })
    .await;
    server.finish_loading();
    recovers(&tier, RECOVERY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_costs_the_deadline() {
    // Somebody else runs the script.
    let server = RedisServer::start();
    let tier = open(&server);
    try_read(&tier).await.unwrap();
    server.command(&["CONFIG", "SET", "lua-time-limit", "50"]);
    let mut other = support::resp::RespClient::connect(server.address(), BUDGET).unwrap();
    other.send(&["EVAL", "while true do end", "0"]).unwrap();
    wait_until(BUDGET, "it is busy", async || {
        matches!(try_read(&tier).await, Err(FaultKind::Busy | FaultKind::Timeout))
    })
    .await;
    server.restart();
    recovers(&tier, RECOVERY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demoted_server_is_left_and_found_again_after_its_promotion() {
    let (server, other) = (restricted(), restricted());
    let tier = open(&server);
    set(&tier, "m:a", "x").await;
    server.command(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
    let refused = async || {
        let (version, payload) = super::value("lost");
        let condition = cache_core::shared::Condition::Always;
        let change = cache_core::shared::Change::Set { payload, condition };
        let mutation = cache_core::shared::Mutation {
            key: "m:a",
            version,
            change,
        };
        let op = cache_core::notice::Op::Set;
        tier.mutate(op, vec![mutation], DEADLINE)
            .await
            .map_err(|fault| fault.kind())
    };
    wait_until(BUDGET, "writes are refused", async || {
        refused().await == Err(FaultKind::ReadOnly)
    })
    .await;
    assert_eq!(
        try_read(&tier).await,
        Err(FaultKind::ReadOnly),
        "a replica is no shared tier"
    );
    server.command(&["REPLICAOF", "NO", "ONE"]);
    wait_until(RECOVERY, "writes are taken again", async || {
        refused().await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn forgotten_scripts_are_sent_again_once() {
    let server = restricted();
    let tier = open(&server);
    set(&tier, "m:a", "one").await;
    server.command(&["SCRIPT", "FLUSH"]);
    let mut monitor = server.monitor();
    set(&tier, "m:a", "two").await;
    let commands = monitor.take_requests();
    let sent = |name: &str| {
        commands
            .iter()
            .filter(|command| command.name().eq_ignore_ascii_case(name))
            .count()
    };
    assert_eq!((sent("EVALSHA"), sent("EVAL")), (1, 1));
}

#[tokio::test]
async fn a_closed_tier_refuses_and_leaves_no_connection() {
    let server = restricted();
    let tier = open(&server);
    set(&tier, "m:a", "one").await;
    let mut reader = tier.follow_log();
    reader.next().await.unwrap();
    let mut waiting = tier.subscribe("m:a", BUDGET).await.unwrap();
    tier.close();
    assert_eq!(try_read(&tier).await, Err(FaultKind::Closed));
    assert!(tier.subscribe("m:a", BUDGET).await.is_err());
    assert_eq!(waiting.next().await, None);
    while reader.next().await.is_some() {}
    wait_until(BUDGET, "nobody is connected", async || {
        server.client_connections() == 0
    })
    .await;
}

#[tokio::test]
async fn unix_sockets_databases_and_resp3_work() {
    let server = restricted();
    let sep = |url: String| if url.contains('?') { '&' } else { '?' };
    for (number, url) in [
        server.unix_url(),
        format!("{}{}db=3", server.unix_url(), sep(server.unix_url())),
        format!("{}5", server.url()),
        format!("{}6?protocol=resp3", server.url()),
    ]
    .into_iter()
    .enumerate()
    {
        let tier = open_url(&url);
        let key = format!("m:{number}");
        assert_eq!(read(&tier, &key).await, None);
        set(&tier, &key, "x").await;
        assert_eq!(read(&tier, &key).await.as_deref(), Some("x"));
        let mut waiting = tier.subscribe(&key, BUDGET).await.unwrap();
        set(&tier, &key, "y").await;
        assert!(waiting.next().await.is_some());
        let mut reader = tier.follow_log();
        reader.next().await.unwrap();
        super::remove(&tier, &key).await;
        while !matches!(
            reader.next().await.unwrap(),
            cache_core::shared::LogEvent::Notices(_)
        ) {}
    }
}

#[test]
fn a_runtime_that_ends_is_replaced_by_the_next() {
    let server = restricted();
    let tier = open(&server);
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            set(&tier, "m:a", "x").await;
            assert_eq!(read(&tier, "m:a").await.as_deref(), Some("x"));
        });
    }
}
