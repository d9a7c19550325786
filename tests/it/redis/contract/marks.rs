//! Tags, prefixes and namespaces by version.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use cache_core::shared::{Mark, MarkVersions, Shared, Strength};

use super::World;
use crate::redis::BUDGET;

const TTL: Duration = Duration::from_secs(7_200);
const TAG: Mark<'_> = Mark::Tag("m", "user:7 {x}");
const PREFIX: Mark<'_> = Mark::Prefix("m/eu", "quote");

pub(super) async fn versions_are_made_by_use_and_are_the_same_for_everybody(world: World) {
    let (one, two) = (world.open(), world.open());
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
    world.check_lives();
}

pub(super) async fn moving_a_mark_gives_it_the_id_of_the_notice(world: World) {
    let tier = world.open();
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

/// B10.7
pub(super) async fn concurrent_moves_all_count(world: World) {
    let tier = world.open();
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

pub(super) async fn a_hold_is_told_to_everybody_and_ends(world: World) {
    let (one, two) = (world.open(), world.open());
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

async fn versions(tier: &Arc<dyn Shared>) -> MarkVersions {
    let versions = tier.marks(&[TAG], TTL, BUDGET).await.unwrap();
    versions.into_iter().next().unwrap()
}

pub(super) async fn a_lost_mark_gets_another_version(world: World) {
    let tier = world.open();
    let before = versions(&tier).await;
    world.flush();
    assert_ne!(versions(&tier).await.hard, before.hard);
}
