//! System C: what a hit costs, in memory and on Redis, beside a bare `GET` of the driver, and what users that are asked for
//! by popularity cost without and with the cache.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use cache_core::time::{Clock as _, SystemClock};

use super::measure::{Latencies, percent, show, timed};
use super::report::{Report, Row, table, times};
use super::{Failed, Scale, World, progress, svg, zipf};
use crate::api::User;
use crate::service::Service;
use crate::upstream::{Behaviour, Client, Exchange};

/// All of it; without the comparison with a bare `GET` while that may be refused.
pub(super) async fn run(
    report: &mut Report,
    world: &World,
    redis: Result<&str, &str>,
    scale: Scale,
) -> Result<(), Failed> {
    let bar = progress("C hits", 3);
    let hit = memory(world, scale.of(200_000, 2_000_000)).await?;
    bar.inc(1);
    report.add(Row {
        system: "C",
        what: "hit in memory, mean",
        theirs: "-",
        goal: "< 1 µs",
        ours: show(hit),
        ratio: "-".to_owned(),
        met: report.figure(hit < Duration::from_micros(1)),
    });
    match redis {
        Ok(url) => beside_bare(report, world, url, scale.of(500, 5_000)).await?,
        Err(why) => report.not_run("C", "hit on Redis, p50, beside a bare GET", "≤ 1.25 ×", why),
    }
    bar.inc(1);
    by_popularity(report, world, scale.of(4_000, 20_000)).await?;
    bar.finish_and_clear();
    Ok(())
}

/// The mean time of a hit in memory.
async fn memory(world: &World, calls: u32) -> Result<Duration, Failed> {
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
async fn beside_bare(report: &mut Report, world: &World, url: &str, keys: u64) -> Result<(), Failed> {
    let exchange = quick(world).await?;
    let [writer, reader] = world.fleet(&exchange)?;
    let client = ::redis::Client::open(url)?;
    let mut bare = client.get_multiplexed_async_connection().await?;
    for id in 1..=keys {
        writer.api.user(id).await?;
    }
    // The first read makes the connection, and the first hearing of the log empties the memory.
    reader.api.user(keys).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    // In a task, as handlers are: what a thread outside the runtime asks for wakes a worker each time.
    let (reader, measured) = tokio::spawn(async move {
        let measured = in_turns(&reader, &mut bare, keys).await;
        (reader, measured)
    })
    .await?;
    let (ours, theirs) = measured?;
    writer.close().await?;
    reader.close().await?;
    let (hit, get) = (ours.quantile(0.5), theirs.quantile(0.5));
    let ratio = hit.as_secs_f64() / get.as_secs_f64();
    report.add(Row {
        system: "C",
        what: "hit on Redis, p50, beside a bare GET",
        theirs: "-",
        goal: "≤ 1.25 ×",
        ours: format!("{} beside {}", show(hit), show(get)),
        ratio: format!("{ratio:.2} ×"),
        met: report.figure(ratio <= 1.25),
    });
    let plot = [("bare GET", &theirs), ("hit on Redis", &ours)];
    let title = "A hit on Redis, and a bare GET of the same key";
    report.plot("redis.svg", svg::latencies(title, &plot));
    report.section("## C: a hit on Redis\n\n![A hit on Redis](redis.svg)\n".to_owned());
    Ok(())
}

/// How long hits on Redis took, and bare questions.
async fn in_turns(
    reader: &Service,
    bare: &mut MultiplexedConnection,
    keys: u64,
) -> Result<(Latencies, Latencies), Failed> {
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
                let (value, took) = timed(get.query_async::<Option<Vec<u8>>>(bare)).await;
                value?.ok_or_else(|| format!("{key} is not there"))?;
                theirs.add(took);
            }
        }
    }
    Ok((ours, theirs))
}

/// Users as a web application asks for them, some often and most rarely, of an exchange that answers at once.
async fn by_popularity(report: &mut Report, world: &World, calls: usize) -> Result<(), Failed> {
    let users = calls / 40;
    let ids = zipf(users, 1.1, calls, 5)?;
    let mut halves = Vec::new();
    for is_cached in [false, true] {
        let exchange = quick(world).await?;
        let service = world.service(&exchange)?;
        let bare = Client::new(exchange.address());
        let begun = SystemClock.now();
        for id in &ids {
            let id = *id as u64 + 1;
            let user = if is_cached {
                service.api.user(id).await?
            } else {
                bare.get::<Option<User>>(&format!("/users/{id}")).await?
            };
            if user.is_none_or(|user| user.id != id) {
                return Err(format!("user {id} is another").into());
            }
        }
        let took = SystemClock.now().since(begun);
        let hits = service.cache.stats().counters.hit_ratio();
        service.close().await?;
        halves.push((took, exchange.asked().calls, hits));
    }
    let [(before, asked_before, _), (now, asked, hits)] = halves[..] else {
        return Err("there are two ways".into());
    };
    let mean = now / u32::try_from(calls)?;
    let theirs = Duration::from_micros(2_300);
    report.add(Row {
        system: "C",
        what: "operation, mean, users by popularity",
        theirs: "2.3 ms",
        goal: "< 2.3 ms",
        ours: show(mean),
        ratio: times(theirs, mean),
        met: report.figure(mean < theirs),
    });
    let fewer = 1.0 - asked as f64 / asked_before as f64;
    report.add(Row {
        system: "C",
        what: "fewer calls for user data; hits",
        theirs: "70-90 %; 85-98 %",
        goal: "≥ 90 %; ≥ 85 %",
        ours: format!("{}; {}", percent(fewer), percent(hits)),
        ratio: format!("{:.0} ×", asked_before as f64 / asked.max(1) as f64),
        met: report.figure(fewer >= 0.9 && hits >= 0.85),
    });
    let row = |name: &str, took: Duration, asked: u64, hits: String| {
        vec![
            name.to_owned(),
            calls.to_string(),
            show(took),
            asked.to_string(),
            hits,
        ]
    };
    report.section(format!(
        "## C: users by popularity, without and with the cache\n\n{users} users (Zipf, 1.1), from a cold start, of an exchange that \
         answers at once: what is compared is the cache with a question over HTTP on the same machine.\n\n{}",
        table(
            &["cache", "operations", "all of them", "calls of the exchange", "hits"],
            &[
                row("without", before, asked_before, "-".to_owned()),
                row("with", now, asked, percent(hits)),
            ]
        )
    ));
    Ok(())
}

async fn quick(world: &World) -> Result<Exchange, Failed> {
    world.exchange(Behaviour::immediate()).await
}
