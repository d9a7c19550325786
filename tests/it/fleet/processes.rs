//! Nodes in processes of their own: they share a load, die with it, are frozen over it, and run out of files.

use std::process::Command;

use support::resp::Value;
use support::{Child, Children, Stopwatch};

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

/// A killed writer leaves what it wrote before, or all of what it was writing: with its tags, and with an end.
#[test]
fn a_writer_that_is_killed_leaves_whole_entries_or_none() {
    const LENGTH: usize = 50_000;
    let redis = RedisServer::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _within = runtime.enter();
    let (mut interrupted, mut written) = (0, 0);
    for round in 0..KILLED_ROUNDS {
        let nodes = start(&redis, 4, seconds(10));
        let name = |at: usize| format!("item-{round}-{at}");
        for (at, node) in nodes.iter().enumerate() {
            node.send(&format!("fill {} {LENGTH}", name(at)));
        }
        for node in nodes.iter() {
            node.next_line_with("filled", SOON);
        }
        // At another moment of a set in each round.
        std::thread::sleep(Duration::from_micros(700 * round));
        nodes.iter().for_each(Child::kill);
        // A node that has nothing in memory.
        let reader = runtime.block_on(patient_node(&redis));
        let read = |at: usize| {
            let item = CacheKey::build("item", name(at)).unwrap();
            runtime.block_on(reader.get::<Vec<u64>>(&item))
        };
        for (at, node) in nodes.iter().enumerate() {
            let found = read(at).expect("one was acknowledged");
            let output = node.whole_output();
            let last = |word: &str| {
                let line = output.iter().rev().find(|line| line.starts_with(word)).unwrap();
                line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
            };
            let (begun, acknowledged) = (last("filling"), last("filled"));
            let is_whole = found.len() == LENGTH && found.iter().all(|n| *n == found[0]);
            assert!(is_whole, "half of one and half of another");
            assert!(
                (acknowledged..=begun).contains(&found[0]),
                "{acknowledged} was acknowledged, {begun} begun, and {} is there",
                found[0]
            );
            interrupted += u64::from(found[0] > acknowledged);
            written += found[0];
        }
        // Each has its own tag, and the common one.
        for at in 0..nodes.len() {
            let tag = if round % 2 == 0 {
                name(at)
            } else {
                "filled".to_owned()
            };
            runtime
                .block_on(reader.invalidate_tag(tag).into_future())
                .unwrap();
            assert!(read(at).is_none(), "it has its tags");
        }
        assert_eq!(redis.keys_without_ttl(), ["{fleet}:log"]);
    }
    println!("{written} sets, {interrupted} of them stored and not acknowledged");
}

/// A node that a busy machine does not keep from its answers, and that has begun to hear the log: until then it believes
/// nothing that it asked for before.
async fn patient_node(redis: &RedisServer) -> Cache {
    let redis = Redis::from_url(&redis.url())
        .unwrap()
        .operation_timeout(seconds(5));
    let cache = Cache::builder("fleet").redis(redis.unwrap()).build().unwrap();
    hears(&cache).await;
    cache
}

/// How many files a process may open that has to do with few.
const FEW_FILES: u32 = 64;

#[test]
fn a_process_without_file_descriptors_serves_waits_quietly_and_recovers() {
    let redis = RedisServer::start();
    let limited = format!("ulimit -n {FEW_FILES} && exec \"$0\" \"$@\"");
    let child = Child::spawn(Command::new("sh").args([
        "-c",
        &limited,
        env!("CARGO_BIN_EXE_soak"),
        "node",
        &redis.url(),
    ]));
    child.send("ready");
    child.next_line_with("ready", SOON);
    child.send("load hot 1 0 1");
    assert_eq!(loaded(&child).0, "{1}");

    // Its connections are gone first, or it would take over their descriptors.
    redis.kill();
    let mut taken = String::new();
    wait_until_blocking(SOON, "there is no more to take", || {
        // An attempt to connect, which is refused at once, may have had one.
        std::thread::sleep(Duration::from_millis(50));
        child.send("take files");
        let now = child.next_line_with("took ", SOON);
        std::mem::replace(&mut taken, now.clone()) == now
    });
    redis.restart();
    let before = child.processor_time();
    let began = Stopwatch::start();
    for n in 0..20 {
        child.send(&format!("load cold-{n} 10 0 {n}"));
        let (values, took) = loaded(&child);
        assert_eq!(values, format!("{{{n}}}"));
        assert!(took < 1_000, "a load took {took} ms");
    }
    assert_eq!(got(&child), "1", "what is in memory is served");
    child.send("remove hot");
    assert_ne!(child.next_line_with("removed ", SOON), "removed hot ok");
    assert_eq!(got(&child), "none", "it counts here at once");
    // Nobody asks for anything: whoever tries again without a pause shows now.
    std::thread::sleep(seconds(2).saturating_sub(began.elapsed()));
    let busy = child.processor_time() - before;
    println!("{busy:?} of {:?}", began.elapsed());
    assert_eq!(redis.client_connections(), 0);
    assert!(busy < began.elapsed() / 3, "{busy:?} of {:?}", began.elapsed());

    child.send("return files");
    child.next_line_with("returned", SOON);
    let back = Stopwatch::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _within = runtime.enter();
    let witness = node(&redis);
    let item = CacheKey::build("item", "after").unwrap();
    let stored = runtime.block_on(witness.set(&item, 5_u64, hours(1))).unwrap();
    assert_eq!(stored, Stored::Yes);
    wait_until_blocking(seconds(10), "it reads what others wrote", || {
        child.send("get after");
        child.next_line_with("got after ", SOON) == "got after 5"
    });
    println!("back after {:?}", back.elapsed());
    assert!(
        back.elapsed() < Duration::from_millis(2_500),
        "{:?}",
        back.elapsed()
    );
    let hot = CacheKey::build("item", "hot").unwrap();
    wait_until_blocking(seconds(5), "the removal is delivered", || {
        runtime.block_on(witness.get::<u64>(&hot)).is_none()
    });
}

const KILLED_ROUNDS: u64 = 25;
