//! Several nodes and one Redis: what one stores the others find, what one invalidates all forget, and of all that miss
//! together one asks the origin.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use cache_tower::policy::HttpCachePolicy;
use cache_tower::{CacheConfig, OutcomeKind, Purge};
use http::{Request, Response, StatusCode};
use support::{Children, RedisServer, hears, wait_until};
use tokio::sync::Semaphore;

use super::world::{World, header_map};

const FRESH: &[&str] = &["cache-control: max-age=60"];
const GROUPED: &[&str] = &["cache-control: max-age=60", "cache-groups: \"g\""];
const VARIES: &[&str] = &["cache-control: max-age=60", "vary: accept"];
const PATIENCE: Duration = Duration::from_secs(10);

/// Nodes behind which one origin counts its calls, and answers when it is let.
struct Fleet {
    redis: RedisServer,
    nodes: Vec<World>,
    calls: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Fleet {
    /// `(status, fields)` is what the origin says; the body is the number of the call.
    fn new(count: usize, config: &CacheConfig, says: (u16, &'static [&'static str])) -> Self {
        let (calls, gate) = (
            Arc::<AtomicUsize>::default(),
            Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        );
        let (counted, waits) = (calls.clone(), gate.clone());
        let origin = move |_: Request<Body>| {
            let (number, waits) = (counted.fetch_add(1, Ordering::SeqCst) + 1, waits.clone());
            async move {
                drop(waits.acquire().await.unwrap());
                let mut response = Response::new(Body::from(number.to_string()));
                *response.status_mut() = StatusCode::from_u16(says.0).unwrap();
                *response.headers_mut() = header_map(says.1.iter().copied());
                response
            }
        };
        let redis = RedisServer::start();
        let node = |_| World::node(&redis, config.clone(), origin.clone());
        let nodes = (0..count).map(node).collect();
        Self {
            redis,
            nodes,
            calls,
            gate,
        }
    }

    /// Waits until each node hears the log: before that it forgets once what it has.
    async fn listening(self) -> Self {
        for node in &self.nodes {
            node.get("/warm-up", &[]).await;
            hears(&node.cache).await;
        }
        self.calls.store(0, Ordering::SeqCst);
        self
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Holds the origin back until its gate is opened again.
    fn close_gate(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    fn open_gate(&self) {
        self.gate.add_permits(1_000_000);
    }
}

fn rfc9111() -> CacheConfig {
    CacheConfig::new(HttpCachePolicy::rfc9111())
}

/// H7.4
#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_stored_another_serves_variants_included() {
    for (fields, asks) in [
        (FRESH, &[&["accept: a"][..], &["accept: b"]][..]),
        (VARIES, &[&["accept: a"][..], &["accept: b"], &[]]),
    ] {
        let fleet = Fleet::new(2, &rfc9111(), (200, fields)).listening().await;
        let [one, two] = &fleet.nodes[..] else {
            unreachable!()
        };
        let mut bodies = Vec::new();
        for ask in asks {
            bodies.push(one.get("/a?b", ask).await.body);
        }
        let calls = fleet.calls();
        assert_eq!(calls, if fields == VARIES { 3 } else { 1 });
        for (ask, body) in asks.iter().zip(&bodies) {
            // Storing for others delays nobody, and may still go on.
            wait_until(PATIENCE, "it is stored", async || {
                let got = two.get("/a?b", ask).await;
                assert_eq!(&got.body, body, "{fields:?} {ask:?}");
                got.outcome.kind == OutcomeKind::Hit && got.headers.contains_key("age")
            })
            .await;
            // Conditions and ranges are answered from what came over Redis too.
            let part = two.get("/a?b", &[ask, &["range: bytes=0-0"][..]].concat()).await;
            assert_eq!((part.status, &part.body), (206, body));
        }
        assert_eq!(fleet.calls(), calls, "{fields:?}");
        assert_eq!(
            fleet.redis.keys_without_ttl().len(),
            1,
            "only the log has no end: {:?}",
            fleet.redis.keys_without_ttl()
        );
    }
}

/// H4.6, H4.4
#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_purges_the_others_forget() {
    let config = CacheConfig {
        tag_fields: vec![http::HeaderName::from_static("surrogate-key")],
        ..rfc9111()
    };
    for how in ["uri", "prefix", "group", "tag", "soft", "post"] {
        let fields: &'static [&'static str] = match how {
            "group" => GROUPED,
            "tag" => &["cache-control: max-age=60", "surrogate-key: t"],
            _ => VARIES,
        };
        let fleet = Fleet::new(2, &config, (200, fields)).listening().await;
        let [one, two] = &fleet.nodes[..] else {
            unreachable!()
        };
        let stored = one.get("/a/b", &[]).await.body;
        assert_eq!(
            two.get("/a/b", &[]).await.body,
            stored,
            "{how}: found by the other node"
        );
        let purge = Purge::new(one.cache.clone());
        match how {
            "uri" => purge.uri("http://h/a/b").await.unwrap(),
            "prefix" => purge.prefix("http://h/a").await.unwrap(),
            "group" => purge.group("http://h", "g").await.unwrap(),
            "tag" => one.cache.invalidate_tag("t").await.unwrap(),
            "soft" => purge.soft().uri("http://h/a/b").await.unwrap(),
            _ => assert_eq!(one.send("POST", "/a/b", &[]).await.status, 200),
        }
        let before = fleet.calls();
        wait_until(PATIENCE, how, async || two.get("/a/b", &[]).await.body != stored).await;
        assert_eq!(
            fleet.calls(),
            before + 1,
            "{how}: loaded once more, by the first who asks"
        );
        assert_eq!(one.get("/a/b", &[]).await.body, (before + 1).to_string(), "{how}");
    }
}

/// H5.1
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients_on_four_nodes_make_one_request() {
    for fields in [FRESH, VARIES] {
        let fleet = Fleet::new(4, &CacheConfig::default(), (200, fields))
            .listening()
            .await;
        fleet.close_gate();
        let clients: Vec<_> = (0..200)
            .map(|n| {
                let node = fleet.nodes[n % 4].clone();
                tokio::spawn(async move { node.get("/", &["accept: a"]).await })
            })
            .collect();
        wait_until(PATIENCE, "the origin is asked", async || fleet.calls() > 0).await;
        fleet.open_gate();
        for client in clients {
            assert_eq!(client.await.unwrap().body, "1");
        }
        assert_eq!(fleet.calls(), 1, "{fields:?}");
        landed(&fleet.nodes).await;
    }
}

async fn landed(nodes: &[World]) {
    wait_until(PATIENCE, "every flight lands", async || {
        nodes.iter().all(|node| node.layer.requests_in_flight() == 0)
    })
    .await;
}

/// H5.2
#[tokio::test(flavor = "multi_thread")]
async fn nodes_tell_one_another_what_cannot_be_shared() {
    let fleet = Fleet::new(4, &rfc9111(), (200, &["cache-control: private"]))
        .listening()
        .await;
    fleet.close_gate();
    let client = |node: &World| {
        let node = node.clone();
        tokio::spawn(async move { node.get("/private", &[]).await })
    };
    let first = client(&fleet.nodes[0]);
    wait_until(PATIENCE, "the origin is asked", async || fleet.calls() == 1).await;
    let others: Vec<_> = fleet.nodes[1..].iter().map(client).collect();
    fleet.open_gate();
    let mut bodies = vec![first.await.unwrap().body];
    for other in others {
        bodies.push(other.await.unwrap().body);
    }
    bodies.sort();
    assert_eq!(bodies, ["1", "2", "3", "4"], "each has its own");
}

/// H5.1: a holder that vanishes keeps the others waiting no longer than they wait for anybody.
#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_does_not_answer_is_not_waited_for_beyond_the_limit() {
    let config = CacheConfig {
        wait_timeout: Duration::from_millis(300),
        ..rfc9111()
    };
    let fleet = Fleet::new(2, &config, (200, FRESH)).listening().await;
    fleet.close_gate();
    let node = fleet.nodes[0].clone();
    let stuck = tokio::spawn(async move { node.get("/", &[]).await });
    wait_until(PATIENCE, "the origin is asked", async || fleet.calls() == 1).await;
    let node = fleet.nodes[1].clone();
    let other = tokio::spawn(async move { node.get("/", &[]).await });
    wait_until(PATIENCE, "the other one goes on", async || fleet.calls() == 2).await;
    fleet.open_gate();
    assert_eq!(
        (stuck.await.unwrap().status, other.await.unwrap().status),
        (200, 200)
    );
}

/// H5.1: real processes.
#[test]
fn four_processes_make_one_request() {
    let redis = RedisServer::start();
    let program = env!("CARGO_BIN_EXE_http-node");
    let nodes = Children::spawn(program, 4, |_, command: &mut Command| {
        command.arg(redis.url());
    });
    nodes.send("ready");
    for node in nodes.iter() {
        assert_eq!(node.next_line(PATIENCE), "ready");
    }
    nodes.send("get /quotes 50");
    for node in nodes.iter() {
        assert_eq!(node.next_line_with("got", PATIENCE), "got 50 of 1");
    }
    let runs = |node: &support::Child| node.output().iter().filter(|line| *line == "run /quotes").count();
    assert_eq!(nodes.iter().map(runs).sum::<usize>(), 1);
}

/// H5.1: the holder dies.
#[test]
fn when_the_process_that_asks_is_killed_the_others_are_answered() {
    let redis = RedisServer::start();
    let program = env!("CARGO_BIN_EXE_http-node");
    let nodes = Children::spawn(program, 2, |_, command: &mut Command| {
        command.arg(redis.url());
    });
    nodes.send("ready");
    for node in nodes.iter() {
        assert_eq!(node.next_line(PATIENCE), "ready");
    }
    nodes[0].send("get /slow 1");
    nodes[0].next_line_with("run", PATIENCE);
    nodes[1].send("get /slow 20");
    nodes[0].kill();
    assert_eq!(nodes[1].next_line_with("got", PATIENCE), "got 20 of 1");
}

/// Redis dies in the middle of everything.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_when_redis_is_killed() {
    let fleet = Fleet::new(3, &rfc9111(), (200, VARIES)).listening().await;
    let failures = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..30)
        .map(|client: usize| {
            let (node, failures) = (fleet.nodes[client % 3].clone(), failures.clone());
            tokio::spawn(async move {
                for n in 0..60 {
                    let path = format!("/{}", (client + n) % 25);
                    let got = node.get(&path, &[&format!("accept: {}", n % 2)]).await;
                    if got.status != 200 || got.body.is_empty() {
                        failures.fetch_add(1, Ordering::SeqCst);
                    }
                    if n == 20 && client == 0 {
                        let uri = format!("http://h{path}");
                        let _ = Purge::new(node.cache.clone()).uri(&uri).await;
                    }
                }
            })
        })
        .collect();
    wait_until(PATIENCE, "requests are answered", async || fleet.calls() > 10).await;
    fleet.redis.kill();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(failures.load(Ordering::SeqCst), 0);
    landed(&fleet.nodes).await;
}

/// H7.4: one value up to what the shared tier takes; what is larger stays with the node that got it.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_too_large_for_redis_stays_on_its_node() {
    let config = CacheConfig {
        body_limit: 64 << 20,
        ..rfc9111()
    };
    for (length, is_shared) in [(64 << 10, true), (1 << 20, true), (9 << 20, false)] {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let origin = move |_: Request<Body>| {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut response = Response::new(Body::from(vec![b'a'; length]));
            *response.headers_mut() = header_map(FRESH.iter().copied());
            std::future::ready(response)
        };
        let redis = RedisServer::start();
        let (one, two) = (
            World::node(&redis, config.clone(), origin.clone()),
            World::node(&redis, config.clone(), origin),
        );
        for node in [&one, &two] {
            node.get("/warm-up", &[]).await;
            hears(&node.cache).await;
        }
        calls.store(0, Ordering::SeqCst);
        for (node, expected) in [(&one, 1), (&one, 1), (&two, if is_shared { 1 } else { 2 })] {
            assert_eq!(node.get("/", &[]).await.body.len(), length);
            assert_eq!(calls.load(Ordering::SeqCst), expected, "{length} bytes");
        }
    }
}

/// However long a target is, its keys are short.
#[tokio::test(flavor = "multi_thread")]
async fn keys_in_redis_are_short() {
    let fleet = Fleet::new(1, &rfc9111(), (200, VARIES)).listening().await;
    let parameters: Vec<String> = (0..1_000).map(|n| format!("p{n}=1")).collect();
    for path in [
        format!("/{}", "x".repeat(7_000)),
        format!("/p?{}", parameters.join("&")),
    ] {
        wait_until(PATIENCE, "it is stored", async || {
            fleet.nodes[0].get(&path, &["accept: a"]).await.outcome.kind == OutcomeKind::Hit
        })
        .await;
    }
    let keys = fleet.redis.cli(&["--scan"]);
    assert!(keys.lines().count() >= 4, "{keys}");
    for key in keys.lines() {
        assert!(key.len() <= 512, "{} bytes: {key:.100}", key.len());
    }
}
