//! The doctor on real servers in the states that it is there to find.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use cache_core::doctor::{Diagnosis, Finding, Severity};
use cache_core::time::{Clock, SystemClock, Timestamp, days, hours, minutes, seconds};
use cache_core::{Cache, CacheKey, EntryOptions, Redis};
use support::{Canary, Fault, FaultProxy, RedisServer, wait_until};

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

/// Whatever of the documented permissions is taken away is named, with the order that gives it back.
#[tokio::test]
async fn each_command_of_the_documented_rules_is_missed() {
    let rules = rules();
    let commands: Vec<&str> = rules.split(" +").skip(1).map(str::trim).collect();
    assert!(commands.len() > 20, "{commands:?}");
    let server = well_set(RedisServer::builder().user("cache", "pw", &rules).start());
    let url = format!("redis://cache:pw@{}", server.address());
    for command in commands {
        // Two are part of connecting, one of ending a wait; and without `info` there are things that nobody can know.
        if ["hello", "select", "unsubscribe", "info"].contains(&command) {
            continue;
        }
        server.cli(&["ACL", "SETUSER", "cache", &format!("-{command}")]);
        let diagnosis = cache_at(&url).doctor().await;
        let found = diagnosis
            .findings
            .iter()
            .find(|finding| finding.code == "missing_command");
        let found = found.unwrap_or_else(|| panic!("{command} is not missed: {diagnosis:?}"));
        assert!(found.what.contains(command), "{command}: {found:?}");
        assert!(
            found.remedy.contains(&format!("+{command}")),
            "{command}: {found:?}"
        );
        server.cli(&["ACL", "SETUSER", "cache", &format!("+{command}")]);
    }
    let diagnosis = cache_at(&url).doctor().await;
    check(&diagnosis, &[], &[]);
    server.cli(&["ACL", "SETUSER", "cache", "-info"]);
    let diagnosis = cache_at(&url).doctor().await;
    for unknown in ["version", "eviction_policy", "memory"] {
        assert!(diagnosis.unchecked.contains(&unknown), "{diagnosis:?}");
    }
}

/// A real server of today whose word for its version is another's on the way.
#[tokio::test]
async fn a_server_that_is_too_old_is_found() {
    let server = well_set(RedisServer::start());
    let version = server.info_field("server", "redis_version").unwrap();
    let (said, older) = (
        format!("redis_version:{version}"),
        format!("redis_version:{:0<1$}", "6.0.", version.len()),
    );
    assert_eq!(said.len(), older.len());
    let proxy = FaultProxy::start(server.address());
    proxy.set(Fault::ReplaceInReplies(said.leak(), older.leak()));
    let diagnosis = cache_at(&server.url_via(proxy.address())).doctor().await;
    check(
        &diagnosis,
        &[("redis_too_old", Severity::Severe)],
        &["6.0.", "6.2", "Valkey"],
    );
}

#[tokio::test]
async fn a_server_that_is_nearly_full_is_found_before_and_after_it_refuses() {
    let server = well_set(RedisServer::start());
    let cache = cache_at(&server.url());
    cache.doctor().await;
    let at = |share: f64| {
        let used: f64 = server
            .info_field("memory", "used_memory")
            .unwrap()
            .parse()
            .unwrap();
        server.cli(&["CONFIG", "SET", "maxmemory", &format!("{:.0}", used / share)]);
    };
    for (share, severity) in [(0.94, Severity::Warning), (1.5, Severity::Severe)] {
        at(share);
        let diagnosis = cache.doctor().await;
        let found = &diagnosis.findings[0];
        assert_eq!(
            (found.code, found.severity),
            ("memory_headroom", severity),
            "{diagnosis:?}"
        );
        assert!(found.remedy.contains("maxmemory"), "{found:?}");
    }
}

/// A Redis that dies under a cache that has used it.
#[tokio::test]
async fn ties_that_are_cut_are_found() {
    let server = well_set(RedisServer::start());
    let cache = cache_at(&server.url());
    let key = CacheKey::build("user", 1_u64).unwrap();
    cache.get::<u32>(&key).await;
    wait_until(seconds(10), "the log is heard", async || {
        cache.stats().shared.is_some_and(|shared| shared.log_heard)
    })
    .await;
    server.kill();
    wait_until(seconds(20), "everything is found", async || {
        let _ = cache.remove(&key).await;
        let diagnosis = cache.doctor().await;
        let codes: Vec<_> = diagnosis.findings.iter().map(|finding| finding.code).collect();
        [
            "redis_unreachable",
            "breaker_open",
            "log_unheard",
            "pending_invalidations",
        ]
        .iter()
        .all(|code| codes.contains(code))
    })
    .await;
}

#[tokio::test]
async fn policies_are_looked_at_like_the_defaults_and_missing_ones_are_named() {
    let server = well_set(RedisServer::start());
    let cache = Cache::builder("m")
        .redis(Redis::from_url(&server.url()).unwrap())
        .policy("well", EntryOptions::ttl(minutes(1)))
        .policy("ticks", EntryOptions::ttl(Duration::from_millis(100)))
        .policy("slow", EntryOptions::new().hard_timeout(minutes(2)))
        .policy("forever", EntryOptions::ttl(days(90)))
        .build()
        .unwrap();
    let key = CacheKey::build("user", 1_u64).unwrap();
    let lost = EntryOptions::new().policy("lost");
    assert!(cache.set(&key, 1, lost).await.unwrap().is_stored());
    let expected = [
        ("ttl_too_short", Severity::Warning),
        ("timeouts_crossed", Severity::Warning),
        ("policy_missing", Severity::Warning),
        ("ttl_too_long", Severity::Notice),
    ];
    let mut diagnosis = cache.doctor().await;
    let place = |finding: &Finding| expected.iter().position(|(code, _)| *code == finding.code);
    diagnosis.findings.sort_by_key(place);
    let words = [
        "policy `ticks`",
        "policy `slow`",
        "policy `forever`: the TTL is 90 days",
        "`lost`",
    ];
    check(&diagnosis, &expected, &words);
}

#[tokio::test]
async fn a_memory_that_is_too_small_is_found() {
    let cache = Cache::builder("m").memory_entries(64).build().unwrap();
    for n in 0..1_000_u64 {
        let key = CacheKey::build("user", n).unwrap();
        assert!(cache.set(&key, n, minutes(5)).await.unwrap().is_stored());
    }
    check(
        &cache.doctor().await,
        &[("memory_too_small", Severity::Warning)],
        &["memory_entries"],
    );
}

/// The page has a row for each code, and no other.
#[test]
fn every_finding_is_documented() {
    let sources = [
        include_str!("../../../cache-core/src/doctor/mod.rs"),
        include_str!("../../../cache-core/src/doctor/server.rs"),
        include_str!("../../../cache-core/src/doctor/settings.rs"),
    ];
    let calls = sources.iter().flat_map(|source| {
        source
            .split("#[cfg(test)]")
            .next()
            .unwrap()
            .split("diagnosis.add(")
            .skip(1)
    });
    let codes: BTreeSet<&str> = calls.map(|call| call.split('"').nth(1).unwrap()).collect();
    let page = include_str!("../../../docs/operations.md");
    let (_, table) = page.split_once("| code | severity |").unwrap();
    let table = table.split("\n\n").next().unwrap();
    let first = table.lines().skip(2).filter_map(|row| row.split('|').nth(1));
    let documented: BTreeSet<&str> = first
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert_eq!(codes, documented);
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
