//! The market data service: every promise of its five systems, in memory and on a real Redis.

#![allow(
    clippy::unwrap_used,
    reason = "a failed test is what a panic is for, also in helpers of tests"
)]

mod api;
mod by_hand;
mod dedup;
mod deployment;
mod indicators;
mod outage;
mod programs;
mod quotes;
mod typed;
mod workers;

use std::net::Ipv4Addr;
use std::time::Duration;

use cache_core::config::Config;
use cache_core::{Cache, Redis};
use market::candles::Symbol;
use market::dedup::DedupConfig;
use market::service::{CACHE, Service, configuration};
use market::upstream::{Behaviour, Client, Exchange};
use support::RedisServer;

/// Without the environment of whoever runs the tests.
fn config() -> Config {
    configuration(None, None).unwrap()
}

/// A fast exchange that never fails.
async fn exchange() -> Exchange {
    exchange_that(Behaviour {
        latency: Duration::ZERO..Duration::ZERO,
        ..Behaviour::default()
    })
    .await
}

async fn exchange_that(behaviour: Behaviour) -> Exchange {
    Exchange::open((Ipv4Addr::LOCALHOST, 0).into(), behaviour)
        .await
        .unwrap()
}

/// A node, in memory or on Redis.
fn node(redis: Option<&RedisServer>, exchange: &Exchange) -> Service {
    let mut builder = config().cache_builder(CACHE).unwrap();
    if let Some(redis) = redis {
        builder = builder.redis(Redis::from_url(&redis.url()).unwrap());
    }
    over(builder.build().unwrap(), exchange)
}

fn over(cache: Cache, exchange: &Exchange) -> Service {
    Service::over(cache, Client::new(exchange.address()), DedupConfig::default()).unwrap()
}

/// In memory, and then on Redis.
fn tiers() -> [Option<RedisServer>; 2] {
    [None, Some(RedisServer::start())]
}

fn symbol(text: &str) -> Symbol {
    Symbol::new(text).unwrap()
}

const SOON: Duration = Duration::from_secs(10);
