//! Before a load: the value after all, the right to load, or the wait for whoever has it.

use std::time::Duration;

use rand::Rng as _;

use crate::cache::aboard::go_ashore;
use crate::cache::far::read::{FarEntry, ReadAs};
use crate::cache::far::wakeup::Wakeup;
use crate::cache::far::{Far, HeldLease, Holding, Inquiry, Views, port_version};
use crate::cache::flights::FlightContext;
use crate::cache::lead::{Load, LoadKind};
use crate::entry::{AnyEntry, Entry};
use crate::freshness::starts_refresh;
use crate::shared::{Ending, Fault, FaultKind, LeaseAnswer, LeaseRequest, Refuse, Token};
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
    pub(super) fn text(kind: &str, no_stale: bool) -> String {
        format!("{kind}{}", if no_stale { FINAL } else { "" })
    }

    /// What is told to those who wait for `holder`. Wake-ups have no databases, so a cache of the same name in another
    /// one hears it, too, and its waiters wait for somebody else.
    pub(super) fn told(text: &str, holder: Token) -> String {
        format!("{holder} {text}")
    }

    /// What was told, if it is about `holder`.
    fn heard(told: &str, holder: Token) -> Option<Self> {
        let (of, text) = told.split_once(' ')?;
        (of == holder.to_string()).then(|| Self::parse(text))
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
            Right::Away(_) | Right::Newer => None,
        }
    }
}

/// What a load may do with its result.
pub(crate) enum Right {
    /// Offer it to all nodes.
    Lease(HeldLease),
    /// Keep it: the shared tier is away, and every node serves alone until it is back; how often it has come back.
    Away(u64),
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
        self.cache.inner.tally.count(Count::WithoutLease);
        let returns = self.cache.far().map_or(0, |far| far.alone.returns());
        Departure::Load(Leave {
            right: Right::Away(returns),
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
        // Boxed: nearly every look finds its value, and is the smaller for it.
        Box::pin(self.obtain(far, inquiry, flight, refuse, stale)).await
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
        go_ashore(self.berth.as_deref()).await;
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
            let unanswered = cache.give_back_unheard(far, Holding::Load(key.clone()), wait.token);
            let answer = far.port.lease(request, within).await;
            unanswered.hear(&answer);
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
                    if self.policy.distributed {
                        cache.inner.tally.count(Count::LeaseTaken);
                    }
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
                    if let Some(Ending::Failed(told)) = ending
                        && self.kind != LoadKind::Forced
                        && let Some(failed) = FailedElsewhere::heard(&told, holder)
                    {
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
                meta.delta(),
                now,
                chance,
            )
    }
}

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

/// Less than a renewal moves a lock's end, more than two readings of it differ.
const RENEWAL_SHOWS: Duration = Duration::from_millis(500);
/// A key that changes each time it is looked at is loaded instead.
const MAX_OVERTAKEN: u32 = 4;
/// Marks a failure that no stale value may stand in for, at the end of its kind.
const FINAL: &str = "!";
