//! One node of a fleet as a process of its own, for tests that kill and freeze it.
//!
//! `soak node URL [LOCK_TTL_MS]`, then orders line by line on standard input, each answered on standard output. With
//! `NEXT_BUILD` in its environment it is a node of the next build, whose envelopes and notices have other formats.
//!
//! | order | answers |
//! |---|---|
//! | `ready` | `ready` once this node hears the log |
//! | `load KEY CALLERS MILLIS VALUE` | `loading KEY` from each run of the loader, then `loaded KEY VALUES took MILLIS` |
//! | `get KEY` | `got KEY VALUE`, or `got KEY none` |
//! | `contend LOCK TASKS TTL_MS` | `held NUMBER` for each time that one of its tasks had the lock, without end; `stolen NUMBER` if it lost the lock while it held it, `late NUMBER` if its write came after a later holder's |
//! | `remove KEY` | `removed KEY ok`, or what is wrong |
//! | `fill KEY LENGTH` | `filling KEY N`, then `filled KEY N` when it is acknowledged, for one value after the other, without end: a list of `LENGTH` times `N`, tagged `KEY` and `filled` |
//! | `take files` | `took COUNT` when it has every file descriptor that this process may still open |
//! | `return files` | `returned` |

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cache_core::time::{minutes, seconds};
use cache_core::{Cache, CacheKey, EntryOptions, Redis, TagSet};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::clock::Stopwatch;
use crate::hearing::hears;

/// Carries out orders until its input ends.
///
/// # Panics
/// When an order is none; whoever gave it reads that on standard error.
pub async fn obey_orders(url: &str, lock_ttl: Option<Duration>) {
    if std::env::var_os("NEXT_BUILD").is_some() {
        cache_core::testing::pretend_to_be_the_next_build();
    }
    let redis = Redis::from_url(url).unwrap();
    let mut builder = Cache::builder("fleet").redis(redis);
    if let Some(lock_ttl) = lock_ttl {
        builder = builder.lock_ttl(lock_ttl);
    }
    let cache = builder.build().unwrap();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        let cache = cache.clone();
        tokio::spawn(async move {
            let words: Vec<&str> = line.split(' ').collect();
            obey(&cache, &words).await;
        });
    }
}

async fn obey(cache: &Cache, words: &[&str]) {
    match words {
        ["ready"] => {
            hears(cache).await;
            println!("ready");
        }
        ["load", name, callers, millis, value] => {
            let (callers, millis): (usize, u64) = (callers.parse().unwrap(), millis.parse().unwrap());
            load(cache, name, callers, millis, value.parse().unwrap()).await;
        }
        ["get", name] => match cache.get::<u64>(&key(name)).await {
            Some(value) => println!("got {name} {value}"),
            None => println!("got {name} none"),
        },
        ["remove", name] => match cache.remove(&key(name)).await {
            Ok(()) => println!("removed {name} ok"),
            Err(error) => println!("removed {name} {error}"),
        },
        ["contend", name, tasks, ttl] => {
            let ttl = Duration::from_millis(ttl.parse().unwrap());
            for _ in 0..tasks.parse().unwrap() {
                tokio::spawn(contend(cache.clone(), name.to_string(), ttl));
            }
        }
        ["fill", name, length] => fill(cache, name, length.parse().unwrap()).await,
        ["take", "files"] => {
            let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
            taken.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
            println!("took {}", taken.len());
        }
        ["return", "files"] => {
            TAKEN.lock().unwrap_or_else(PoisonError::into_inner).clear();
            println!("returned");
        }
        _ => panic!("not an order: {words:?}"),
    }
}

/// The files that an order took.
static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// Sets a value that takes a while to send, again and again.
async fn fill(cache: &Cache, name: &str, length: usize) {
    let item = key(name);
    let options = EntryOptions::ttl(minutes(5)).tags(TagSet::new([name, "filled"]).unwrap());
    for n in 1_u64.. {
        println!("filling {name} {n}");
        let stored = cache.set(&item, vec![n; length], options.clone()).await.unwrap();
        if stored == cache_core::Stored::Yes {
            println!("filled {name} {n}");
        }
    }
}

/// Takes a lock again and again, and writes its number each time to what the lock protects.
async fn contend(cache: Cache, name: String, ttl: Duration) {
    let (resource, life) = (key(&name), minutes(5));
    loop {
        let Ok(lock) = cache.lock(&name, ttl, seconds(5)).await else {
            // Refused at once, as after a freeze: who asks again at once keeps the connection from being made anew.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let number = lock.fencing_token();
        println!("held {number}");
        // Twice: in between nobody else may have written, unless the lock was lost.
        for _ in 0..2 {
            let mut newest = 0;
            let write = |old: Option<u64>| {
                newest = old.unwrap_or(0);
                newest.max(number)
            };
            let written = cache.update(&resource, life, write).await;
            match (written.is_ok() && newest > number, lock.is_held()) {
                (true, true) => println!("stolen {number}"),
                (true, false) => println!("late {number}"),
                (false, _) => {}
            }
        }
        lock.release().await;
    }
}

async fn load(cache: &Cache, name: &str, callers: usize, millis: u64, value: u64) {
    let began = Stopwatch::start();
    let calls: Vec<_> = (0..callers)
        .map(|_| {
            let (cache, name) = (cache.clone(), name.to_owned());
            tokio::spawn(async move {
                let options = EntryOptions::ttl(minutes(5)).hard_timeout(seconds(30));
                let key = key(&name);
                let load = cache.get_or_load(&key, options, move |_| async move {
                    println!("loading {name}");
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    Ok::<_, std::io::Error>(value)
                });
                *load.await.unwrap()
            })
        })
        .collect();
    let mut values = BTreeSet::new();
    for call in calls {
        values.insert(call.await.unwrap());
    }
    println!("loaded {name} {values:?} took {}", began.elapsed().as_millis());
}

fn key(name: &str) -> CacheKey {
    CacheKey::build("item", name).unwrap()
}
