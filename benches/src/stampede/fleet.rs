//! The same over processes: every node of a fleet misses one key at the same moment.

use support::RedisServer;

use super::{AREA, Outcome, middle};
use crate::measure::Effort;
use crate::node::{Node, Stampede, machine_nanos};
use crate::report::{Budget, Report, Row};

/// Nodes on one Redis server, each with callers that miss the same key at the same moment.
pub(super) fn measure(effort: Effort, report: &mut Report) {
    let server = RedisServer::start();
    let mut fresh = 0..;
    for (count, case) in [(1, "1 process"), (4, "4 processes")] {
        let mut nodes: Vec<_> = (0..count).map(|_| Node::there(&server.url())).collect();
        let outcomes: Vec<_> = fresh
            .by_ref()
            .take(effort.slow_rounds)
            .map(|n| stampede_of_all(&mut nodes, n))
            .collect();
        let outcome = middle(&outcomes);
        let case = format!("{case} of {PER_PROCESS} callers, on Redis");
        for (what, unit, ours, most) in [
            ("loads", "loads", outcome.loads, 1.0),
            ("last answer", "ms", outcome.millis, 115.0),
            ("without the right answer", "callers", outcome.wrong, 0.0),
        ] {
            let row = Row::new(AREA, format!("{case}: {what}"), ours, unit);
            report.add(row.budget(Budget::AtMost(most)));
        }
    }
}

fn stampede_of_all(nodes: &mut [Node], n: u64) -> Outcome {
    // So that every node has heard of it when it begins.
    let at = machine_nanos() + 100_000_000;
    for node in &mut *nodes {
        node.stampede(n, PER_PROCESS, at);
    }
    let mut all = Outcome {
        loads: 0.0,
        millis: 0.0,
        wrong: 0.0,
    };
    for node in nodes {
        let Stampede { loads, ended, wrong } = node.stampeded();
        all.loads += loads as f64;
        all.wrong += wrong as f64;
        all.millis = all.millis.max(ended.saturating_sub(at) as f64 / 1e6);
    }
    all
}

/// As many as a thousand callers, spread over four processes.
const PER_PROCESS: usize = 250;
