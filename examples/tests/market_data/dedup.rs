//! System A.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::testing::ManualClock;
use cache_core::time::{hours, seconds};
use cache_core::{Cache, CacheKey, Error};
use market::candles::{Timeframe, recorded};
use market::dedup::{self, CandleId, Dedup, DedupConfig, Processed};

use crate::{exchange, node, symbol, tiers};

fn candle(time: u64) -> CandleId {
    CandleId {
        symbol: symbol("EURUSD"),
        timeframe: Timeframe::Hour,
        time,
    }
}

async fn process(dedup: &Dedup, candle: &CandleId) -> Processed<()> {
    dedup.process(candle, async { Ok::<_, Error>(()) }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_candle_is_processed_once_however_many_are_at_it() {
    let exchange = exchange().await;
    for redis in tiers() {
        let nodes = [node(redis.as_ref(), &exchange), node(redis.as_ref(), &exchange)];
        // In memory each process is alone.
        let nodes = if redis.is_some() { &nodes[..] } else { &nodes[..1] };
        let effects = Arc::new(AtomicU64::new(0));
        let candles = recorded().unwrap()["EURUSD"][..500].to_vec();
        let mut workers = tokio::task::JoinSet::new();
        for dedup in nodes
            .iter()
            .flat_map(|node| [node.dedup.clone(), node.dedup.clone()])
        {
            let (effects, candles) = (effects.clone(), candles.clone());
            workers.spawn(async move {
                for known in candles {
                    let effect = async {
                        effects.fetch_add(1, Ordering::SeqCst);
                        Ok::<_, Error>(())
                    };
                    dedup.process(&candle(known.time), effect).await.unwrap();
                }
            });
        }
        workers.join_all().await;
        assert_eq!(effects.load(Ordering::SeqCst), 500, "{redis:?}");
        assert_eq!(nodes[0].dedup.unguarded(), 0);
    }
}

#[tokio::test]
async fn a_beginning_that_is_off_by_the_window_is_the_same_candle() {
    let exchange = exchange().await;
    for redis in tiers() {
        let dedup = node(redis.as_ref(), &exchange).dedup;
        let hour = 1_492_592_400;
        assert_eq!(process(&dedup, &candle(hour)).await, Processed::Now(()));
        for drift in [-60_i64, -1, 1, 59, 60] {
            let drifted = candle(hour.checked_add_signed(drift).unwrap());
            assert_eq!(process(&dedup, &drifted).await, Processed::Before, "{drift}");
        }
        for other in [hour + 61, hour + 3_600, hour - 3_600] {
            assert_eq!(
                process(&dedup, &candle(other)).await,
                Processed::Now(()),
                "{other}"
            );
        }
        let daily = CandleId {
            timeframe: Timeframe::Day,
            ..candle(hour)
        };
        assert_eq!(
            process(&dedup, &daily).await,
            Processed::Now(()),
            "another timeframe is another candle"
        );
    }
}

#[tokio::test]
async fn redis_remembers_a_processed_candle_for_an_hour_and_a_claimed_one_for_its_lease() {
    let redis = support::RedisServer::start();
    let service = node(Some(&redis), &exchange().await);
    let remembered = || -> Vec<u64> {
        let keys = redis.cli(&["KEYS", "*candle:EURUSD*:c"]);
        let times = keys.lines().map(|key| redis.cli(&["TTL", key.trim()]));
        times.map(|time| time.trim().parse().unwrap()).collect()
    };
    process(&service.dedup, &candle(0)).await;
    assert!(matches!(remembered()[..], [3_620..=3_630]), "{:?}", remembered());
    let hanging = async {
        let effect = std::future::pending::<Result<(), Error>>();
        service.dedup.process(&candle(3_600), effect).await
    };
    tokio::select! {
        _ = hanging => unreachable!("it never ends"),
        () = support::wait_until(crate::SOON, "it is claimed", async || remembered().len() == 2) => {}
    }
    let least = remembered().into_iter().min();
    assert!(least.is_some_and(|left| (1..=30).contains(&left)), "{least:?}");
}

#[tokio::test]
async fn a_failed_effect_may_be_tried_again_and_a_dropped_one_waits_for_its_lease() {
    for redis in tiers() {
        let service = node(redis.as_ref(), &exchange().await);
        let failed = service
            .dedup
            .process(&candle(0), async { Err::<(), _>(Error::invalid("no")) })
            .await;
        assert!(failed.is_err());
        assert_eq!(process(&service.dedup, &candle(0)).await, Processed::Now(()));

        let hours = candle(3_600);
        let hanging = service
            .dedup
            .process(&hours, std::future::pending::<Result<(), Error>>());
        assert!(
            tokio::time::timeout(Duration::from_millis(300), hanging)
                .await
                .is_err()
        );
        let again = process(&service.dedup, &candle(3_600)).await;
        assert!(
            matches!(again, Processed::Elsewhere(left) if left <= seconds(30)),
            "{again:?}"
        );
    }
}

#[tokio::test]
async fn what_was_processed_is_forgotten_after_an_hour() {
    let clock = ManualClock::new();
    let cache = Cache::builder("m").clock(clock.clone()).build().unwrap();
    let dedup = Dedup::new(&cache, DedupConfig::default()).unwrap();
    assert_eq!(process(&dedup, &candle(0)).await, Processed::Now(()));
    clock.advance(hours(1) - seconds(1));
    assert_eq!(process(&dedup, &candle(0)).await, Processed::Before);
    clock.advance(seconds(31));
    assert_eq!(process(&dedup, &candle(0)).await, Processed::Now(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_published_once_and_remembered() {
    let exchange = exchange().await;
    for redis in tiers() {
        let (one, two) = (node(redis.as_ref(), &exchange), node(redis.as_ref(), &exchange));
        let other = if redis.is_some() { &two.dedup } else { &one.dedup };
        let candle = candle(0);
        assert!(!one.dedup.was_published(&candle).await.unwrap());
        assert!(one.dedup.mark_published(&candle, "signal-1").await.unwrap());
        assert!(
            !other.mark_published(&candle, "signal-2").await.unwrap(),
            "it is published already"
        );
        assert!(
            !one.dedup.mark_published(&candle, "signal-1").await.unwrap(),
            "nor under the same id"
        );
        assert!(other.was_published(&candle).await.unwrap());
        assert_eq!(
            other.get_signal_id(&candle).await.unwrap().as_deref(),
            Some("signal-1")
        );
        let left = one
            .dedup
            .cache()
            .remaining_ttl(&CacheKey::build("signal", (symbol("EURUSD"), 0)).unwrap())
            .await;
        assert!(
            left.is_some_and(|left| left > hours(23) && left <= hours(24)),
            "{left:?}"
        );
    }
}

#[tokio::test]
async fn the_namespace_is_read_written_and_cleared_apart_from_the_rest() {
    for redis in tiers() {
        let service = node(redis.as_ref(), &exchange().await);
        let (own, whole) = (service.dedup.cache(), &service.cache);
        let key = CacheKey::build("note", 7).unwrap();
        let value = serde_json::json!({ "any": ["json", 1] });
        assert!(own.set(&key, value.clone(), hours(1)).await.unwrap().is_stored());
        assert!(whole.set(&key, 1_u32, hours(1)).await.unwrap().is_stored());
        assert_eq!(own.get::<serde_json::Value>(&key).await.as_deref(), Some(&value));
        assert!(own.contains(&key).await);
        own.remove(&key).await.unwrap();
        assert!(!own.contains(&key).await);
        assert!(own.set(&key, value.clone(), hours(1)).await.is_ok());
        own.clear().await.unwrap();
        assert!(!own.contains(&key).await);
        assert!(whole.contains(&key).await, "what is not in the namespace stays");
    }
}

#[test]
fn the_environment_decides_and_what_is_wrong_is_named() {
    let read = |variables: &[(&str, &str)]| {
        let variables: HashMap<String, String> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        DedupConfig::from_variables(|name| variables.get(name).cloned())
    };
    assert_eq!(read(&[]).unwrap(), DedupConfig::default());
    let config = read(&[
        ("CANDLE_CHECK_WINDOW", "5"),
        ("CANDLE_TTL", "7200"),
        ("SIGNAL_TTL", "60"),
    ])
    .unwrap();
    assert_eq!(
        (config.window, config.candle_ttl, config.signal_ttl),
        (seconds(5), hours(2), seconds(60))
    );
    for (name, value) in [
        ("CANDLE_CHECK_WINDOW", "1m"),
        ("CANDLE_TTL", "0"),
        ("SIGNAL_TTL", "-1"),
    ] {
        let error = read(&[(name, value)]).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(value), "{error}");
    }
}

#[tokio::test]
async fn callers_without_a_cache_work_as_before_and_with_one_are_guarded() {
    let effect = async || {
        dedup::process_once(&candle(0), async { Ok::<_, Error>(()) })
            .await
            .unwrap()
    };
    assert_eq!(
        (effect().await, effect().await),
        (Processed::Now(()), Processed::Now(()))
    );
    dedup::initialise(node(None, &exchange().await).dedup);
    assert_eq!(
        (effect().await, effect().await),
        (Processed::Now(()), Processed::Before)
    );
    dedup::close();
    assert_eq!(effect().await, Processed::Now(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_a_process_says_what_it_cannot_guarantee_and_goes_on() {
    let redis = support::RedisServer::start();
    let exchange = exchange().await;
    let (service, other) = (node(Some(&redis), &exchange), node(Some(&redis), &exchange));
    assert_eq!(process(&service.dedup, &candle(0)).await, Processed::Now(()));
    assert_eq!(process(&other.dedup, &candle(0)).await, Processed::Before);
    redis.kill();
    let logs = support::LogCapture::start();
    assert_eq!(process(&service.dedup, &candle(3_600)).await, Processed::Now(()));
    for time in [0, 3_600] {
        assert_eq!(
            process(&service.dedup, &candle(time)).await,
            Processed::Before,
            "it never repeats itself"
        );
    }
    assert!(
        service
            .dedup
            .mark_published(&candle(0), "signal-1")
            .await
            .unwrap()
    );
    assert!(
        !service
            .dedup
            .mark_published(&candle(0), "signal-2")
            .await
            .unwrap()
    );
    assert_eq!(service.dedup.unguarded(), 2);
    assert_eq!(
        process(&other.dedup, &candle(0)).await,
        Processed::Before,
        "what others did is remembered"
    );
    assert_eq!(other.dedup.unguarded(), 0);
    assert!(
        logs.text().contains("other processes may process it as well"),
        "{}",
        logs.text()
    );

    let mut publishers = tokio::task::JoinSet::new();
    for n in 0..50 {
        let dedup = service.dedup.clone();
        publishers.spawn(async move {
            dedup
                .mark_published(&candle(7_200), &format!("signal-{n}"))
                .await
                .unwrap()
        });
    }
    let first = publishers.join_all().await;
    assert_eq!(
        first.into_iter().filter(|is_first| *is_first).count(),
        1,
        "of all its callers one is the first"
    );

    redis.restart();
    support::wait_until(crate::SOON, "claims are fleet-wide again", async || {
        let before = service.dedup.unguarded();
        process(&service.dedup, &candle(3_600 * 1_000 + 3_600 * before)).await;
        service.dedup.unguarded() == before
    })
    .await;
    assert_eq!(
        process(&service.dedup, &candle(0)).await,
        Processed::Before,
        "a Redis that forgot changes nothing here"
    );
    for published in [0, 7_200] {
        assert!(
            service.dedup.was_published(&candle(published)).await.unwrap(),
            "{published}"
        );
        assert!(
            !service
                .dedup
                .mark_published(&candle(published), "again")
                .await
                .unwrap()
        );
    }
    let told = service
        .cache
        .stats()
        .samples()
        .into_iter()
        .filter(|sample| sample.name == "market_data_candles_total");
    assert_eq!(told.count(), 5, "operators see what became of all candles");
}
