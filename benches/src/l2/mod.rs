//! Reads of the shared tier on a real Redis server: hits, misses and batches.
//!
//! Nothing is answered from memory: the in-process tier of these caches is bounded to one byte, so that it refuses
//! every entry, and every hit is asserted to come from the shared tier. Ours decodes the value and judges its age, its
//! tags and its prefix; the peers' GET hands out bytes.

mod world;

use cache_core::codec::Codec;
use support::FaultProxy;

use crate::crowd::race;
use crate::measure::{Effort, Race};
use crate::report::{Budget, Report, Row};

use world::{Reading, World, bypassing, key, tagged};

const AREA: &str = "l2";
const POSTCARD: &str = "get, postcard";
const JSON: &str = "get, JSON";
const LOAD: &str = "get_or_load, postcard";
const GET: &str = "redis-rs GET";
const FRED: &str = "fred GET";
const BATCH: &str = "get_many of 100";
const MGET: &str = "redis-rs MGET";
const PIPELINE: &str = "redis-rs pipeline";
const JOINED: &str = "redis-rs joined GETs";
const SEQUENCE: &str = "redis-rs GETs one after another";
const MISS: &str = "get_or_load, miss";
const NAIVE: &str = "redis-rs GET, SETEX";

pub(crate) fn measure(effort: Effort, report: &mut Report) {
    let world = World::start();
    hits(&world, effort, report);
    batches(&world, effort, report);
    misses(&world, effort, report);
    round_trips(&world, report);
}

pub(crate) const NAMES: [&str; 7] = [POSTCARD, JSON, LOAD, GET, FRED, BATCH, MISS];

/// Lets one caller do one thing, for a profiler.
pub(crate) fn probe(name: &str, count: u64) {
    let world = World::start();
    let contender = match name {
        POSTCARD => world.ours(POSTCARD, Codec::Postcard),
        JSON => world.ours(JSON, Codec::Json),
        LOAD => world.our_loads(),
        GET => world.redis_rs(),
        FRED => world.fred(),
        BATCH => world.batches().swap_remove(0),
        _ => world.our_misses(),
    };
    contender.run(PROBE_CALLERS, count / PROBE_CALLERS as u64);
}

fn hits(world: &World, effort: Effort, report: &mut Report) {
    let contenders = [
        world.ours(POSTCARD, Codec::Postcard),
        world.ours(JSON, Codec::Json),
        world.our_loads(),
        world.redis_rs(),
        world.fred(),
    ];
    for (callers, postcard, json) in [(1, 0.90, 0.90), (16, 0.65, 0.60), (256, 0.60, 0.50)] {
        let race = race(&contenders, callers, effort);
        for (name, least) in [(POSTCARD, postcard), (JSON, json)] {
            let budget = Some(Budget::RatioAtLeast(least));
            for (peer, budget) in [(GET, budget), (FRED, None)] {
                let case = format!("{name}, {callers} callers");
                report.add(per_second(&race, case, name, peer).budget(budget));
            }
        }
        report.add(per_second(&race, format!("{LOAD}, {callers} callers"), LOAD, GET));
    }
}

fn batches(world: &World, effort: Effort, report: &mut Report) {
    let race = race(&world.batches(), 1, effort);
    for (peer, budget) in [
        (SEQUENCE, Some(Budget::RatioAtMost(0.035))),
        (MGET, None),
        (PIPELINE, None),
        (JOINED, None),
    ] {
        let row = Row::new(AREA, BATCH, race.median(BATCH) / 1_000.0, "µs")
            .against(peer, race.median(peer) / 1_000.0)
            .ratio(race.ratio(BATCH, peer), race.spread(BATCH, peer));
        report.add(row.budget(budget));
    }
}

/// The peer protects nothing: it asks, loads and stores.
fn misses(world: &World, effort: Effort, report: &mut Report) {
    let contenders = [world.our_misses(), world.naive_misses()];
    for callers in [1, 16] {
        let race = race(&contenders, callers, effort);
        report.add(per_second(
            &race,
            format!("{MISS}, {callers} callers"),
            MISS,
            NAIVE,
        ));
    }
}

/// Counted by a proxy between us and the server.
fn round_trips(world: &World, report: &mut Report) {
    let proxy = FaultProxy::start(world.server.address());
    let cache = bypassing(&world.server.url_via(proxy.address()), Codec::Postcard);
    let load = |n: usize| {
        let key = key("trip", n);
        let load = cache.get_or_load(&key, tagged(), move |_| Reading::load(n));
        world.runtime.block_on(load).is_ok()
    };
    // Connected, the scripts known to the server, and the version of the tag known to the node.
    assert!((0..10).all(load), "a loader that succeeds is an answer");
    // The log is heard over a connection of its own, whoever misses.
    let connection = proxy.connection_that_sent("PTTL");
    let before = connection.round_trips();
    assert!((10..10 + TRIPS).all(load), "a loader that succeeds is an answer");
    let trips = (connection.round_trips() - before) as f64 / TRIPS as f64;
    let row = Row::new(AREA, "miss with load and store, tag known", trips, "round trips")
        .against("GET, SET without protection", 2.0)
        .budget(Budget::AtMost(3.0));
    report.add(row);
}

fn per_second(race: &Race, case: String, ours: &str, peer: &'static str) -> Row {
    // In thousands: a race notes nanoseconds.
    let rate = |name| 1e6 / race.median(name);
    Row::new(AREA, case, rate(ours), "k/s")
        .against(peer, rate(peer))
        .ratio(race.ratio(peer, ours), race.spread(peer, ours))
}

const PROBE_CALLERS: usize = 16;
const TRIPS: usize = 200;
