//! [`Measured`]: the port to the shared tier, with every question timed and every fault counted.

use std::time::Duration;

use tokio::sync::watch;

use crate::measure::SharedTally;
use crate::notice::{LogId, Op};
use crate::shared::{
    AcquireRequest, Acquisition, CommitAnswer, CommitRequest, EndpointHealth, LeaseAnswer, LeaseRequest,
    LockKind, LogReader, Mark, MarkVersions, Mutation, MutationAnswer, Reading, Reply, ScanPage, ScanRequest,
    ServerFacts, Shared, Strength, Token, Version, Wakeups,
};
use crate::sync::Arc;
use crate::time::Clock;

/// A shared tier that is watched from this side: what it cost its callers, waiting included.
#[derive(Debug)]
pub(crate) struct Measured {
    behind: Arc<dyn Shared>,
    clock: Arc<dyn Clock>,
    tally: Arc<SharedTally>,
}

impl Measured {
    pub(crate) fn new(behind: Arc<dyn Shared>, clock: Arc<dyn Clock>, tally: Arc<SharedTally>) -> Self {
        Self { behind, clock, tally }
    }

    fn time<'a, T: Send + 'a>(&'a self, question: Reply<'a, T>) -> Reply<'a, T> {
        Box::pin(async move {
            let asked = self.clock.now();
            let answer = question.await;
            self.tally
                .asked(self.clock.now().since(asked), answer.as_ref().err());
            answer
        })
    }
}

impl Shared for Measured {
    fn read<'a>(&'a self, key: &'a str, within: Duration) -> Reply<'a, Reading> {
        self.time(self.behind.read(key, within))
    }

    fn read_many<'a>(&'a self, keys: &'a [&'a str], within: Duration) -> Reply<'a, Vec<Reading>> {
        self.time(self.behind.read_many(keys, within))
    }

    fn lease<'a>(&'a self, request: LeaseRequest<'a>, within: Duration) -> Reply<'a, LeaseAnswer> {
        self.time(self.behind.lease(request, within))
    }

    fn lease_many<'a>(
        &'a self,
        requests: Vec<LeaseRequest<'a>>,
        within: Duration,
    ) -> Reply<'a, Vec<LeaseAnswer>> {
        self.time(self.behind.lease_many(requests, within))
    }

    fn renew<'a>(&'a self, key: &'a str, token: Token, ttl: Duration, within: Duration) -> Reply<'a, bool> {
        self.time(self.behind.renew(key, token, ttl, within))
    }

    fn commit<'a>(&'a self, request: CommitRequest<'a>, within: Duration) -> Reply<'a, CommitAnswer> {
        self.time(self.behind.commit(request, within))
    }

    fn commit_many<'a>(
        &'a self,
        requests: Vec<CommitRequest<'a>>,
        within: Duration,
    ) -> Reply<'a, Vec<CommitAnswer>> {
        self.time(self.behind.commit_many(requests, within))
    }

    fn subscribe<'a>(&'a self, key: &'a str, within: Duration) -> Reply<'a, Wakeups> {
        self.time(self.behind.subscribe(key, within))
    }

    fn mutate<'a>(
        &'a self,
        op: Op,
        mutations: Vec<Mutation<'a>>,
        within: Duration,
    ) -> Reply<'a, MutationAnswer> {
        self.time(self.behind.mutate(op, mutations, within))
    }

    fn marks<'a>(
        &'a self,
        marks: &'a [Mark<'a>],
        ttl: Duration,
        within: Duration,
    ) -> Reply<'a, Vec<MarkVersions>> {
        self.time(self.behind.marks(marks, ttl, within))
    }

    fn move_marks<'a>(
        &'a self,
        marks: &'a [Mark<'a>],
        strength: Strength,
        hold: Duration,
        ttl: Duration,
        within: Duration,
    ) -> Reply<'a, LogId> {
        self.time(self.behind.move_marks(marks, strength, hold, ttl, within))
    }

    fn begin_pattern<'a>(&'a self, glob: &'a str, within: Duration) -> Reply<'a, LogId> {
        self.time(self.behind.begin_pattern(glob, within))
    }

    fn scan<'a>(&'a self, request: ScanRequest<'a>, within: Duration) -> Reply<'a, ScanPage> {
        self.time(self.behind.scan(request, within))
    }

    fn discard<'a>(&'a self, entries: &'a [(String, Version)], within: Duration) -> Reply<'a, u64> {
        self.time(self.behind.discard(entries, within))
    }

    fn acquire<'a>(&'a self, request: AcquireRequest<'a>, within: Duration) -> Reply<'a, Acquisition> {
        self.time(self.behind.acquire(request, within))
    }

    fn extend<'a>(
        &'a self,
        kind: LockKind,
        name: &'a str,
        token: Token,
        ttl: Duration,
        within: Duration,
    ) -> Reply<'a, bool> {
        self.time(self.behind.extend(kind, name, token, ttl, within))
    }

    fn give_back<'a>(
        &'a self,
        kind: LockKind,
        name: &'a str,
        token: Token,
        within: Duration,
    ) -> Reply<'a, bool> {
        self.time(self.behind.give_back(kind, name, token, within))
    }

    fn follow_log(&self) -> LogReader {
        self.behind.follow_log()
    }

    fn log_end(&self, within: Duration) -> Reply<'_, LogId> {
        self.time(self.behind.log_end(within))
    }

    /// Not timed: it asks far more than any operation does.
    fn inspect(&self, within: Duration) -> Reply<'_, ServerFacts> {
        self.behind.inspect(within)
    }

    fn health(&self) -> Vec<EndpointHealth> {
        self.behind.health()
    }

    fn recoveries(&self) -> watch::Receiver<u64> {
        self.behind.recoveries()
    }

    fn force_breaker(&self, open: bool) {
        self.behind.force_breaker(open);
    }

    fn close(&self) {
        self.behind.close();
    }
}
