//! The server with its values, and everybody who reads them.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use cache_core::codec::Codec;
use cache_core::time::{hours, seconds};
use cache_core::{Cache, CacheKey, EntryOptions, Redis, TagSet, Tier};
use fred::interfaces::{ClientLike, KeysInterface};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};
use support::{RedisServer, wait_until_blocking};
use tokio::runtime::Runtime;

use super::{BATCH, FRED, GET, JOINED, LOAD, MGET, MISS, NAIVE, PIPELINE, SEQUENCE};
use crate::crowd::Crowd;
use crate::measure::multi_threaded;

/// A server with the same values for everybody, and a client of each kind.
pub(super) struct World {
    pub(super) server: RedisServer,
    pub(super) runtime: Runtime,
    raw: MultiplexedConnection,
    fred: fred::clients::Client,
}

impl World {
    pub(super) fn start() -> Self {
        let (server, runtime) = (RedisServer::start(), multi_threaded());
        let client = redis::Client::open(server.url()).expect("the server's URL is valid");
        let mut raw = runtime
            .block_on(client.get_multiplexed_async_connection())
            .expect("the server runs");
        let fred = runtime.block_on(connected_fred(&server));
        runtime.block_on(async {
            for n in 0..KEYS {
                let bytes = postcard::to_stdvec(&Reading::number(n)).expect("a plain struct");
                let _: () = raw
                    .set_ex(raw_key(n), bytes, 3_600)
                    .await
                    .expect("the server runs");
            }
        });
        Self {
            server,
            runtime,
            raw,
            fred,
        }
    }

    fn filled(&self, codec: Codec) -> Cache {
        let cache = bypassing(&self.server.url(), codec);
        self.runtime.block_on(async {
            for n in 0..KEYS {
                let stored = cache.set(&key("reading", n), Reading::number(n), tagged()).await;
                assert!(stored.is_ok_and(cache_core::Stored::is_stored), "the server runs");
            }
        });
        wait_until_blocking(seconds(10), "values come from the shared tier", || {
            self.runtime.block_on(is_shared(&cache, 0))
        });
        cache
    }

    pub(super) fn ours(&self, name: &'static str, codec: Codec) -> Crowd<'_> {
        let (cache, keys) = (self.filled(codec), keys("reading"));
        Crowd::new(name, &self.runtime, move |n| {
            let (cache, keys) = (cache.clone(), keys.clone());
            async move {
                let found = cache.get::<Reading>(&keys[n % KEYS]).await;
                let tier = found.expect("everything was stored").outcome().tier;
                assert_eq!(tier, Some(Tier::Shared), "nothing is kept in memory");
            }
        })
    }

    /// What is asked for with a loader, and found.
    pub(super) fn our_loads(&self) -> Crowd<'_> {
        let (cache, keys) = (self.filled(Codec::Postcard), keys("reading"));
        Crowd::new(LOAD, &self.runtime, move |n| {
            let (cache, keys) = (cache.clone(), keys.clone());
            async move {
                let n = n % KEYS;
                let load = cache.get_or_load(&keys[n], tagged(), move |_| Reading::load(n));
                let tier = load.await.expect("the loader succeeds").outcome().tier;
                assert_eq!(tier, Some(Tier::Shared), "nothing is kept in memory");
            }
        })
    }

    pub(super) fn redis_rs(&self) -> Crowd<'_> {
        let (raw, keys) = (self.raw.clone(), raw_keys());
        Crowd::new(GET, &self.runtime, move |n| {
            let (mut raw, keys) = (raw.clone(), keys.clone());
            async move {
                raw.get::<_, Vec<u8>>(&keys[n % KEYS])
                    .await
                    .expect("the server runs")
            }
        })
    }

    pub(super) fn fred(&self) -> Crowd<'_> {
        let (fred, keys) = (self.fred.clone(), raw_keys());
        Crowd::new(FRED, &self.runtime, move |n| {
            let (fred, keys) = (fred.clone(), keys.clone());
            async move {
                let bytes: fred::types::Value = fred.get(&keys[n % KEYS]).await.expect("the server runs");
                bytes
            }
        })
    }

    pub(super) fn batches(&self) -> Vec<Crowd<'_>> {
        let (cache, ours, raw) = (self.filled(Codec::Postcard), keys("reading"), raw_keys());
        let texts = |n: usize, raw: &Arc<Vec<String>>| {
            (0..BATCH_SIZE)
                .map(|at| raw[(n * BATCH_SIZE + at) % KEYS].clone())
                .collect::<Vec<_>>()
        };
        let peer = || (self.raw.clone(), raw.clone());
        let (mget, pipeline, joined, sequence) = (peer(), peer(), peer(), peer());
        vec![
            Crowd::new(BATCH, &self.runtime, move |n| {
                let (cache, ours) = (cache.clone(), ours.clone());
                async move {
                    let from = n * BATCH_SIZE % KEYS;
                    let found = cache.get_many::<Reading>(&ours[from..from + BATCH_SIZE]).await;
                    assert!(found.iter().all(Option::is_some), "everything was stored");
                }
            }),
            Crowd::new(MGET, &self.runtime, move |n| {
                let (mut connection, texts) = (mget.0.clone(), texts(n, &mget.1));
                async move {
                    connection
                        .mget::<_, Vec<Vec<u8>>>(&texts)
                        .await
                        .expect("the server runs")
                }
            }),
            Crowd::new(PIPELINE, &self.runtime, move |n| {
                let (mut connection, texts) = (pipeline.0.clone(), texts(n, &pipeline.1));
                async move {
                    let mut pipeline = redis::pipe();
                    for text in &texts {
                        pipeline.get(text);
                    }
                    let found: Vec<Vec<u8>> = pipeline
                        .query_async(&mut connection)
                        .await
                        .expect("the server runs");
                    found
                }
            }),
            Crowd::new(JOINED, &self.runtime, move |n| {
                let (connection, texts) = (joined.0.clone(), texts(n, &joined.1));
                async move {
                    let gets = texts.iter().map(|text| {
                        let mut connection = connection.clone();
                        async move { connection.get::<_, Vec<u8>>(text).await.expect("the server runs") }
                    });
                    futures_util::future::join_all(gets).await
                }
            }),
            Crowd::new(SEQUENCE, &self.runtime, move |n| {
                let (mut connection, texts) = (sequence.0.clone(), texts(n, &sequence.1));
                async move {
                    for text in &texts {
                        let found: Vec<u8> = connection.get(text).await.expect("the server runs");
                        assert!(!found.is_empty(), "everything was stored");
                    }
                }
            }),
        ]
    }

    pub(super) fn our_misses(&self) -> Crowd<'_> {
        let cache = bypassing(&self.server.url(), Codec::Postcard);
        Crowd::new(MISS, &self.runtime, move |_| {
            let (cache, n) = (cache.clone(), fresh_number());
            async move {
                let loaded = cache
                    .get_or_load(&key("miss", n), tagged(), move |_| Reading::load(n))
                    .await;
                assert!(loaded.is_ok(), "the loader succeeds");
            }
        })
    }

    pub(super) fn naive_misses(&self) -> Crowd<'_> {
        let raw = self.raw.clone();
        Crowd::new(NAIVE, &self.runtime, move |_| {
            let (mut raw, n) = (raw.clone(), fresh_number());
            async move {
                let key = format!("naive:{n}");
                let found: Option<Vec<u8>> = raw.get(&key).await.expect("the server runs");
                assert_eq!(found, None, "every key is new");
                let bytes = postcard::to_stdvec(&Reading::number(n)).expect("a plain struct");
                let _: () = raw.set_ex(key, bytes, 3_600).await.expect("the server runs");
            }
        })
    }
}

async fn connected_fred(server: &RedisServer) -> fred::clients::Client {
    let config = fred::types::config::Config::from_url(&server.url()).expect("the server's URL is valid");
    let client = fred::types::Builder::from_config(config)
        .build()
        .expect("the configuration is valid");
    client.init().await.expect("the server runs");
    client
}

async fn is_shared(cache: &Cache, n: usize) -> bool {
    let found = cache.get::<Reading>(&key("reading", n)).await;
    found.is_some_and(|found| found.outcome().tier == Some(Tier::Shared))
}

/// A cache whose in-process tier has no room for anything.
pub(super) fn bypassing(url: &str, codec: Codec) -> Cache {
    let name = match codec {
        Codec::Json => "l2-json",
        _ => "l2-postcard",
    };
    Cache::builder(name)
        .redis(Redis::from_url(url).expect("the server's URL is valid"))
        .memory_bytes(1)
        .codec(codec)
        .build()
        .expect("the settings are valid")
}

/// About 200 bytes as postcard, a little more as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Reading {
    sensor: u64,
    place: String,
    values: [f64; 8],
    note: String,
}

impl Reading {
    fn number(n: usize) -> Self {
        Self {
            sensor: n as u64,
            place: format!("hall 3, row {}, shelf {}", n % 100, n % 7),
            values: [20.5; 8],
            note: "x".repeat(100),
        }
    }

    pub(super) async fn load(n: usize) -> Result<Self, Infallible> {
        Ok(Self::number(n))
    }
}

pub(super) fn tagged() -> EntryOptions {
    EntryOptions::ttl(hours(1)).tags(TAGS.clone())
}

pub(super) fn key(prefix: &str, n: usize) -> CacheKey {
    CacheKey::build(prefix, n as u64).expect("the prefix is valid")
}

fn keys(prefix: &str) -> Arc<Vec<CacheKey>> {
    Arc::new((0..KEYS).map(|n| key(prefix, n)).collect())
}

fn raw_key(n: usize) -> String {
    format!("bench:reading:{n}")
}

fn raw_keys() -> Arc<Vec<String>> {
    Arc::new((0..KEYS).map(raw_key).collect())
}

/// A number that was not used before.
fn fresh_number() -> usize {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) as usize
}

static TAGS: LazyLock<TagSet> = LazyLock::new(|| TagSet::new(["sensors"]).expect("the tag is valid"));

const KEYS: usize = 10_000;
const BATCH_SIZE: usize = 100;
