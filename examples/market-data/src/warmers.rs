//! Systems C and D, warming: what is loaded before anybody asks, and again before it goes stale.
//!
//! When, how often and how many at once stands in the configuration, under the same names: at start without delaying it,
//! every five minutes, five loads at once. In a fleet one node warms, and the others find it done.

use std::ops::RangeInclusive;

use cache_core::Error;
use cache_core::warm::{WarmReport, WarmRun, Warmer};

use crate::api::{Api, Endpoint};
use crate::quotes::{Class, Quotes, Wanted};
use crate::service::{Service, timeframe_of};
use crate::upstream::{Client, UpstreamError};

/// Adds all warmers to the cache of the service.
///
/// # Errors
///
/// If they were added before, or their configuration makes no sense.
pub fn add(service: &Service) -> Result<(), Error> {
    let exchange = || service.exchange.clone();
    for warmer in [
        users(exchange()),
        signals(exchange()),
        market(exchange()),
        statistics(exchange()),
        facts("top-symbols", exchange(), vec![Wanted::TopSymbols]),
        facts("movers", exchange(), vec![Wanted::Movers]),
        facts("watchlist", exchange(), REGULARS.map(Wanted::Watchlist).collect()),
    ] {
        service.cache.add_warmer(warmer)?;
    }
    Ok(())
}

fn users(exchange: Client) -> Warmer {
    Warmer::new("users", move |mut run| {
        let api = Api::new(run.cache().clone(), exchange.clone());
        let warm = move |id| {
            let api = api.clone();
            async move { api.user_outcome(id).await }
        };
        async move { run.each(REGULARS, warm).await }
    })
}

fn signals(exchange: Client) -> Warmer {
    Warmer::new("signals", move |mut run| {
        let api = Api::new(run.cache().clone(), exchange.clone());
        let warm = move |id| {
            let api = api.clone();
            async move { api.alert_outcome(id).await }
        };
        async move { run.each(1..=20, warm).await }
    })
}

fn market(exchange: Client) -> Warmer {
    Warmer::new("market", move |mut run| {
        let api = Api::new(run.cache().clone(), exchange.clone());
        let quotes = Quotes::new(run.cache().clone(), exchange.clone());
        let warm = move |symbol| {
            let api = api.clone();
            async move { api.prices_outcome(&symbol, timeframe_of(&symbol)).await }
        };
        async move { Ok::<_, UpstreamError>(run.each(quotes.wanted(Wanted::TopSymbols).await?, warm).await) }
    })
}

fn statistics(exchange: Client) -> Warmer {
    Warmer::new("statistics", move |mut run| {
        let api = Api::new(run.cache().clone(), exchange.clone());
        let warm = move |endpoint| {
            let api = api.clone();
            async move { api.answer_outcome(endpoint, &Default::default(), 0).await }
        };
        async move { run.each([Endpoint::Search, Endpoint::Statistics], warm).await }
    })
}

/// Every class of facts about every symbol of some lists.
fn facts(name: &'static str, exchange: Client, lists: Vec<Wanted>) -> Warmer {
    Warmer::new(name, move |run| {
        let quotes = Quotes::new(run.cache().clone(), exchange.clone());
        warm_facts(run, quotes, lists.clone())
    })
}

async fn warm_facts(
    mut run: WarmRun,
    quotes: Quotes,
    lists: Vec<Wanted>,
) -> Result<WarmReport, UpstreamError> {
    let mut report = WarmReport::default();
    for list in lists {
        let symbols = quotes.wanted(list).await?;
        let facts = symbols
            .iter()
            .flat_map(|symbol| Class::ALL.map(|class| (class, symbol.clone())));
        let warm = |(class, symbol)| {
            let quotes = quotes.clone();
            async move { quotes.read(class, &symbol).await }
        };
        report = run.each(facts.collect::<Vec<_>>(), warm).await;
    }
    Ok(report)
}

/// The users whose data and watchlists are kept warm.
const REGULARS: RangeInclusive<u64> = 1..=20;
