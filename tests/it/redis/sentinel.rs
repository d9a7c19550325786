//! Failover: the master is whoever the sentinels name and who says so itself.

use std::sync::Arc;
use std::time::Duration;

use cache_core::Redis;
use cache_core::shared::{FaultKind, LogEvent, Shared};
use cache_core::time::SystemClock;
use support::{Accepting, FaultProxy, SentinelTrio, Stopwatch, wait_until};

use super::{BUDGET, change, read, set, value};

fn open(urls: &[String]) -> Arc<dyn Shared> {
    let config = Redis::sentinel(SentinelTrio::SERVICE, urls).unwrap();
    config.open("m", Arc::new(SystemClock))
}

async fn can_set(tier: &Arc<dyn Shared>) -> bool {
    let (version, payload) = value("x");
    let condition = cache_core::shared::Condition::Always;
    let mutation = cache_core::shared::Mutation {
        key: "m:a",
        version,
        change: cache_core::shared::Change::Set { payload, condition },
    };
    let op = cache_core::notice::Op::Set;
    tier.mutate(op, vec![mutation], Duration::from_millis(250))
        .await
        .is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_followed_within_a_second() {
    let trio = SentinelTrio::start();
    let tier = open(&trio.urls());
    set(&tier, "m:a", "before").await;
    let mut reader = tier.follow_log();
    reader.next().await.unwrap();
    let former = trio.kill_master();
    assert!(!can_set(&tier).await);
    let master = trio.wait_for_failover(former);
    let stopwatch = Stopwatch::start();
    wait_until(
        Duration::from_secs(1),
        "the new master takes writes",
        async || can_set(&tier).await,
    )
    .await;
    assert!(stopwatch.elapsed() < Duration::from_secs(1));
    assert_eq!(master.command(&["EXISTS", "m:a"]).integer(), Some(1));
    let confirmed = async { while !matches!(reader.next().await.unwrap(), LogEvent::Confirmed { .. }) {} };
    tokio::time::timeout(Duration::from_secs(5), confirmed)
        .await
        .expect("the new master confirms");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_and_silent_sentinels_cost_little_and_lose_their_turn() {
    let trio = SentinelTrio::start();
    let urls = trio.urls();
    let silent = FaultProxy::start(trio.sentinels()[0].address());
    silent.accept(Accepting::Tarpit);
    let urls = [
        trio.sentinels()[0].url_via(silent.address()),
        "redis://127.0.0.1:1".to_owned(),
        urls[1].clone(),
    ];
    let tier = open(&urls);
    let stopwatch = Stopwatch::start();
    assert_eq!(read(&tier, "m:a").await, None);
    assert!(
        stopwatch.elapsed() < Duration::from_millis(700),
        "{:?}",
        stopwatch.elapsed()
    );
    trio.master().disconnect_clients();
    let stopwatch = Stopwatch::start();
    wait_until(Duration::from_secs(1), "it is back", async || {
        tier.read("m:a", BUDGET).await.is_ok()
    })
    .await;
    assert!(
        stopwatch.elapsed() < Duration::from_millis(400),
        "{:?}",
        stopwatch.elapsed()
    );
}

#[tokio::test]
async fn an_unknown_service_is_told() {
    let trio = SentinelTrio::start();
    let config = Redis::sentinel("other", trio.urls()).unwrap();
    let tier = config.open("m", Arc::new(SystemClock));
    let fault = tier.read("m:a", BUDGET).await.unwrap_err();
    assert_eq!(fault.kind(), FaultKind::NoMaster);
    assert!(fault.to_string().contains("does not know `other`"), "{fault}");
}

/// B12.6
#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_that_names_a_replica_is_not_believed() {
    let trio = SentinelTrio::start();
    let replica = trio.replicas()[0].port().to_string();
    let lagging = FaultProxy::start(trio.sentinels()[0].address());
    let answer = format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{replica}\r\n", replica.len());
    // The greeting asks for the role, then comes the question.
    let role = "*2\r\n$8\r\nsentinel\r\n*1\r\n$8\r\nmymaster\r\n";
    lagging.accept(Accepting::Answer(format!("{role}{answer}").into_bytes()));
    let urls = [
        lagging_url(&lagging),
        trio.urls()[1].clone(),
        trio.urls()[2].clone(),
    ];
    let tier = open(&urls);
    wait_until(
        Duration::from_millis(1_200),
        "the real master is found",
        async || can_set(&tier).await,
    )
    .await;
    let (version, payload) = value("y");
    let condition = cache_core::shared::Condition::Always;
    change(
        &tier,
        "m:a",
        version,
        cache_core::shared::Change::Set { payload, condition },
    )
    .await;
    assert_eq!(trio.master().command(&["EXISTS", "m:a"]).integer(), Some(1));
}

fn lagging_url(proxy: &FaultProxy) -> String {
    format!("redis://{}", proxy.address())
}
