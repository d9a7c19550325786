//! Files and variables, and what is said about wrong ones.

use super::*;
use crate::options::EntryOptions;
use crate::time::{hours, minutes, seconds};

#[track_caller]
fn read(json: &str, variables: &[(&str, &str)]) -> Result<Config, crate::Error> {
    let variables = variables
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()));
    Config::sources().json(json)?.variables(variables).read()
}

/// The configuration is refused, and the message names these.
#[track_caller]
fn refused(json: &str, variables: &[(&str, &str)], words: &[&str]) {
    let error = read(json, variables)
        .and_then(|config| config.build())
        .expect_err(json);
    assert!(error.is_invalid());
    for word in words {
        assert!(error.to_string().contains(word), "{error}\ndoes not say {word}");
    }
}

#[test]
fn fields_become_settings_of_the_caches_and_policies() {
    let json = r#"{
        "policies": {"long": {"ttl": "1h", "stale_for": "2h", "jitter": 0, "eager": "after 0.8", "tags": ["a", "b"]}},
        "caches": {"market": {"memory_bytes": "1MiB", "policy": "long", "max_load": "2m"}, "plain": {}},
        "warmers": {"top": {"cache": "market", "every": "5m", "concurrency": 3}}
    }"#;
    let caches = read(json, &[]).unwrap().build().unwrap();
    let expected = EntryOptions::ttl(hours(1))
        .stale_for(hours(2))
        .jitter(0.0)
        .eager(crate::Eager::After(0.8))
        .tags(crate::TagSet::new(["a", "b"]).unwrap());
    assert_eq!(caches.policy("long"), Some(&expected));
    let market = caches.get("market").unwrap();
    assert_eq!(market.name(), "market");
    assert_eq!(&market.inner().defaults, &expected);
    // Every cache knows every policy, and they can be swapped there.
    assert_eq!(market.policies().get("long"), Some(expected.clone()));
    assert_eq!(PolicyConfig::from(&expected).options().unwrap(), expected);
    assert_eq!(caches.iter().count(), 2);
    assert_eq!(caches.warmer("top").unwrap().every, Some(minutes(5)));
}

#[test]
fn variables_win_over_files_field_by_field() {
    let json = r#"{"policies": {"very-long": {"ttl": "1d", "stale_for": "1h"}}}"#;
    let config = read(
        json,
        &[
            ("CACHE_POLICIES__VERY_LONG__TTL", "2s"),
            ("CACHE_POLICIES__SHORT__FAIL_SAFE", "false"),
            ("CACHE_POLICIES__SHORT__JITTER", "0.25"),
            ("CACHE_POLICIES__SHORT__TAGS", "a, b"),
            ("CACHE_POLICIES__SHORT__TTL", ""),
            ("CACHE_DIR", "/var/cache"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    let long = &config.policies["very-long"];
    assert_eq!((long.ttl, long.stale_for), (Some(seconds(2)), Some(hours(1))));
    let short = &config.policies["short"];
    assert_eq!(
        (short.fail_safe, short.jitter, short.ttl),
        (Some(false), Some(0.25), None)
    );
    assert_eq!(short.tags, ["a", "b"]);
}

#[test]
fn the_common_variable_of_redis_gives_way_to_our_own() {
    let url = |variables: &[(&str, &str)]| {
        let config = read("{}", variables).unwrap();
        config
            .redis
            .and_then(|redis| redis.url)
            .map(|url| url.to_string())
    };
    assert_eq!(url(&[("REDIS_URL", "redis://a")]).as_deref(), Some("redis://a"));
    let both = [("CACHE_REDIS__URL", "redis://b"), ("REDIS_URL", "redis://a")];
    assert_eq!(url(&both).as_deref(), Some("redis://b"));
    assert_eq!(url(&[("REDIS_URL", "")]), None);

    let enabled = |variables: &[(&str, &str)]| {
        read("{}", variables)
            .unwrap()
            .redis
            .and_then(|redis| redis.enabled)
    };
    assert_eq!(enabled(&[("REDIS_ENABLED", "false")]), Some(false));
    let both = [
        ("CACHE_REDIS__ENABLED", "true"),
        ("REDIS_ENABLED", "false"),
        ("REDIS_URL", "redis://a"),
    ];
    assert_eq!(enabled(&both), Some(true));
}

#[test]
fn wrong_fields_values_and_units_name_path_value_and_remedy() {
    refused(r#"{"cachez": {}}"#, &[], &["cachez", "`caches`"]);
    refused(
        r#"{"caches": {"m": {"memry": 1}}}"#,
        &[],
        &["caches.m", "memry", "`memory_bytes`"],
    );
    refused(
        r#"{"caches": {"m": {"memory_bytes": "12 parsec"}}}"#,
        &[],
        &["`caches.m.memory_bytes`", "parsec", "MiB"],
    );
    refused(
        r#"{"caches": {"m": {"memory_bytes": true}}}"#,
        &[],
        &["`caches.m.memory_bytes`", "`true`", "\"256MiB\""],
    );
    refused(
        r#"{"caches": {"m": {"memory_bytes": -1}}}"#,
        &[],
        &["`caches.m.memory_bytes`", "`-1`"],
    );
    refused(
        r#"{"policies": {"p": {"ttl": 300}}}"#,
        &[],
        &["`policies.p.ttl`", "`300`", "\"300s\""],
    );
    refused(
        r#"{"policies": {"p": {"ttl": ["5m"]}}}"#,
        &[],
        &["`policies.p.ttl`", "sequence", "\"5m\""],
    );
    refused(
        r#"{"policies": {"p": {"jitter": "much"}}}"#,
        &[],
        &["`policies.p.jitter`", "`much`", "0.1"],
    );
    refused(
        r#"{"policies": {"p": {"fail_safe": "maybe"}}}"#,
        &[],
        &["`policies.p.fail_safe`", "`maybe`", "`true`"],
    );
    refused(
        r#"{"policies": {"p": {"eager": "after 1.5"}}}"#,
        &[],
        &["`policies.p.eager`", "after 1.5", "between 0 and 1"],
    );
    refused(
        r#"{"policies": {"p": {"eager": "often"}}}"#,
        &[],
        &["`policies.p.eager`", "often", "\"off\""],
    );
    refused(r#"{"warmers": {"w": {}}}"#, &[], &["warmers.w", "`cache`"]);
    refused(
        "{}",
        &[("CACHE_POLICIES__P__TTL", "5 min")],
        &[
            "`policies.p.ttl`",
            "`min`",
            "ms, s, m",
            "`CACHE_POLICIES__P__TTL`",
        ],
    );
    refused(
        "{}",
        &[("CACHE_POLICIES__P__TTL", "0s")],
        &["`policies.p.ttl`", "`0s`", "\"1ms\"", "`CACHE_POLICIES__P__TTL`"],
    );
    refused(
        "{}",
        &[("CACHE_TIERS__X", "1")],
        &["`CACHE_TIERS__X`", "`tiers`", "policies"],
    );
    refused(
        "{}",
        &[("CACHE_REDIS_URL", "redis://h")],
        &["`CACHE_REDIS_URL`", "`CACHE_REDIS__URL`"],
    );
    refused(
        r#"{"redis": {"url": "redis://h"}}"#,
        &[("CACHE_REDIS__URL__X", "1")],
        &["`CACHE_REDIS__URL__X`", "`url`"],
    );
    refused("[]", &[], &["sections"]);
    for (json, path, field) in [
        (r#"{"redis": "redis://h"}"#, "`redis`", "`url`"),
        (
            r#"{"caches": {"m": {"redis": true}}}"#,
            "`caches.m.redis`",
            "`url`",
        ),
        (r#"{"redis": {"sentinel": "h"}}"#, "`redis.sentinel`", "`service`"),
        (r#"{"policies": {"p": "5m"}}"#, "`policies.p`", "`ttl`"),
        (r#"{"policies": "5m"}"#, "`policies`", "`ttl`"),
        (r#"{"warmers": {"w": 5}}"#, "`warmers.w`", "`every`"),
    ] {
        refused(json, &[], &[path, "section", field]);
    }
    refused(
        "{}",
        &[("CACHE_CACHES__M__REDIS", "redis://h")],
        &["`caches.m.redis`", "`url`", "`CACHE_CACHES__M__REDIS`"],
    );
}

#[test]
fn impossible_combinations_name_path_value_and_remedy() {
    let policy = |fields: &str, words: &[&str]| {
        refused(&format!(r#"{{"policies": {{"p": {{{fields}}}}}}}"#), &[], words);
    };
    policy(
        r#""ttl": "2h", "hard_ttl": "1h""#,
        &["`policies.p.hard_ttl`", "`1h`", "`ttl` (2h)", "raise"],
    );
    policy(
        r#""hard_ttl": "1h", "stale_for": "1h""#,
        &["`policies.p.hard_ttl`", "`stale_for`", "leave one"],
    );
    policy(r#""ttl": "400d""#, &["`policies.p.ttl`", "`400d`", "\"365d\""]);
    policy(
        r#""jitter": 1"#,
        &["`policies.p.jitter`", "`1`", "between 0 and 1"],
    );
    policy(
        r#""soft_timeout": "5s", "hard_timeout": "5s""#,
        &["`policies.p.soft_timeout`", "`5s`", "lower"],
    );
    policy(
        r#""soft_timeout": "5s", "fail_safe": false"#,
        &["`policies.p.soft_timeout`", "fail_safe"],
    );
    policy(
        r#""codec": "bincode""#,
        &["`policies.p.codec`", "`bincode`", "\"json\""],
    );
    policy(r#""tags": [""]"#, &["`policies.p.tags`"]);

    let cache = |fields: &str, words: &[&str]| {
        refused(&format!(r#"{{"caches": {{"m": {{{fields}}}}}}}"#), &[], words);
    };
    cache(r#""policy": "lang""#, &["`caches.m.policy`", "`lang`", "add one"]);
    cache(r#""shared": true"#, &["`caches.m.shared`", "`true`", "REDIS_URL"]);
    cache(
        r#""codec": "bincode""#,
        &["`caches.m.codec`", "`bincode`", "\"json\""],
    );
    cache(
        r#""compression": "gzip""#,
        &["`caches.m.compression`", "`gzip`", "\"lz4\""],
    );
    cache(
        r#""compress_above": "1KiB""#,
        &["`caches.m.compress_above`", "`1KiB`", "`compression`"],
    );
    cache(
        r#""lock_ttl": "10ms""#,
        &["`caches.m.lock_ttl`", "`10ms`", "\"1s\""],
    );
    cache(
        r#""max_concurrent_loads": 0"#,
        &["`caches.m.max_concurrent_loads`", "`0`", "at least one"],
    );
    cache(r#""memory_bytes": 0"#, &["`caches.m.memory_bytes`", "room"]);
    refused(r#"{"caches": {"a:b": {}}}"#, &[], &["`caches.a:b`", "ASCII"]);
    refused(
        r#"{"policies": {"a:b": {}}, "caches": {"m": {}}}"#,
        &[],
        &["`caches.m`", "a:b", "policy"],
    );
    refused(
        r#"{"policies": {"slow": {"hard_timeout": "2m"}}, "caches": {"m": {"policy": "slow"}}}"#,
        &[],
        &[
            "`caches.m.policy`",
            "`slow`",
            "`hard_timeout` (2m)",
            "`max_load` (1m)",
        ],
    );

    let warmer = |fields: &str, words: &[&str]| {
        refused(
            &format!(r#"{{"caches": {{"m": {{}}}}, "warmers": {{"w": {{{fields}}}}}}}"#),
            &[],
            words,
        );
    };
    warmer(r#""cache": "n""#, &["`warmers.w.cache`", "`n`", "`m`"]);
    warmer(
        r#""cache": "m", "concurrency": 0"#,
        &["`warmers.w.concurrency`", "`0`"],
    );
    warmer(
        r#""cache": "m", "rate": 0"#,
        &["`warmers.w.rate`", "`0`", "leave it out"],
    );
    warmer(
        r#""cache": "m", "every": "10ms""#,
        &["`warmers.w.every`", "`10ms`", "\"1s\""],
    );
    warmer(
        r#""cache": "m", "every": "10s", "timeout": "1m""#,
        &["`warmers.w.timeout`", "`1m`", "`every` (10s)"],
    );
}

#[test]
fn contradictions_about_redis_name_path_value_and_remedy() {
    let redis = |fields: &str, words: &[&str]| {
        refused(&format!(r#"{{"redis": {{{fields}}}}}"#), &[], words);
    };
    redis("", &["`redis`", "`url`", "`enabled = false`"]);
    redis(
        r#""url": "redis://h", "cluster": {"urls": ["redis://i"]}"#,
        &["`redis.cluster.urls`", "`url` as well"],
    );
    redis(
        r#""cluster": {"urls": ["redis://i"]}, "database": 2"#,
        &["`redis.database`", "`2`", "leave it out"],
    );
    redis(
        r#""cluster": {"urls": []}"#,
        &["`redis.cluster.urls`", "at least one"],
    );
    redis(
        r#""sentinel": {"service": "", "urls": ["redis://i"]}"#,
        &["`redis.sentinel.service`"],
    );
    redis(
        r#""url": "redis://h", "password": "x", "password_file": "/f""#,
        &["`redis.password_file`", "`/f`", "leave one"],
    );
    redis(
        r#""url": "redis://h", "operation_timeout": "2m""#,
        &["`redis.operation_timeout`", "`2m`", "\"60s\""],
    );
    redis(
        r#""url": "redis://h", "tls": {"key_file": "/k"}"#,
        &["`redis.tls.key_file`", "`/k`", "certificate_file"],
    );
    refused(
        r#"{"redis": {"sentinel": {"service": "m", "urls": ["redis://i"]}}}"#,
        &[("REDIS_URL", "redis://h")],
        &["`redis.sentinel.service`", "`m`", "`url` as well"],
    );
    refused(
        r#"{"redis": {"url": "redis://h"}, "caches": {"m": {"shared": false, "redis": {"url": "redis://i"}}}}"#,
        &[],
        &["`caches.m.shared`", "leave one"],
    );
}

#[cfg(feature = "redis")]
#[test]
fn what_only_the_adapter_knows_has_its_path_too() {
    let cache = r#""caches": {"m": {}}"#;
    refused(
        &format!(r#"{{"redis": {{"url": "http://h"}}, {cache}}}"#),
        &[],
        &["`redis.url`", "scheme", "rediss"],
    );
    refused(
        &format!(r#"{{"redis": {{"url": "redis://h", "password_file": "/not/here"}}, {cache}}}"#),
        &[],
        &["`redis.password_file`", "`/not/here`", "correct the path"],
    );
    refused(
        r#"{"caches": {"m": {"redis": {"url": "redis://"}}}}"#,
        &[],
        &["`caches.m.redis.url`", "host"],
    );
    let json = r#"{"redis": {"url": "redis://h", "enabled": false}, "caches": {"m": {"shared": true}}}"#;
    assert!(read(json, &[]).unwrap().build().is_ok());
}

#[test]
fn no_secret_is_in_what_is_shown_or_said() {
    let json = r#"{
        "redis": {"url": "redis://u:canary@h", "password": "canary2"},
        "caches": {"m": {"redis": {"sentinel": {"service": "m", "urls": ["redis://:canary3@s"]}, "password": 12345678}}}
    }"#;
    let config = read(json, &[]).unwrap();
    let shown = format!(
        "{config:?} {config:#?} {}",
        serde_json::to_string(&config).unwrap()
    );
    for secret in ["canary", "12345678"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    for wrong in [
        r#"{"redis": {"url": "redis://u:canary@h", "password": ["canary"]}}"#,
        r#"{"redis": {"url": "redis://u:canary@h", "password": {"canary": 1}}}"#,
        r#"{"redis": {"url": "redis://u:canary@h", "password": 1.2345}}"#,
        r#"{"redis": {"url": "redis://u:canary@h:port"}, "caches": {"m": {}}}"#,
        r#"{"redis": {"url": ["redis://u:canary@h:port"]}}"#,
        r#"{"redis": {"url": "redis://u:canary@h", "cluster": {"urls": ["redis://u:canary@h"]}}}"#,
        r#"{"redis": {"url": "redis://u:canary@h", "sentinel": {"service": "s", "urls": [{"canary": 1}]}}}"#,
        r#"{"redis": {"password": "***", "url": "redis://u:canary@h"}}"#,
        // A URL where a section belongs is an easy mistake.
        r#"{"redis": "redis://u:canary@h"}"#,
        r#"{"redis": ["redis://u:canary@h"]}"#,
        r#"{"redis": {"cluster": "redis://u:canary@h"}}"#,
        r#"{"redis": {"cluster": ["redis://u:canary@h"]}}"#,
        r#"{"redis": {"sentinel": "redis://u:canary@h"}}"#,
        r#"{"redis": {"url": "redis://u:canary@h", "tls": "canary"}}"#,
        r#"{"caches": {"m": {"redis": "redis://u:canary@h"}}}"#,
        r#"{"caches": {"m": "redis://u:canary@h"}}"#,
        r#"{"caches": "redis://u:canary@h"}"#,
    ] {
        let error = read(wrong, &[]).and_then(|config| config.build());
        let error = match error {
            Err(error) => format!("{error} {error:?}"),
            // The port of a URL is looked at when the adapter is there to do so.
            Ok(_) if !cfg!(feature = "redis") => continue,
            Ok(_) => panic!("{wrong} is refused"),
        };
        assert!(!error.contains("canary") && !error.contains("1.2345"), "{error}");
    }
    let variables = [
        ("REDIS_URL", "redis://u:canary@h"),
        ("CACHE_REDIS__DATABASE", "x"),
    ];
    let error = read("{}", &variables).unwrap_err().to_string();
    assert!(
        !error.contains("canary") && error.contains("CACHE_REDIS__DATABASE"),
        "{error}"
    );
}

#[test]
fn what_is_shown_is_read_as_the_same() {
    let json = r#"{
        "policies": {"p": {"ttl": "90s", "negative_ttl": "0s", "eager": "xfetch", "tags": ["t"], "fail_safe": true}},
        "caches": {"m": {"memory_bytes": "64MiB", "policy": "p", "shared": false}},
        "warmers": {"w": {"cache": "m", "rate": 2.5, "at_start": false}}
    }"#;
    let config = read(json, &[]).unwrap();
    let shown = serde_json::to_string(&config).unwrap();
    assert!(
        shown.contains("\"1m30s\"") && shown.contains("\"64MiB\""),
        "{shown}"
    );
    assert_eq!(read(&shown, &[]).unwrap(), config);
}

#[cfg(feature = "toml")]
#[test]
fn toml_is_read_and_its_mistakes_are_located_without_quoting_them() {
    let text = "[redis]\nurl = \"redis://h\"\n\n[policies.short]\nttl = \"5m\"\n";
    let config = Config::sources().toml(text).unwrap().read().unwrap();
    assert_eq!(config.policies["short"].ttl, Some(minutes(5)));
    for wrong in [
        "password = \"canary\nurl = 1",
        "url = redis://u:canary@h",
        "url: redis://u:canary@h",
        "canary canary",
        "password = canary",
    ] {
        let error = Config::sources().toml(&format!("[redis]\n{wrong}")).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("line 2") && !shown.contains("canary"), "{shown}");
    }
}

#[test]
fn a_file_is_read_by_its_ending() {
    let folder = std::env::temp_dir().join(format!("cache-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("cache.json");
    std::fs::write(&path, r#"{"caches": {"m": {"memory_bytes": "1KB"}}}"#).unwrap();
    let config = Config::sources().file(&path).unwrap().read().unwrap();
    assert_eq!(config.caches["m"].memory_bytes, Some(1_000));
    let error = Config::sources().file(folder.join("cache.yaml")).unwrap_err();
    assert!(error.to_string().contains("cache.yaml"), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
}
