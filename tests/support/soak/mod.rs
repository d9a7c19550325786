//! Scenarios that go on for as long as one wants: seconds among the other tests, hours before a release.
//!
//! Each [`Scenario`] sets up its servers, lets a fault or a crowd loose by a seed, and ends with [`Findings`]: figures,
//! and checks of what must hold. The tests run the short form, `cargo run --release -p tests --bin soak` the long one;
//! both are the same code with another [`Run::length`].

#![allow(
    clippy::unwrap_used,
    reason = "a scenario that cannot go on panics, and the panic is its report"
)]

pub mod fleet;
pub mod node;
pub mod shop;
pub mod traffic;
pub mod world;

mod cancel;
mod chaos;
mod contention;
mod failover;
mod findings;
mod flood;
mod histogram;
mod journal;
mod kill_loop;
mod lateness;
mod oracle;
mod resources;
mod stampede;
mod tally;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use chaos::trim;
pub use failover::hand_over;
pub use findings::{Check, Findings, Latency, StaleReads};
pub use journal::Journal;
pub use lateness::Lateness;
pub use resources::Resources;
pub use tally::Tally;

use crate::clock::Stopwatch;
use resources::Watch;

/// What can be let run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "each is described by its title and the documentation of its module"
)]
pub enum Scenario {
    S1,
    S2,
    S3,
    S4,
    S5,
    S6,
    S7,
    S8,
    S9,
    S10,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::S1,
        Self::S2,
        Self::S3,
        Self::S4,
        Self::S5,
        Self::S6,
        Self::S7,
        Self::S8,
        Self::S9,
        Self::S10,
    ];

    /// `S1` to `S10`.
    pub fn name(self) -> &'static str {
        match self {
            Self::S1 => "S1",
            Self::S2 => "S2",
            Self::S3 => "S3",
            Self::S4 => "S4",
            Self::S5 => "S5",
            Self::S6 => "S6",
            Self::S7 => "S7",
            Self::S8 => "S8",
            Self::S9 => "S9",
            Self::S10 => "S10",
        }
    }

    /// What happens, in one line.
    pub fn title(self) -> &'static str {
        match self {
            Self::S1 => "Redis is killed and restarted under three HTTP services with 200 clients",
            Self::S2 => {
                "one writer, three nodes with 50 readers each, 1,000 keys: who reads what was superseded"
            }
            Self::S3 => "faults by chance on three nodes that read and write",
            Self::S4 => "1,000 callers of one missing key on four nodes, round after round",
            Self::S5 => "10,000 hot keys vanish at once, round after round",
            Self::S6 => "the master behind three sentinels is killed, again and again",
            Self::S7 => "slots of a cluster move and its masters are killed, again and again",
            Self::S8 => "half of the callers leave before they have their answer",
            Self::S9 => {
                "Redis is away at 2,000 requests a second, then come keys that nobody asked for before"
            }
            Self::S10 => {
                "64 tasks in each of four processes want one lock, while processes are frozen and killed"
            }
        }
    }
}

impl std::str::FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter();
        known
            .clone()
            .find(|scenario| scenario.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| format!("no scenario is called `{name}`; there are S1 to S10"))
    }
}

/// One run of one scenario.
#[derive(Debug, Clone)]
pub struct Run {
    /// What is left to chance follows from it: which faults, when and for how long, who reads and writes what. How the
    /// machine interleaves the tasks does not.
    pub seed: u64,
    /// For how long it goes on. What is done in rounds is done once at least.
    pub length: Duration,
    /// How many times longer than promised things may take: 1 on a machine of one's own, more among other tests.
    pub patience: u32,
    /// The `soak` program, which is also each of the nodes that need a process of their own.
    pub program: PathBuf,
    /// Where progress is told.
    pub journal: Arc<Journal>,
    /// How much later than asked a timer of this machine wakes a task that does nothing else.
    pub lateness: Arc<Lateness>,
}

impl Run {
    /// The short form, for tests.
    pub fn short(length: Duration, program: impl Into<PathBuf>) -> Self {
        // Another one each time it is run by hand with `CHAOS_SEED`.
        let seed =
            std::env::var("CHAOS_SEED").map_or(7, |seed| seed.parse().expect("CHAOS_SEED is a number"));
        Self {
            seed,
            length,
            patience: 3,
            program: program.into(),
            journal: Arc::new(Journal::quiet()),
            lateness: Arc::default(),
        }
    }

    /// Lets it happen.
    ///
    /// # Panics
    /// When the scenario cannot go on: a server does not start, a task of its own panics.
    pub async fn run(&self, scenario: Scenario) -> Findings {
        let tally = Arc::new(Tally::default());
        let began = Stopwatch::start();
        let ticking = self.journal.clone().tick(scenario, self.length, tally.clone());
        let waking = tokio::spawn(self.lateness.clone().measure());
        let own = Watch::start("the process of the scenario", std::process::id());
        let mut findings = match scenario {
            Scenario::S1 => kill_loop::run(self, &tally).await,
            Scenario::S2 => oracle::run(self, &tally).await,
            Scenario::S3 => chaos::run(self, &tally).await,
            Scenario::S4 => stampede::one_key(self, &tally).await,
            Scenario::S5 => stampede::many_keys(self, &tally).await,
            Scenario::S6 => failover::sentinel(self, &tally).await,
            Scenario::S7 => failover::cluster(self, &tally).await,
            Scenario::S8 => cancel::run(self, &tally).await,
            Scenario::S9 => flood::run(self, &tally).await,
            Scenario::S10 => contention::run(self, &tally).await,
        };
        ticking.abort();
        waking.abort();
        findings.resources.push(own.stop().await);
        findings.name(scenario, self.seed, began.elapsed());
        findings.tally(&tally);
        findings.latency(
            "lateness of a timer: what the machine itself adds",
            &self.lateness.0,
        );
        findings.events = self.journal.events();
        println!("{findings}");
        findings
    }

    /// A bound for a test machine: as promised, times the patience.
    fn within(&self, promised: Duration) -> Duration {
        promised * self.patience
    }

    /// A bound of a recovery, which is one event among few: as promised, and by how much this machine was late at worst.
    fn recovery(&self, promised: Duration) -> Duration {
        self.within(promised) + self.lateness.0.max()
    }

    /// Calls `round` until the time is up, once at least.
    async fn rounds(&self, mut round: impl AsyncFnMut(u64)) -> u64 {
        let began = Stopwatch::start();
        let mut rounds = 0;
        while rounds == 0 || began.elapsed() < self.length {
            round(rounds).await;
            rounds += 1;
        }
        rounds
    }
}
