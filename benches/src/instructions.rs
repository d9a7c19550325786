//! Instructions per hit: a number that hardly depends on what else the machine does.
//!
//! Each contender runs twice under valgrind, in a process of its own, with different numbers of hits; the difference
//! belongs to the hits.

use std::process::Command;

use crate::functions;
use crate::http;
use crate::l1::contender;
use crate::l2;
use crate::peers::{Caches, GET, MOKA, OR_LOAD, QUICK_EXPIRING, TYPED};
use crate::report::{Budget, Report, Row};

const AREA: &str = "instructions";

pub(crate) fn measure(report: &mut Report) {
    let moka = per_hit(MOKA);
    let quick = per_hit(QUICK_EXPIRING);
    for name in [GET, TYPED, OR_LOAD].into_iter().chain(functions::OURS) {
        let ours = per_hit(name);
        for (peer, theirs) in [(MOKA, moka), (QUICK_EXPIRING, quick)] {
            report.add(Row::new(AREA, name, ours, "instructions").against(peer, theirs));
        }
    }
    let bare = per_hit(http::BARE);
    for (name, most) in [(http::INSIDE, 1.25), (http::OUTSIDE, 1.0)] {
        let row = Row::new(
            AREA,
            format!("HTTP hit of 1 KB, {name}"),
            per_hit(name),
            "instructions",
        )
        .against(http::BARE, bare)
        .budget(Budget::RatioAtMost(most));
        report.add(row);
    }
}

/// Runs one contender, and nothing else worth mentioning.
pub(crate) fn probe(name: &str, hits: u64) {
    if functions::OURS.contains(&name) {
        contender(&mut functions::Functions::filled().contenders(), name).run(hits);
    } else if l2::NAMES.contains(&name) {
        l2::probe(name, hits);
    } else if let Some(name) = http::NAMES.iter().find(|known| **known == name) {
        http::probe(name, hits);
    } else {
        contender(&mut Caches::filled().contenders(), name).run(hits);
    }
}

fn per_hit(name: &str) -> f64 {
    // Filling the caches takes a few million instructions more or less, since keys are hashed with random seeds.
    let (few, many) = (10_000, 210_000);
    // Both at once: counting does not mind company.
    let counted = std::thread::scope(|scope| {
        let more = scope.spawn(|| count(name, many));
        let less = count(name, few);
        more.join().expect("valgrind is asked for").saturating_sub(less)
    });
    counted as f64 / (many - few) as f64
}

fn count(name: &str, hits: u64) -> u64 {
    let program = std::env::current_exe().expect("the program knows where it is");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["probe", name, &hits.to_string()])
        .output()
        .unwrap_or_else(|error| panic!("valgrind is needed to count instructions: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    collected
        .and_then(|(_, number)| number.trim().parse().ok())
        .unwrap_or_else(|| panic!("valgrind did not count `{name}`:\n{text}"))
}
