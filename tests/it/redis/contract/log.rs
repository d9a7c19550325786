//! The invalidation log reaches every node, in order.

use std::time::Duration;

use cache_core::notice::{Event, Op};
use cache_core::shared::{GapReason, LogEvent, Mark, Strength};
use support::Stopwatch;

use super::World;
use crate::redis::log::{following, gap, next, notices};
use crate::redis::{BUDGET, commit, lease, remove, set};

const TTL: Duration = Duration::from_secs(7_200);

/// B12.1, B12.2
pub(super) async fn every_mutation_reaches_every_node(world: World) {
    let (one, two) = (world.open(), world.open());
    let mut readers = [following(&one).await, following(&two).await];
    let version = set(&one, "m:a", "x").await;
    let removed = remove(&one, "m:a").await;
    one.move_marks(
        &[Mark::Tag("m", "t")],
        Strength::Soft,
        Duration::from_millis(5),
        TTL,
        BUDGET,
    )
    .await
    .unwrap();
    one.begin_pattern("m:b*", BUDGET).await.unwrap();
    for reader in &mut readers {
        let mut heard = Vec::new();
        while heard.len() < 4 {
            heard.extend(notices(reader).await);
        }
        let expected = [
            Event::Keys(Op::Set, vec![("m:a".to_owned(), version)]),
            Event::Keys(Op::Remove, vec![("m:a".to_owned(), removed)]),
            Event::Marks {
                marks: vec!["t:m:t".to_owned()],
                strength: Strength::Soft,
                hold: Duration::from_millis(5),
            },
            Event::Pattern("m:b*".to_owned()),
        ];
        assert!(heard.windows(2).all(|pair| pair[1].id.follows(pair[0].id)));
        assert!(
            heard
                .iter()
                .all(|notice| notice.source == heard[0].source && notice.source.is_some())
        );
        let events: Vec<Event> = heard.into_iter().map(|notice| notice.event).collect();
        assert_eq!(events, expected);
    }
}

/// B12.8
pub(super) async fn a_notice_arrives_within_milliseconds(world: World) {
    let (one, two) = (world.open(), world.open());
    let mut reader = following(&two).await;
    let mut times = Vec::new();
    for n in 0..50 {
        remove(&one, &format!("m:{n}")).await;
        let stopwatch = Stopwatch::start();
        notices(&mut reader).await;
        times.push(stopwatch.elapsed());
    }
    times.sort();
    assert!(times[47] < Duration::from_millis(200), "{times:?}");
}

/// B12.2
pub(super) async fn loads_are_not_announced(world: World) {
    let tier = world.open();
    let lease = lease(&tier, "m:a").await;
    commit(&tier, "m:a", &lease, "x").await;
    assert_eq!(
        tier.log_end(BUDGET).await.unwrap().number(),
        1,
        "only its beginning"
    );
}

/// B12.4
pub(super) async fn a_flushed_log_is_a_gap(world: World) {
    let tier = world.open();
    let mut reader = following(&tier).await;
    world.flush();
    assert_eq!(gap(&mut reader).await, GapReason::NewLog);
    world.flush();
    remove(&tier, "m:a").await;
    assert_eq!(gap(&mut reader).await, GapReason::NewLog);
    remove(&tier, "m:b").await;
    assert!(matches!(next(&mut reader).await, LogEvent::Notices(_)));
}
