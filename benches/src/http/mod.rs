//! Cached HTTP responses: in one process, and over loopback with the server in a process of its own.
//!
//! In one process, a call of the service is measured in the processor time of its thread, body included. Over loopback,
//! a client with a few connections asks as fast as it is answered, and two things are measured: requests per second,
//! and the processor time of the server's process alone. Every server has one thread, or one worker.
//!
//! The bare handler has its response in memory and builds nothing: it is the least that a request can cost.

mod client;
mod prepared;
mod proxies;
mod server;
mod services;

pub(crate) use server::serve;
pub(crate) use services::{BARE, INSIDE, NAMES, OUTSIDE};

use std::time::Duration;

#[cfg(feature = "allocations")]
use crate::measure::Contender;
use crate::measure::{Effort, Race, single_threaded};
use crate::report::{Budget, Report, Row};

use client::Client;
use server::Server;

const AREA: &str = "http";

/// What is asked for.
#[derive(Clone, Copy, PartialEq)]
enum Case {
    Small,
    Large,
    /// The client has it, and says so.
    NotModified,
    Miss,
    /// Stored, and to be validated each time.
    Validated,
}

pub(crate) fn measure(effort: Effort, report: &mut Report) {
    in_process(effort, report);
    over_loopback(effort, report);
}

/// Hits of 1 KB through one service, in this process and nothing else.
pub(crate) fn probe(name: &'static str, hits: u64) {
    services::contender(name, Case::Small).run(hits);
}

fn in_process(effort: Effort, report: &mut Report) {
    for case in Case::ALL {
        let names = case.contenders();
        let mut contenders: Vec<_> = names.iter().map(|name| services::contender(name, case)).collect();
        let race = Race::run(&mut contenders, effort);
        for ours in [INSIDE, OUTSIDE] {
            for peer in names
                .iter()
                .copied()
                .filter(|name| ![INSIDE, OUTSIDE].contains(name))
            {
                let budget = match (case, peer, ours) {
                    (Case::Small, BARE, INSIDE) => Some(Budget::RatioAtMost(1.25)),
                    (Case::Small, BARE, OUTSIDE) => Some(Budget::RatioAtMost(1.0)),
                    _ => None,
                };
                let row = Row::new(
                    AREA,
                    format!("{ours}, {}, in process", case.name()),
                    race.median(ours),
                    "ns",
                )
                .against(peer, race.median(peer))
                .ratio(race.ratio(ours, peer), race.spread(ours, peer));
                report.add(row.budget(budget));
            }
        }
    }
}

/// The services that are called with hits of 1 KB.
#[cfg(feature = "allocations")]
pub(crate) fn contenders() -> Vec<Contender<'static>> {
    [BARE, INSIDE, OUTSIDE]
        .map(|name| services::contender(name, Case::Small))
        .into()
}

fn over_loopback(effort: Effort, report: &mut Report) {
    let runtime = single_threaded();
    for case in Case::ALL {
        let mut servers: Vec<Server> = case.contenders().into_iter().map(Server::start).collect();
        if case != Case::Miss && case != Case::Validated {
            servers.extend(proxies::start());
        }
        let race = LoopbackRace::run(&servers, case, effort, &runtime);
        for ours in [INSIDE, OUTSIDE] {
            for peer in servers
                .iter()
                .map(|server| server.name)
                .filter(|name| ![INSIDE, OUTSIDE].contains(name))
            {
                race.report(case, ours, peer, report);
            }
        }
    }
}

/// Wall time and the server's processor time, per request.
struct LoopbackRace {
    wall: Race,
    processor: Race,
}

impl LoopbackRace {
    fn run(servers: &[Server], case: Case, effort: Effort, runtime: &tokio::runtime::Runtime) -> Self {
        let mut clients: Vec<_> = servers
            .iter()
            .map(|server| runtime.block_on(Client::connect(server.address, CONNECTIONS)))
            .collect();
        let names = || servers.iter().map(|server| server.name);
        let mut race = Self {
            wall: Race::between(names()),
            processor: Race::between(names()),
        };
        let turn = effort.turn * TURNS;
        for round in 0..effort.rounds {
            for turn_of in 0..servers.len() {
                let at = (round + turn_of) % servers.len();
                let mut ask = |time| runtime.block_on(clients[at].ask(case, time));
                ask(turn / 5);
                let before = servers[at].processor_time();
                let (count, took) = ask(turn);
                let used = servers[at].processor_time().saturating_sub(before);
                race.wall.note(at, took, count);
                race.processor.note(at, used, count);
            }
        }
        race
    }

    fn report(&self, case: Case, ours: &'static str, peer: &'static str, report: &mut Report) {
        let (wall, processor) = (&self.wall, &self.processor);
        let rate = |name| 1e6 / wall.median(name);
        let least = match (case, peer) {
            (Case::Small, BARE) => Some(Budget::RatioAtLeast(0.93)),
            (Case::Small, proxies::NGINX) => Some(Budget::RatioAtLeast(1.1)),
            _ => None,
        };
        let row = Row::new(
            AREA,
            format!("{ours}, {}, requests", case.name()),
            rate(ours),
            "k/s",
        )
        .against(peer, rate(peer))
        .ratio(wall.ratio(peer, ours), wall.spread(peer, ours));
        report.add(row.budget(least));
        let micros = |name| processor.median(name) / 1_000.0;
        let row = Row::new(
            AREA,
            format!("{ours}, {}, the server's processor time", case.name()),
            micros(ours),
            "µs",
        )
        .against(peer, micros(peer))
        .ratio(processor.ratio(ours, peer), processor.spread(ours, peer));
        report.add(row);
    }
}

impl Case {
    const ALL: [Self; 5] = [
        Self::Small,
        Self::Large,
        Self::NotModified,
        Self::Miss,
        Self::Validated,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Small => "hit of 1 KB",
            Self::Large => "hit of 50 KB",
            Self::NotModified => "hit with If-None-Match",
            Self::Miss => "miss of 1 KB",
            Self::Validated => "validation with 304",
        }
    }

    /// The `n`-th request's path.
    fn path(self, n: usize) -> String {
        match self {
            Self::Small | Self::NotModified => "/small".to_owned(),
            Self::Large => "/large".to_owned(),
            Self::Miss => format!("/miss/{n}"),
            Self::Validated => "/validated".to_owned(),
        }
    }

    /// The peers take part where they do the same: few of them validate, or answer a client's condition.
    fn contenders(self) -> Vec<&'static str> {
        match self {
            Self::Small | Self::Large => NAMES.to_vec(),
            Self::NotModified | Self::Miss | Self::Validated => vec![BARE, INSIDE, OUTSIDE],
        }
    }
}

const CONNECTIONS: usize = 16;
/// A turn over loopback is longer than one in process: the kernel counts processor time more coarsely than we ask.
const TURNS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(30);
