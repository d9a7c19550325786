//! `policy = ..`: what configuration says about a function, also while it runs.

use std::time::Duration;

use cache_core::testing::ManualClock;
use cache_core::{Cache, CacheKey, EntryOptions, cached};
use support::LogCapture;

fn world(name: &str) -> (Cache, ManualClock) {
    let clock = ManualClock::new();
    let cache = Cache::builder(name)
        .clock(clock.clone())
        .defaults(EntryOptions::ttl(seconds(100)).jitter(0.0))
        .policy("price", EntryOptions::ttl(seconds(5)).stale_for(seconds(50)))
        .build()
        .unwrap();
    (cache, clock)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[cached(prefix = "policies/price", policy = "price", cache = cache, skip(cache))]
async fn price(cache: &Cache, symbol: &str) -> usize {
    symbol.len()
}

#[cached(prefix = "policies/own-ttl", policy = "price", ttl = 7, cache = cache, skip(cache))]
async fn own_ttl(cache: &Cache, symbol: &str) -> usize {
    symbol.len()
}

#[cached(prefix = "policies/unknown", policy = "prise", cache = cache, skip(cache))]
async fn unknown(cache: &Cache, symbol: &str) -> usize {
    symbol.len()
}

#[cached(prefix = "policies/computed", policy = format!("{tenant}-price"), cache = cache, skip(cache))]
async fn computed(cache: &Cache, tenant: &str) -> usize {
    tenant.len()
}

async fn remaining(cache: &Cache, key: Result<CacheKey, cache_core::Error>) -> Option<Duration> {
    cache.remaining_ttl(&key.unwrap()).await
}

#[tokio::test]
async fn a_policy_says_what_the_function_leaves_open() {
    let (cache, _) = world("a");
    price(&cache, "GOOG").await;
    assert_eq!(remaining(&cache, price::key("GOOG")).await, Some(seconds(5)));
    own_ttl(&cache, "GOOG").await;
    assert_eq!(remaining(&cache, own_ttl::key("GOOG")).await, Some(seconds(7)));
    assert!(price::set(&cache, "AAPL", 7).await.unwrap().is_stored());
    assert_eq!(remaining(&cache, price::key("AAPL")).await, Some(seconds(5)));
}

#[tokio::test]
async fn a_change_holds_for_what_is_loaded_from_then_on() {
    let (cache, clock) = world("b");
    price(&cache, "GOOG").await;
    cache.set_policy("price", EntryOptions::ttl(seconds(60))).unwrap();
    price(&cache, "AAPL").await;
    assert_eq!(remaining(&cache, price::key("GOOG")).await, Some(seconds(5)));
    assert_eq!(remaining(&cache, price::key("AAPL")).await, Some(seconds(60)));
    clock.advance(seconds(6));
    price(&cache, "GOOG").await;
    assert_eq!(remaining(&cache, price::key("GOOG")).await, Some(seconds(60)));
}

#[tokio::test]
async fn without_the_policy_the_defaults_hold_and_the_log_names_the_function_once() {
    let logs = LogCapture::start();
    let (cache, _) = world("c");
    unknown(&cache, "GOOG").await;
    unknown(&cache, "AAPL").await;
    assert_eq!(remaining(&cache, unknown::key("GOOG")).await, Some(seconds(100)));
    let lines = logs.lines_with("policy=\"prise\"");
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in [
        "ERROR",
        "::policies::unknown` at ",
        "policies.rs:",
        "known=\"price\"",
    ] {
        assert!(lines[0].contains(part), "{} does not say {part}", lines[0]);
    }
    assert!(cache.policies().missing()["prise"].contains("::policies::unknown`"));
    cache.set_policy("prise", EntryOptions::ttl(seconds(3))).unwrap();
    unknown(&cache, "MSFT").await;
    assert_eq!(remaining(&cache, unknown::key("MSFT")).await, Some(seconds(3)));
    assert!(cache.policies().missing().is_empty());
}

#[tokio::test]
async fn the_name_may_depend_on_the_arguments_and_policies_change_together() {
    let (cache, _) = world("d");
    let both = [
        ("big-price".to_owned(), EntryOptions::ttl(seconds(1))),
        ("small-price".to_owned(), EntryOptions::ttl(seconds(2))),
    ];
    cache.set_policies(both).unwrap();
    computed(&cache, "big").await;
    computed(&cache, "small").await;
    assert_eq!(remaining(&cache, computed::key("big")).await, Some(seconds(1)));
    assert_eq!(remaining(&cache, computed::key("small")).await, Some(seconds(2)));
    let wrong = [
        ("big-price".to_owned(), EntryOptions::ttl(seconds(9))),
        ("small-price".to_owned(), EntryOptions::ttl(Duration::ZERO)),
    ];
    let error = cache.set_policies(wrong).unwrap_err();
    assert!(
        error.is_invalid() && error.to_string().contains("small-price"),
        "{error}"
    );
    assert_eq!(
        cache.policies().get("big-price"),
        Some(EntryOptions::ttl(seconds(1)))
    );
}
