//! The doctor on real servers in the states that it is there to find.

use std::time::{Duration, SystemTime};

use cache_core::doctor::{Diagnosis, Severity};
use cache_core::time::{Clock, SystemClock, Timestamp, hours};
use cache_core::{Cache, EntryOptions, Redis};
use support::{Canary, RedisServer};

use crate::redis::permissions::rules;

/// Sets a server as a cache's should be.
fn well_set(server: RedisServer) -> RedisServer {
    server.cli(&["CONFIG", "SET", "maxmemory", "64mb"]);
    server
}

fn cache_at(url: &str) -> Cache {
    Cache::builder("m")
        .redis(Redis::from_url(url).unwrap())
        .build()
        .unwrap()
}

#[track_caller]
fn check(diagnosis: &Diagnosis, expected: &[(&str, Severity)], words: &[&str]) {
    let found: Vec<_> = diagnosis
        .findings
        .iter()
        .map(|finding| (finding.code, finding.severity))
        .collect();
    assert_eq!(found, expected, "{diagnosis:#?}");
    let text = serde_json::to_string(diagnosis).unwrap();
    for word in words {
        assert!(text.contains(word), "{text} does not say {word}");
    }
}

#[tokio::test]
async fn a_server_that_is_set_well_has_no_finding() {
    let server = well_set(RedisServer::start());
    let diagnosis = cache_at(&server.url()).doctor().await;
    check(&diagnosis, &[], &[]);
    assert_eq!(diagnosis.unchecked, Vec::<&str>::new());
}

#[tokio::test]
async fn the_server_tells_its_memory_and_one_that_is_away_says_so() {
    let server = well_set(RedisServer::start());
    let cache = cache_at(&server.url());
    let facts = cache.server().await.unwrap().unwrap();
    assert_eq!(facts.max_memory, Some(64 << 20));
    assert!(facts.used_memory > Some(0), "{facts:?}");

    server.kill();
    assert!(cache.server().await.is_err_and(|error| error.is_unavailable()));
    let in_memory = Cache::builder("m").build().unwrap();
    assert_eq!(in_memory.server().await.unwrap(), None);
}

#[tokio::test]
async fn settings_of_the_server_that_hurt_are_found() {
    let server = well_set(RedisServer::start());
    let cache = cache_at(&server.url());
    let set = |name: &str, value: &str| server.cli(&["CONFIG", "SET", name, value]);

    set("maxmemory-policy", "volatile-lru");
    check(
        &cache.doctor().await,
        &[("eviction_policy", Severity::Warning)],
        &["volatile-lru", "noeviction"],
    );
    set("maxmemory-policy", "noeviction");

    set("save", "3600 1");
    check(
        &cache.doctor().await,
        &[("persistence", Severity::Notice)],
        &["save 3600 1", "appendonly no"],
    );
    set("save", "");
    set("appendonly", "yes");
    check(
        &cache.doctor().await,
        &[("persistence", Severity::Notice)],
        &["appendonly"],
    );
    set("appendonly", "no");

    set("client-output-buffer-limit", "normal 1048576 0 0");
    check(
        &cache.doctor().await,
        &[("output_buffer_limit", Severity::Warning)],
        &["normal", "1048576", "64 MiB"],
    );
    set("client-output-buffer-limit", "normal 0 0 0");

    set("maxmemory", "0");
    check(
        &cache.doctor().await,
        &[("memory_unbounded", Severity::Notice)],
        &["maxmemory"],
    );
    // Room for what answering takes, and hardly more.
    let used: u64 = server
        .info_field("memory", "used_memory")
        .unwrap()
        .parse()
        .unwrap();
    set("maxmemory", &(used + used / 50).to_string());
    let diagnosis = cache.doctor().await;
    assert_eq!(diagnosis.findings[0].code, "memory_headroom", "{diagnosis:?}");
}

#[tokio::test]
async fn commands_that_the_user_lacks_are_named_and_what_it_may_not_ask_is_said() {
    let rules = rules().replace("+pexpire", "");
    let server = well_set(RedisServer::builder().user("cache", "pw", &rules).start());
    let url = format!("redis://cache:pw@{}", server.address());
    let diagnosis = cache_at(&url).doctor().await;
    check(
        &diagnosis,
        &[("missing_command", Severity::Severe)],
        &["pexpire", "ACL SETUSER"],
    );
    assert!(diagnosis.unchecked.contains(&"persistence"), "{diagnosis:?}");
    assert!(
        diagnosis.unchecked.contains(&"output_buffer_limits"),
        "{diagnosis:?}"
    );
}

#[tokio::test]
async fn a_server_that_is_away_is_found_and_its_secrets_are_not_told() {
    let canary = Canary::new();
    let server = RedisServer::builder().password(canary.secret()).start();
    let cache = cache_at(&server.url());
    server.kill();
    let diagnosis = cache.doctor().await;
    assert_eq!(diagnosis.findings[0].code, "redis_unreachable");
    canary.assert_absent("a diagnosis", &format!("{diagnosis:?}"));
    let wrong = server.url().replace(canary.secret(), "wrong");
    server.restart();
    let diagnosis = cache_at(&wrong).doctor().await;
    check(&diagnosis, &[("redis_unreachable", Severity::Severe)], &["auth"]);
}

/// A machine whose time of day is an hour ahead.
#[derive(Debug)]
struct Ahead;

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn wall(&self) -> SystemTime {
        SystemClock.wall() + hours(1)
    }
}

#[tokio::test]
async fn clocks_that_differ_and_lifetimes_without_sense_are_found() {
    let server = well_set(RedisServer::start());
    let cache = Cache::builder("m")
        .redis(Redis::from_url(&server.url()).unwrap())
        .clock(Ahead)
        .defaults(EntryOptions::ttl(Duration::from_millis(100)))
        .disconnected_cap(Duration::from_millis(50))
        .build()
        .unwrap();
    let expected = [
        ("ttl_too_short", Severity::Warning),
        ("clock_difference", Severity::Notice),
    ];
    check(&cache.doctor().await, &expected, &["NTP", "100ms"]);
}
