//! Nodes in processes of their own: they share a load, die with it, and are frozen over it.

use support::resp::Value;
use support::{Child, Children};

use super::*;

const SOON: Duration = Duration::from_secs(10);

fn start(redis: &RedisServer, count: usize, lock_ttl: Duration) -> Children {
    let nodes = Children::spawn(env!("CARGO_BIN_EXE_soak"), count, |_, command| {
        command
            .args(["node", &redis.url()])
            .arg(lock_ttl.as_millis().to_string());
    });
    nodes.send("ready");
    for node in nodes.iter() {
        node.next_line_with("ready", SOON);
    }
    nodes
}

/// How often each node's loader has run.
fn loads(nodes: &Children) -> Vec<usize> {
    let count = |node: &Child| {
        node.output()
            .iter()
            .filter(|line| line.starts_with("loading"))
            .count()
    };
    nodes.iter().map(count).collect()
}

/// The values that all callers of an order got, and how long it took.
fn loaded(node: &Child) -> (String, u64) {
    let line = node.next_line_with("loaded ", SOON);
    let (values, took) = line.split_once(" took ").unwrap();
    let values = values.splitn(3, ' ').nth(2).unwrap();
    (values.to_owned(), took.parse().unwrap())
}

fn got(node: &Child) -> String {
    node.send("get hot");
    let line = node.next_line_with("got ", SOON);
    line.rsplit(' ').next().unwrap().to_owned()
}

/// B1.2
#[test]
fn four_processes_with_a_thousand_callers_load_once() {
    let redis = RedisServer::start();
    let nodes = start(&redis, 4, seconds(10));
    for node in nodes.iter() {
        // Scripts are loaded and connections made: what is measured is the stampede.
        node.send("load warm 1 0 0");
        loaded(node);
    }
    let before: usize = loads(&nodes).iter().sum();
    nodes.send("load hot 250 100 7");
    let results: Vec<_> = nodes.iter().map(loaded).collect();
    println!("{results:?}");
    assert!(results.iter().all(|(values, _)| values == "{7}"), "{results:?}");
    let after: usize = loads(&nodes).iter().sum();
    assert_eq!(after - before, 1, "{:?}", loads(&nodes));
    let slowest = results.iter().map(|(_, took)| *took).max().unwrap();
    assert!(slowest < 400, "{results:?}");
}

/// B8.10
#[test]
fn a_killed_holder_is_followed_by_exactly_one_load() {
    let redis = RedisServer::start();
    let nodes = start(&redis, 3, seconds(2));
    nodes[0].send("load hot 10 60000 1");
    nodes[0].next_line_with("loading hot", SOON);
    for node in &nodes[1..] {
        node.send("load hot 100 100 2");
    }
    nodes[0].kill();
    let results: Vec<_> = nodes[1..].iter().map(loaded).collect();
    println!("{results:?}");
    assert!(results.iter().all(|(values, _)| values == "{2}"), "{results:?}");
    assert_eq!(loads(&nodes)[1..].iter().sum::<usize>(), 1, "{:?}", loads(&nodes));
    // The lock's life, and what a poll and a load take.
    let slowest = results.iter().map(|(_, took)| *took).max().unwrap();
    assert!(slowest < 3_500, "{results:?}");
}

/// B8.11
#[test]
fn a_slow_holder_that_lives_keeps_its_lock() {
    let redis = RedisServer::start();
    let nodes = start(&redis, 2, Duration::from_millis(600));
    nodes[0].send("load hot 1 2500 1");
    nodes[0].next_line_with("loading hot", SOON);
    nodes[1].send("load hot 20 10 2");
    assert_eq!(
        (loaded(&nodes[0]).0, loaded(&nodes[1]).0),
        ("{1}".into(), "{1}".into())
    );
    assert_eq!(loads(&nodes), [1, 0]);
}

/// B8.12
#[test]
fn a_holder_frozen_beyond_its_lock_stores_nothing_when_it_wakes() {
    let redis = RedisServer::start();
    let nodes = start(&redis, 3, Duration::from_millis(600));
    nodes[0].send("load hot 1 500 1");
    nodes[0].next_line_with("loading hot", SOON);
    nodes[0].freeze();
    // Its lock ends, and another node loads.
    nodes[1].send("load hot 10 10 2");
    assert_eq!(loaded(&nodes[1]).0, "{2}");
    nodes[0].thaw();
    assert_eq!(loaded(&nodes[0]).0, "{1}", "its own caller gets what it loaded");
    for node in nodes.iter() {
        wait_for(node, "2");
    }
}

/// B9.2
#[test]
fn a_holder_frozen_over_an_invalidation_stores_nothing_when_it_wakes() {
    let redis = RedisServer::start();
    let nodes = start(&redis, 2, Duration::from_millis(600));
    nodes[0].send("load hot 1 300 1");
    nodes[0].next_line_with("loading hot", SOON);
    nodes[0].freeze();
    nodes[1].send("remove hot");
    assert_eq!(nodes[1].next_line_with("removed ", SOON), "removed hot ok");
    nodes[0].thaw();
    assert_eq!(loaded(&nodes[0]).0, "{1}");
    wait_for(&nodes[0], "none");
    assert_eq!(got(&nodes[1]), "none");
}

/// B8.2, B8.4
#[test]
fn a_holder_frozen_beyond_its_lock_gives_nobody_elses_lock_back() {
    let redis = RedisServer::start();
    let nodes = start(&redis, 3, Duration::from_millis(600));
    nodes[0].send("load hot 1 300 1");
    nodes[0].next_line_with("loading hot", SOON);
    nodes[0].freeze();
    nodes[1].send("load hot 1 1500 2");
    nodes[1].next_line_with("loading hot", SOON);
    let holder = redis.command(&["GET", "{fleet:item:hot}:l"]).text();
    nodes[0].thaw();
    assert_eq!(loaded(&nodes[0]).0, "{1}");
    // The late one has had its say, and the lock is still the other's.
    assert_eq!(redis.command(&["GET", "{fleet:item:hot}:l"]).text(), holder);
    nodes[2].send("load hot 10 10 3");
    assert_eq!(
        (loaded(&nodes[1]).0, loaded(&nodes[2]).0),
        ("{2}".into(), "{2}".into())
    );
    assert_eq!(loads(&nodes), [1, 1, 0]);
}

/// B17.1: during a deploy a build and the next one, whose envelopes and notices have other formats.
#[test]
fn builds_of_neighbouring_formats_work_side_by_side() {
    let redis = RedisServer::start();
    let nodes = Children::spawn(env!("CARGO_BIN_EXE_soak"), 2, |node, command| {
        command.args(["node", &redis.url()]);
        if node == 1 {
            command.env("NEXT_BUILD", "1");
        }
    });
    nodes.send("ready");
    for node in nodes.iter() {
        node.next_line_with("ready", SOON);
    }
    let (old, next) = (&nodes[0], &nodes[1]);
    let load = |node: &Child, order: &str| {
        node.send(order);
        loaded(node).0
    };
    let get = |node: &Child, name: &str| {
        node.send(&format!("get {name}"));
        let line = node.next_line_with(&format!("got {name} "), SOON);
        line.rsplit(' ').next().unwrap().to_owned()
    };
    let bytes = |name: &str| match redis.command(&["GETRANGE", &format!("fleet:item:{name}"), "4", "21"]) {
        Value::Bulk(bytes) => bytes,
        other => panic!("{other:?}"),
    };
    let format = |name: &str| *bytes(name).last().unwrap();

    // The next build reads what is there, and writes in its own way.
    assert_eq!(load(old, "load hot 1 0 1"), "{1}");
    assert_eq!((get(next, "hot"), format("hot")), ("1".into(), 1));
    assert_eq!(load(next, "load new 1 0 2"), "{2}");
    assert_eq!(format("new"), 2);

    // What the earlier one cannot read is a miss to it; its load overwrites nothing, and the builds do not take turns.
    let stored = bytes("new");
    assert_eq!(get(old, "new"), "none");
    assert_eq!(load(old, "load new 1 0 3"), "{3}");
    assert_eq!(bytes("new"), stored);
    assert_eq!(get(next, "new"), "2");

    // They keep each other from loading together.
    old.send("load both 1 500 5");
    old.next_line_with("loading both", SOON);
    assert_eq!(load(next, "load both 20 0 6"), "{5}");
    assert_eq!(loaded(old).0, "{5}");
    next.send("load others 1 500 7");
    next.next_line_with("loading others", SOON);
    assert_eq!(
        load(old, "load others 20 0 8"),
        "{8}",
        "once, after it has waited"
    );
    assert_eq!((loaded(next).0, get(next, "others")), ("{7}".into(), "7".into()));

    // Explicit changes are everybody's: a notice that is not understood is a gap.
    for (writer, reader, name) in [(next, old, "hot"), (old, next, "new"), (next, old, "both")] {
        assert_ne!(get(reader, name), "none", "{name}");
        writer.send(&format!("remove {name}"));
        assert_eq!(
            writer.next_line_with("removed ", SOON),
            format!("removed {name} ok")
        );
        wait_until_blocking(seconds(5), "the other build hears it", || {
            get(reader, name) == "none"
        });
    }
}

/// What a process that was just thawed reads may be from before it heard what it had missed.
fn wait_for(node: &Child, expected: &str) {
    wait_until_blocking(seconds(5), expected, || got(node) == expected);
    assert_eq!(got(node), expected);
}
