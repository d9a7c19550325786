//! A connection to the store: the port of the shared tier, of which every answer comes at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::entries::check_key;
use super::log::Announced;
use super::{Line, Server, State};
use crate::notice::{LogId, Op, Source};
use crate::shared::{
    AcquireRequest, Acquisition, CommitAnswer, CommitRequest, EndpointHealth, Fault, FaultKind, LeaseAnswer,
    LeaseRequest, LockKind, LogReader, Mark, MarkVersions, Mutation, MutationAnswer, Reading, Reply,
    ScanPage, ScanRequest, ServerFacts, Shared, Strength, Token, Version, Wakeups,
};
use crate::sync::Arc;
use crate::time::Clock;

/// One cache's connection.
#[derive(Debug)]
pub(crate) struct Port {
    server: Arc<Server>,
    root: String,
    clock: Arc<dyn Clock>,
    line: Line,
    source: Source,
    number: u64,
    recoveries: watch::Sender<u64>,
    forced_open: AtomicBool,
    closed: AtomicBool,
}

impl Port {
    pub(crate) fn open(server: Arc<Server>, root: &str, clock: Arc<dyn Clock>, line: Line) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            server,
            root: root.to_owned(),
            clock,
            line,
            source: Source::random(),
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            recoveries: watch::Sender::new(0),
            forced_open: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    fn announced(&self) -> Announced<'_> {
        Announced {
            root: &self.root,
            source: self.source,
        }
    }

    fn ask<'a, T: Send + 'a>(
        &'a self,
        step: impl FnOnce(&mut State) -> Result<T, Fault> + Send + 'a,
    ) -> Reply<'a, T> {
        Box::pin(async move {
            if self.closed.load(Ordering::SeqCst) {
                return Err(Fault::new(FaultKind::Closed, "the shared tier was closed"));
            }
            if self.forced_open.load(Ordering::SeqCst) {
                return Err(Fault::new(FaultKind::BreakerOpen, "forced_open"));
            }
            step(&mut self.server.state())
        })
    }

    fn reading(&self, state: &State, key: &str) -> Result<Reading, Fault> {
        check_key(key)?;
        Ok(Reading {
            found: state.found(key),
            sent: self.clock.now(),
        })
    }
}

impl Shared for Port {
    fn read<'a>(&'a self, key: &'a str, _: Duration) -> Reply<'a, Reading> {
        self.ask(move |state| self.reading(state, key))
    }

    fn read_many<'a>(&'a self, keys: &'a [&'a str], _: Duration) -> Reply<'a, Vec<Reading>> {
        self.ask(move |state| keys.iter().map(|key| self.reading(state, key)).collect())
    }

    fn lease<'a>(&'a self, request: LeaseRequest<'a>, _: Duration) -> Reply<'a, LeaseAnswer> {
        self.ask(move |state| state.lease(&self.root, &request))
    }

    fn lease_many<'a>(&'a self, requests: Vec<LeaseRequest<'a>>, _: Duration) -> Reply<'a, Vec<LeaseAnswer>> {
        self.ask(move |state| {
            let lease = |request| state.lease(&self.root, request);
            requests.iter().map(lease).collect()
        })
    }

    fn renew<'a>(&'a self, key: &'a str, token: Token, ttl: Duration, _: Duration) -> Reply<'a, bool> {
        self.ask(move |state| state.renew(key, token, ttl))
    }

    fn commit<'a>(&'a self, request: CommitRequest<'a>, _: Duration) -> Reply<'a, CommitAnswer> {
        self.ask(move |state| state.commit(&self.root, request))
    }

    fn commit_many<'a>(
        &'a self,
        requests: Vec<CommitRequest<'a>>,
        _: Duration,
    ) -> Reply<'a, Vec<CommitAnswer>> {
        self.ask(move |state| {
            let commit = |request| state.commit(&self.root, request);
            requests.into_iter().map(commit).collect()
        })
    }

    fn subscribe<'a>(&'a self, key: &'a str, _: Duration) -> Reply<'a, Wakeups> {
        self.ask(move |state| state.subscribe(self.line, key))
    }

    fn mutate<'a>(&'a self, op: Op, mutations: Vec<Mutation<'a>>, _: Duration) -> Reply<'a, MutationAnswer> {
        self.ask(move |state| state.mutate(&self.announced(), op, mutations))
    }

    fn marks<'a>(
        &'a self,
        marks: &'a [Mark<'a>],
        ttl: Duration,
        _: Duration,
    ) -> Reply<'a, Vec<MarkVersions>> {
        self.ask(move |state| Ok(state.marks(&self.root, marks, ttl)))
    }

    fn move_marks<'a>(
        &'a self,
        marks: &'a [Mark<'a>],
        strength: Strength,
        hold: Duration,
        ttl: Duration,
        _: Duration,
    ) -> Reply<'a, LogId> {
        self.ask(move |state| Ok(state.move_marks(&self.announced(), marks, strength, hold, ttl)))
    }

    fn begin_pattern<'a>(&'a self, glob: &'a str, _: Duration) -> Reply<'a, LogId> {
        self.ask(move |state| Ok(state.begin_pattern(&self.announced(), glob)))
    }

    fn scan<'a>(&'a self, request: ScanRequest<'a>, _: Duration) -> Reply<'a, ScanPage> {
        self.ask(move |state| Ok(state.scan(request)))
    }

    fn discard<'a>(&'a self, entries: &'a [(String, Version)], _: Duration) -> Reply<'a, u64> {
        self.ask(move |state| Ok(state.discard(entries)))
    }

    fn acquire<'a>(&'a self, request: AcquireRequest<'a>, _: Duration) -> Reply<'a, Acquisition> {
        self.ask(move |state| state.acquire(request))
    }

    fn extend<'a>(
        &'a self,
        kind: LockKind,
        name: &'a str,
        token: Token,
        ttl: Duration,
        _: Duration,
    ) -> Reply<'a, bool> {
        self.ask(move |state| state.extend(kind, name, token, ttl))
    }

    fn give_back<'a>(&'a self, kind: LockKind, name: &'a str, token: Token, _: Duration) -> Reply<'a, bool> {
        self.ask(move |state| state.give_back(kind, name, token))
    }

    fn follow_log(&self) -> LogReader {
        self.server.state().follow(&self.root, self.line, self.number)
    }

    fn log_end(&self, _: Duration) -> Reply<'_, LogId> {
        self.ask(|state| Ok(state.log_end(&self.root)))
    }

    fn inspect(&self, _: Duration) -> Reply<'_, ServerFacts> {
        self.ask(|_| {
            Ok(ServerFacts {
                eviction_policy: Some("noeviction".to_owned()),
                ..ServerFacts::default()
            })
        })
    }

    fn health(&self) -> Vec<EndpointHealth> {
        let forced = self.forced_open.load(Ordering::SeqCst);
        vec![EndpointHealth {
            endpoint: "in process".to_owned(),
            connected: !self.closed.load(Ordering::SeqCst),
            connects: 1,
            reconnects: Vec::new(),
            in_flight: 0,
            last_fault: None,
            breaker: if forced { "forced_open" } else { "closed" },
            breaker_openings: 0,
        }]
    }

    fn recoveries(&self) -> watch::Receiver<u64> {
        self.recoveries.subscribe()
    }

    fn force_breaker(&self, open: bool) {
        if self.forced_open.swap(open, Ordering::SeqCst) && !open {
            self.recoveries.send_modify(|times| *times += 1);
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.server.state().stop_following(self.number);
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.close();
    }
}
