//! All systems at once, with Redis killed and restarted in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_core::Error;
use market::candles::{Timeframe, recorded};
use market::dedup::CandleId;
use market::indicators::{Average, PERIODS};
use market::llm::Kind;
use market::quotes::Class;
use market::service::Service;
use support::{RedisServer, wait_until};

use crate::{SOON, exchange_that, node, symbol};

const HOUR: Timeframe = Timeframe::Hour;

/// Every call of every system, each checked; the number of the round names what is new in it.
async fn round(service: &Service, number: u64) {
    let symbol = symbol(&format!("S{}", number % 5 + 1));
    let series = recorded().unwrap()["EURUSD"].clone();
    let candle = CandleId {
        symbol: symbol.clone(),
        timeframe: HOUR,
        time: number * 3_600,
    };
    let effects = AtomicU64::new(0);
    for _ in 0..2 {
        let effect = async {
            effects.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Error>(())
        };
        service.dedup.process(&candle, effect).await.unwrap();
    }
    assert_eq!(effects.load(Ordering::SeqCst), 1, "round {number}");
    let averages = service.indicators.averages(&symbol, HOUR).await.unwrap();
    let expected = PERIODS.map(|period| Average::over(period, &series[series.len() - period..]));
    assert_eq!(averages, expected, "round {number}");
    assert_eq!(
        service.api.user(number % 100 + 1).await.unwrap().unwrap().id,
        number % 100 + 1
    );
    assert_eq!(
        service.quotes.read(Class::News, &symbol).await.unwrap()["symbol"],
        symbol.as_str()
    );
    assert_eq!(
        service.bars.last(&symbol, HOUR).await.unwrap(),
        series.last().copied()
    );
    assert!(service.tickers.ticker(&symbol).await.unwrap().last > 0.0);
    let analysis = service
        .model
        .analysis(Kind::Risk, &format!("text {}", number % 3))
        .await
        .unwrap();
    assert_eq!(analysis["words"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_right_while_redis_dies_and_comes_back() {
    let behaviour = market::upstream::Behaviour {
        latency: std::time::Duration::ZERO..std::time::Duration::from_millis(2),
        failure_rate: 0.02,
        model_latency: std::time::Duration::from_millis(5),
        ..Default::default()
    };
    let (redis, exchange) = (Arc::new(RedisServer::start()), exchange_that(behaviour).await);
    let service = node(Some(&redis), &exchange);
    for number in 0..300 {
        match number {
            100 => redis.kill(),
            200 => redis.restart(),
            _ => {}
        }
        round(&service, number).await;
    }
    assert!(
        service.dedup.unguarded() > 0,
        "it says what it could not guarantee"
    );
    wait_until(SOON, "all is well again", async || {
        round(&service, 1_000).await;
        service.cache.health().status.as_str() == "healthy"
    })
    .await;
    service.close().await.unwrap();
}
