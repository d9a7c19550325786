//! System C: what a hit costs, in memory and on Redis, beside a bare `GET` of the driver.

use std::time::Duration;

use cache_core::time::{Clock as _, SystemClock};

use super::measure::{Latencies, timed};
use super::{Failed, World};
use crate::upstream::{Behaviour, Exchange};

/// The mean time of a hit in memory.
pub(super) async fn memory(world: &World, calls: u32) -> Result<Duration, Failed> {
    let exchange = quick(world).await?;
    let service = world.service(&exchange)?;
    service.api.user(7).await?;
    let begun = SystemClock.now();
    for _ in 0..calls {
        service.api.user(7).await?;
    }
    let took = SystemClock.now().since(begun) / calls;
    service.close().await?;
    Ok(took)
}

/// A hit on Redis and a bare `GET` of the same key, taking turns at who is first.
pub(super) async fn redis(world: &World, url: &str, keys: u64) -> Result<(Latencies, Latencies), Failed> {
    let exchange = quick(world).await?;
    let [writer, reader] = world.fleet(&exchange)?;
    let mut bare = ::redis::Client::open(url)?
        .get_multiplexed_async_connection()
        .await?;
    for id in 1..=keys {
        writer.api.user(id).await?;
    }
    // The first read makes the connection, and the first hearing of the log empties the memory.
    reader.api.user(keys).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (mut ours, mut theirs) = (Latencies::default(), Latencies::default());
    for id in 1..keys {
        for turn in 0..2 {
            if (id + turn) % 2 == 0 {
                let (user, took) = timed(reader.api.user_outcome(id)).await;
                let (_, outcome) = user?;
                if !outcome.is_hit() {
                    return Err(format!("user {id} was no hit: {outcome}").into());
                }
                ours.add(took);
            } else {
                let key = format!("{}:users:{id}", reader.cache.namespace_text());
                let get = ::redis::Cmd::get(&key);
                let (value, took) = timed(get.query_async::<Option<Vec<u8>>>(&mut bare)).await;
                value?.ok_or_else(|| format!("{key} is not there"))?;
                theirs.add(took);
            }
        }
    }
    writer.close().await?;
    reader.close().await?;
    Ok((ours, theirs))
}

/// The mean time of an operation where users are asked for as they are in a web application: some often, most rarely.
pub(super) async fn mixed(world: &World, calls: usize) -> Result<(Duration, f64), Failed> {
    let exchange = quick(world).await?;
    let service = world.service(&exchange)?;
    let ids = super::zipf(500, 1.1, calls, 5)?;
    let begun = SystemClock.now();
    for id in &ids {
        service.api.user(*id as u64 + 1).await?;
    }
    let took = SystemClock.now().since(begun) / u32::try_from(calls)?;
    let hits = service.cache.stats().counters.hit_ratio();
    service.close().await?;
    Ok((took, hits))
}

async fn quick(world: &World) -> Result<Exchange, Failed> {
    world
        .exchange(Behaviour {
            latency: Duration::ZERO..Duration::ZERO,
            ..Behaviour::default()
        })
        .await
}
