//! A shared tier in memory: the same steps as the scripts on Redis, each under one lock.

mod entries;
mod glob;
mod leases;
mod locks;
mod log;
mod marks;
mod port;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, UNIX_EPOCH};

use crate::shared::{LockKind, Token, Version};
use crate::sync::{Arc, Mutex, MutexGuard, lock};
use crate::time::{Clock, Timestamp};

use entries::Slot;
use leases::Waiter;
use locks::Name;
use log::Log;
use marks::MarkState;

pub(super) use port::Port;

/// One server, whatever connects to it.
#[derive(Debug)]
pub(super) struct Server {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// Which of the store's handles a connection came through: each can be cut off by itself.
pub(super) type Line = u64;

#[derive(Debug, Default)]
pub(super) struct State {
    now: Timestamp,
    micros: u64,
    entries: BTreeMap<String, Slot>,
    locks: HashMap<String, (Token, Timestamp)>,
    errors: HashMap<String, (Vec<u8>, Timestamp)>,
    /// The versions that expiries left behind.
    guards: HashMap<String, (Version, Timestamp)>,
    named: HashMap<(LockKind, Name), (Token, Timestamp)>,
    counters: HashMap<(LockKind, Name), u64>,
    /// By the name of the cache and the text of the mark.
    marks: HashMap<(Name, String), MarkState>,
    /// By the name of the cache.
    logs: HashMap<Name, Log>,
    /// Lines on which nothing of a log arrives.
    held: HashSet<Line>,
    waiting: HashMap<String, Vec<Waiter>>,
    full: bool,
}

impl Server {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: Mutex::default(),
        }
    }

    /// The state as of now: what has expired is gone.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = lock(&self.state);
        state.now = self.clock.now();
        let wall = self.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        state.micros = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
        state.expire();
        state
    }
}

impl State {
    fn expire(&mut self) {
        let now = self.now;
        self.entries
            .retain(|_, slot| slot.ends.is_none_or(|ends| now < ends));
        self.locks.retain(|_, (_, ends)| now < *ends);
        self.errors.retain(|_, (_, ends)| now < *ends);
        self.guards.retain(|_, (_, ends)| now < *ends);
        self.named.retain(|_, (_, ends)| now < *ends);
        self.marks.retain(|_, mark| now < mark.ends);
    }

    /// Everything is lost, and every reader of a log is told that it began anew.
    pub(super) fn flush(&mut self) {
        self.entries.clear();
        self.locks.clear();
        self.errors.clear();
        self.guards.clear();
        self.named.clear();
        self.counters.clear();
        self.marks.clear();
        self.begin_logs_anew();
    }

    /// Whether values are refused for lack of memory from now on; what invalidates gets through.
    pub(super) fn fill(&mut self, full: bool) {
        self.full = full;
    }

    fn left(&self, ends: Timestamp) -> Duration {
        ends.since(self.now)
    }
}
