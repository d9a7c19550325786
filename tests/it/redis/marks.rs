//! Tags, prefixes and namespaces by version.

use std::collections::HashSet;
use std::time::Duration;

use super::{BUDGET, open, restricted};
use cache_core::shared::{Mark, MarkVersions, Strength};

const TTL: Duration = Duration::from_secs(7_200);
const TAG: Mark<'_> = Mark::Tag("m", "user:7 {x}");
const PREFIX: Mark<'_> = Mark::Prefix("m/eu", "quote");

#[tokio::test]
async fn versions_are_made_by_use_and_are_the_same_for_everybody() {
    let server = restricted();
    let (one, two) = (open(&server), open(&server));
    let marks = [Mark::Namespace("m"), PREFIX, TAG];
    let first = one.marks(&marks, TTL, BUDGET).await.unwrap();
    assert_eq!(two.marks(&marks, TTL, BUDGET).await.unwrap(), first);
    let different: HashSet<&str> = first.iter().map(|versions| versions.hard.as_str()).collect();
    assert_eq!(different.len(), 3);
    assert!(
        first
            .iter()
            .all(|versions| versions.hard.starts_with("c:") && versions.hard_moved_at().is_none())
    );
    assert_eq!(server.keys_without_ttl(), Vec::<String>::new());
}

#[tokio::test]
async fn moving_a_mark_gives_it_the_id_of_the_notice() {
    let server = restricted();
    let tier = open(&server);
    let before = versions(&tier).await;
    let soft = tier
        .move_marks(&[TAG], Strength::Soft, Duration::ZERO, TTL, BUDGET)
        .await
        .unwrap();
    let after = versions(&tier).await;
    assert_eq!((after.hard, after.soft), (before.hard.clone(), soft.to_string()));
    let hard = tier
        .move_marks(&[TAG, PREFIX], Strength::Hard, Duration::ZERO, TTL, BUDGET)
        .await
        .unwrap();
    assert!(hard.follows(soft));
    let after = versions(&tier).await;
    assert_eq!(after.hard_moved_at(), Some(hard));
    assert_eq!(after.soft, hard.to_string());
}

#[tokio::test]
async fn concurrent_moves_all_count() {
    let server = restricted();
    let tier = open(&server);
    let mut moves = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let tier = tier.clone();
        moves.spawn(async move {
            tier.move_marks(&[TAG], Strength::Hard, Duration::ZERO, TTL, BUDGET)
                .await
                .unwrap()
        });
    }
    let ids: Vec<_> = moves.join_all().await;
    let numbers: HashSet<u64> = ids.iter().map(|id| id.number()).collect();
    assert_eq!(numbers.len(), 50);
    assert_eq!(
        numbers.iter().max().unwrap() - numbers.iter().min().unwrap(),
        49,
        "no holes"
    );
}

#[tokio::test]
async fn a_lost_mark_gets_another_version() {
    let server = restricted();
    let tier = open(&server);
    let before = versions(&tier).await;
    server.flushall();
    assert_ne!(versions(&tier).await.hard, before.hard);
    server.command(&["DEL", "{m}:m:t:m:user:7 {x}"]);
    server.command(&["SET", "{m}:m:t:m:user:7 {x}", "damage"]);
    assert!(versions(&tier).await.hard.starts_with("c:"));
}

#[tokio::test]
async fn a_hold_is_told_to_everybody_and_ends() {
    let server = restricted();
    let (one, two) = (open(&server), open(&server));
    let hold = Duration::from_secs(20);
    one.move_marks(&[TAG], Strength::Hard, hold, TTL, BUDGET)
        .await
        .unwrap();
    one.move_marks(&[TAG], Strength::Hard, Duration::ZERO, TTL, BUDGET)
        .await
        .unwrap();
    let left = versions(&two).await.hold;
    assert!(left > Duration::from_secs(15) && left <= hold, "{left:?}");
}

#[tokio::test]
async fn marks_outlive_what_they_judge_and_are_renewed_by_use() {
    let server = restricted();
    let tier = open(&server);
    versions(&tier).await;
    let life = || {
        server
            .command(&["PTTL", "{m}:m:t:m:user:7 {x}"])
            .integer()
            .unwrap()
    };
    assert!(life() >= 7_200_000);
    server.command(&["PEXPIRE", "{m}:m:t:m:user:7 {x}", "1000"]);
    versions(&tier).await;
    assert!(life() >= 7_200_000);
}

async fn versions(tier: &std::sync::Arc<dyn cache_core::shared::Shared>) -> MarkVersions {
    let versions = tier.marks(&[TAG], TTL, BUDGET).await.unwrap();
    versions.into_iter().next().unwrap()
}
