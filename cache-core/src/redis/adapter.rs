//! [`Adapter`]: the port on Redis. Each method is carried out in the file named after its subject.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::config::Redis;
use super::layout::Layout;
use super::route::Route;
use super::wake::Wake;
use super::{inspect, log, route};
use crate::notice::{LogId, Op, Source};
use crate::shared::{
    AcquireRequest, Acquisition, CommitAnswer, CommitRequest, EndpointHealth, Fault, FaultKind, Fence,
    LeaseAnswer, LeaseRequest, LockKind, LogReader, Mark, MarkVersions, Mutation, MutationAnswer, Reading,
    Reply, ScanPage, ScanRequest, ServerFacts, Shared, Strength, Token, Version, Wakeups,
};
use crate::sync::{Mutex, lock};
use crate::time::Clock;

/// The shared tier on Redis.
#[derive(Debug)]
pub(super) struct Adapter {
    pub(super) route: Arc<Route>,
    pub(super) layout: Layout,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) source: Source,
    /// What the log said last, for servers whose scripts cannot see it.
    pub(super) heard: Arc<Mutex<Heard>>,
    closed: CancellationToken,
    wake: Wake,
    recoveries: watch::Sender<u64>,
}

/// The log's identity and the last pattern removal, as heard by this node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    pub(super) incarnation: Option<u64>,
    pub(super) pattern: Option<LogId>,
}

impl Adapter {
    pub(super) fn new(config: &Redis, root: &str, clock: Arc<dyn Clock>) -> Self {
        let recoveries = watch::Sender::new(0);
        let route = Arc::new(Route::new(config, &recoveries));
        let closed = CancellationToken::new();
        Self {
            wake: Wake::new(route.clone(), closed.clone()),
            route,
            layout: Layout::new(root),
            clock,
            source: Source::random(),
            heard: Arc::default(),
            closed,
            recoveries,
        }
    }

    /// Makes equal notices different, so that a log restored from a copy does not pass for its continuation.
    pub(super) fn nonce(&self) -> String {
        format!("{:016x}", rand::random::<u64>())
    }

    /// The fence of this node, where scripts cannot see the log. Nothing to compare before the log was heard.
    pub(super) fn heard_fence(&self) -> Option<Fence> {
        if !self.route.is_cluster() {
            return None;
        }
        let heard = *lock(&self.heard);
        let incarnation = heard.incarnation?;
        let pattern = heard.pattern.map(|id| id.to_string()).unwrap_or_default();
        Some(Fence(format!("{incarnation}/{pattern}").into_bytes()))
    }

    /// An answer of a wrong shape may be that of another question, and so may all that follow it on its connection.
    fn heed<T>(&self, answer: Result<T, Fault>) -> Result<T, Fault> {
        answer.inspect_err(|fault| {
            if fault.kind() == FaultKind::Protocol {
                self.route.mistrust(fault);
            }
        })
    }

    async fn one<T>(answers: impl Future<Output = Result<Vec<T>, Fault>>) -> Result<T, Fault> {
        let first = answers.await?.into_iter().next();
        first.ok_or_else(|| Fault::new(FaultKind::Protocol, "an answer is missing"))
    }
}

impl Shared for Adapter {
    fn read<'a>(&'a self, key: &'a str, within: Duration) -> Reply<'a, Reading> {
        Box::pin(async move { self.heed(self.read_key(key, within).await) })
    }

    fn read_many<'a>(&'a self, keys: &'a [&'a str], within: Duration) -> Reply<'a, Vec<Reading>> {
        Box::pin(async move { self.heed(self.read_keys(keys, within).await) })
    }

    fn lease<'a>(&'a self, request: LeaseRequest<'a>, within: Duration) -> Reply<'a, LeaseAnswer> {
        Box::pin(async move { self.heed(Self::one(self.lease_keys(vec![request], within)).await) })
    }

    fn lease_many<'a>(
        &'a self,
        requests: Vec<LeaseRequest<'a>>,
        within: Duration,
    ) -> Reply<'a, Vec<LeaseAnswer>> {
        Box::pin(async move { self.heed(self.lease_keys(requests, within).await) })
    }

    fn renew<'a>(&'a self, key: &'a str, token: Token, ttl: Duration, within: Duration) -> Reply<'a, bool> {
        Box::pin(async move { self.heed(self.renew_lock(key, token, ttl, within).await) })
    }

    fn commit<'a>(&'a self, request: CommitRequest<'a>, within: Duration) -> Reply<'a, CommitAnswer> {
        Box::pin(async move { self.heed(Self::one(self.commit_keys(vec![request], within)).await) })
    }

    fn commit_many<'a>(
        &'a self,
        requests: Vec<CommitRequest<'a>>,
        within: Duration,
    ) -> Reply<'a, Vec<CommitAnswer>> {
        Box::pin(async move { self.heed(self.commit_keys(requests, within).await) })
    }

    fn subscribe<'a>(&'a self, key: &'a str, within: Duration) -> Reply<'a, Wakeups> {
        Box::pin(self.wake.subscribe(key, within))
    }

    fn mutate<'a>(
        &'a self,
        op: Op,
        mutations: Vec<Mutation<'a>>,
        within: Duration,
    ) -> Reply<'a, MutationAnswer> {
        Box::pin(async move { self.heed(self.change(op, mutations, within).await) })
    }

    fn marks<'a>(
        &'a self,
        marks: &'a [Mark<'a>],
        ttl: Duration,
        within: Duration,
    ) -> Reply<'a, Vec<MarkVersions>> {
        Box::pin(async move { self.heed(self.fetch_marks(marks, ttl, within).await) })
    }

    fn move_marks<'a>(
        &'a self,
        marks: &'a [Mark<'a>],
        strength: Strength,
        hold: Duration,
        ttl: Duration,
        within: Duration,
    ) -> Reply<'a, LogId> {
        Box::pin(async move { self.heed(self.invalidate_marks(marks, strength, hold, ttl, within).await) })
    }

    fn begin_pattern<'a>(&'a self, glob: &'a str, within: Duration) -> Reply<'a, LogId> {
        Box::pin(async move { self.heed(self.announce_pattern(glob, within).await) })
    }

    fn scan<'a>(&'a self, request: ScanRequest<'a>, within: Duration) -> Reply<'a, ScanPage> {
        Box::pin(self.route.scan(request, within))
    }

    fn discard<'a>(&'a self, entries: &'a [(String, Version)], within: Duration) -> Reply<'a, u64> {
        Box::pin(async move { self.heed(self.discard_entries(entries, within).await) })
    }

    fn acquire<'a>(&'a self, request: AcquireRequest<'a>, within: Duration) -> Reply<'a, Acquisition> {
        Box::pin(async move { self.heed(self.take(request, within).await) })
    }

    fn extend<'a>(
        &'a self,
        kind: LockKind,
        name: &'a str,
        token: Token,
        ttl: Duration,
        within: Duration,
    ) -> Reply<'a, bool> {
        Box::pin(async move { self.heed(self.extend_named(kind, name, token, ttl, within).await) })
    }

    fn give_back<'a>(
        &'a self,
        kind: LockKind,
        name: &'a str,
        token: Token,
        within: Duration,
    ) -> Reply<'a, bool> {
        Box::pin(async move { self.heed(self.give_named_back(kind, name, token, within).await) })
    }

    fn may_lose_notices(&self) -> bool {
        self.route.is_cluster()
    }

    fn follow_log(&self) -> LogReader {
        log::follow(self, self.closed.clone())
    }

    fn log_end(&self, within: Duration) -> Reply<'_, LogId> {
        Box::pin(log::end(self, within))
    }

    fn inspect(&self, within: Duration) -> Reply<'_, ServerFacts> {
        Box::pin(async move {
            let mut facts = inspect::inspect(&self.route, &self.layout, &*self.clock, within).await?;
            // On a connection of its own: that of the others cannot be lent for it.
            let probe = self.layout.probe_channel();
            let waiting = self.wake.subscribe(&probe, within).await;
            if waiting.is_err_and(|fault| fault.kind() == FaultKind::NoPermission) {
                facts.missing_commands.push("subscribe".to_owned());
            }
            Ok(facts)
        })
    }

    fn health(&self) -> Vec<EndpointHealth> {
        self.route.health()
    }

    fn recoveries(&self) -> watch::Receiver<u64> {
        self.recoveries.subscribe()
    }

    fn force_breaker(&self, open: bool) {
        self.route.force_breaker(open);
    }

    fn close(&self) {
        self.closed.cancel();
        route::close(&self.route);
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        self.close();
    }
}

/// The identity of a log that may be about to begin: another one each time, since one that begins twice must not pass
/// for the same. Within what Lua's numbers hold exactly, and never zero.
pub(super) fn fresh_incarnation() -> String {
    rand::random_range(1..1_u64 << 53).to_string()
}
