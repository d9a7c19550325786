//! Tags, prefixes and namespaces by version.

use std::time::Duration;

use super::{BUDGET, open, restricted};
use cache_core::shared::{Mark, MarkVersions};

const TTL: Duration = Duration::from_secs(7_200);
const TAG: Mark<'_> = Mark::Tag("m", "user:7 {x}");

/// B10.4
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
