//! One load for the fleet: before a load, the value after all, the right to load, or the wait for whoever has it.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use rand::Rng as _;

use crate::cache::Cache;
use crate::cache::far::read::{FarEntry, ReadAs};
use crate::cache::far::{Budget, Far, port_version};
use crate::cache::lead::{FlightContext, Load, LoadKind};
use crate::entry::{AnyEntry, Entry};
use crate::notice::{LogId, Op};
use crate::shared::{
    Change, CommitAnswer, CommitRequest, Condition, Ending, Fault, Lease, LeaseAnswer, LeaseRequest,
    MarkVersions, Payload, Refuse, StoredValue, Token, Verdict, Wakeups,
};
use crate::stats::Count;
use crate::sync::Arc;
use crate::time::Timestamp;

/// What the shared tier says to a load that is about to begin.
pub(crate) enum Departure<T> {
    /// There is a value after all.
    Found(AnyEntry),
    /// Another node's load failed a moment ago, with this kind of error.
    FailedElsewhere(String),
    /// Another node loads, and nobody waits here.
    NotNeeded,
    /// Load.
    Load(Leave<T>),
}

/// Everything that a load takes along from the shared tier.
pub(crate) struct Leave<T> {
    /// The right to load; `None` when the shared tier is away: then every node loads for itself.
    pub(crate) lease: Option<HeldLease>,
    /// The versions of the flight's marks, before the load.
    pub(crate) versions: Option<Vec<MarkVersions>>,
    /// A stale value of the shared tier.
    pub(crate) stale: Option<Arc<Entry<T>>>,
}

impl<T: Send + Sync + 'static> Load<T> {
    /// Looks into the shared tier and takes the lease. A fault ends the looking: the load then goes on without.
    pub(crate) async fn depart(&self, far: &Arc<Far>, flight: &FlightContext) -> Departure<T> {
        let mut stale = None;
        match self.ask(far, flight, &mut stale).await {
            Ok(departure) => departure,
            Err(fault) => {
                self.cache.degraded("lease", &fault);
                Departure::Load(Leave {
                    lease: None,
                    versions: None,
                    stale,
                })
            }
        }
    }

    async fn ask(
        &self,
        far: &Arc<Far>,
        flight: &FlightContext,
        stale: &mut Option<Arc<Entry<T>>>,
    ) -> Result<Departure<T>, Fault> {
        let budget = self.cache.far_budget(far);
        let versions = self
            .cache
            .mark_versions(far, &flight.marks, false, &budget)
            .await?;
        let read_as = self.read_as(flight.seen);
        let mut refuse = Refuse::Any;
        if self.kind != LoadKind::Forced {
            let read = self.cache.read_far(far, &self.id, read_as, &budget).await?;
            if let Some(found) = self.usable(&read) {
                return Ok(Departure::Found(found));
            }
            refuse = read
                .version()
                .map_or(Refuse::Nothing, |version| Refuse::Version(port_version(version)));
            if let FarEntry::Stale(entry, _) = read {
                *stale = Some(entry);
            }
        }
        let key = self.cache.far_key(self.id.key());
        let mut wait = Wait {
            token: Token::random(),
            holder: None,
            take_over: None,
            poll: FIRST_POLL,
            wakeups: None,
        };
        loop {
            let request = LeaseRequest {
                key: &key,
                refuse,
                token: wait.token,
                ttl: far.settings.lock_ttl,
                consult_errors: !self.policy.error_ttl.is_zero(),
                take_over: wait.take_over.take(),
            };
            // Each question has a budget of its own from the second on: waiting for another node is no delay by Redis.
            let within = if wait.holder.is_none() {
                budget.left(&*self.cache.inner.clock)?
            } else {
                far.settings.budget
            };
            let sent = self.cache.inner.clock.now();
            match far.ask(far.port.lease(request, within)).await? {
                LeaseAnswer::Recorded(kind, _) => {
                    return Ok(Departure::FailedElsewhere(
                        String::from_utf8_lossy(&kind).into_owned(),
                    ));
                }
                LeaseAnswer::Lease(lease) => {
                    let lease = HeldLease::new(&self.cache, far, key, lease);
                    return Ok(Departure::Load(Leave {
                        lease: Some(lease),
                        versions: Some(versions),
                        stale: stale.take(),
                    }));
                }
                LeaseAnswer::Value(value) => {
                    let budget = Budget::begin(&*self.cache.inner.clock, far.settings.budget);
                    let judged = self
                        .cache
                        .judge_far(far, &self.id, &value, sent, read_as, &budget)
                        .await?;
                    if let Some(found) = self.usable(&judged) {
                        return Ok(Departure::Found(found));
                    }
                    refuse = Refuse::Version(value.version);
                }
                LeaseAnswer::Held { .. } if self.kind == LoadKind::Eager => return Ok(Departure::NotNeeded),
                LeaseAnswer::Held { holder, remaining } => {
                    self.cache.inner.tally.count(Count::LeaseWait);
                    if let Some(Ending::Failed(kind)) =
                        self.await_holder(far, &key, &mut wait, holder, remaining).await
                    {
                        return Ok(Departure::FailedElsewhere(kind));
                    }
                }
            }
        }
    }

    fn read_as(&self, seen: u64) -> ReadAs<T> {
        ReadAs {
            wire: self.wire,
            policy: self.policy,
            seen,
        }
    }

    /// The entry as an answer to this load, if it is one.
    fn usable(&self, read: &FarEntry<T>) -> Option<AnyEntry> {
        match read {
            FarEntry::Fresh(entry) if !entry.meta().negative || self.optional => {
                let now = self.cache.inner.clock.now();
                // A refresh ahead of expiry wants something newer than what is about to end.
                let in_time = self.kind != LoadKind::Eager || now < entry.meta().eager_from;
                in_time.then(|| entry.clone())
            }
            _ => None,
        }
    }

    /// Waits until it is worth asking again: the load ended, the lock may have, or some time has passed. Subscribed
    /// before it is asked the second time, so no end is missed.
    async fn await_holder(
        &self,
        far: &Far,
        key: &str,
        wait: &mut Wait,
        holder: Token,
        remaining: Duration,
    ) -> Option<Ending> {
        let now = self.cache.inner.clock.now();
        wait.note(holder, now, now + remaining, self.cache.inner.settings.lock_wait);
        if wait.wakeups.is_none() {
            wait.wakeups = Some(far.port.subscribe(key, far.settings.budget).await.ok());
            return None;
        }
        let jitter = rand::rng().random_range(0.5..1.5);
        let pause = wait.poll.mul_f64(jitter).min(remaining + LOCK_DELTA);
        wait.poll = (wait.poll * 2).min(LAST_POLL);
        tokio::select! {
            ending = next_ending(wait.wakeups.as_mut().and_then(Option::as_mut)) => ending,
            () = tokio::time::sleep(pause) => None,
        }
    }
}

impl<T: Send + Sync + 'static> Load<T> {
    /// Offers what the loader gave to the shared tier; whether this node may keep it.
    pub(crate) async fn commit(&self, far: &Far, leave: Leave<T>, entry: &AnyEntry, seen: u64) -> bool {
        // The shared tier is away, and this process serves alone.
        let (Some(lease), Some(versions)) = (leave.lease, leave.versions) else {
            return true;
        };
        let offer = match self.offer(far, &lease, entry, versions).await {
            Ok(Some(payload)) => payload,
            Ok(None) => {
                self.report(lease.commit(None, None, Ending::Released).await);
                return true;
            }
            // A tag that the load found was invalidated since it began.
            Err(Refused) => {
                self.report(lease.commit(None, None, Ending::Released).await);
                return false;
            }
        };
        let answer = if self.kind == LoadKind::Forced {
            self.announce(far, lease, offer, entry).await
        } else {
            lease.commit(Some(offer), None, Ending::Done).await
        };
        let Some(answer) = self.report(answer) else {
            return true;
        };
        match answer.verdict {
            Verdict::Applied | Verdict::Nothing | Verdict::OutOfMemory => true,
            refused => {
                tracing::debug!(
                    cache = self.cache.name(),
                    verdict = refused.as_str(),
                    "the shared tier refused a load"
                );
                if let Some(current) = answer.current {
                    self.adopt(far, &current, seen).await;
                }
                false
            }
        }
    }

    /// The entry's bytes, with the versions of its marks from before the load; `None` if it stays in this process.
    async fn offer(
        &self,
        far: &Far,
        lease: &HeldLease,
        entry: &AnyEntry,
        mut versions: Vec<MarkVersions>,
    ) -> Result<Option<Payload>, Refused> {
        let marks = &entry.meta().marks;
        if far.recovery.doubts(&self.id, marks) {
            return Ok(None);
        }
        let budget = self.cache.far_budget(far);
        let known = versions.len();
        match self.cache.mark_versions(far, marks, false, &budget).await {
            // The load found these tags: what counts is whether they moved since it began.
            Ok(now) => versions.extend(now.into_iter().skip(known)),
            Err(fault) => {
                self.cache.degraded("marks", &fault);
                return Ok(None);
            }
        }
        let moved = |versions: &MarkVersions| match (versions.hard_moved_at(), lease.position) {
            (Some(moved), Some(position)) => moved != position && !position.is_after(moved),
            (Some(_), None) => true,
            (None, _) => false,
        };
        if versions.iter().skip(known).any(moved) {
            return Err(Refused);
        }
        Ok(self.cache.payload(far, &self.id, entry, self.wire, &versions))
    }

    /// A forced load is announced like a `set`, if nothing else happened to the key since it began.
    async fn announce(
        &self,
        far: &Far,
        lease: HeldLease,
        payload: Payload,
        entry: &AnyEntry,
    ) -> Result<CommitAnswer, Fault> {
        let change = Change::Set {
            payload,
            condition: Condition::Seen(lease.lease.seen),
        };
        let version = port_version(entry.meta().version);
        let budget = self.cache.far_budget(far);
        let answer = self
            .cache
            .mutate_far(far, Op::Refresh, &self.id, version, change, &budget)
            .await?;
        let verdict = answer.verdicts.into_iter().next().unwrap_or(Verdict::Nothing);
        let released = lease.commit(None, None, Ending::Done).await?;
        Ok(CommitAnswer { verdict, ..released })
    }

    /// What stands in the shared tier instead of this load's result is what this process keeps.
    async fn adopt(&self, far: &Far, current: &StoredValue, seen: u64) {
        let sent = self.cache.inner.clock.now();
        let budget = self.cache.far_budget(far);
        let judged = self
            .cache
            .judge_far(far, &self.id, current, sent, self.read_as(seen), &budget)
            .await;
        if let Ok(FarEntry::Fresh(entry)) = judged {
            self.cache.promote(&self.id, &entry, seen, sent);
        }
    }

    /// Tells the nodes that wait that the load failed, and, if the options say so, those that come within `error_ttl`.
    pub(crate) async fn tell_failure(&self, leave: Option<(Arc<Far>, Leave<T>)>, kind: &str) {
        let Some(lease) = leave.and_then(|(_, leave)| leave.lease) else {
            return;
        };
        let ttl = self.policy.error_ttl;
        let record = (!ttl.is_zero()).then(|| (kind.to_owned(), ttl));
        self.report(lease.commit(None, record, Ending::Failed(kind.to_owned())).await);
    }

    fn report(&self, answer: Result<CommitAnswer, Fault>) -> Option<CommitAnswer> {
        answer
            .inspect_err(|fault| self.cache.degraded("commit", fault))
            .ok()
    }
}

/// A load's result that must not be stored.
struct Refused;

/// One load's wait for another node's.
struct Wait {
    token: Token,
    /// Whose lock it is, since when it was not renewed, and when it ends.
    holder: Option<(Token, Timestamp, Timestamp)>,
    take_over: Option<Token>,
    poll: Duration,
    /// `Some(None)`: the server does not publish, and polling is all there is.
    wakeups: Option<Option<Wakeups>>,
}

impl Wait {
    /// Notes who holds the lock. A holder that has not renewed for `patience` is dead: its lock is taken over.
    fn note(&mut self, holder: Token, now: Timestamp, ends: Timestamp, patience: Duration) {
        match self.holder {
            // The end is known to about a round trip; a renewal moves it by seconds.
            Some((known, since, end)) if known == holder && ends <= end + RENEWAL_SHOWS => {
                if now.since(since) >= patience {
                    self.take_over = Some(holder);
                }
            }
            _ => self.holder = Some((holder, now, ends)),
        }
    }
}

async fn next_ending(wakeups: Option<&mut Wakeups>) -> Option<Ending> {
    let Some(wakeups) = wakeups else {
        return pending().await;
    };
    match wakeups.next().await {
        Some(ending) => Some(ending),
        // The subscription was lost; the poll goes on.
        None => pending().await,
    }
}

/// The right to load a key, held in the shared tier. Given back when it is dropped, whatever the reason.
pub(crate) struct HeldLease {
    cache: Cache,
    far: Arc<Far>,
    key: String,
    lease: Lease,
    /// The newest notice that this node had heard when the lease was given.
    pub(crate) position: Option<LogId>,
    given_back: bool,
}

impl HeldLease {
    fn new(cache: &Cache, far: &Arc<Far>, key: String, lease: Lease) -> Self {
        let position = far.hearing.position();
        Self {
            cache: cache.clone(),
            far: far.clone(),
            key,
            lease,
            position,
            given_back: false,
        }
    }

    /// Renews the lock for as long as this is polled; never ends by itself. A lock that is lost is not taken again:
    /// the commit will be refused if somebody else stored meanwhile.
    pub(crate) async fn keep(&self) -> Infallible {
        let ttl = self.far.settings.lock_ttl;
        loop {
            tokio::time::sleep(ttl / 3).await;
            let renewed = self
                .far
                .ask(
                    self.far
                        .port
                        .renew(&self.key, self.lease.token, ttl, self.far.settings.budget),
                )
                .await;
            match renewed {
                Ok(true) => {}
                Ok(false) => {
                    self.cache.inner.tally.count(Count::LeaseLost);
                    return pending().await;
                }
                Err(fault) => self.cache.degraded("renew", &fault),
            }
        }
    }

    /// Ends the load in the shared tier: stores, gives the lock back and wakes who waits, in one step.
    pub(crate) async fn commit(
        mut self,
        store: Option<Payload>,
        record: Option<(String, Duration)>,
        ending: Ending,
    ) -> Result<CommitAnswer, Fault> {
        let request = CommitRequest {
            key: &self.key,
            token: Some(self.lease.token),
            seen: self.lease.seen,
            started: Some(self.lease.started),
            max_load: self.cache.inner.settings.max_load,
            fence: &self.lease.fence,
            store,
            record: record.map(|(kind, ttl)| (kind.into_bytes(), ttl)),
            ending,
        };
        let answer = self
            .far
            .ask(self.far.port.commit(request, self.far.settings.budget))
            .await;
        // Without an answer the lock may still be held: dropping this gives it back.
        self.given_back = answer.is_ok();
        answer
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        if self.given_back {
            return;
        }
        let (far, key, lease) = (
            self.far.clone(),
            std::mem::take(&mut self.key),
            self.lease.clone(),
        );
        // Without a runtime the lock ends by itself.
        let _ = self.cache.inner.tasks.spawn(async move {
            let request = CommitRequest {
                key: &key,
                token: Some(lease.token),
                seen: lease.seen,
                started: None,
                max_load: Duration::ZERO,
                fence: &lease.fence,
                store: None,
                record: None,
                ending: Ending::Released,
            };
            let _ = far.ask(far.port.commit(request, far.settings.budget)).await;
        });
    }
}

const FIRST_POLL: Duration = Duration::from_millis(25);
const LAST_POLL: Duration = Duration::from_millis(250);
/// A lock is asked for again a moment after its end, not at it.
const LOCK_DELTA: Duration = Duration::from_millis(5);
/// Less than a renewal moves a lock's end, more than two readings of it differ.
const RENEWAL_SHOWS: Duration = Duration::from_millis(500);
