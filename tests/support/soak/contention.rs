//! S10: one lock, and many who want it, some of which are frozen or killed with it.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use cache_core::time::seconds;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Findings, Run, Tally};
use crate::children::Child;
use crate::clock::Stopwatch;
use crate::redis::RedisServer;
use crate::wait::wait_until_blocking;

pub(super) async fn run(run: &Run, _: &Arc<Tally>) -> Findings {
    // Talks to processes and waits for them all the time.
    tokio::task::block_in_place(|| contend(run))
}

fn contend(run: &Run) -> Findings {
    let redis = RedisServer::start();
    let mut nodes: Vec<Child> = (0..4).map(|_| start(run, &redis)).collect();
    let mut rng = SmallRng::seed_from_u64(run.seed);
    let began = Stopwatch::start();
    let (mut longest, mut endless, mut freezes) = (0, 0, 0);
    let mut lines = Vec::new();
    while began.elapsed() < run.length || freezes == 0 {
        // The first is never killed: whoever is, it goes on.
        let (victim, looks, kill) = (
            rng.random_range(0..4),
            rng.random_range(1..8),
            rng.random_range(0..4) == 0,
        );
        nodes[victim].freeze();
        freezes += 1;
        for _ in 0..looks {
            std::thread::sleep(Duration::from_millis(100));
            let left = redis.command(&["PTTL", "{fleet:prize}:x"]).integer().unwrap();
            longest = longest.max(left);
            endless += u64::from(left == -1);
        }
        if kill && victim != 0 {
            run.journal
                .note(format_args!("process {} is killed", nodes[victim].pid()));
            nodes[victim].kill();
            lines.extend(nodes[victim].output());
            nodes[victim] = start(run, &redis);
        } else {
            nodes[victim].thaw();
        }
    }
    let before = nodes[0].output().len();
    wait_until_blocking(seconds(30), "the survivors go on", || {
        nodes[0].output().len() > before + 10
    });
    lines.extend(nodes.iter().flat_map(Child::output));
    let mut findings = Findings::default();
    judge(run, &lines, &mut findings);
    findings.count("freezes", freezes);
    findings.never("looks at a lock without an end", endless);
    findings.at_most("the longest life of a lock", longest as f64, LIFE as f64, "ms");
    findings
}

fn judge(run: &Run, lines: &[String], findings: &mut Findings) {
    let with =
        |start: &str| -> Vec<&str> { lines.iter().filter_map(|line| line.strip_prefix(start)).collect() };
    let held = with("held ");
    // A freeze may take most of the time; the lock must go round all the same.
    let least = run.length.as_secs_f64() * 10.0 / f64::from(run.patience);
    let distinct: BTreeSet<_> = held.iter().collect();
    findings.at_least("times that the lock was held", held.len() as f64, least, "");
    findings.never(
        "numbers that were given twice",
        (held.len() - distinct.len()) as u64,
    );
    findings.never(
        "times that somebody else wrote while the lock was held",
        with("stolen ").len() as u64,
    );
    findings.count("late writes, which were noticed", with("late ").len() as u64);
}

fn start(run: &Run, redis: &RedisServer) -> Child {
    let child = Child::spawn(Command::new(&run.program).args(["node", &redis.url(), "10000"]));
    child.send("ready");
    child.next_line_with("ready", seconds(20));
    child.send(&format!("contend prize 16 {LIFE}"));
    child
}

const LIFE: i64 = 400;
