//! Lets the scenarios run for as long as one wants, and reports what came out.
//!
//! ```text
//! cargo run --release -p tests --bin soak                                      all scenarios, one minute each
//! cargo run --release -p tests --bin soak -- --minutes 60 --scenario S1        one scenario for an hour
//! cargo run --release -p tests --bin soak -- --scenario S3 --seed 7            the same faults in the same order
//! ```
//!
//! The minutes are those of the whole run; the scenarios share them equally. Each runs in a process of its own, so that
//! none inherits another's memory, and one that panics fails alone. What is left to chance follows from the seed, which
//! every report names; how the machine interleaves tasks does not.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use support::soak::{Findings, Journal, Lateness, Run, Scenario, node, shop};

/// Lets the toolkit run under faults and crowds, for minutes or hours.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    wish: Wish,
}

#[derive(Args)]
struct Wish {
    /// How long the whole run takes; the scenarios share it equally. One minute for each, unless told.
    #[arg(long)]
    minutes: Option<f64>,
    /// Only these, as often as wanted: S1 to S10.
    #[arg(long)]
    scenario: Vec<Scenario>,
    /// What is left to chance follows from it. Another one each time, unless told.
    #[arg(long)]
    seed: Option<u64>,
    /// Where `soak.json` and `soak.md` are written.
    #[arg(long, default_value = "target/soak")]
    report: PathBuf,
}

/// What the program is when it starts itself again.
#[derive(Subcommand)]
enum Part {
    /// One scenario; prints its findings.
    #[command(hide = true)]
    One {
        scenario: Scenario,
        seed: u64,
        seconds: f64,
    },
    /// A node that carries out orders.
    #[command(hide = true)]
    Node { url: String, lock_ttl: Option<u64> },
    /// An HTTP service.
    #[command(hide = true)]
    Shop { url: String },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.part {
        None => all(&arguments.wish),
        Some(part) => {
            let runtime = tokio::runtime::Runtime::new().expect("the machine has what a runtime needs");
            runtime.block_on(play(part));
            ExitCode::SUCCESS
        }
    }
}

async fn play(part: Part) {
    match part {
        Part::Node { url, lock_ttl } => node::obey_orders(&url, lock_ttl.map(Duration::from_millis)).await,
        Part::Shop { url } => shop::serve(&url).await,
        Part::One {
            scenario,
            seed,
            seconds,
        } => {
            let run = Run {
                seed,
                length: Duration::from_secs_f64(seconds),
                patience: 1,
                program: myself(),
                journal: Arc::new(Journal::loud()),
                lateness: Arc::new(Lateness::default()),
            };
            let findings = run.run(scenario).await;
            let json = serde_json::to_string(&findings).expect("findings are numbers and texts");
            println!("{FINDINGS}{json}");
        }
    }
}

fn all(wish: &Wish) -> ExitCode {
    let scenarios = match wish.scenario.as_slice() {
        [] => Scenario::ALL.to_vec(),
        some => some.to_vec(),
    };
    let minutes = wish.minutes.unwrap_or(scenarios.len() as f64);
    let seed = wish.seed.unwrap_or_else(|| u64::from(rand::random::<u16>()));
    let seconds = minutes * 60.0 / scenarios.len() as f64;
    if !(seconds.is_finite() && seconds > 0.0) {
        eprintln!("--minutes must be a number above zero");
        return ExitCode::FAILURE;
    }
    let mut findings = Vec::new();
    for scenario in scenarios {
        eprintln!(
            "\n== {}: {} ({seconds:.0} s, seed {seed})",
            scenario.name(),
            scenario.title()
        );
        let found = one(scenario, seed, seconds);
        eprintln!(
            "{}: {}",
            scenario.name(),
            if found.hold() { "passed" } else { "FAILED" }
        );
        if !found.hold() {
            eprintln!(
                "{found}\nagain: soak --scenario {} --seed {seed} --minutes {:.2}",
                scenario.name(),
                seconds / 60.0
            );
        }
        findings.push(found);
        // After each, so that an interrupted run leaves what it knows.
        if let Err(error) = write(&wish.report, minutes, &findings) {
            eprintln!("{}: {error}", wish.report.display());
            return ExitCode::FAILURE;
        }
    }
    eprintln!("\n{}", wish.report.join("soak.md").display());
    match findings.iter().all(Findings::hold) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Runs a scenario in a process of its own. If that panics, this is what was found.
fn one(scenario: Scenario, seed: u64, seconds: f64) -> Findings {
    let mut child = Command::new(myself())
        .args(["one", scenario.name(), &seed.to_string(), &seconds.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program can be started again");
    let mut printed = String::new();
    let mut output = child.stdout.take().expect("it was asked for");
    let read = output.read_to_string(&mut printed);
    let ended = child.wait();
    let found = printed
        .lines()
        .find_map(|line| serde_json::from_str(line.strip_prefix(FINDINGS)?).ok());
    found.unwrap_or_else(|| {
        let mut findings = Findings {
            scenario: scenario.name().to_owned(),
            title: scenario.title().to_owned(),
            seed,
            events: printed.lines().map(str::to_owned).collect(),
            ..Findings::default()
        };
        findings.never(
            format!("the scenario ended early ({ended:?}, {read:?}), see above"),
            1,
        );
        findings
    })
}

fn write(folder: &Path, minutes: f64, findings: &[Findings]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let json = serde_json::to_string_pretty(findings)?;
    std::fs::write(folder.join("soak.json"), json + "\n")?;
    let mut page = std::fs::File::create(folder.join("soak.md"))?;
    let names: Vec<&str> = findings.iter().map(|found| found.scenario.as_str()).collect();
    let scenarios: String = names.iter().map(|name| format!(" --scenario {name}")).collect();
    let seed = findings.first().map_or(0, |found| found.seed);
    writeln!(
        page,
        "# What was found under faults and crowds\n\n\
         `cargo run --release -p tests --bin soak -- --minutes {minutes}{scenarios} --seed {seed}`: {minutes} minutes in all,\n\
         shared equally by the scenarios. {}\n\n\
         Times are in milliseconds. Percentiles are rounded up by an eighth at most. A busy machine is late by itself: by how\n\
         much is measured beside each scenario, and added to the bounds of recoveries (the most) and of percentiles (the same).\n",
        machine(),
    )?;
    for found in findings {
        writeln!(page, "{found}")?;
    }
    Ok(())
}

/// The machine, as far as the figures depend on it.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unknown processor", |(_, name)| name);
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = read("/proc/loadavg");
    let load = load.split(' ').nth(2).unwrap_or("unknown").to_owned();
    format!("Measured on {processors} processors ({model}), with a load of {load} over the last 15 minutes.")
}

fn myself() -> PathBuf {
    std::env::current_exe().expect("the program knows where it is")
}

/// How the line with the findings begins.
const FINDINGS: &str = "findings ";
