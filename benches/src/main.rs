//! Comparisons with peers, side by side in one process.
//!
//! ```text
//! cargo run --release -p benches -- l1              hits of the in-process tier and of cached functions
//! cargo run --release -p benches -- stampede        many callers of one missing key
//! cargo run --release -p benches -- memory          whether bounds hold, and what an entry costs
//! cargo run --release -p benches -- instructions    instructions per hit, under valgrind's callgrind
//! ```
//!
//! `--quick` measures less, `--json` prints an array of `{"area","case","ours","peer","peer_name","ratio","unit"}`.
//!
//! Times on a shared machine are noisy. Hits are therefore measured in the processor time of their thread, contenders
//! take turns in short rounds, ratios are formed within a round, and medians over the rounds are shown with their
//! spread. Instruction counts hardly depend on the machine's load at all.

mod functions;
mod instructions;
mod l1;
mod measure;
mod memory;
mod peers;
mod report;
mod stampede;
mod workload;

use std::io::Write;

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
    /// Many callers of one missing key, in memory.
    Stampede,
    /// Whether bounds hold under a flood, and what an entry costs.
    Memory,
    /// Instructions per hit, counted by valgrind's callgrind.
    Instructions,
    /// Runs one contender alone, for a profiler.
    #[command(hide = true)]
    Probe {
        /// Its name, as in the tables.
        contender: String,
        /// How many hits.
        hits: u64,
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

fn main() {
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
        Area::Stampede => stampede::measure(effort, &mut report),
        Area::Memory => memory::measure(effort, &mut report),
        Area::Instructions => instructions::measure(&mut report),
        Area::Probe { contender, hits } => return instructions::probe(&contender, hits),
        Area::Flood { contender, payload } => return memory::flood(&contender, payload),
    }
    // Whoever reads may have read enough.
    let mut out = std::io::stdout();
    if arguments.json {
        let _ = writeln!(out, "{}", report.json());
    } else {
        let _ = write!(out, "{report}");
    }
}
