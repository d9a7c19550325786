//! One load, from the decision to load to its result: run the loader, store what it gave, or tell why not.
//!
//! This runs once per flight, in a task of its own for an owning loader and in its caller for a borrowing one.
//! Dropping it at any point drops the [`Leader`], and a follower takes over.

use std::any::{Any, TypeId};
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tracing::Instrument as _;

use crate::cache::context::{Running, Said};
use crate::cache::failures::Recorded;
use crate::cache::far::{Departure, Far, HeldLease, Leave, Right};
use crate::cache::near::Near;
use crate::cache::tasks::Urgency;
use crate::cache::{Cache, LoadContext, LoadFlights, Loader, Wire};
use crate::entry::{AnyEntry, Birth, Entry, EntryId, Meta, Negative, Prehashed, Version, typed};
use crate::epochs::{Kind, Marks, Refusal, Standing};
use crate::error::{Error, ErrorKind};
use crate::flight;
use crate::freshness::{Freshness, eager_from, jittered, smoothed};
use crate::options::Policy;
use crate::outcome::Tier;
use crate::stats::{Count, LoadWatch};
use crate::sync::Arc;
use crate::tag::{MAX_TAGS, TagSet};
use crate::telemetry;
use crate::time::Timestamp;
use crate::waits;

/// Which load: callers share one if they agree on the entry and understand the same value and error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlightId {
    pub(crate) entry: EntryId,
    types: TypeId,
    /// Whether the load may find that there is no such value.
    optional: bool,
}

impl FlightId {
    pub(crate) fn new<T: 'static, E: 'static>(entry: EntryId, optional: bool) -> Self {
        Self {
            entry,
            types: TypeId::of::<(T, E)>(),
            optional,
        }
    }
}

impl Hash for FlightId {
    /// By the entry alone, so that all flights of an entry share a shard and a mutation finds them together.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entry.hash(state);
    }
}

/// What a flight's leader says about it when it starts.
#[derive(Debug)]
pub(crate) struct FlightContext {
    /// The epoch at which it began.
    pub(crate) seen: u64,
    /// The marks that were known by then.
    pub(crate) marks: Marks,
    /// It loads whatever is stored.
    pub(crate) forced: bool,
    /// Its leader runs in a task of its own and is polled whatever its caller does.
    pub(crate) detached: AtomicBool,
    pub(crate) running: Running,
    /// A load waits for it.
    pub(crate) urgent: Urgency,
    /// It exceeded a caller's soft timeout: others with a stale value need not wait for it.
    pub(crate) overdue: AtomicBool,
}

impl FlightContext {
    /// Whether a caller that arrives now may have this flight's result.
    pub(crate) fn is_current(&self) -> bool {
        self.marks.standing(self.seen) == Standing::Valid
    }

    pub(crate) fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Relaxed)
    }

    pub(crate) fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Relaxed)
    }
}

pub(crate) type Leader = flight::Leader<FlightId, FlightContext, Settled, Prehashed>;
pub(crate) type Follower = flight::Follower<FlightId, FlightContext, Settled, Prehashed>;
pub(crate) type Role = flight::Role<FlightId, FlightContext, Settled, Prehashed>;
pub(crate) type Arrival = flight::Arrival<FlightId, FlightContext, Settled, Prehashed>;

/// How a load ended; every waiter gets a copy.
#[derive(Clone)]
pub(crate) enum Settled {
    /// A tier had it after all: a flight had just ended.
    Found(AnyEntry, Tier),
    /// The loader gave it.
    Loaded(AnyEntry),
    /// The loader gave it and called the load failed.
    Doubted(AnyEntry),
    Failed(Failure),
}

/// Why a load gave nothing.
#[derive(Clone)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    /// No stale value may stand in.
    pub(crate) no_stale: bool,
    /// What the loader wants to be answered instead.
    pub(crate) fallback: Option<AnyEntry>,
    /// A stale value of the shared tier, for callers who had none.
    pub(crate) stale: Option<AnyEntry>,
}

#[derive(Clone)]
pub(crate) enum Cause {
    /// The loader's own error.
    Loader(Arc<dyn Any + Send + Sync>),
    Cache(Error),
}

impl Cause {
    /// The failure in one word, as other nodes are told.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Loader(_) => "loader_error",
            Self::Cache(error) => error.kind().as_str(),
        }
    }
}

/// Everything that a load needs besides its loader.
pub(crate) struct Load<T> {
    pub(crate) cache: Cache,
    pub(crate) id: EntryId,
    pub(crate) policy: Policy,
    pub(crate) wire: Wire<T>,
    pub(crate) kind: LoadKind,
    /// Whether the load may find that there is no such value.
    pub(crate) optional: bool,
    /// What was there before, if it may still be used.
    pub(crate) previous: Option<Arc<Entry<T>>>,
}

/// Why a load runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadKind {
    /// Nothing usable is stored.
    Miss,
    /// A value in use nears its end; nobody waits.
    Eager,
    /// The caller wants a new value, whatever is stored.
    Forced,
}

impl LoadKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Miss => "miss",
            Self::Eager => "eager",
            Self::Forced => "forced",
        }
    }
}

/// What a loader gave.
pub(crate) struct Kept {
    pub(crate) settled: Settled,
    /// The entry, if it is to be stored.
    pub(crate) entry: Option<AnyEntry>,
}

/// How a loader's run ended, unless it was given up.
pub(crate) enum Ran<V, E> {
    Value(V),
    Error(E),
    Panicked(String),
    TimedOut(Duration),
}

impl<T: Send + Sync + 'static> Load<T> {
    /// Runs the load and lands the flight. `None`: the last caller left, and the options say to stop then, or another
    /// node does it and nobody waits here.
    pub(crate) async fn run<E: Send + Sync + 'static>(
        mut self,
        leader: Leader,
        loader: Loader<'_, T, E>,
    ) -> Option<Settled> {
        // The prefix names the function; the rest of a key may be somebody's data and stays out of traces.
        let span = tracing::debug_span!(
            "cache_load",
            cache = self.cache.name(),
            prefix = self.id.key().prefix(),
            kind = self.kind.as_str(),
        );
        let abandoned = abandoned(self.policy, self.kind, &leader);
        let settled = tokio::select! {
            biased;
            settled = self.settle(&leader, loader).instrument(span) => settled?,
            () = abandoned => return None,
        };
        leader.complete(settled.clone());
        Some(settled)
    }

    pub(crate) fn stops_when_abandoned(&self, flight: &FlightContext) -> bool {
        stops_when_abandoned(&self.policy, self.kind, flight)
    }

    async fn settle<E: Send + Sync + 'static>(
        &mut self,
        leader: &Leader,
        loader: Loader<'_, T, E>,
    ) -> Option<Settled> {
        if let Some(found) = self.found_meanwhile() {
            return Some(Settled::Found(found, Tier::Memory));
        }
        let flight = leader.context();
        let leave = match self.look_further(flight).await {
            Ok(leave) => leave,
            Err(settled) => return settled,
        };
        let lease = leave.as_ref().and_then(|(_, leave)| leave.lease());
        // Waiting for another node takes no permit; loading does. The lease is kept while this waits for one.
        let _permit = while_leased(lease, self.cache.inner.tasks.load_permit(flight.urgent.wait())).await;
        let context = LoadContext::new(self.id.key().clone(), self.previous.clone());
        let tally = &self.cache.inner.tally;
        let watch = LoadWatch::begin(tally);
        let started = self.cache.inner.clock.now();
        flight.running.begin(&context);
        let said = context.clone();
        // The call itself may panic, so it is part of the future that is caught.
        let work = run(self.limit(), leader.id(), async move { loader(context).await });
        let ran = while_leased(lease, work).await;
        watch.returned();
        let now = self.cache.inner.clock.now();
        let took = now.since(started);
        telemetry::load_took(self.cache.name(), took);
        let said = said.take();
        match ran {
            Ran::Value(value) => {
                tally.count(match said.failed {
                    Some(_) => Count::LoadFailed,
                    None => Count::LoadOk,
                });
                let kept = self.keep(value, said, flight, now, took);
                let mut store = pin!(self.store(&kept, leave, flight.seen));
                // Usually the value is stored when its callers get it. A slow shared tier does not make them wait, unless
                // they wanted the old value replaced: then it must not be read any more once they have the new one.
                let patience = match self.kind {
                    LoadKind::Forced => Duration::MAX,
                    LoadKind::Miss | LoadKind::Eager => STORE_PATIENCE,
                };
                if deadline(patience, store.as_mut()).await.is_none() {
                    leader.land(kept.settled.clone());
                    store.await;
                }
                Some(kept.settled.clone())
            }
            failed => {
                let cause = self.cache.cause(failed);
                let (kind, no_stale) = (cause.kind(), said.no_stale);
                let settled = self.failed::<E>(cause, said, flight, now);
                leader.land(settled.clone());
                self.tell_failure(leave, flight, kind, no_stale).await;
                Some(settled)
            }
        }
    }

    /// Asks the shared tier for the value, or for the right to load it. `Err` with the end of the load if it needs no
    /// loader.
    async fn look_further(
        &mut self,
        flight: &FlightContext,
    ) -> Result<Option<(Arc<Far>, Leave<T>)>, Option<Settled>> {
        let Some(far) = self.cache.far().cloned() else {
            return Ok(None);
        };
        let departure = self.depart(&far, flight).await;
        self.take_off(departure, flight).map(|leave| Some((far, leave)))
    }

    /// What a departure means for the load. `Err` with the end of the load if it needs no loader.
    pub(crate) fn take_off(
        &mut self,
        departure: Departure<T>,
        flight: &FlightContext,
    ) -> Result<Leave<T>, Option<Settled>> {
        match departure {
            Departure::Found(entry) => {
                self.cache.promote(&self.id, &entry);
                Err(Some(Settled::Found(entry, Tier::Shared)))
            }
            Departure::FailedElsewhere(failed, stale) => {
                let stale = self.stand_in(stale);
                let message = format!("the load failed on another node a moment ago: {}", failed.kind);
                if !failed.no_stale {
                    self.throttle(flight, self.cache.inner.clock.now());
                }
                Err(Some(Settled::Failed(Failure {
                    cause: Cause::Cache(Error::new(ErrorKind::RecordedFailure, message)),
                    no_stale: failed.no_stale,
                    fallback: None,
                    stale,
                })))
            }
            Departure::SlowElsewhere(stale) => {
                let message = "another node has been loading the key for longer than callers wait";
                Err(Some(Settled::Failed(Failure {
                    cause: Cause::Cache(Error::new(ErrorKind::LoadTimeout, message)),
                    no_stale: false,
                    fallback: None,
                    stale: self.stand_in(Some(stale)),
                })))
            }
            Departure::NotNeeded => Err(None),
            Departure::Load(mut leave) => {
                if matches!(leave.right, Right::Away) && self.kind == LoadKind::Miss {
                    self.manage_alone()?;
                }
                if let Some(stale) = leave.stale.take() {
                    self.previous = Some(stale.clone());
                    self.stand_in(Some(stale));
                }
                Ok(leave)
            }
        }
    }

    /// The shared tier is away altogether, so nobody can confirm what this process has: what is fresh by its TTL is
    /// better than another load, and what is stale may stand in for one that fails.
    fn manage_alone(&mut self) -> Result<(), Option<Settled>> {
        match self.cache.unconfirmed::<T>(&self.id) {
            Some(entry) => {
                let (meta, now) = (entry.meta(), self.cache.inner.clock.now());
                let is_fresh = self.cache.freshness(meta, now) == Ok(Freshness::Fresh);
                if (is_fresh || meta.is_throttled(now)) && (!meta.negative || self.optional) {
                    return Err(Some(Settled::Found(entry, Tier::Memory)));
                }
                self.previous = self.previous.take().or_else(|| typed(entry));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Lets a stale value of the shared tier stand in for a failing load; further callers find it here.
    fn stand_in(&self, stale: Option<Arc<Entry<T>>>) -> Option<AnyEntry> {
        let stale: AnyEntry = stale?;
        self.cache.promote(&self.id, &stale);
        Some(stale)
    }

    /// What another flight, that ended just before this one began, has stored.
    pub(crate) fn found_meanwhile(&self) -> Option<AnyEntry> {
        let now = self.cache.inner.clock.now();
        match (self.kind, self.cache.near::<T>(self.id.key().as_key(), now)) {
            (LoadKind::Miss, Near::Fresh(entry) | Near::Eager(entry))
            | (LoadKind::Eager, Near::Fresh(entry)) => Some(entry),
            (LoadKind::Miss, Near::Negative(entry)) if self.optional => Some(entry.0),
            _ => None,
        }
    }

    /// How long the loader may run: to the end of its caller's patience if nothing goes on behind it.
    pub(crate) fn limit(&self) -> Duration {
        let max_load = self.cache.inner.settings.max_load;
        let goes_on = self.policy.background_completion || self.kind == LoadKind::Eager;
        if goes_on {
            max_load
        } else {
            self.policy.hard_timeout.min(max_load)
        }
    }

    /// What the loader gave, as an entry, and whether it is to be stored.
    pub(crate) fn keep(
        &self,
        value: Option<T>,
        said: Said<T>,
        flight: &FlightContext,
        now: Timestamp,
        took: Duration,
    ) -> Kept {
        let (mut policy, mut marks) = (self.policy, flight.marks.clone());
        if let Some(ttl) = said.ttl {
            policy = policy.with_ttl(ttl);
        }
        if policy.clamped {
            self.cache.inner.tally.count(Count::TtlClamped);
        }
        policy.negative_ttl = said.negative_ttl.unwrap_or(policy.negative_ttl);
        let epochs = &self.cache.inner.epochs;
        let discovered = said
            .tags
            .iter()
            .map(|tag| epochs.mark(&self.cache.namespace, Kind::Tag, tag.as_str()));
        let fits = marks.extend(discovered, MAX_TAGS);
        let delta = smoothed(self.previous.as_ref().map(|previous| previous.meta.delta), took);
        let shape = Shape {
            policy,
            marks,
            seen: flight.seen,
            now,
            delta,
        };
        let entry = self.cache.shape(&self.id, value, self.wire, shape);
        if let Some(reason) = said.failed {
            tracing::debug!(
                cache = self.cache.name(),
                reason,
                "the loader called its load failed"
            );
            if said.no_stale {
                return Kept {
                    settled: Settled::Loaded(entry),
                    entry: None,
                };
            }
            self.throttle(flight, now);
            return Kept {
                settled: Settled::Doubted(entry),
                entry: None,
            };
        }
        if !fits {
            // It could not be invalidated as asked.
            self.cache.inner.tally.count(Count::StoreRefused);
        }
        let store = fits && !said.do_not_store;
        Kept {
            entry: store.then(|| entry.clone()),
            settled: Settled::Loaded(entry),
        }
    }

    /// Stores what the loader gave in the tiers, unless something newer happened meanwhile: the shared one decides, and
    /// this process keeps what it accepted.
    async fn store(&self, kept: &Kept, leave: Option<(Arc<Far>, Leave<T>)>, seen: u64) {
        let Some(entry) = &kept.entry else { return };
        let accepted = match leave {
            Some((far, leave)) => self.commit(&far, leave, entry, seen).await,
            None => true,
        };
        self.store_if(accepted, entry, seen);
    }

    pub(crate) fn store_if(&self, accepted: bool, entry: &AnyEntry, seen: u64) {
        if accepted {
            self.store_here(entry, seen);
            return;
        }
        self.cache.inner.tally.count(Count::StoreRefused);
        if self.kind == LoadKind::Forced {
            // What the caller wanted replaced goes, although something kept this out.
            self.cache.end_mutation(&self.id, seen, entry, false);
        }
    }

    pub(crate) fn store_here(&self, entry: &AnyEntry, seen: u64) {
        let now = self.cache.inner.clock.now();
        let refreshed = self.previous.as_ref().map(|previous| previous.meta.version);
        let stored = match self.kind {
            LoadKind::Miss => self.cache.fill(&self.id, entry, seen, now),
            LoadKind::Eager => self.cache.succeed(&self.id, refreshed, entry, seen, now),
            LoadKind::Forced => self.cache.replace(&self.id, entry, seen, now),
        };
        if let Err(refusal) = stored {
            tracing::debug!(
                cache = self.cache.name(),
                ?refusal,
                "a loaded value was not stored"
            );
        }
    }

    pub(crate) fn failed<E: 'static>(
        &self,
        cause: Cause,
        said: Said<T>,
        flight: &FlightContext,
        now: Timestamp,
    ) -> Settled {
        let passing = |value| self.cache.passing(&self.id, value, self.wire, self.policy);
        let fallback = said.fallback.map(|fallback| fallback.shaped(passing));
        let failure = Failure {
            cause,
            no_stale: said.no_stale,
            fallback,
            stale: self.previous.clone().map(|previous| previous as AnyEntry),
        };
        if !failure.no_stale {
            self.throttle(flight, now);
        }
        if !self.policy.error_ttl.is_zero() && self.kind != LoadKind::Eager {
            self.remember::<E>(failure.clone(), flight, now);
        }
        Settled::Failed(failure)
    }

    /// Lets the stale entry answer for a while, without asking the loader again.
    ///
    /// A refresh ahead of expiry has a backoff of its own; it counts here if the value went stale meanwhile, since then
    /// there were callers who waited for it.
    fn throttle(&self, flight: &FlightContext, now: Timestamp) {
        if !self.policy.fail_safe {
            return;
        }
        let throttle = || {
            let Some(entry) = self.cache.current(&self.id) else {
                return;
            };
            let is_stale = self.cache.freshness(entry.meta(), now) == Ok(Freshness::Stale);
            if is_stale || self.kind != LoadKind::Eager {
                entry.meta().throttle(now + self.policy.throttle, flight.seen);
            }
        };
        // Refused if the key was mutated meanwhile: the failure says nothing about what stands there now.
        let _ = self
            .cache
            .inner
            .epochs
            .store(&self.id, flight.seen, None, now, throttle);
    }

    fn remember<E: 'static>(&self, failure: Failure, flight: &FlightContext, now: Timestamp) {
        let recorded = Recorded {
            failure,
            types: TypeId::of::<(T, E)>(),
            until: now + self.policy.error_ttl,
            seen: flight.seen,
            marks: flight.marks.clone(),
        };
        let inner = &self.cache.inner;
        // Refused if the key was mutated meanwhile: then the failure is of a load that no longer counts.
        let remember = || inner.failures.remember(self.id.clone(), recorded);
        let _ = inner.epochs.store(&self.id, flight.seen, None, now, remember);
    }
}

/// What decides how an entry is kept, besides its value.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) policy: Policy,
    pub(crate) marks: Marks,
    pub(crate) seen: u64,
    pub(crate) now: Timestamp,
    pub(crate) delta: Duration,
}

impl Cache {
    /// The entry of a value that is good from now on; not stored yet.
    pub(crate) fn shape<T: Send + Sync + 'static>(
        &self,
        id: &EntryId,
        value: Option<T>,
        wire: Wire<T>,
        shape: Shape,
    ) -> AnyEntry {
        let Shape {
            policy,
            marks,
            seen,
            now,
            delta,
        } = shape;
        let negative = value.is_none();
        let (ttl, hard_ttl) = if negative {
            (policy.negative_ttl, policy.negative_ttl)
        } else {
            (policy.ttl, policy.hard_ttl)
        };
        // Negative entries end when they say; spreading them out would only make "not found" last less predictably.
        let soft = if negative {
            ttl
        } else {
            jittered(ttl, policy.jitter, rand::random())
        };
        // Without a stale window both ends are one: a gap left by jitter would be a stale value nobody asked for.
        let hard = if hard_ttl == ttl { soft } else { hard_ttl };
        let soft_at = now + soft;
        let memory = &self.inner.memory;
        let size = match &value {
            Some(value) if memory.weighs_values() => self.weigh(value, wire),
            _ => 0,
        };
        let meta = Meta::new(Birth {
            loaded_at: now,
            soft_at,
            hard_at: now + hard,
            eager_from: if negative {
                Timestamp::MAX
            } else {
                eager_from(policy.eager, now, soft_at, delta)
            },
            delta,
            negative,
            weight: memory.weight(id.key().text().len(), size),
            seen,
            marks,
            version: None,
            confirmed_at: now,
        });
        match value {
            Some(value) => Arc::new(Entry { meta, value }),
            None => Arc::new(Entry {
                meta,
                value: Negative,
            }),
        }
    }

    /// The entry of a value that is given to callers and never stored.
    pub(crate) fn passing<T: Send + Sync + 'static>(
        &self,
        id: &EntryId,
        value: T,
        wire: Wire<T>,
        policy: Policy,
    ) -> AnyEntry {
        let shape = Shape {
            policy: policy.with_ttl(Duration::ZERO),
            marks: self.marks_of(id.key(), &TagSet::EMPTY),
            seen: self.inner.epochs.seen(),
            now: self.inner.clock.now(),
            delta: Duration::ZERO,
        };
        self.shape(id, Some(value), wire, shape)
    }

    /// How heavy the value is. Weighing may run the user's code; if that panics, the value counts as too heavy for any
    /// tier, since one that cannot be weighed is no reason to fail a call.
    fn weigh<T>(&self, value: &T, wire: Wire<T>) -> usize {
        std::panic::catch_unwind(AssertUnwindSafe(|| (wire.weigh)(value))).unwrap_or_else(|panic| {
            let message = message_of(&*panic);
            tracing::warn!(
                cache = self.name(),
                message,
                "a value that cannot be weighed is not kept"
            );
            usize::MAX
        })
    }

    /// Stores what a load gave, unless something newer happened since it began; whether it is kept.
    pub(crate) fn fill(
        &self,
        id: &EntryId,
        entry: &AnyEntry,
        seen: u64,
        now: Timestamp,
    ) -> Result<bool, Refusal> {
        self.storable(entry, now)?;
        let stored = self
            .inner
            .epochs
            .store(id, seen, Some(entry.meta().version), now, || {
                self.insert(id, entry)
            });
        self.count_store(stored)
    }

    /// Like [`fill`](Self::fill), unless another load was faster: only the refreshed version is replaced, or none.
    fn succeed(
        &self,
        id: &EntryId,
        refreshed: Option<Version>,
        entry: &AnyEntry,
        seen: u64,
        now: Timestamp,
    ) -> Result<bool, Refusal> {
        self.storable(entry, now)?;
        let stored = self
            .inner
            .epochs
            .store(id, seen, Some(entry.meta().version), now, || {
                let current = self.current(id).map(|current| current.meta().version);
                if current.is_some() && current != refreshed {
                    return Err(Refusal::Mutated);
                }
                Ok(self.insert(id, entry))
            });
        self.count_store(stored.and_then(|stored| stored))
    }

    /// Like [`fill`](Self::fill), and as a mutation of the key: the newer value was asked for, so loads that began before
    /// do not store, and nobody joins them any more.
    fn replace(&self, id: &EntryId, entry: &AnyEntry, seen: u64, now: Timestamp) -> Result<bool, Refusal> {
        let version = entry.meta().version;
        let stored = self.storable(entry, now).and_then(|()| {
            let replace = |epoch| {
                entry.meta().stored_at_epoch(epoch);
                self.inner.flights.detach_entry(id);
                self.insert(id, entry)
            };
            self.count_store(self.inner.epochs.mutate_to(id, seen, version, now, replace))
        });
        // Here alone, what keeps it out is newer; with a shared tier that is asked what is.
        if stored.is_err() && self.far().is_some() {
            self.end_mutation(id, seen, entry, false);
        }
        stored
    }

    /// Whether time and marks allow the entry to be stored at all.
    pub(crate) fn storable(&self, entry: &AnyEntry, now: Timestamp) -> Result<(), Refusal> {
        match self.may_store(entry, now) {
            Ok(()) => Ok(()),
            refused => self.count_store(refused),
        }
    }

    pub(crate) fn may_store(&self, entry: &AnyEntry, now: Timestamp) -> Result<(), Refusal> {
        let meta = entry.meta();
        if meta.marks.held_off(now) {
            Err(Refusal::HeldOff)
        } else if meta.marks.standing(meta.seen) != Standing::Valid {
            Err(Refusal::Mutated)
        } else {
            Ok(())
        }
    }

    /// Puts the entry in its place, and tells whether it is kept there; the key's stripe is locked by the caller.
    pub(crate) fn insert(&self, id: &EntryId, entry: &AnyEntry) -> bool {
        let meta = entry.meta();
        self.inner.failures.forget(id.as_ref());
        // Zero TTL is "do not store"; what stood there before is older and goes.
        if meta.soft_at <= meta.loaded_at {
            self.inner.memory.remove(id.as_ref());
            return false;
        }
        self.inner.memory.insert(id, entry.clone())
    }

    pub(crate) fn count_store<R>(&self, stored: Result<R, Refusal>) -> Result<R, Refusal> {
        self.inner.tally.count(if stored.is_ok() {
            Count::Store
        } else {
            Count::StoreRefused
        });
        stored
    }
}

impl Cache {
    /// Counts and tells how a load failed.
    pub(crate) fn cause<V, E: Send + Sync + 'static>(&self, ran: Ran<V, E>) -> Cause {
        let (count, kind, message) = match ran {
            Ran::Error(error) => {
                tracing::debug!(cache = self.name(), "the loader returned an error");
                self.inner.tally.count(Count::LoadFailed);
                return Cause::Loader(Arc::new(error));
            }
            Ran::Panicked(message) => (Count::LoadPanicked, ErrorKind::LoaderPanicked, message),
            Ran::TimedOut(limit) => (
                Count::LoadTimedOut,
                ErrorKind::LoadTimeout,
                format!("the load was aborted after {limit:?}"),
            ),
            Ran::Value(_) => return Cause::Cache(Error::invalid("a load that gave a value did not fail")),
        };
        tracing::warn!(
            cache = self.name(),
            kind = kind.as_str(),
            message,
            "a load failed"
        );
        self.inner.tally.count(count);
        Cause::Cache(Error::new(kind, message))
    }
}

impl LoadFlights {
    /// Takes every flight of this entry out of sight, whatever it loads.
    pub(crate) fn detach_entry(&self, entry: &EntryId) {
        self.detach_where(entry, |flight| flight.entry == *entry);
    }
}

/// How long callers wait for their value to be stored in the shared tier: a slow round trip.
pub(crate) const STORE_PATIENCE: Duration = Duration::from_millis(25);

/// Ends when the last caller has left, if the options say to stop then.
///
/// A load in its caller ends with that one, and one behind a value that was shown already is nobody's to abandon.
async fn abandoned(policy: Policy, kind: LoadKind, leader: &Leader) {
    if stops_when_abandoned(&policy, kind, leader.context()) {
        leader.abandoned().await;
    }
    if !stops_when_abandoned(&policy, kind, leader.context()) {
        std::future::pending::<()>().await;
    }
}

fn stops_when_abandoned(policy: &Policy, kind: LoadKind, flight: &FlightContext) -> bool {
    policy.abort_when_abandoned && kind != LoadKind::Eager && flight.is_detached() && !flight.is_overdue()
}

/// Runs `work`, and keeps the lease that it runs under for as long.
async fn while_leased<F: Future>(lease: Option<&HeldLease>, work: F) -> F::Output {
    let kept = async {
        match lease {
            Some(lease) => lease.keep().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        output = work => output,
        never = kept => match never {},
    }
}

/// Runs a loader as the work of `flight`, for at most `limit`, and catches its panic.
pub(crate) async fn run<V, E>(
    limit: Duration,
    flight: u64,
    loader: impl Future<Output = Result<V, E>>,
) -> Ran<V, E> {
    match deadline(limit, waits::within(flight, caught(loader))).await {
        Some(Ok(Ok(value))) => Ran::Value(value),
        Some(Ok(Err(error))) => Ran::Error(error),
        Some(Err(message)) => Ran::Panicked(message),
        None => Ran::TimedOut(limit),
    }
}

/// `work`'s output if it comes within `limit`. Without a runtime there are no timers, and no limit.
pub(crate) async fn deadline<F: Future>(limit: Duration, work: F) -> Option<F::Output> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Some(work.await);
    }
    tokio::time::timeout(limit, work).await.ok()
}

/// The output of `future`, or the message of its panic.
async fn caught<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    std::future::poll_fn(move |context| {
        // The future is not touched again after a panic, so a state broken by it is never seen.
        match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Err(format!("the loader panicked: {}", message_of(&*panic)))),
        }
    })
    .await
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("with a payload that is not text").to_owned()
}
