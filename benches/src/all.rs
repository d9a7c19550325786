//! All areas one after another, each in a process of its own: none inherits another's memory, and one that fails does not
//! take the others' results with it.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use crate::measure::{Effort, now};
use crate::page::Page;
use crate::report::{Report, Row};

/// What is measured, and in which order: the short ones first.
const AREAS: &[&str] = &[
    "l1",
    "hit-ratio",
    "memory",
    "l2",
    "stampede",
    "coherence",
    "outage",
    "overhead",
    "warming",
    "scale",
    "http",
    "compile",
    "instructions",
    #[cfg(feature = "allocations")]
    "allocations",
];

/// One area, and how long it took; without rows it failed.
pub(crate) struct Measured {
    pub(crate) area: &'static str,
    pub(crate) took: Duration,
    pub(crate) rows: Option<Vec<Row>>,
}

/// Measures everything, prints it, and writes a page if that is wanted. Fails if an area did.
pub(crate) fn measure(effort: Effort, json: bool, folder: Option<&Path>) -> ExitCode {
    let start = now();
    let mut measured = Vec::new();
    for (area, number) in AREAS.iter().zip(1..) {
        eprintln!(
            "== {area} ({number} of {}), after {} s",
            AREAS.len(),
            start.elapsed().as_secs()
        );
        let began = now();
        let rows = alone(area, effort);
        let took = began.elapsed();
        match &rows {
            Some(rows) => eprintln!("   {} figures in {} s", rows.len(), took.as_secs()),
            None => eprintln!("   FAILED, see above; again: benches {area}"),
        }
        measured.push(Measured { area, took, rows });
        // After each, so that an interrupted run leaves what it knows.
        if let Some(folder) = folder
            && let Err(error) = Page::new(effort, &measured).write(folder)
        {
            eprintln!("{}: {error}", folder.display());
            return ExitCode::FAILURE;
        }
    }
    let whole = measured.iter().all(|measured| measured.rows.is_some());
    let mut report = Report::default();
    report.extend(
        measured
            .into_iter()
            .filter_map(|measured| measured.rows)
            .flatten()
            .collect(),
    );
    report.print(json);
    if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn alone(area: &str, effort: Effort) -> Option<Vec<Row>> {
    let program = std::env::current_exe().expect("the program knows where it is");
    let mut command = Command::new(program);
    command.args([area, "--json"]).stdout(Stdio::piped());
    if effort.is_quick() {
        command.arg("--quick");
    }
    let done = command
        .stderr(Stdio::inherit())
        .output()
        .expect("the program can be started again");
    serde_json::from_slice(&done.stdout)
        .ok()
        .filter(|_| done.status.success())
}
