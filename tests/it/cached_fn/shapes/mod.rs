//! The shapes of functions that `#[cached]` takes, each in memory and with Redis: called twice it runs once, its key is
//! what it should be, and another node of the same Redis answers without running it.

mod arguments;
mod futures;
mod generics;
mod hostile;
mod keys;
mod methods;
mod options;
mod receivers;
mod results;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Mutex;
use std::time::Duration;

use cache_core::{Cache, CacheKey, Redis};
use serde::{Deserialize, Serialize};
use support::{RedisServer, wait_until};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
}

fn ada() -> User {
    User {
        id: 1,
        name: "ada".to_owned(),
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Refused;

struct Db(u64);

/// How often each body ran.
static RUNS: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

fn ran(name: &str) {
    *RUNS.lock().unwrap().entry(name.to_owned()).or_default() += 1;
}

fn runs(name: &str) -> usize {
    RUNS.lock().unwrap().get(name).copied().unwrap_or(0)
}

/// Where the shapes run at the moment.
#[derive(Clone)]
struct Tier {
    cache: Cache,
    /// Another node with the same Redis.
    other: Option<Cache>,
}

tokio::task_local! { static HERE: Tier; }

/// The cache of all shapes.
fn here() -> Cache {
    HERE.with(|tier| tier.cache.clone())
}

/// Runs the shapes in memory, then with Redis.
async fn for_each_tier(shapes: impl AsyncFn()) {
    let in_memory = Tier {
        cache: Cache::builder("shapes").build().unwrap(),
        other: None,
    };
    HERE.scope(in_memory, shapes()).await;
    let server = RedisServer::start();
    let node = || {
        let redis = Redis::from_url(&server.url()).unwrap();
        Cache::builder("shapes").redis(redis).build().unwrap()
    };
    let with_redis = Tier {
        cache: node(),
        other: Some(node()),
    };
    HERE.scope(with_redis, shapes()).await;
}

/// Checks one shape: what calls it, its key, and the key's text.
macro_rules! check {
    ($name:literal, $call:expr, $key:expr, $text:literal) => {
        super::check_everywhere($name, async || $call, $key.unwrap(), $text).await
    };
}
use check;

async fn check_everywhere<T: PartialEq + Debug>(
    name: &str,
    call: impl AsyncFn() -> T,
    key: CacheKey,
    text: &str,
) {
    assert_eq!(key.text(), text, "{name}");
    let before = runs(name);
    let (first, second) = (call().await, call().await);
    assert_eq!(first, second, "{name}");
    assert_eq!(runs(name) - before, 1, "{name} ran once");
    let Some(other) = HERE.with(|tier| tier.other.clone()) else {
        return;
    };
    // A slow server's store goes on behind the answer.
    wait_until(Duration::from_secs(10), name, async || other.contains(&key).await).await;
    let elsewhere = Tier {
        cache: other,
        other: None,
    };
    let third = HERE.scope(elsewhere, call()).await;
    assert_eq!(third, first, "{name} on another node");
    assert_eq!(runs(name) - before, 1, "{name} did not run on another node");
}
