//! How long after an invalidation has returned on one node the others still serve the old value from memory.
//!
//! Every other node holds the entry in memory, and a thread of its own looks every tenth of a millisecond whether it is
//! still there. A round's figure is that of the slowest node. It may well be zero: a node can hear of the invalidation
//! before the one that made it has its own answer.

use std::sync::Arc;

use support::RedisServer;
use tokio::runtime::Runtime;

use crate::measure::{Effort, Percentiles, multi_threaded};
use crate::node::{Here, Node, key, machine_nanos, tag};
use crate::report::{Budget, Report, Row};

const AREA: &str = "coherence";

pub(crate) fn measure(effort: Effort, report: &mut Report) {
    let server = RedisServer::start();
    let runtime = Arc::new(multi_threaded());
    let mut fresh = 0..;
    for (place, others) in [
        ("in one process", Place::Here),
        ("in processes of their own", Place::There),
    ] {
        for count in [2, 4, 8] {
            let mut fleet = Fleet::start(&server, &runtime, others, count);
            for (what, by) in [("key", By::Key), ("tag", By::Tag)] {
                let rounds = effort.slow_rounds * ROUNDS_PER_SLOW;
                let mut delays = Percentiles::default();
                for n in fresh.by_ref().take(rounds) {
                    delays.add(fleet.delay(n, by) as f64 / 1e6);
                }
                let case = format!("invalidation by {what}, {count} nodes {place}");
                for (share, value) in delays.of_all() {
                    let budget = (share == "p99").then_some(Budget::AtMost(5.0));
                    report.add(Row::new(AREA, format!("{case}: {share}"), value, "ms").budget(budget));
                }
            }
        }
    }
}

/// Nanoseconds until the slowest node of one process has heard an invalidation by key; for each number of nodes.
pub(crate) fn delays(server: &RedisServer, counts: &[usize], rounds: usize) -> Vec<(usize, Vec<u64>)> {
    let runtime = Arc::new(multi_threaded());
    let mut fresh = 1 << 32..;
    let measured = counts.iter().map(|&count| {
        let mut fleet = Fleet::start(server, &runtime, Place::Here, count);
        let delays = fresh.by_ref().take(rounds).map(|n| fleet.delay(n, By::Key));
        (count, delays.collect())
    });
    measured.collect()
}

#[derive(Clone, Copy)]
enum Place {
    Here,
    There,
}

#[derive(Clone, Copy)]
enum By {
    Key,
    Tag,
}

/// The node that invalidates, and those that are to hear of it.
struct Fleet {
    runtime: Arc<Runtime>,
    first: Here,
    others: Vec<Node>,
}

impl Fleet {
    fn start(server: &RedisServer, runtime: &Arc<Runtime>, place: Place, count: usize) -> Self {
        let url = server.url();
        let other = |_| match place {
            Place::Here => Node::here(&url, runtime),
            Place::There => Node::there(&url),
        };
        Self {
            runtime: runtime.clone(),
            first: Here::new(&url, runtime.clone()),
            others: (1..count).map(other).collect(),
        }
    }

    /// Nanoseconds from the return of the invalidation to the first miss of the slowest other node.
    fn delay(&mut self, n: u64, by: By) -> u64 {
        for node in &mut self.others {
            node.hold(n);
        }
        let cache = &self.first.cache;
        let invalidated = self.runtime.block_on(async {
            match by {
                By::Key => cache.remove(&key(n)).await,
                By::Tag => cache.invalidate_tag(tag(n)).await,
            }
        });
        let returned = machine_nanos();
        assert!(invalidated.is_ok(), "the server runs: {invalidated:?}");
        let missed = self.others.iter_mut().map(Node::missed).max();
        missed.map_or(0, |missed| missed.saturating_sub(returned))
    }
}

const ROUNDS_PER_SLOW: usize = 100;
