//! Reading the in-process tier: find, judge, count. This is the hit path, the one that every call pays.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::cache::far::{Far, FarEntry, ReadAs};
use crate::cache::{Cache, Wire};
use crate::entry::{AnyEntry, Entry, EntryId, EntryRef, Meta, typed};
use crate::epochs::Standing;
use crate::freshness::{Freshness, judge};
use crate::key::{CacheKey, KeyRef};
use crate::loaded::{Loaded, Lookup};
use crate::observe::{End, Observer};
use crate::outcome::{MissReason, Outcome, OutcomeKind, StaleReason, Tier};
use crate::stats::{Count, Observed, Watch};
use crate::sync::Arc;
use crate::time::Timestamp;

/// What the in-process tier knows about a key.
#[derive(Debug)]
pub(crate) enum Near<T> {
    /// Good, and not to be refreshed yet.
    Fresh(Arc<Entry<T>>),
    /// Good, and a hit may start a refresh.
    Eager(Arc<Entry<T>>),
    /// "No such value", and good.
    Negative(AnyEntryDebug),
    /// Past its freshness; may stand in for a failing load.
    Stale(Arc<Entry<T>>),
    Miss(MissReason),
}

/// What the tiers have for a lookup without a loader.
enum Finding<T> {
    /// Fresh or stale, as its outcome says.
    Value(Loaded<T>),
    /// "No such value".
    Negative(Outcome),
    Miss(MissReason),
}

impl<T> Finding<T> {
    fn negative(tier: Tier, age: Duration) -> Self {
        Self::Negative(Outcome::hit(OutcomeKind::Negative, tier, age))
    }

    /// Why a tier further away should be asked: there is nothing, or nothing fresh.
    fn reason(&self) -> Option<MissReason> {
        match self {
            Self::Value(loaded) => loaded.outcome().is_stale().then_some(MissReason::Expired),
            Self::Negative(_) => None,
            Self::Miss(reason) => Some(*reason),
        }
    }

    /// For a caller who wants a fresh value or nothing; counted as that.
    fn fresh_or_missed(self, watch: &mut Watch<'_>) -> Option<Loaded<T>> {
        if let (Self::Value(_) | Self::Miss(_), Some(reason)) = (&self, self.reason()) {
            watch.not_found(reason);
            return None;
        }
        self.told(watch).value()
    }

    /// For a caller who wants to know; counted as what it is told.
    fn told(self, watch: &mut Watch<'_>) -> Lookup<T> {
        match self {
            Self::Value(loaded) => {
                watch.answered(&loaded.outcome());
                Lookup::Hit(loaded)
            }
            Self::Negative(outcome) => {
                watch.answered(&outcome);
                Lookup::Negative(outcome.age)
            }
            Self::Miss(reason) => {
                watch.not_found(reason);
                Lookup::Miss(reason)
            }
        }
    }
}

/// An entry without its type; opaque in debug output.
pub(crate) struct AnyEntryDebug(pub(crate) AnyEntry);

impl std::fmt::Debug for AnyEntryDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry")
    }
}

impl Cache {
    /// A fresh value, counted as a hit; nothing if there is more to it than that.
    ///
    /// Fresh by the coarse clock with room for its lag, so that no precise one need be asked.
    // Inlined into the future that returns the value: copied through memory, it would be read in other widths than it
    // was written in, and the processor would wait for the writes.
    #[inline(always)]
    pub(crate) fn hit<T: Send + Sync + 'static>(&self, key: KeyRef<'_>) -> Option<Loaded<T>> {
        let now = self.inner.clock.coarse();
        let entry = typed::<T>(self.inner.memory.get(self.entry_ref(key))?)?;
        let meta = &entry.meta;
        if !meta.is_surely_fresh(now)
            || meta.marks_standing(&self.inner.epochs) != Standing::Valid
            || !self.is_trusted(meta, now)
        {
            return None;
        }
        if self.inner.tally.count_hit() {
            self.inner.traffic.hit(&meta.marks);
        }
        let outcome = Outcome::hit(OutcomeKind::Fresh, Tier::Memory, meta.age(now));
        if let Some(observer) = &self.inner.observer {
            self.observed(&**observer, key).tell(End::Answered(outcome));
        }
        Some(Loaded::new(entry, outcome))
    }

    /// A call that is to be counted, and told if anybody wants to hear of it.
    pub(crate) fn watch<'a>(&'a self, key: KeyRef<'a>) -> Watch<'a> {
        let observer = self.inner.observer.as_deref();
        let observed = observer.map(|observer| self.observed(observer, key));
        Watch::begin(&self.inner.tally, observed)
    }

    fn observed<'a>(&'a self, observer: &'a dyn Observer, key: KeyRef<'a>) -> Observed<'a> {
        Observed {
            observer,
            namespace: &self.namespace.text,
            key,
        }
    }

    /// A fresh value of any tier, by the precise clock, counted as a hit or a miss: for what was not a [`hit`](Self::hit).
    ///
    /// Boxed, so that the future of a hit stays small.
    #[cold]
    pub(crate) fn fresh_or_miss<'a, T: Send + Sync + 'static>(
        &'a self,
        key: KeyRef<'a>,
        wire: Wire<T>,
    ) -> Pin<Box<dyn Future<Output = Option<Loaded<T>>> + Send + 'a>> {
        Box::pin(async move {
            let mut watch = self.watch(key);
            let found = self.find(key, wire, &mut watch).await;
            found.fresh_or_missed(&mut watch)
        })
    }

    /// What the tiers know, counted; the shared one is asked only if the in-process one has nothing fresh.
    pub(crate) async fn look_anywhere<T: Send + Sync + 'static>(
        &self,
        key: KeyRef<'_>,
        wire: Wire<T>,
    ) -> Lookup<T> {
        let mut watch = self.watch(key);
        let found = self.find(key, wire, &mut watch).await;
        found.told(&mut watch)
    }

    async fn find<T: Send + Sync + 'static>(
        &self,
        key: KeyRef<'_>,
        wire: Wire<T>,
        watch: &mut Watch<'_>,
    ) -> Finding<T> {
        let found = self.look(key);
        let (Some(far), Some(reason)) = (self.far(), found.reason()) else {
            return found;
        };
        watch.missed(reason);
        self.start_upkeep();
        match self.look_far(far, &key.to_key(), wire, reason).await {
            // What is stale here is hidden by an invalidation that this node has yet to hear of.
            Finding::Miss(MissReason::Invalidated) => Finding::Miss(MissReason::Invalidated),
            Finding::Miss(_) => found,
            better => better,
        }
    }

    /// Everything the in-process tier knows.
    fn look<T: Send + Sync + 'static>(&self, key: KeyRef<'_>) -> Finding<T> {
        let now = self.inner.clock.now();
        let (kind, entry) = match self.near(key, now) {
            Near::Fresh(entry) | Near::Eager(entry) => (OutcomeKind::Fresh, entry),
            Near::Stale(entry) => (OutcomeKind::Stale(StaleReason::Allowed), entry),
            Near::Negative(entry) => return Finding::negative(Tier::Memory, entry.0.meta().age(now)),
            Near::Miss(reason) => return Finding::Miss(reason),
        };
        let outcome = Outcome::hit(kind, Tier::Memory, entry.meta.age(now));
        Finding::Value(Loaded::new(entry, outcome))
    }

    /// Everything the in-process tier knows, judged at a precise `now` and not counted.
    ///
    /// What can never be read again is dropped here.
    pub(crate) fn near<T: Send + Sync + 'static>(&self, key: KeyRef<'_>, now: Timestamp) -> Near<T> {
        let id = self.entry_ref(key);
        let Some(entry) = self.inner.memory.get(id) else {
            return Near::Miss(MissReason::Absent);
        };
        match self.freshness(entry.meta(), now) {
            // A stale one is not shown either before the shared tier was asked: it may be hidden by an invalidation.
            Ok(Freshness::Fresh | Freshness::Stale) if !self.is_trusted(entry.meta(), now) => {
                Near::Miss(MissReason::Unconfirmed)
            }
            Ok(Freshness::Fresh) => fresh(entry, now),
            Ok(Freshness::Stale) if entry.meta().negative => self.gone(id, &entry, MissReason::Expired),
            Ok(Freshness::Stale) => typed(entry).map_or(Near::Miss(MissReason::OtherType), Near::Stale),
            Ok(Freshness::Expired) => self.gone(id, &entry, MissReason::Expired),
            Err(reason) => self.gone(id, &entry, reason),
        }
    }

    /// What an entry is now, time and invalidations considered.
    pub(crate) fn freshness(&self, meta: &Meta, now: Timestamp) -> Result<Freshness, MissReason> {
        let freshness = judge(meta.soft_at, meta.hard_at, now);
        match meta.standing(&self.inner.epochs) {
            Standing::Invalid => Err(MissReason::Invalidated),
            Standing::Stale if freshness == Freshness::Fresh && meta.hard_at <= meta.soft_at => {
                // Without a stale window, made stale is gone.
                Ok(Freshness::Expired)
            }
            Standing::Stale if freshness == Freshness::Fresh => Ok(Freshness::Stale),
            Standing::Stale | Standing::Valid => Ok(freshness),
        }
    }

    /// How long the entry here stays fresh, and whether its invalidations would have been heard.
    pub(crate) fn remaining(&self, key: KeyRef<'_>) -> Option<(Duration, bool)> {
        let now = self.inner.clock.now();
        let entry = self.inner.memory.peek(self.entry_ref(key))?;
        let fresh = self.freshness(entry.meta(), now) == Ok(Freshness::Fresh);
        fresh.then(|| {
            (
                entry.meta().soft_at.since(now),
                self.is_trusted(entry.meta(), now),
            )
        })
    }

    /// Whether invalidations of the entry would have been heard; without a shared tier there is nothing to hear.
    #[inline]
    fn is_trusted(&self, meta: &Meta, now: Timestamp) -> bool {
        self.far().is_none_or(|far| far.trusts(meta.confirmed_at, now))
    }

    /// What is good by its TTL although nobody confirms it, stale values included: the shared tier is away altogether,
    /// and this is the best there is.
    pub(crate) fn unconfirmed<T: Send + Sync + 'static>(&self, id: &EntryId) -> Option<AnyEntry> {
        let entry = self.current(id)?;
        let is_there = match self.freshness(entry.meta(), self.inner.clock.now()) {
            Ok(Freshness::Fresh) => true,
            Ok(Freshness::Stale) => !entry.meta().negative,
            Ok(Freshness::Expired) | Err(_) => false,
        };
        let is_readable = entry.meta().negative || typed::<T>(entry.clone()).is_some();
        (is_there && is_readable).then_some(entry)
    }

    /// What the shared tier knows, for a lookup that the in-process tier could not answer.
    async fn look_far<T: Send + Sync + 'static>(
        &self,
        far: &Far,
        key: &CacheKey,
        wire: Wire<T>,
        reason: MissReason,
    ) -> Finding<T> {
        let id = self.id(key);
        let read_as = ReadAs {
            wire,
            policy: self.inner.default_policy,
        };
        let mut read = Ok(FarEntry::Overtaken);
        for _ in 0..MAX_LOOKS {
            let mut inquiry = self.inquiry(far);
            read = self.read_far(&mut inquiry, &id, None, read_as).await;
            if !matches!(read, Ok(FarEntry::Overtaken)) {
                break;
            }
        }
        match read {
            Ok(read) => self.found_far(&id, read, reason, self.inner.clock.now()),
            Err(fault) => {
                self.degraded("read", &fault);
                self.found_unconfirmed(&id).unwrap_or(Finding::Miss(reason))
            }
        }
    }

    fn found_unconfirmed<T: Send + Sync + 'static>(&self, id: &EntryId) -> Option<Finding<T>> {
        let entry = self.unconfirmed::<T>(id)?;
        let now = self.inner.clock.now();
        let age = entry.meta().age(now);
        if entry.meta().negative {
            return Some(Finding::negative(Tier::Memory, age));
        }
        let kind = match self.freshness(entry.meta(), now) {
            Ok(Freshness::Fresh) => OutcomeKind::Fresh,
            _ => OutcomeKind::Stale(StaleReason::Allowed),
        };
        let outcome = Outcome::hit(kind, Tier::Memory, age).because(MissReason::Unconfirmed);
        typed(entry).map(|entry| Finding::Value(Loaded::new(entry, outcome)))
    }

    fn found_far<T: Send + Sync + 'static>(
        &self,
        id: &EntryId,
        read: FarEntry<T>,
        reason: MissReason,
        now: Timestamp,
    ) -> Finding<T> {
        match read {
            FarEntry::Fresh(entry) => {
                self.promote_at(id, &entry, now);
                let age = entry.meta().age(now);
                let outcome = Outcome::hit(OutcomeKind::Fresh, Tier::Shared, age);
                match typed(entry) {
                    Some(entry) => Finding::Value(Loaded::new(entry, outcome)),
                    None => Finding::negative(Tier::Shared, age),
                }
            }
            FarEntry::Stale(entry, _) => {
                let age = entry.meta.age(now);
                let kind = OutcomeKind::Stale(StaleReason::Allowed);
                Finding::Value(Loaded::new(entry, Outcome::hit(kind, Tier::Shared, age)))
            }
            FarEntry::Gone(_) => Finding::Miss(MissReason::Invalidated),
            FarEntry::Unusable(_) | FarEntry::Newer(_) | FarEntry::Overtaken | FarEntry::Absent => {
                Finding::Miss(reason)
            }
        }
    }

    /// The fresh values of many keys, in their order; the shared tier is asked once for all that are not here.
    pub(crate) async fn look_for_many<T: Send + Sync + 'static>(
        &self,
        keys: &[CacheKey],
        wire: Wire<T>,
    ) -> Vec<Option<Loaded<T>>> {
        let mut watches: Vec<Watch<'_>> = keys.iter().map(|key| self.watch(key.as_key())).collect();
        let mut found: Vec<Finding<T>> = keys.iter().map(|key| self.look(key.as_key())).collect();
        for (watch, found) in watches.iter_mut().zip(&found) {
            found.reason().into_iter().for_each(|reason| watch.missed(reason));
        }
        if let Some(far) = self.far() {
            self.start_upkeep();
            self.look_far_for_many(far, keys, wire, &mut found).await;
        }
        let found = found.into_iter().zip(&mut watches);
        found.map(|(found, watch)| found.fresh_or_missed(watch)).collect()
    }

    async fn look_far_for_many<T: Send + Sync + 'static>(
        &self,
        far: &Far,
        keys: &[CacheKey],
        wire: Wire<T>,
        found: &mut [Finding<T>],
    ) {
        let read_as = ReadAs {
            wire,
            policy: self.inner.default_policy,
        };
        let missing: Vec<_> = found
            .iter()
            .enumerate()
            .filter_map(|(at, found)| Some((at, found.reason()?)))
            .collect();
        let ids: Vec<EntryId> = missing.iter().map(|(at, _)| self.id(&keys[*at])).collect();
        let mut inquiry = self.inquiry(far);
        match self.read_far_many(&mut inquiry, &ids, &[], read_as).await {
            Ok(read) => {
                let now = self.inner.clock.now();
                for (((at, reason), id), read) in missing.iter().zip(&ids).zip(read) {
                    found[*at] = self.found_far(id, read, *reason, now);
                }
            }
            Err(fault) => {
                self.degraded("read_many", &fault);
                for ((at, _), id) in missing.iter().zip(&ids) {
                    if let Some(unconfirmed) = self.found_unconfirmed(id) {
                        found[*at] = unconfirmed;
                    }
                }
            }
        }
    }

    /// Copies what was read in the shared tier into this process, unless something was heard of it since it was asked
    /// for.
    pub(crate) fn promote(&self, id: &EntryId, entry: &AnyEntry) {
        self.promote_at(id, entry, self.inner.clock.now());
    }

    fn promote_at(&self, id: &EntryId, entry: &AnyEntry, now: Timestamp) {
        let version = Some(entry.meta().version);
        let _ = self
            .inner
            .epochs
            .store(id, entry.meta().seen, version, now, || self.insert(id, entry));
    }

    fn gone<T>(&self, id: EntryRef<'_>, entry: &AnyEntry, reason: MissReason) -> Near<T> {
        if self.inner.memory.remove_same(id, entry) {
            self.inner.tally.count(match reason {
                MissReason::Expired => Count::DroppedExpired,
                _ => Count::DroppedInvalidated,
            });
        }
        Near::Miss(reason)
    }
}

fn fresh<T: Send + Sync + 'static>(entry: AnyEntry, now: Timestamp) -> Near<T> {
    if entry.meta().negative {
        return Near::Negative(AnyEntryDebug(entry));
    }
    let eager = now >= entry.meta().eager_from;
    match typed(entry) {
        Some(entry) if eager => Near::Eager(entry),
        Some(entry) => Near::Fresh(entry),
        None => Near::Miss(MissReason::OtherType),
    }
}

/// How often a key is looked at that changes while it is.
const MAX_LOOKS: usize = 3;
