//! A decorator of any shared tier: each operation is shown to an [`Interceptor`] first, which lets it through, holds it
//! up, refuses it, or loses its answer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;

use crate::notice::{LogId, Op};
use crate::shared::{
    AcquireRequest, Acquisition, CommitAnswer, CommitRequest, EndpointHealth, Fault, LeaseAnswer,
    LeaseRequest, LockKind, LogReader, Mark, MarkVersions, Mutation, MutationAnswer, Reading, Reply,
    ScanPage, ScanRequest, ServerFacts, Shared, Strength, Token, Version, Wakeups,
};
use crate::sync::Arc;

/// What a shared tier can be asked to do: the methods of [`Shared`] that may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Operation {
    /// [`read`](Shared::read) and [`read_many`](Shared::read_many).
    Read,
    /// [`lease`](Shared::lease) and [`lease_many`](Shared::lease_many).
    Lease,
    /// [`renew`](Shared::renew).
    Renew,
    /// [`commit`](Shared::commit) and [`commit_many`](Shared::commit_many): the end of a load, successful or not.
    Commit,
    /// [`subscribe`](Shared::subscribe).
    Subscribe,
    /// [`mutate`](Shared::mutate): `set`, `remove`, `expire` and their like.
    Mutate,
    /// [`marks`](Shared::marks): the versions of tags, prefixes and namespaces.
    Marks,
    /// [`move_marks`](Shared::move_marks): the invalidation of tags, prefixes and namespaces.
    MoveMarks,
    /// [`begin_pattern`](Shared::begin_pattern).
    BeginPattern,
    /// [`scan`](Shared::scan).
    Scan,
    /// [`discard`](Shared::discard).
    Discard,
    /// [`acquire`](Shared::acquire): locks and claims.
    Acquire,
    /// [`extend`](Shared::extend).
    Extend,
    /// [`give_back`](Shared::give_back).
    GiveBack,
    /// [`log_end`](Shared::log_end).
    LogEnd,
    /// [`inspect`](Shared::inspect).
    Inspect,
}

/// An operation that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Which kind.
    pub operation: Operation,
    /// The full keys, marks or names that it is about; empty where there are none.
    pub keys: Vec<String>,
}

/// What becomes of an operation that may go on.
pub(super) struct Pass {
    /// What is left of its time.
    pub(super) left: Duration,
    /// It is carried out, and this is what the caller hears instead of the answer.
    pub(super) lost: Option<Fault>,
}

pub(super) type Decision<'a> = Pin<Box<dyn Future<Output = Result<Pass, Fault>> + Send + 'a>>;

/// Who decides.
pub(super) trait Interceptor: Send + Sync + fmt::Debug + 'static {
    /// May wait, but not beyond `within`.
    fn decide(&self, asked: Asked, within: Duration) -> Decision<'_>;

    /// What is known about the connections, given what the tier behind says.
    fn health(&self, behind: Vec<EndpointHealth>) -> Vec<EndpointHealth> {
        behind
    }

    fn recoveries(&self, behind: watch::Receiver<u64>) -> watch::Receiver<u64> {
        behind
    }
}

/// A tier with somebody in front of it.
#[derive(Debug)]
pub(super) struct Intercepted {
    pub(super) behind: Arc<dyn Shared>,
    pub(super) interceptor: Arc<dyn Interceptor>,
}

impl Intercepted {
    fn ask<'a, T: Send + 'a>(
        &'a self,
        operation: Operation,
        keys: Vec<String>,
        within: Duration,
        question: impl FnOnce(Duration) -> Reply<'a, T> + Send + 'a,
    ) -> Reply<'a, T> {
        Box::pin(async move {
            let asked = Asked { operation, keys };
            let Pass { left, lost } = self.interceptor.decide(asked, within).await?;
            let answer = question(left).await;
            match lost {
                Some(fault) => Err(fault),
                None => answer,
            }
        })
    }
}

fn one(key: impl fmt::Display) -> Vec<String> {
    vec![key.to_string()]
}

impl Shared for Intercepted {
    fn read<'a>(&'a self, key: &'a str, within: Duration) -> Reply<'a, Reading> {
        self.ask(Operation::Read, one(key), within, move |left| {
            self.behind.read(key, left)
        })
    }

    fn read_many<'a>(&'a self, keys: &'a [&'a str], within: Duration) -> Reply<'a, Vec<Reading>> {
        let texts = keys.iter().map(ToString::to_string).collect();
        self.ask(Operation::Read, texts, within, move |left| {
            self.behind.read_many(keys, left)
        })
    }

    fn lease<'a>(&'a self, request: LeaseRequest<'a>, within: Duration) -> Reply<'a, LeaseAnswer> {
        self.ask(Operation::Lease, one(request.key), within, move |left| {
            self.behind.lease(request, left)
        })
    }

    fn lease_many<'a>(
        &'a self,
        requests: Vec<LeaseRequest<'a>>,
        within: Duration,
    ) -> Reply<'a, Vec<LeaseAnswer>> {
        let keys = requests.iter().map(|request| request.key.to_owned()).collect();
        self.ask(Operation::Lease, keys, within, move |left| {
            self.behind.lease_many(requests, left)
        })
    }

    fn renew<'a>(&'a self, key: &'a str, token: Token, ttl: Duration, within: Duration) -> Reply<'a, bool> {
        self.ask(Operation::Renew, one(key), within, move |left| {
            self.behind.renew(key, token, ttl, left)
        })
    }

    fn commit<'a>(&'a self, request: CommitRequest<'a>, within: Duration) -> Reply<'a, CommitAnswer> {
        self.ask(Operation::Commit, one(request.key), within, move |left| {
            self.behind.commit(request, left)
        })
    }

    fn commit_many<'a>(
        &'a self,
        requests: Vec<CommitRequest<'a>>,
        within: Duration,
    ) -> Reply<'a, Vec<CommitAnswer>> {
        let keys = requests.iter().map(|request| request.key.to_owned()).collect();
        self.ask(Operation::Commit, keys, within, move |left| {
            self.behind.commit_many(requests, left)
        })
    }

    fn subscribe<'a>(&'a self, key: &'a str, within: Duration) -> Reply<'a, Wakeups> {
        self.ask(Operation::Subscribe, one(key), within, move |left| {
            self.behind.subscribe(key, left)
        })
    }

    fn mutate<'a>(
        &'a self,
        op: Op,
        mutations: Vec<Mutation<'a>>,
        within: Duration,
    ) -> Reply<'a, MutationAnswer> {
        let keys = mutations.iter().map(|mutation| mutation.key.to_owned()).collect();
        self.ask(Operation::Mutate, keys, within, move |left| {
            self.behind.mutate(op, mutations, left)
        })
    }

    fn marks<'a>(
        &'a self,
        marks: &'a [Mark<'a>],
        ttl: Duration,
        within: Duration,
    ) -> Reply<'a, Vec<MarkVersions>> {
        let texts = marks.iter().map(ToString::to_string).collect();
        self.ask(Operation::Marks, texts, within, move |left| {
            self.behind.marks(marks, ttl, left)
        })
    }

    fn move_marks<'a>(
        &'a self,
        marks: &'a [Mark<'a>],
        strength: Strength,
        hold: Duration,
        ttl: Duration,
        within: Duration,
    ) -> Reply<'a, LogId> {
        let texts = marks.iter().map(ToString::to_string).collect();
        self.ask(Operation::MoveMarks, texts, within, move |left| {
            self.behind.move_marks(marks, strength, hold, ttl, left)
        })
    }

    fn begin_pattern<'a>(&'a self, glob: &'a str, within: Duration) -> Reply<'a, LogId> {
        self.ask(Operation::BeginPattern, one(glob), within, move |left| {
            self.behind.begin_pattern(glob, left)
        })
    }

    fn scan<'a>(&'a self, request: ScanRequest<'a>, within: Duration) -> Reply<'a, ScanPage> {
        self.ask(Operation::Scan, one(request.glob), within, move |left| {
            self.behind.scan(request, left)
        })
    }

    fn discard<'a>(&'a self, entries: &'a [(String, Version)], within: Duration) -> Reply<'a, u64> {
        let keys = entries.iter().map(|(key, _)| key.clone()).collect();
        self.ask(Operation::Discard, keys, within, move |left| {
            self.behind.discard(entries, left)
        })
    }

    fn acquire<'a>(&'a self, request: AcquireRequest<'a>, within: Duration) -> Reply<'a, Acquisition> {
        self.ask(Operation::Acquire, one(request.name), within, move |left| {
            self.behind.acquire(request, left)
        })
    }

    fn extend<'a>(
        &'a self,
        kind: LockKind,
        name: &'a str,
        token: Token,
        ttl: Duration,
        within: Duration,
    ) -> Reply<'a, bool> {
        self.ask(Operation::Extend, one(name), within, move |left| {
            self.behind.extend(kind, name, token, ttl, left)
        })
    }

    fn give_back<'a>(
        &'a self,
        kind: LockKind,
        name: &'a str,
        token: Token,
        within: Duration,
    ) -> Reply<'a, bool> {
        self.ask(Operation::GiveBack, one(name), within, move |left| {
            self.behind.give_back(kind, name, token, left)
        })
    }

    fn follow_log(&self) -> LogReader {
        self.behind.follow_log()
    }

    fn log_end(&self, within: Duration) -> Reply<'_, LogId> {
        self.ask(Operation::LogEnd, Vec::new(), within, |left| {
            self.behind.log_end(left)
        })
    }

    fn inspect(&self, within: Duration) -> Reply<'_, ServerFacts> {
        self.ask(Operation::Inspect, Vec::new(), within, |left| {
            self.behind.inspect(left)
        })
    }

    fn health(&self) -> Vec<EndpointHealth> {
        self.interceptor.health(self.behind.health())
    }

    fn recoveries(&self) -> watch::Receiver<u64> {
        self.interceptor.recoveries(self.behind.recoveries())
    }

    fn force_breaker(&self, open: bool) {
        self.behind.force_breaker(open);
    }

    fn close(&self) {
        self.behind.close();
    }
}

/// `work`'s output if it comes within `limit`. Without a runtime there are no timers, and no limit.
pub(super) async fn deadline<F: Future>(limit: Duration, work: F) -> Option<F::Output> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Some(work.await);
    }
    tokio::time::timeout(limit, work).await.ok()
}
