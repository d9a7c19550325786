//! The "before" of `docs/replace-hand-written-cache.md`: a ticker cache as it is written by hand, and what it leaves open.
//!
//! It is not a straw man: a wrapper for Redis, a bounded fallback in memory, a time to live, counters, and an invalidation.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_core::time::{Clock as _, SystemClock, Timestamp, seconds};
use market::candles::Symbol;
use market::ticker::Ticker;
use market::upstream::{Client, UpstreamError};
use redis::AsyncCommands as _;
use support::RedisServer;

use crate::{exchange_that, node, symbol};

// by hand: begin
struct TickerCache {
    redis: Mutex<Option<redis::aio::MultiplexedConnection>>,
    url: String,
    fallback: Mutex<HashMap<String, (String, Timestamp)>>,
    exchange: Client,
    hits: AtomicU64,
    misses: AtomicU64,
    errors: AtomicU64,
}

const TTL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_millis(250);
const MAX_FALLBACK: usize = 1_000;

impl TickerCache {
    fn new(url: &str, exchange: Client) -> Self {
        Self {
            redis: Mutex::new(None),
            url: url.to_owned(),
            fallback: Mutex::new(HashMap::new()),
            exchange,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        }
    }

    async fn connection(&self) -> Option<redis::aio::MultiplexedConnection> {
        if let Some(connection) = self.redis.lock().unwrap().clone() {
            return Some(connection);
        }
        let client = redis::Client::open(self.url.as_str()).ok()?;
        let connecting = tokio::time::timeout(TIMEOUT, client.get_multiplexed_async_connection());
        let connection = connecting.await.ok()?.ok()?;
        *self.redis.lock().unwrap() = Some(connection.clone());
        Some(connection)
    }

    async fn get(&self, key: &str) -> Option<String> {
        if let Some(mut redis) = self.connection().await {
            match tokio::time::timeout(TIMEOUT, redis.get::<_, Option<String>>(key)).await {
                Ok(Ok(value)) => return value,
                _ => {
                    self.errors.fetch_add(1, Ordering::Relaxed);
                    *self.redis.lock().unwrap() = None;
                }
            }
        }
        let fallback = self.fallback.lock().unwrap();
        let (value, until) = fallback.get(key)?;
        (SystemClock.now() < *until).then(|| value.clone())
    }

    async fn set(&self, key: &str, value: &str) {
        if let Some(mut redis) = self.connection().await {
            let set = redis.set_ex::<_, _, ()>(key, value, TTL.as_secs());
            if !matches!(tokio::time::timeout(TIMEOUT, set).await, Ok(Ok(()))) {
                self.errors.fetch_add(1, Ordering::Relaxed);
                *self.redis.lock().unwrap() = None;
            }
        }
        let now = SystemClock.now();
        let mut fallback = self.fallback.lock().unwrap();
        if fallback.len() >= MAX_FALLBACK {
            fallback.retain(|_, (_, until)| now < *until);
        }
        if fallback.len() < MAX_FALLBACK {
            fallback.insert(key.to_owned(), (value.to_owned(), now + TTL));
        }
    }

    async fn ticker(&self, symbol: &Symbol) -> Result<Ticker, UpstreamError> {
        let key = format!("ticker:{symbol}");
        if let Some(ticker) = self
            .get(&key)
            .await
            .and_then(|text| serde_json::from_str(&text).ok())
        {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(ticker);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let ticker: Ticker = self.exchange.get(&format!("/ticker/{symbol}")).await?;
        if let Ok(text) = serde_json::to_string(&ticker) {
            self.set(&key, &text).await;
        }
        Ok(ticker)
    }

    async fn invalidate(&self, symbol: &Symbol) {
        let key = format!("ticker:{symbol}");
        if let Some(mut redis) = self.connection().await {
            let removed = redis.del::<_, ()>(&key);
            if !matches!(tokio::time::timeout(TIMEOUT, removed).await, Ok(Ok(()))) {
                self.errors.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.fallback.lock().unwrap().remove(&key);
    }
}
// by hand: end

#[tokio::test(flavor = "multi_thread")]
async fn by_hand_everybody_who_misses_asks_and_here_one_does() {
    let behaviour = market::upstream::Behaviour {
        latency: seconds(0)..Duration::from_millis(50),
        ..Default::default()
    };
    let (redis, exchange) = (RedisServer::start(), exchange_that(behaviour).await);
    let by_hand = Arc::new(TickerCache::new(&redis.url(), Client::new(exchange.address())));
    let calls = async |ask: &dyn Fn() -> tokio::task::JoinHandle<()>| {
        let before = exchange.asked().calls;
        let callers: Vec<_> = (0..50).map(|_| ask()).collect();
        for caller in callers {
            caller.await.unwrap();
        }
        exchange.asked().calls - before
    };
    let asked = calls(&|| {
        let by_hand = by_hand.clone();
        tokio::spawn(async move { by_hand.ticker(&symbol("S1")).await.map(|_| ()).unwrap() })
    })
    .await;
    assert!(asked > 1, "nothing keeps callers that miss together apart");
    let service = node(Some(&redis), &exchange);
    let asked = calls(&|| {
        let tickers = service.tickers.clone();
        tokio::spawn(async move { tickers.ticker(&symbol("S1")).await.map(|_| ()).unwrap() })
    })
    .await;
    assert_eq!(asked, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_hand_a_slow_load_undoes_an_invalidation_and_here_it_does_not() {
    let behaviour = market::upstream::Behaviour {
        latency: Duration::from_millis(200)..Duration::from_millis(201),
        ..Default::default()
    };
    let (redis, exchange) = (RedisServer::start(), exchange_that(behaviour).await);
    let service = node(Some(&redis), &exchange);
    let by_hand = Arc::new(TickerCache::new(&redis.url(), Client::new(exchange.address())));
    let asked = exchange.asked().calls;
    let loads = [
        tokio::spawn({
            let by_hand = by_hand.clone();
            async move { by_hand.ticker(&symbol("S1")).await.map(|_| ()).unwrap() }
        }),
        tokio::spawn({
            let tickers = service.tickers.clone();
            async move { tickers.ticker(&symbol("S1")).await.map(|_| ()).unwrap() }
        }),
    ];
    support::wait_until(crate::SOON, "both loads are under way", async || {
        exchange.asked().calls == asked + 2
    })
    .await;
    by_hand.invalidate(&symbol("S1")).await;
    service.tickers.ticker_invalidate(&symbol("S1")).await.unwrap();
    for load in loads {
        load.await.unwrap();
    }
    assert!(
        by_hand.get("ticker:S1").await.is_some(),
        "what was loaded before the change stands there again"
    );
    assert!(
        service
            .tickers
            .ticker_peek(&symbol("S1"))
            .await
            .unwrap()
            .is_none()
    );
}

/// Without comments, blank lines and imports.
fn lines(text: &str) -> Vec<&str> {
    let code = |line: &str| line.split(" // ").next().unwrap_or_default().trim().to_owned();
    text.lines()
        .filter(|line| !code(line).is_empty() && !code(line).starts_with("//") && !line.starts_with("use "))
        .collect()
}

#[test]
fn the_guide_shows_this_code_and_counts_its_lines() {
    let guide = include_str!("../../../docs/replace-hand-written-cache.md");
    let between = |text: &'static str, begin: &str, end: &str| {
        let rest = text.split_once(begin).unwrap_or_else(|| panic!("no {begin}")).1;
        rest.split_once(end).unwrap_or_else(|| panic!("no {end}")).0
    };
    let by_hand = between(
        include_str!("by_hand.rs"),
        "// by hand: begin\n",
        "// by hand: end",
    );
    let module = include_str!("../../market-data/src/ticker.rs");
    let here = module.split_once("/// What a symbol costs now.").unwrap().0;
    let call = between(module, "    #[cached(policy = \"ticker\"", "\n    }\n");
    let further = lines(call).len() + 1;
    // The module has three calls.
    let counted = [
        format!(
            "| lines for one cached call | {} | {} |",
            lines(by_hand).len(),
            lines(here).len() - 2 * further
        ),
        format!(
            "| lines for each further call | {}, and {} to invalidate it | {further}, its invalidation included |",
            lines(between(by_hand, "    async fn ticker(", "\n    }\n")).len() + 1,
            lines(between(by_hand, "    async fn invalidate(", "\n    }\n")).len() + 1,
        ),
    ];
    for row in counted {
        assert!(guide.contains(&row), "the guide lacks {row}");
    }
    let known: Vec<&str> = by_hand.lines().chain(here.lines()).map(str::trim).collect();
    let mut shown = 0;
    for block in guide.split("```rust,ignore\n").skip(1) {
        for line in lines(block.split("```").next().unwrap()) {
            let line = line.split(" // ").next().unwrap().trim();
            assert!(
                known.contains(&line),
                "the guide shows {line:?}, which is nowhere"
            );
            shown += 1;
        }
    }
    assert!(shown > 30, "the guide shows code");
}
