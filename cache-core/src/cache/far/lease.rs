//! One load for the fleet: before a load, the value after all, the right to load, or the wait for whoever has it.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use rand::Rng as _;

use crate::cache::Cache;
use crate::cache::far::read::{FarEntry, ReadAs};
use crate::cache::far::wakeup::Wakeup;
use crate::cache::far::{Far, Holding, Inquiry, Views, port_version};
use crate::cache::lead::{FlightContext, Load, LoadKind};
use crate::codec::envelope::{Contents, Envelope, Lifetimes};
use crate::entry::{AnyEntry, Entry};
use crate::freshness::starts_refresh;
use crate::notice::{LogId, Op};
use crate::shared::{
    Change, CommitAnswer, CommitRequest, Condition, Ending, Fault, FaultKind, Lease, LeaseAnswer,
    LeaseRequest, Payload, Refuse, StoredValue, Token, Verdict,
};
use crate::stats::Count;
use crate::sync::Arc;
use crate::time::Timestamp;

/// What the shared tier says to a load that is about to begin.
pub(crate) enum Departure<T> {
    /// There is a value after all.
    Found(AnyEntry),
    /// Another node's load failed a moment ago; a stale value that may stand in.
    FailedElsewhere(FailedElsewhere, Option<Arc<Entry<T>>>),
    /// Another node's load is slow, and this may stand in for its value.
    SlowElsewhere(Arc<Entry<T>>),
    /// Another node loads, and nobody waits here.
    NotNeeded,
    /// Load.
    Load(Leave<T>),
}

/// How another node's load failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailedElsewhere {
    pub(crate) kind: String,
    /// No stale value may stand in.
    pub(crate) no_stale: bool,
}

impl FailedElsewhere {
    /// As nodes tell each other.
    fn text(kind: &str, no_stale: bool) -> String {
        format!("{kind}{}", if no_stale { FINAL } else { "" })
    }

    fn parse(text: &str) -> Self {
        let (kind, no_stale) = match text.strip_suffix(FINAL) {
            Some(kind) => (kind, true),
            None => (text, false),
        };
        let kind = kind.to_owned();
        Self { kind, no_stale }
    }
}

/// Everything that a load takes along from the shared tier.
pub(crate) struct Leave<T> {
    pub(crate) right: Right,
    /// The flight's marks, as they were before the load.
    pub(crate) views: Views,
    /// A stale value of the shared tier.
    pub(crate) stale: Option<Arc<Entry<T>>>,
}

impl<T> Leave<T> {
    pub(crate) fn newer() -> Self {
        Self {
            right: Right::Newer,
            views: Views::default(),
            stale: None,
        }
    }

    pub(crate) fn lease(&self) -> Option<&HeldLease> {
        match &self.right {
            Right::Lease(lease) => Some(lease),
            Right::Away | Right::Newer => None,
        }
    }
}

/// What a load may do with its result.
pub(crate) enum Right {
    /// Offer it to all nodes.
    Lease(HeldLease),
    /// Keep it: the shared tier is away, and every node serves alone.
    Away,
    /// Keep it: a later build's value is fresh there, which this build can neither read nor should overwrite.
    Newer,
}

/// What a look at the shared tier means for a load.
pub(crate) enum Sight<T> {
    Found(AnyEntry),
    Newer,
    Nothing {
        /// What the lease need not answer with.
        refuse: Refuse,
        stale: Option<Arc<Entry<T>>>,
    },
}

impl<T: Send + Sync + 'static> Load<T> {
    /// Looks into the shared tier and takes the lease. A fault ends the looking: the load then goes on without.
    pub(crate) async fn depart(&self, far: &Arc<Far>, flight: &FlightContext) -> Departure<T> {
        let mut stale = None;
        match self.ask(far, flight, &mut stale).await {
            Ok(departure) => departure,
            Err(fault) => self.depart_alone(&fault, stale),
        }
    }

    /// Without the shared tier.
    pub(crate) fn depart_alone(&self, fault: &Fault, stale: Option<Arc<Entry<T>>>) -> Departure<T> {
        self.cache.degraded("lease", fault);
        Departure::Load(Leave {
            right: Right::Away,
            views: Views::default(),
            stale,
        })
    }

    async fn ask(
        &self,
        far: &Arc<Far>,
        flight: &FlightContext,
        stale: &mut Option<Arc<Entry<T>>>,
    ) -> Result<Departure<T>, Fault> {
        let mut inquiry = self.cache.inquiry(far);
        let mut refuse = Refuse::Any;
        if self.kind == LoadKind::Forced {
            let Inquiry { budget, views, .. } = &mut inquiry;
            self.cache
                .view_marks(far, flight.marks.iter(), views, budget)
                .await?;
        } else {
            let read_as = self.read_as();
            let read = self
                .cache
                .read_far(&mut inquiry, &self.id, Some(&flight.marks), read_as)
                .await?;
            match self.sight(read) {
                Sight::Found(entry) => return Ok(Departure::Found(entry)),
                Sight::Newer => return Ok(Departure::Load(Leave::newer())),
                Sight::Nothing {
                    refuse: which,
                    stale: found,
                } => {
                    refuse = which;
                    *stale = found;
                }
            }
        }
        self.obtain(far, inquiry, flight, refuse, stale).await
    }

    pub(crate) fn sight(&self, read: FarEntry<T>) -> Sight<T> {
        if let Some(found) = self.usable(&read) {
            return Sight::Found(found);
        }
        let refuse = read
            .version()
            .map_or(Refuse::Nothing, |version| Refuse::Version(port_version(version)));
        match read {
            FarEntry::Newer(_) => Sight::Newer,
            FarEntry::Stale(entry, _) => Sight::Nothing {
                refuse,
                stale: Some(entry),
            },
            FarEntry::Gone(_) => {
                self.forget_stale();
                Sight::Nothing { refuse, stale: None }
            }
            FarEntry::Fresh(_) | FarEntry::Unusable(_) | FarEntry::Overtaken | FarEntry::Absent => {
                Sight::Nothing { refuse, stale: None }
            }
        }
    }

    /// An invalidation stands in the shared tier that this node has not heard of: what it has here is from before, and
    /// may not stand in for a failing load either.
    fn forget_stale(&self) {
        let cache = &self.cache;
        if cache.current(&self.id).is_some() {
            let now = cache.inner.clock.now();
            cache.inner.epochs.mutate(&self.id, now, Timestamp::ZERO, |_| {
                cache.inner.memory.remove(self.id.as_ref());
            });
        }
    }

    /// Takes the lease, and waits for whoever has it.
    pub(crate) async fn obtain(
        &self,
        far: &Arc<Far>,
        mut inquiry: Inquiry<'_>,
        flight: &FlightContext,
        mut refuse: Refuse,
        stale: &mut Option<Arc<Entry<T>>>,
    ) -> Result<Departure<T>, Fault> {
        let cache = &self.cache;
        let clock = &*cache.inner.clock;
        let key = cache.far_key(self.id.key());
        let mut wait = Wait::begin(clock.now());
        let mut consult_errors = self.kind != LoadKind::Forced && !self.policy.error_ttl.is_zero();
        let mut overtaken = 0;
        loop {
            let request = LeaseRequest {
                token: wait.token,
                consult_errors,
                take_over: wait.take_over.take(),
                ..self.lease_request(far, &key, refuse)
            };
            // Each question has a budget of its own from the second on: waiting for another node is no delay by Redis.
            if wait.holder.is_some() {
                inquiry.budget = cache.far_budget(far);
            }
            let within = inquiry.budget.left(clock)?;
            let asked = cache.asking();
            let unanswered = cache.give_back_if_cancelled(far, Holding::Load(key.clone()), wait.token);
            let answer = far.port.lease(request, within).await;
            unanswered.disarm();
            match answer? {
                LeaseAnswer::Recorded(bytes, remaining) => {
                    let judged = cache.judge_record(&mut inquiry, &self.id, (&bytes, remaining), asked);
                    match judged.await? {
                        Some(kind) => {
                            let failed = FailedElsewhere::parse(&kind);
                            return Ok(Departure::FailedElsewhere(failed, stale.take()));
                        }
                        None => consult_errors = false,
                    }
                }
                LeaseAnswer::Lease(lease) => {
                    let lease = HeldLease::new(cache, far, key, lease).locked(self.policy.distributed);
                    if wait.holder.is_some() {
                        // What was known of marks before the wait may have changed during it.
                        inquiry.views = Views::default();
                    }
                    let Inquiry { budget, views, .. } = &mut inquiry;
                    cache.view_marks(far, flight.marks.iter(), views, budget).await?;
                    return Ok(Departure::Load(Leave {
                        right: Right::Lease(lease),
                        views: inquiry.views,
                        stale: stale.take(),
                    }));
                }
                LeaseAnswer::Value(value) => {
                    inquiry.views = Views::default();
                    let judged = cache
                        .judge_far(&mut inquiry, &self.id, &value, asked, self.read_as())
                        .await?;
                    let was_overtaken = matches!(judged, FarEntry::Overtaken);
                    match self.sight(judged) {
                        Sight::Found(entry) => return Ok(Departure::Found(entry)),
                        Sight::Newer => return Ok(Departure::Load(Leave::newer())),
                        // What stands there now is worth another look, unless it changes all the time.
                        Sight::Nothing { .. } if was_overtaken && overtaken < MAX_OVERTAKEN => overtaken += 1,
                        Sight::Nothing { stale: found, .. } => {
                            refuse = Refuse::Version(value.version);
                            *stale = found.or_else(|| stale.take());
                        }
                    }
                }
                LeaseAnswer::Held { .. } if self.kind == LoadKind::Eager => return Ok(Departure::NotNeeded),
                LeaseAnswer::Held { holder, remaining } => {
                    cache.inner.tally.count(Count::LeaseWait);
                    let waited = clock.now().since(wait.began);
                    if waited >= self.patience_with_stale()
                        && let Some(stale) = stale.take()
                    {
                        return Ok(Departure::SlowElsewhere(stale));
                    }
                    if waited >= cache.inner.settings.max_load * 2 {
                        return Err(Fault::new(
                            FaultKind::Timeout,
                            "other nodes load the key again and again",
                        ));
                    }
                    // A holder that lives renews after a third of the lock's life.
                    let patience = cache.inner.settings.lock_wait.max(far.settings.lock_ttl / 2);
                    let now = clock.now();
                    wait.note(holder, now, now + remaining, patience);
                    let ending = wait.wakeup.next(far, &key, remaining).await;
                    if let Some(Ending::Failed(kind)) = ending
                        && self.kind != LoadKind::Forced
                    {
                        let failed = FailedElsewhere::parse(&kind);
                        return Ok(Departure::FailedElsewhere(failed, stale.take()));
                    }
                }
            }
        }
    }

    /// Asks for the lease without waiting for anybody.
    pub(crate) fn lease_request<'a>(&self, far: &Far, key: &'a str, refuse: Refuse) -> LeaseRequest<'a> {
        LeaseRequest {
            key,
            refuse,
            token: Token::random(),
            ttl: if self.policy.distributed {
                far.settings.lock_ttl
            } else {
                Duration::ZERO
            },
            consult_errors: self.kind != LoadKind::Forced && !self.policy.error_ttl.is_zero(),
            take_over: None,
        }
    }

    /// How long to wait for another node's load when there is a stale value to fall back on.
    fn patience_with_stale(&self) -> Duration {
        if !self.policy.fail_safe || self.kind == LoadKind::Forced {
            return Duration::MAX;
        }
        self.policy
            .soft_timeout
            .unwrap_or(self.cache.inner.settings.lock_wait)
    }

    pub(crate) fn read_as(&self) -> ReadAs<T> {
        ReadAs {
            wire: self.wire,
            policy: self.policy,
        }
    }

    /// The entry as an answer to this load, if it is one.
    fn usable(&self, read: &FarEntry<T>) -> Option<AnyEntry> {
        match read {
            FarEntry::Fresh(entry) if !entry.meta().negative || self.optional => {
                (self.kind != LoadKind::Eager || self.is_news(entry)).then(|| entry.clone())
            }
            _ => None,
        }
    }

    /// Whether a refresh ahead of expiry may be content with this: it is not what is about to end, and not about to end
    /// itself.
    fn is_news(&self, entry: &AnyEntry) -> bool {
        let meta = entry.meta();
        let is_other = self
            .previous
            .as_ref()
            .is_none_or(|previous| previous.meta.version != meta.version);
        let chance = 1.0 - rand::rng().random::<f64>();
        let now = self.cache.inner.clock.now();
        is_other
            && !starts_refresh(
                self.policy.eager,
                meta.eager_from,
                meta.soft_at,
                meta.delta,
                now,
                chance,
            )
    }
}

impl<T: Send + Sync + 'static> Load<T> {
    /// Offers what the loader gave to the shared tier; whether this node may keep it.
    pub(crate) async fn commit(&self, far: &Far, leave: Leave<T>, entry: &AnyEntry, seen: u64) -> bool {
        let lease = match leave.right {
            Right::Lease(lease) => lease,
            Right::Newer => return true,
            Right::Away => {
                self.announce_later(far);
                return true;
            }
        };
        let offer = match self.offer(far, &lease, entry, leave.views, seen).await {
            Ok(Some(payload)) => payload,
            Ok(None) => {
                self.report(lease.commit(None, None, Ending::Released).await);
                return true;
            }
            Err(Refused) => {
                self.report(lease.commit(None, None, Ending::Released).await);
                self.announce_later(far);
                return false;
            }
        };
        let announced = (self.kind == LoadKind::Forced).then(|| offer.clone());
        let answer = lease.commit(Some(offer), None, Ending::Done).await;
        let Some(answer) = self.report(answer) else {
            self.announce_later(far);
            return true;
        };
        if let (Verdict::Applied, Some(payload)) = (&answer.verdict, announced) {
            self.announce(far, payload, entry).await;
        }
        self.settle_commit(far, answer, seen).await
    }

    /// What the shared tier decided about this load's result; whether this node may keep it.
    pub(crate) async fn settle_commit(&self, far: &Far, answer: CommitAnswer, seen: u64) -> bool {
        match answer.verdict {
            Verdict::Applied | Verdict::Nothing | Verdict::OutOfMemory => true,
            refused => {
                tracing::debug!(
                    cache = self.cache.name(),
                    verdict = refused.as_str(),
                    "the shared tier refused a load"
                );
                self.announce_later(far);
                if let Some(current) = answer.current {
                    self.adopt(far, &current, seen).await;
                }
                false
            }
        }
    }

    /// The entry's bytes, with the versions of its marks from before the load; `None` if it stays in this process.
    pub(crate) async fn offer(
        &self,
        far: &Far,
        lease: &HeldLease,
        entry: &AnyEntry,
        mut views: Views,
        seen: u64,
    ) -> Result<Option<Payload>, Refused> {
        let meta = entry.meta();
        // A zero TTL is "do not store".
        if meta.soft_at <= meta.loaded_at || far.recovery.doubts(&self.id, &meta.marks) {
            return Ok(None);
        }
        // The load found these tags: what counts is whether they moved since it began.
        let found: Vec<_> = meta
            .marks
            .iter()
            .filter(|mark| views.get(mark).is_none())
            .cloned()
            .collect();
        let budget = self.cache.far_budget(far);
        if let Err(fault) = self.cache.view_marks(far, &found, &mut views, &budget).await {
            self.cache.degraded("marks", &fault);
            return Ok(None);
        }
        let moved = |mark| {
            let moved_at = views.get(mark).and_then(|view| view.versions.hard_moved_at());
            mark.was_moved_hard_since(seen)
                || match (moved_at, lease.position) {
                    (Some(moved), Some(position)) => moved != position && !position.is_after(moved),
                    (Some(_), None) => true,
                    (None, _) => false,
                }
        };
        if found.iter().any(moved) || meta.marks.held_off(self.cache.inner.clock.now()) {
            return Err(Refused);
        }
        Ok(self.cache.payload(far, &self.id, entry, self.wire, &views))
    }

    /// A forced load is announced like a `set`, unless something else happened to the key since it was stored.
    async fn announce(&self, far: &Far, payload: Payload, entry: &AnyEntry) {
        let version = port_version(entry.meta().version);
        let change = Change::Set {
            payload,
            condition: Condition::Seen(Some(version)),
        };
        let budget = self.cache.far_budget(far);
        let announced = self
            .cache
            .mutate_far(far, Op::Refresh, &self.id, version, change, &budget)
            .await;
        if let Err(fault) = announced {
            self.cache.degraded("announce", &fault);
            self.announce_later(far);
        }
    }

    /// The other nodes must not go on with what a forced load has replaced.
    fn announce_later(&self, far: &Far) {
        if self.kind == LoadKind::Forced {
            far.recovery.add_key(&self.cache, &self.id, Duration::ZERO);
        }
    }

    /// What stands in the shared tier instead of this load's result is what this process keeps.
    async fn adopt(&self, far: &Far, current: &StoredValue, seen: u64) {
        let asked = super::read::Asked {
            seen,
            at: self.cache.inner.clock.now(),
        };
        let mut inquiry = self.cache.inquiry(far);
        let judged = self
            .cache
            .judge_far(&mut inquiry, &self.id, current, asked, self.read_as())
            .await;
        if let Ok(FarEntry::Fresh(entry)) = judged {
            self.cache.promote(&self.id, &entry);
        }
    }

    /// Tells the nodes that wait that the load failed, and, if the options say so, those that come within `error_ttl`.
    pub(crate) async fn tell_failure(
        &self,
        leave: Option<(Arc<Far>, Leave<T>)>,
        flight: &FlightContext,
        kind: &str,
        no_stale: bool,
    ) {
        let Some((far, Leave { right, views, .. })) = leave else {
            return;
        };
        let Right::Lease(lease) = right else { return };
        let text = FailedElsewhere::text(kind, no_stale);
        let record = self.record(&far, flight, &views, &text);
        self.report(lease.commit(None, record, Ending::Failed(text)).await);
    }

    /// What those find who come within `error_ttl`: it ends with its marks, as a value does.
    pub(crate) fn record(
        &self,
        far: &Far,
        flight: &FlightContext,
        views: &Views,
        text: &str,
    ) -> Option<(Vec<u8>, Duration)> {
        let ttl = self.policy.error_ttl;
        if ttl.is_zero() || far.recovery.doubts(&self.id, &flight.marks) {
            return None;
        }
        let marks = views.for_envelope(&flight.marks)?;
        let envelope = Envelope {
            version: rand::random(),
            schema: far.settings.schema,
            lifetimes: Lifetimes::new(ttl, ttl, Duration::ZERO),
            delta: Duration::ZERO,
            marks: &marks,
            contents: Contents::Failure(text),
        };
        let key = self.cache.far_key(self.id.key());
        let bytes = envelope.encode(key.as_bytes(), &far.framing).ok()?;
        Some((bytes, ttl))
    }

    pub(crate) fn report<A>(&self, answer: Result<A, Fault>) -> Option<A> {
        answer
            .inspect_err(|fault| self.cache.degraded("commit", fault))
            .ok()
    }
}

/// A load's result that must not be stored.
pub(crate) struct Refused;

/// One load's wait for another node's.
struct Wait {
    token: Token,
    began: Timestamp,
    /// Whose lock it is, since when it was not renewed, and when it ends.
    holder: Option<(Token, Timestamp, Timestamp)>,
    take_over: Option<Token>,
    wakeup: Wakeup,
}

impl Wait {
    fn begin(now: Timestamp) -> Self {
        Self {
            token: Token::random(),
            began: now,
            holder: None,
            take_over: None,
            wakeup: Wakeup::new(),
        }
    }

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

/// The right to load a key, held in the shared tier. Given back when it is dropped, whatever the reason.
pub(crate) struct HeldLease {
    cache: Cache,
    far: Arc<Far>,
    key: String,
    lease: Lease,
    /// Others are kept from loading.
    is_locked: bool,
    /// The newest notice that this node had heard when the lease was given.
    pub(crate) position: Option<LogId>,
    given_back: bool,
}

impl HeldLease {
    pub(crate) fn new(cache: &Cache, far: &Arc<Far>, key: String, lease: Lease) -> Self {
        let position = far.hearing.position();
        Self {
            cache: cache.clone(),
            far: far.clone(),
            key,
            lease,
            position,
            is_locked: true,
            given_back: false,
        }
    }

    /// Whether the key is locked for it, or other nodes may load at the same time.
    pub(crate) fn locked(mut self, is_locked: bool) -> Self {
        self.is_locked = is_locked;
        self
    }

    /// Renews the lock for as long as this is polled; never ends by itself. A lock that is lost is not taken again:
    /// the commit will be refused if somebody else stored meanwhile.
    pub(crate) async fn keep(&self) -> Infallible {
        if !self.is_locked {
            return pending().await;
        }
        let ttl = self.far.settings.lock_ttl;
        loop {
            tokio::time::sleep(ttl / 3).await;
            if !self.renew().await {
                return pending().await;
            }
        }
    }

    /// Whether the lock is still this lease's, as far as is known.
    pub(crate) async fn renew(&self) -> bool {
        let (ttl, within) = (self.far.settings.lock_ttl, self.far.settings.budget);
        let renewed = self
            .far
            .port
            .renew(&self.key, self.lease.token, ttl, within)
            .await;
        match renewed {
            Ok(true) => true,
            Ok(false) => {
                self.cache.inner.tally.count(Count::LeaseLost);
                false
            }
            Err(fault) => {
                self.cache.degraded("renew", &fault);
                true
            }
        }
    }

    /// Ends the load in the shared tier: stores, gives the lock back and wakes who waits, in one step.
    pub(crate) async fn commit(
        mut self,
        store: Option<Payload>,
        record: Option<(Vec<u8>, Duration)>,
        ending: Ending,
    ) -> Result<CommitAnswer, Fault> {
        let request = self.request(store, record, ending);
        let answer = self.far.port.commit(request, self.far.settings.budget).await;
        // Without an answer the lock may still be held: dropping this gives it back.
        self.given_back = answer.is_ok();
        answer
    }

    /// The end of the load, as the shared tier is told.
    pub(crate) fn request(
        &self,
        store: Option<Payload>,
        record: Option<(Vec<u8>, Duration)>,
        ending: Ending,
    ) -> CommitRequest<'_> {
        CommitRequest {
            key: &self.key,
            token: Some(self.lease.token),
            seen: self.lease.seen,
            started: Some(self.lease.started),
            max_load: self.cache.inner.settings.max_load,
            fence: &self.lease.fence,
            store,
            record,
            ending,
        }
    }

    /// The shared tier has answered the end of the load.
    pub(crate) fn was_given_back(mut self) {
        self.given_back = true;
    }
}

/// How one load of many ends.
pub(crate) struct End {
    pub(crate) lease: HeldLease,
    pub(crate) store: Option<Payload>,
    pub(crate) record: Option<(Vec<u8>, Duration)>,
    pub(crate) ending: Ending,
}

/// Ends many loads, in one round trip per server.
pub(crate) async fn commit_together(far: &Far, ends: Vec<End>) -> Result<Vec<CommitAnswer>, Fault> {
    if ends.is_empty() {
        return Ok(Vec::new());
    }
    let mut leases = Vec::with_capacity(ends.len());
    let mut rest = Vec::with_capacity(ends.len());
    for End {
        lease,
        store,
        record,
        ending,
    } in ends
    {
        leases.push(lease);
        rest.push((store, record, ending));
    }
    let requests = leases
        .iter()
        .zip(rest)
        .map(|(lease, (store, record, ending))| lease.request(store, record, ending))
        .collect();
    let answers = far.port.commit_many(requests, far.settings.budget).await?;
    leases.into_iter().for_each(HeldLease::was_given_back);
    Ok(answers)
}

/// Renews many locks for as long as this is polled; never ends by itself.
pub(crate) async fn keep_together(leases: &[&HeldLease]) -> Infallible {
    let mut held: Vec<_> = leases.iter().copied().filter(|lease| lease.is_locked).collect();
    let Some(first) = held.first() else {
        return pending().await;
    };
    let ttl = first.far.settings.lock_ttl;
    loop {
        tokio::time::sleep(ttl / 3).await;
        let mut still = Vec::with_capacity(held.len());
        for lease in held {
            if lease.renew().await {
                still.push(lease);
            }
        }
        held = still;
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        if !self.given_back && self.is_locked {
            let holding = Holding::Load(std::mem::take(&mut self.key));
            self.cache.give_back(self.far.clone(), holding, self.lease.token);
        }
    }
}

/// Less than a renewal moves a lock's end, more than two readings of it differ.
const RENEWAL_SHOWS: Duration = Duration::from_millis(500);
/// A key that changes each time it is looked at is loaded instead.
const MAX_OVERTAKEN: u32 = 4;
/// Marks a failure that no stale value may stand in for, at the end of its kind.
const FINAL: &str = "!";
