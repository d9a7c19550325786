//! What a function says about the tier that nodes share: `distributed` and `codec`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use cache_core::codec::Codec;
use cache_core::{Cache, CacheBuilder, Redis, cached};
use support::RedisServer;
use tokio::sync::Barrier;

use super::Quote;

/// One of several nodes.
#[derive(Clone)]
struct Node {
    cache: Cache,
    runs: Arc<AtomicUsize>,
    /// Where loads meet.
    together: Arc<Barrier>,
}

fn builder(server: &RedisServer) -> CacheBuilder {
    Cache::builder("nodes").redis(Redis::from_url(&server.url()).unwrap())
}

/// `size` nodes.
fn fleet(server: &RedisServer, size: usize) -> Vec<Node> {
    let (runs, together) = (Arc::default(), Arc::new(Barrier::new(size)));
    let node = |cache| Node {
        cache,
        runs: Arc::clone(&runs),
        together: Arc::clone(&together),
    };
    (0..size)
        .map(|_| node(builder(server).build().unwrap()))
        .collect()
}

#[cached(cache = node.cache, skip(node), prefix = "each", distributed = false)]
async fn on_each_node(node: Node, _id: u64) -> usize {
    // Nobody gets past this alone: with a lock of the fleet the load would end at its limit.
    node.together.wait().await;
    node.runs.fetch_add(1, SeqCst)
}

#[tokio::test]
async fn without_a_lock_of_the_fleet_each_node_loads_and_they_agree_on_one_value() {
    let server = RedisServer::start();
    let nodes = fleet(&server, 3);
    let calls = nodes
        .iter()
        .map(|node| tokio::spawn(on_each_node(node.clone(), 7)));
    for call in calls.collect::<Vec<_>>() {
        let patience = Duration::from_secs(20);
        tokio::time::timeout(patience, call)
            .await
            .expect("nobody waits for another")
            .unwrap();
    }
    assert_eq!(nodes[0].runs.load(SeqCst), 3);
    let late = builder(&server).build().unwrap();
    let late = Node {
        cache: late,
        ..nodes[0].clone()
    };
    let agreed = *on_each_node::peek(late, 7)
        .await
        .unwrap()
        .expect("it is there for all");
    for node in nodes {
        let here = on_each_node::peek(node, 7).await.unwrap();
        assert_eq!(here.as_deref(), Some(&agreed));
    }
}

#[tokio::test]
async fn callers_of_one_node_share_a_load_without_that_lock_too() {
    let server = RedisServer::start();
    let node = fleet(&server, 1).remove(0);
    let (first, second) = tokio::join!(on_each_node(node.clone(), 7), on_each_node(node.clone(), 7));
    assert_eq!((first, second), (0, 0));
}

#[cached(cache = cache, skip(cache), prefix = "as-json", codec = Json)]
async fn as_json(cache: &Cache, symbol: &str) -> Quote {
    quote(symbol)
}

#[cached(cache = cache, skip(cache), prefix = "as-msgpack", codec = MessagePack)]
async fn as_msgpack(cache: &Cache, symbol: &str) -> Quote {
    quote(symbol)
}

#[cached(cache = cache, skip(cache), prefix = "as-postcard", codec = Postcard)]
async fn as_postcard(cache: &Cache, symbol: &str) -> Option<Quote> {
    Some(quote(symbol))
}

/// What the server has, as far as it is text.
fn stored(server: &RedisServer, function: &str, name: &str) -> String {
    server
        .command(&["GET", &format!("nodes:{function}:{name}")])
        .text()
}

fn quote(symbol: &str) -> Quote {
    let symbol = symbol.to_owned();
    Quote { symbol, price: 7 }
}

#[tokio::test]
async fn a_function_chooses_its_codec_and_every_node_reads_it() {
    let server = RedisServer::start();
    for default in [Codec::Json, Codec::MessagePack, Codec::Postcard] {
        let name = default.as_str();
        let writer = builder(&server).codec(default).build().unwrap();
        assert_eq!(as_json(&writer, name).await, quote(name));
        assert_eq!(as_msgpack(&writer, name).await, quote(name));
        assert_eq!(as_postcard(&writer, name).await, Some(quote(name)));
        for (function, has_names, has_quotes) in [
            ("as-json", true, true),
            ("as-msgpack", true, false),
            ("as-postcard", false, false),
        ] {
            let stored = stored(&server, function, name);
            assert_eq!(
                stored.contains("symbol"),
                has_names,
                "{function} by {name}: {stored}"
            );
            assert_eq!(
                stored.contains("\"symbol\""),
                has_quotes,
                "{function} by {name}: {stored}"
            );
        }
        let reader = builder(&server).codec(Codec::Json).build().unwrap();
        assert_eq!(*as_json::peek(&reader, name).await.unwrap().unwrap(), quote(name));
        assert_eq!(
            *as_msgpack::peek(&reader, name).await.unwrap().unwrap(),
            quote(name)
        );
        assert_eq!(
            *as_postcard::peek(&reader, name).await.unwrap().unwrap(),
            quote(name)
        );
    }
}

#[tokio::test]
async fn what_is_set_or_updated_is_written_in_its_codec_too() {
    let server = RedisServer::start();
    let cache = builder(&server).build().unwrap();
    let set = as_postcard::set(&cache, "a", Some(quote("a"))).await.unwrap();
    let key = as_postcard::key("b").unwrap();
    let options = cache_core::EntryOptions::new().codec(Codec::Postcard);
    cache.update(&key, options.clone(), |_| quote("b")).await.unwrap();
    let third = as_postcard::key("c").unwrap();
    let permit = cache.store_permit();
    let permitted = permit.store(&third, quote("c"), options).await.unwrap();
    assert!(set.is_stored() && permitted.is_stored());
    for name in ["a", "b", "c"] {
        let stored = stored(&server, "as-postcard", name);
        assert!(
            !stored.is_empty() && !stored.contains("symbol"),
            "{name}: {stored}"
        );
        let node = builder(&server).build().unwrap();
        assert_eq!(
            *as_postcard::peek(&node, name).await.unwrap().unwrap(),
            quote(name)
        );
    }
}
