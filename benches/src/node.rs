//! One node of a fleet: in this process, or in a process of its own that is told by lines what to do.

use std::convert::Infallible;
use std::io::BufRead;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use cache_core::time::{minutes, seconds};
use cache_core::{Cache, CacheKey, EntryOptions, Redis, TagSet, Tier};
use rustix::time::{ClockId, clock_gettime};
use support::{Child, wait_until};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::measure::multi_threaded;

/// Nanoseconds of a clock that all processes of the machine share.
pub(crate) fn machine_nanos() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A node, wherever it runs.
pub(crate) enum Node {
    Here(Here),
    There(Child),
}

/// What came out of a stampede on one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stampede {
    pub(crate) loads: u64,
    /// When the last caller had its answer.
    pub(crate) ended: u64,
    pub(crate) wrong: u64,
}

impl Node {
    pub(crate) fn here(url: &str, runtime: &Arc<Runtime>) -> Self {
        Self::Here(Here::new(url, runtime.clone()))
    }

    pub(crate) fn there(url: &str) -> Self {
        let program = std::env::current_exe().expect("the program knows where it is");
        let child = Child::spawn(Command::new(program).args(["node", url]));
        child.next_line_with("connected", PATIENCE);
        Self::There(child)
    }

    /// Loads the entry into the node's memory, and watches until it is gone from there.
    pub(crate) fn hold(&mut self, n: u64) {
        match self {
            Self::Here(here) => here.hold(n),
            Self::There(child) => {
                child.send(&format!("hold {n}"));
                child.next_line_with("held", PATIENCE);
            }
        }
    }

    /// When the watched entry was first missed.
    pub(crate) fn missed(&mut self) -> u64 {
        match self {
            Self::Here(here) => here.missed(),
            Self::There(child) => number(&child.next_line_with("missed ", PATIENCE), 1),
        }
    }

    /// Begins a stampede at that time of the machine's clock; [`stampeded`](Self::stampeded) waits for its end.
    pub(crate) fn stampede(&mut self, n: u64, callers: usize, at: u64) {
        match self {
            Self::Here(here) => here.stampede(n, callers, at),
            Self::There(child) => child.send(&format!("stampede {n} {callers} {at}")),
        }
    }

    pub(crate) fn stampeded(&mut self) -> Stampede {
        match self {
            Self::Here(here) => here.stampeded(),
            Self::There(child) => {
                let line = child.next_line_with("stampeded ", PATIENCE);
                Stampede {
                    loads: number(&line, 1),
                    ended: number(&line, 2),
                    wrong: number(&line, 3),
                }
            }
        }
    }
}

/// Carries out the orders of [`Node::There`] until its input ends.
pub(crate) fn obey(url: &str) {
    let mut here = Here::new(url, Arc::new(multi_threaded()));
    println!("connected");
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match line.split(' ').next() {
            Some("hold") => {
                here.hold(number(&line, 1));
                println!("held");
                println!("missed {}", here.missed());
            }
            Some("stampede") => {
                here.stampede(number(&line, 1), number(&line, 2) as usize, number(&line, 3));
                let Stampede { loads, ended, wrong } = here.stampeded();
                println!("stampeded {loads} {ended} {wrong}");
            }
            _ => panic!("no such order: {line}"),
        }
    }
}

/// A node in this process.
pub(crate) struct Here {
    pub(crate) cache: Cache,
    runtime: Arc<Runtime>,
    watch: Sender<CacheKey>,
    misses: Receiver<u64>,
    stampede: Option<tokio::task::JoinHandle<Stampede>>,
}

impl Here {
    pub(crate) fn new(url: &str, runtime: Arc<Runtime>) -> Self {
        let cache = Cache::builder("fleet")
            .redis(Redis::from_url(url).expect("the server's URL is valid"))
            .memory_entries(10_000)
            .build()
            .expect("the settings are valid");
        let (watch, watched) = channel();
        let (missed, misses) = channel();
        let watcher = cache.clone();
        // A thread of its own: a busy runtime does not make it look late.
        std::thread::spawn(move || watch_memory(&watcher, &watched, &missed));
        let here = Self {
            cache,
            runtime,
            watch,
            misses,
            stampede: None,
        };
        // Connected, and hearing the log.
        here.keep_in_memory(u64::MAX);
        here
    }

    fn hold(&self, n: u64) {
        self.keep_in_memory(n);
        self.watch
            .send(key(n))
            .expect("the watcher lives as long as this node");
    }

    fn missed(&self) -> u64 {
        self.misses
            .recv_timeout(PATIENCE)
            .expect("an invalidation arrives")
    }

    /// A node that has just begun to hear the log forgets once what it read before: hence the loop.
    fn keep_in_memory(&self, n: u64) {
        self.runtime
            .block_on(wait_until(PATIENCE, "the entry is in memory", async || {
                let load = move |_| async move { Ok::<_, Infallible>(n) };
                let loaded = self.cache.get_or_load(&key(n), tagged(n), load).await;
                loaded.is_ok_and(|loaded| loaded.outcome().tier == Some(Tier::Memory))
            }));
    }

    fn stampede(&mut self, n: u64, callers: usize, at: u64) {
        let cache = self.cache.clone();
        self.stampede = Some(self.runtime.spawn(stampede(cache, n, callers, at)));
    }

    fn stampeded(&mut self) -> Stampede {
        let running = self.stampede.take().expect("a stampede was begun");
        self.runtime.block_on(running).expect("a stampede does not panic")
    }
}

async fn stampede(cache: Cache, n: u64, callers: usize, at: u64) -> Stampede {
    let loads = Arc::new(AtomicU64::new(0));
    tokio::time::sleep(Duration::from_nanos(at.saturating_sub(machine_nanos()))).await;
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (cache, loads) = (cache.clone(), loads.clone());
        tasks.spawn(async move {
            let load = move |_| async move {
                loads.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok::<_, Infallible>(n)
            };
            cache
                .get_or_load(&key(n), tagged(n), load)
                .await
                .is_ok_and(|loaded| *loaded == n)
        });
    }
    let right = tasks.join_all().await.into_iter().filter(|right| *right).count();
    Stampede {
        loads: loads.load(Ordering::Relaxed),
        ended: machine_nanos(),
        wrong: (callers - right) as u64,
    }
}

/// Looks at watched entries again and again, and tells when each was first missed.
fn watch_memory(cache: &Cache, watched: &Receiver<CacheKey>, missed: &Sender<u64>) {
    for key in watched {
        while cache.get_in_process::<u64>(key.as_key()).is_some() {
            std::thread::sleep(LOOK_AGAIN);
        }
        if missed.send(machine_nanos()).is_err() {
            return;
        }
    }
}

pub(crate) fn key(n: u64) -> CacheKey {
    CacheKey::build("entry", n).expect("the prefix is valid")
}

pub(crate) fn tag(n: u64) -> String {
    format!("entry:{n}")
}

fn tagged(n: u64) -> EntryOptions {
    EntryOptions::ttl(minutes(5)).tags(TagSet::new([tag(n)]).expect("the tag is valid"))
}

fn number(line: &str, word: usize) -> u64 {
    let found = line.split(' ').nth(word).and_then(|word| word.parse().ok());
    found.unwrap_or_else(|| panic!("no number in word {word} of `{line}`"))
}

const PATIENCE: Duration = seconds(30);
/// Short against what is measured; shorter would keep the processors of a small machine busy with looking.
const LOOK_AGAIN: Duration = Duration::from_micros(100);
