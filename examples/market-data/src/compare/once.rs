//! Systems A and E: what is done once, and what is asked once.

use std::time::Duration;

use super::measure::timed;
use super::{Failed, World};
use crate::candles::{Symbol, Timeframe};
use crate::dedup;
use crate::llm::Kind;
use crate::upstream::{Behaviour, Client};
use crate::worker;

/// Two workers over the same 5,000 candles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workers {
    pub(super) analysed: u64,
    pub(super) repeated: u64,
    pub(super) took: Duration,
}

/// Without deduplication, or with it.
pub(super) async fn workers(world: &World, deduplicated: bool) -> Result<Workers, Failed> {
    let exchange = world
        .exchange(Behaviour {
            latency: Duration::ZERO..Duration::ZERO,
            ..Behaviour::default()
        })
        .await?;
    let service = world.service(&exchange)?;
    let (client, symbol) = (Client::new(exchange.address()), Symbol::new("EURUSD")?);
    if deduplicated {
        dedup::initialise(service.dedup.clone());
    }
    let work = || worker::run(&client, &symbol, Timeframe::Hour, |_| {});
    let (done, took) = timed(async { tokio::try_join!(work(), work()) }).await;
    done?;
    service.close().await?;
    let asked = exchange.asked();
    Ok(Workers {
        analysed: asked.analyses,
        repeated: asked.repeated,
        took,
    })
}

/// The first and the second time that the model is asked about a text, and how often it was asked in truth.
pub(super) async fn model(world: &World) -> Result<(Duration, Duration, u64), Failed> {
    let exchange = world.exchange(Behaviour::default()).await?;
    let service = world.service(&exchange)?;
    let ask = || service.model.analysis(Kind::Sentiment, "The market is calm.");
    let (first, slow) = timed(ask()).await;
    let (second, fast) = timed(ask()).await;
    first?;
    second?;
    service.close().await?;
    Ok((slow, fast, exchange.asked().model_calls))
}
