//! The invalidation log: complete, or saying that it is not.

use std::sync::Arc;
use std::time::Duration;

use cache_core::notice::{Event, LogId, Notice, Op};
use cache_core::shared::{GapReason, LogEvent, LogReader, Shared};
use support::{Fault, FaultProxy, Stopwatch};
use tokio::time::timeout;

use super::{open, open_url, remove, restricted};

/// The next event that is not a confirmation.
pub(super) async fn next(reader: &mut LogReader) -> LogEvent {
    let next = async {
        loop {
            match reader.next().await.expect("the tier is open") {
                LogEvent::Confirmed { .. } => {}
                event => return event,
            }
        }
    };
    timeout(Duration::from_secs(10), next)
        .await
        .expect("an event comes")
}

async fn confirmation(reader: &mut LogReader) -> LogId {
    let next = async {
        loop {
            if let LogEvent::Confirmed { position, .. } = reader.next().await.expect("the tier is open") {
                return position;
            }
        }
    };
    timeout(Duration::from_secs(10), next)
        .await
        .expect("a confirmation comes")
}

pub(super) async fn gap(reader: &mut LogReader) -> GapReason {
    loop {
        match next(reader).await {
            LogEvent::Gap { reason, .. } => return reason,
            LogEvent::Unheard | LogEvent::Notices(_) => {}
            LogEvent::Confirmed { .. } => unreachable!("left out"),
        }
    }
}

pub(super) async fn notices(reader: &mut LogReader) -> Vec<Notice> {
    match next(reader).await {
        LogEvent::Notices(notices) => notices,
        other => panic!("no notices: {other:?}"),
    }
}

/// A reader at the end of the log.
pub(super) async fn following(tier: &Arc<dyn Shared>) -> LogReader {
    let mut reader = tier.follow_log();
    assert_eq!(gap(&mut reader).await, GapReason::Started);
    reader
}

#[tokio::test]
async fn the_master_confirms_every_second() {
    let server = restricted();
    let tier = open(&server);
    let mut reader = following(&tier).await;
    let first = confirmation(&mut reader).await;
    remove(&tier, "m:a").await;
    let stopwatch = Stopwatch::start();
    while confirmation(&mut reader).await == first {}
    assert!(
        stopwatch.elapsed() < Duration::from_millis(2_500),
        "{:?}",
        stopwatch.elapsed()
    );
}

/// B12.4
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_while_away_is_replayed_and_a_trimmed_part_is_a_gap() {
    let server = restricted();
    let proxy = FaultProxy::start(server.address());
    let far = open_url(&server.url_via(proxy.address()));
    let near = open(&server);
    let mut reader = following(&far).await;
    proxy.accept(support::Accepting::Refuse);
    proxy.close_all();
    let removed = remove(&near, "m:a").await;
    proxy.heal();
    let heard = notices(&mut reader).await;
    assert_eq!(
        heard[0].event,
        Event::Keys(Op::Remove, vec![("m:a".to_owned(), removed)])
    );

    proxy.accept(support::Accepting::Refuse);
    proxy.close_all();
    remove(&near, "m:a").await;
    remove(&near, "m:a").await;
    server.command(&["XTRIM", "{m}:log", "MAXLEN", "1"]);
    proxy.heal();
    assert_eq!(gap(&mut reader).await, GapReason::Trimmed);
}

/// B12.4
#[tokio::test]
async fn a_log_restored_from_an_older_copy_is_a_gap_although_its_numbers_fit() {
    let server = restricted();
    let tier = open(&server);
    let mut reader = following(&tier).await;
    server.command(&["SAVE"]);
    remove(&tier, "m:a").await;
    notices(&mut reader).await;
    server.restart();
    // The same number again, with something else in it.
    let other = open(&server);
    remove(&other, "m:b").await;
    let reason = gap(&mut reader).await;
    assert_eq!(reason, GapReason::Older);
}

/// B12.4, B17.1
#[tokio::test]
async fn a_notice_of_the_future_is_a_gap() {
    let server = restricted();
    let tier = open(&server);
    let mut reader = following(&tier).await;
    let id = remove(&tier, "m:a").await;
    let _ = (id, notices(&mut reader).await);
    let newest = server.command(&["XREVRANGE", "{m}:log", "+", "-", "COUNT", "1"]);
    let newest: LogId = newest.items()[0].items()[0].text().parse().unwrap();
    let next = LogId::new(newest.incarnation(), newest.number() + 1).to_string();
    server.command(&["XADD", "{m}:log", &next, "f", "2", "o", "remove", "k", "m:a"]);
    assert_eq!(gap(&mut reader).await, GapReason::Unknown);
    remove(&tier, "m:b").await;
    notices(&mut reader).await;
}

/// B12.6
#[tokio::test(flavor = "multi_thread")]
async fn silence_is_said_within_three_seconds_and_ends_with_the_next_confirmation() {
    let server = restricted();
    let proxy = FaultProxy::start(server.address());
    let tier = open_url(&server.url_via(proxy.address()));
    let mut reader = following(&tier).await;
    confirmation(&mut reader).await;
    let stopwatch = Stopwatch::start();
    proxy.set(Fault::BlackHole);
    loop {
        if next(&mut reader).await == LogEvent::Unheard {
            break;
        }
    }
    assert!(
        stopwatch.elapsed() < Duration::from_millis(3_600),
        "{:?}",
        stopwatch.elapsed()
    );
    proxy.heal();
    let stopwatch = Stopwatch::start();
    confirmation(&mut reader).await;
    assert!(
        stopwatch.elapsed() < Duration::from_millis(2_000),
        "{:?}",
        stopwatch.elapsed()
    );
}

/// B12.4, B12.7
#[tokio::test]
async fn a_consumer_that_does_not_listen_costs_nobody_else_and_gets_a_gap() {
    let server = restricted();
    let tier = open(&server);
    let mut reader = following(&tier).await;
    for n in 0..200 {
        remove(&tier, &format!("m:{n}")).await;
        tokio::task::yield_now().await;
    }
    remove(&tier, "m:last").await;
    let mut overflow = false;
    let last = async {
        while !overflow {
            if let LogEvent::Gap { reason, .. } = reader.next().await.unwrap() {
                assert_eq!(reason, GapReason::Overflow);
                overflow = true;
            }
        }
    };
    timeout(Duration::from_secs(10), last)
        .await
        .expect("the gap is told");
}

#[tokio::test]
async fn the_log_is_capped() {
    let server = restricted();
    let tier = open(&server);
    for _ in 0..115 {
        let mut calls = tokio::task::JoinSet::new();
        for n in 0..100 {
            let tier = tier.clone();
            calls.spawn(async move { remove(&tier, &format!("m:{n}")).await });
        }
        calls.join_all().await;
    }
    let length = server.command(&["XLEN", "{m}:log"]).integer().unwrap();
    assert!((10_000..=10_300).contains(&length), "{length}");
}
