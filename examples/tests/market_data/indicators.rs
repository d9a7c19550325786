//! System B.

use cache_core::Cache;
use market::candles::{Symbol, Timeframe, recorded};
use market::indicators::{Average, PERIODS, Signal};
use support::RedisServer;

use crate::{exchange, node, symbol, tiers};

const HOUR: Timeframe = Timeframe::Hour;

fn eurusd() -> Symbol {
    symbol("EURUSD")
}

#[tokio::test(flavor = "multi_thread")]
async fn carried_on_over_five_thousand_candles_the_averages_equal_recomputed_ones() {
    let exchange = exchange().await;
    for redis in tiers() {
        let service = node(redis.as_ref(), &exchange);
        let candles = recorded().unwrap()["EURUSD"].clone();
        for end in 1..=candles.len() {
            let carried_on = service
                .indicators
                .advance(&eurusd(), HOUR, &candles[end - 1..end])
                .await
                .unwrap();
            let recomputed =
                PERIODS.map(|period| Average::over(period, &candles[end.saturating_sub(period)..end]));
            assert_eq!(carried_on, recomputed, "after {end} candles");
            // The plain mean of floats differs in its last digits only because it rounds at every step.
            for (average, period) in carried_on.iter().zip(PERIODS).filter(|_| end >= 200) {
                let plain = candles[end - period..end]
                    .iter()
                    .map(|candle| candle.close)
                    .sum::<f64>()
                    / period as f64;
                assert!(
                    (average.mean().unwrap() - plain).abs() < 1e-12,
                    "after {end} candles"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn candles_that_many_nodes_work_in_at_once_are_all_in_the_average() {
    let exchange = exchange().await;
    let candles = recorded().unwrap()["EURUSD"][..200].to_vec();
    let expected = PERIODS.map(|period| Average::over(period, &candles));
    for redis in tiers() {
        let nodes = [node(redis.as_ref(), &exchange), node(redis.as_ref(), &exchange)];
        let nodes = if redis.is_some() { &nodes[..] } else { &nodes[..1] };
        let mut workers = tokio::task::JoinSet::new();
        for worker in 0..8 {
            let indicators = nodes[worker % nodes.len()].indicators.clone();
            // Each has every eighth candle, in reverse: in no order at all.
            let share: Vec<_> = candles.iter().skip(worker).step_by(8).rev().copied().collect();
            workers.spawn(async move {
                for candle in share {
                    indicators.advance(&eurusd(), HOUR, &[candle]).await.unwrap();
                }
            });
        }
        workers.join_all().await;
        let last = nodes[0]
            .indicators
            .advance(&eurusd(), HOUR, &candles[..1])
            .await
            .unwrap();
        assert_eq!(last, expected, "{redis:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_new_candles_are_fetched_and_a_lost_state_is_recomputed() {
    let exchange = exchange().await;
    let recorded = recorded().unwrap()["EURUSD"].clone();
    for redis in tiers() {
        let service = node(redis.as_ref(), &exchange);
        let ask = async |now: usize| {
            exchange.set_now(now);
            let before = exchange.asked().candles;
            let averages = service.indicators.averages(&eurusd(), HOUR).await.unwrap();
            let expected = PERIODS.map(|period| Average::over(period, &recorded[now - period..now]));
            assert_eq!(averages, expected);
            exchange.asked().candles - before
        };
        assert_eq!(ask(1_000).await, 200, "cold");
        assert_eq!(ask(1_000).await, 0, "nothing is new");
        assert_eq!(ask(1_001).await, 1);
        assert_eq!(ask(1_006).await, 5);
        let last = service.indicators.last_processed(&eurusd(), HOUR).await.unwrap();
        assert_eq!(last, Some(recorded[1_005].time));
        service.cache.remove_prefix("average").await.unwrap();
        assert_eq!(ask(1_007).await, 200, "the state is lost");
        assert_eq!(ask(1_500).await, 200, "after a long pause the newest are enough");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_state_is_noticed() {
    let exchange = exchange().await;
    for redis in tiers() {
        let service = node(redis.as_ref(), &exchange);
        exchange.set_now(1_000);
        service.indicators.averages(&eurusd(), HOUR).await.unwrap();
        let short = cache_core::CacheKey::build("average", (eurusd(), HOUR, 50)).unwrap();
        service.cache.remove(&short).await.unwrap();
        exchange.set_now(1_002);
        let averages = service.indicators.averages(&eurusd(), HOUR).await.unwrap();
        assert!(averages.iter().all(|average| average.mean().is_some()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_the_averages_are_recomputed() {
    let (redis, exchange) = (RedisServer::start(), exchange().await);
    let service = node(Some(&redis), &exchange);
    exchange.set_now(1_000);
    let with = service.indicators.averages(&eurusd(), HOUR).await.unwrap();
    redis.kill();
    assert_eq!(service.indicators.averages(&eurusd(), HOUR).await.unwrap(), with);
    let signal = service.indicators.clone().signal(eurusd(), HOUR).await.unwrap();
    assert_eq!(signal, Signal::of(&with));
    assert!(service.cache.health().status.as_str() == "degraded");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_want_to_know_is_there() {
    let exchange = exchange().await;
    for redis in tiers() {
        let service = node(redis.as_ref(), &exchange);
        if redis.is_some() {
            // What it heard first made it forget what it had.
            support::hears(&service.cache).await;
        }
        service.indicators.clone().signal(eurusd(), HOUR).await.unwrap();
        let stats = Cache::stats(&service.cache);
        assert_eq!(stats.load_times.count(), 1);
        assert!(stats.weight > 0 && stats.capacity > stats.weight && stats.entries >= 3);
        assert_eq!(service.cache.health().metrics.error_rate, 0.0);
    }
}
