//! Comparisons with peers, side by side in one process.
//!
//! ```text
//! cargo run --release -p benches -- l1              hits of the in-process tier and of cached functions
//! cargo run --release -p benches -- l2              reads of the shared tier: hits, misses, batches
//! cargo run --release -p benches -- stampede        many callers of one missing key, in one process and in four
//! cargo run --release -p benches -- coherence       how long other nodes serve what one has invalidated
//! cargo run --release -p benches -- outage          what callers notice while Redis is away
//! cargo run --release -p benches -- http            cached HTTP responses, in process and over loopback
//! cargo run --release -p benches -- memory          whether bounds hold
//! cargo run --release -p benches -- overhead        what metrics and scrapes cost beside hits
//! cargo run --release -p benches -- warming         what live callers notice while two nodes warm
//! cargo run --release -p benches --features allocations -- allocations    allocations per hit, heap per entry
//! cargo run --release -p benches -- compile         what a hundred annotated functions add to a build
//! cargo run --release -p benches -- instructions    instructions per hit, under valgrind's callgrind
//! cargo run --release -p benches -- hit-ratio       the share of lookups that an in-process tier answers
//! cargo run --release -p benches -- scale           how figures grow with threads, entries, sizes, nodes, tags, shards
//! cargo run --release -p benches -- all             all of them; `--report DIR` writes a page with plots
//! ```
//!
//! `--quick` measures less, `--json` prints an array of `{"area","case","ours","peer","peer_name","ratio","unit"}`.
//!
//! Times on a shared machine are noisy. Hits are therefore measured in the processor time of their thread, contenders
//! take turns in short rounds, ratios are formed within a round, and medians over the rounds are shown with their
//! spread. Instruction counts hardly depend on the machine's load at all.

mod all;
#[cfg(feature = "allocations")]
mod allocations;
mod coherence;
mod compile;
mod crowd;
mod functions;
mod hit_ratio;
mod http;
mod instructions;
mod l1;
mod l2;
mod law;
mod measure;
mod memory;
mod node;
mod outage;
mod overhead;
mod page;
mod peers;
mod plot;
mod report;
mod scale;
mod stampede;
mod sweep;
mod warming;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::measure::Effort;
use crate::report::Report;

/// Compares the toolkit with its peers.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    area: Area,
    /// Measure less: a look, not a result.
    #[arg(long, global = true)]
    quick: bool,
    /// Print JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Area {
    /// Hits of the in-process tier and of cached functions.
    L1,
    /// Reads of the shared tier on a real Redis server: hits, misses and batches.
    L2,
    /// Many callers of one missing key, in one process and in four.
    Stampede,
    /// How long other nodes serve what one has invalidated.
    Coherence,
    /// What callers notice while Redis is away, and how soon it is used again.
    Outage,
    /// Cached HTTP responses, in process and over loopback.
    Http,
    /// Whether bounds hold under a flood.
    Memory,
    /// What a metrics recorder and scrapes cost beside hits of the in-process tier.
    Overhead,
    /// What live callers notice while two nodes warm ten thousand keys.
    Warming,
    /// Allocations per hit, and bytes on the heap per entry.
    #[cfg(feature = "allocations")]
    Allocations,
    /// What a hundred annotated functions add to a build.
    Compile,
    /// Instructions per hit, counted by valgrind's callgrind.
    Instructions,
    /// The share of lookups that an in-process tier answers, for traces made from a seed.
    HitRatio,
    /// How figures grow with threads, entries, sizes, nodes, tags and shards.
    Scale,
    /// All of them, each in a process of its own.
    All {
        /// Also write `BENCHMARKS.md`, `benchmarks.json` and plots into this folder.
        #[arg(long, value_name = "DIR")]
        report: Option<PathBuf>,
    },
    /// Runs one contender alone, for a profiler.
    #[command(hide = true)]
    Probe {
        /// Its name, as in the tables.
        contender: String,
        /// How many hits.
        hits: u64,
    },
    /// Serves one of the HTTP services.
    #[command(hide = true)]
    Serve {
        /// Its name, as in the tables.
        service: String,
    },
    /// One node of a fleet, told by lines of its input what to do.
    #[command(hide = true)]
    Node {
        /// The URL of the Redis server.
        url: String,
    },
    /// Floods one cache in a process of its own and prints the growth of its memory.
    #[command(hide = true)]
    Flood {
        /// Its name, as in the tables.
        contender: String,
        /// Bytes of each value.
        payload: usize,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let effort = if arguments.quick {
        Effort::QUICK
    } else {
        Effort::FULL
    };
    let mut report = Report::default();
    match arguments.area {
        Area::L1 => {
            l1::measure(effort, &mut report);
            functions::measure(effort, &mut report);
        }
        Area::L2 => l2::measure(effort, &mut report),
        Area::Coherence => coherence::measure(effort, &mut report),
        Area::Outage => outage::measure(effort, &mut report),
        Area::Stampede => stampede::measure(effort, &mut report),
        Area::Http => http::measure(effort, &mut report),
        Area::Memory => memory::measure(effort, &mut report),
        Area::Overhead => overhead::measure(effort, &mut report),
        Area::Warming => warming::measure(effort, &mut report),
        #[cfg(feature = "allocations")]
        Area::Allocations => allocations::measure(&mut report),
        Area::Compile => compile::measure(effort, &mut report),
        Area::Instructions => instructions::measure(&mut report),
        Area::HitRatio => hit_ratio::measure(effort, &mut report),
        Area::Scale => scale::measure(effort, &mut report),
        Area::All { report } => return all::measure(effort, arguments.json, report.as_deref()),
        part => {
            play(part);
            return ExitCode::SUCCESS;
        }
    }
    report.print(arguments.json);
    ExitCode::SUCCESS
}

/// What the program is when it starts itself again.
fn play(part: Area) {
    match part {
        Area::Probe { contender, hits } => instructions::probe(&contender, hits),
        Area::Serve { service } => http::serve(&service),
        Area::Node { url } => node::obey(&url),
        Area::Flood { contender, payload } => memory::flood(&contender, payload),
        _ => unreachable!("every other area is measured"),
    }
}
