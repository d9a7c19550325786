//! `BENCHMARKS.md` and its plots: every figure beside its peer and its budget, and what it was measured with.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::{fs, io};

use crate::all::Measured;
use crate::law::Law;
use crate::measure::Effort;
use crate::plot;
use crate::report::{Row, number};

/// What is written.
pub(crate) struct Page<'a> {
    effort: Effort,
    measured: &'a [Measured],
}

impl<'a> Page<'a> {
    pub(crate) fn new(effort: Effort, measured: &'a [Measured]) -> Self {
        Self { effort, measured }
    }

    /// Writes the page, `benchmarks.json` and the plots.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        let plots = folder.join("plots");
        fs::create_dir_all(&plots)?;
        let mut text = self.head();
        for measured in self.measured {
            let _ = writeln!(text, "\n## {}\n", measured.area);
            let Some(rows) = &measured.rows else {
                let _ = writeln!(text, "**Not measured: the area failed.**");
                continue;
            };
            text += &table(rows);
            for (name, svg) in pictures(measured.area, rows, &mut text) {
                fs::write(plots.join(name), svg)?;
            }
        }
        fs::write(folder.join("BENCHMARKS.md"), text)?;
        let rows: Vec<&Row> = self.rows().collect();
        fs::write(
            folder.join("benchmarks.json"),
            serde_json::to_string_pretty(&rows)? + "\n",
        )
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.measured
            .iter()
            .filter_map(|measured| measured.rows.as_ref())
            .flatten()
    }

    fn head(&self) -> String {
        let quick = if self.effort.is_quick() { " --quick" } else { "" };
        let took: u64 = self.measured.iter().map(|measured| measured.took.as_secs()).sum();
        let with_budget = || self.rows().filter_map(|row| Some((row, row.budget?)));
        let missed: Vec<_> = with_budget()
            .map(|(row, budget)| (row, budget.verdict(row)))
            .filter(|(_, verdict)| verdict != "met")
            .collect();
        let mut text = format!(
            "# Benchmarks\n\n\
             Written by `cargo run --release -p benches -- all{quick} --report DIR` in {} min. What is measured and how is told in \
             `benches/README.md`; the figures are also in `benchmarks.json`.\n\n\
             * Machine: {}\n* Load over one, five and fifteen minutes at the end: {}. {}\n* With: {}\n* Peers: {}\n\n\
             Budgets are ratios to a peer (×) or figures. {} of {} are met.\n",
            took.div_ceil(60),
            machine(),
            load(),
            "Wall times on a busy machine are upper bounds; ratios are of interleaved rounds.",
            tools(),
            peers(),
            with_budget().count() - missed.len(),
            with_budget().count(),
        );
        if !self
            .measured
            .iter()
            .any(|measured| measured.area == "allocations")
        {
            text += "\nAllocations are counted by a build of their own: `cargo run --release -p benches --features allocations -- allocations`.\n";
        }
        if !missed.is_empty() {
            text += "\nMissed:\n\n| area | case | figure | against | ratio | budget | |\n|---|---|---:|---|---:|---|---|\n";
        }
        for (row, verdict) in missed {
            let _ = writeln!(
                text,
                "| {} | {} | {} {} | {} | {} | {} | {verdict} |",
                row.area,
                row.case,
                number(row.ours),
                row.unit,
                row.peer_name.as_deref().unwrap_or_default(),
                row.ratio.map(number).unwrap_or_default(),
                row.budget.map(|budget| budget.to_string()).unwrap_or_default()
            );
        }
        text
    }
}

fn table(rows: &[Row]) -> String {
    let mut text = "| case | ours | peer | | unit | ratio | spread | budget | |\n|---|---:|---:|---|---|---:|---:|---|---|\n".to_owned();
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.case,
            number(row.ours),
            row.peer.map(number).unwrap_or_default(),
            row.peer_name.as_deref().unwrap_or_default(),
            row.unit,
            row.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            row.spread
                .map(|spread| format!("{:.0} %", spread * 100.0))
                .unwrap_or_default(),
            row.budget.map(|budget| budget.to_string()).unwrap_or_default(),
            row.budget.map(|budget| budget.verdict(row)).unwrap_or_default()
        );
    }
    text
}

/// The plots of an area; the page gets their places, and the laws.
fn pictures(area: &str, rows: &[Row], page: &mut String) -> Vec<(String, String)> {
    let mut pictures = Vec::new();
    let compared: Vec<&Row> = rows.iter().filter(|row| row.ratio.is_some()).collect();
    if compared.len() > 1 && compared.len() <= MOST_BARS {
        let name = format!("{area}.svg");
        let _ = writeln!(page, "\n![{area}: ours / peer](plots/{name})");
        pictures.push((name, plot::ratios(area, &compared)));
    }
    let series: BTreeSet<(&str, &str)> = rows
        .iter()
        .filter_map(|row| row.point.as_ref())
        .map(|point| (point.series.as_str(), point.by.as_str()))
        .collect();
    if !series.is_empty() {
        *page += "\n| series | by | law | mean error |\n|---|---|---|---:|\n";
    }
    let mut links = String::new();
    for (series, by) in series {
        let of_series = |row: &&Row| {
            row.point
                .as_ref()
                .is_some_and(|point| point.series == series && point.by == by)
        };
        let members: Vec<&Row> = rows.iter().filter(of_series).collect();
        let points: Vec<(f64, f64)> = members
            .iter()
            .filter_map(|row| Some((row.point.as_ref()?.at, row.ours)))
            .collect();
        let unit = members.first().map_or("", |row| row.unit.as_str());
        let law = Law::of(&points);
        let _ = writeln!(
            page,
            "| {series}, {unit} | {by} | {law} | {:.0} % |",
            law.error(&points) * 100.0
        );
        let name: String = format!("{area}-{series}-{by}.svg")
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '.' {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .collect();
        let _ = writeln!(links, "\n![{series} by {by}](plots/{name})");
        pictures.push((name, plot::series(series, by, unit, &points, law)));
    }
    *page += &links;
    pictures
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<f64>()
                .ok()
        })
        .map_or("unknown memory".to_owned(), |kib| {
            format!("{:.0} GiB", kib / f64::from(1 << 20))
        });
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!(
        "{processors} processors ({model}), {memory}, {}",
        said(&["uname", "-sr"])
    )
}

fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(", ")
}

fn tools() -> String {
    let redis = said(&["redis-server", "--version"]);
    let redis = redis
        .split(' ')
        .find_map(|word| word.strip_prefix("v="))
        .unwrap_or("unknown");
    format!("{}, redis-server {redis}", said(&["rustc", "--version"]))
}

fn said(command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).output();
    output.map_or_else(
        |_| format!("{} is not installed", command[0]),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// Versions from the workspace's lock file.
fn peers() -> String {
    const LOCK: &str = include_str!("../../Cargo.lock");
    let version = |name: &str| {
        let entry = format!("name = \"{name}\"\nversion = \"");
        let versions: Vec<&str> = LOCK
            .split(entry.as_str())
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        versions.last().map(|version| format!("{name} {version}"))
    };
    PEERS
        .iter()
        .filter_map(|name| version(name))
        .collect::<Vec<_>>()
        .join(", ")
}

const PEERS: &[&str] = &[
    "moka",
    "quick_cache",
    "foyer-memory",
    "cached",
    "redis",
    "fred",
    "axum-response-cache",
    "tower-http-cache",
];
const MOST_BARS: usize = 60;
