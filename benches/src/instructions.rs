//! Instructions per hit: a number that hardly depends on what else the machine does.
//!
//! Each contender runs twice under valgrind, in a process of its own, with different numbers of hits; the difference
//! belongs to the hits.

#[path = "../../cache-tower/benches/callgrind/mod.rs"]
mod callgrind;

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
    callgrind::per_operation(name, 10_000, 210_000)
}
