//! Reading the in-process tier: find, judge, count. This is the hit path, the one that every call pays.

use crate::cache::Cache;
use crate::entry::{AnyEntry, Entry, EntryRef, Meta, typed};
use crate::epochs::Standing;
use crate::freshness::{Freshness, judge};
use crate::key::KeyRef;
use crate::loaded::{Loaded, Lookup};
use crate::outcome::{MissReason, Outcome, OutcomeKind, StaleReason, Tier};
use crate::sync::Arc;
use crate::time::{COARSE_LAG, Timestamp};

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

/// An entry without its type; opaque in debug output.
pub(crate) struct AnyEntryDebug(pub(crate) AnyEntry);

impl std::fmt::Debug for AnyEntryDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry")
    }
}

impl Cache {
    /// A fresh value, counted as a hit; nothing if there is more to it than that.
    pub(crate) fn hit<T: Send + Sync + 'static>(&self, key: KeyRef<'_>) -> Option<Loaded<T>> {
        let now = self.inner.clock.coarse();
        let entry = self.inner.memory.get(self.entry_ref(key))?;
        let meta = entry.meta();
        if meta.negative || now >= meta.eager_from || !self.is_surely_fresh(meta, now) {
            return None;
        }
        let age = meta.age(now);
        let entry = typed(entry)?;
        self.inner.tally.answer(OutcomeKind::Fresh);
        Some(Loaded::new(
            entry,
            Outcome::hit(OutcomeKind::Fresh, Tier::Memory, age),
        ))
    }

    /// A fresh value, counted as a hit or a miss.
    pub(crate) fn hit_or_miss<T: Send + Sync + 'static>(&self, key: KeyRef<'_>) -> Option<Loaded<T>> {
        if let Some(hit) = self.hit(key) {
            return Some(hit);
        }
        match self.look::<T>(key) {
            Lookup::Hit(loaded) if !loaded.outcome().is_stale() => Some(loaded),
            Lookup::Hit(_) | Lookup::Negative(_) | Lookup::Miss(_) => None,
        }
    }

    /// Everything the in-process tier knows, counted.
    pub(crate) fn look<T: Send + Sync + 'static>(&self, key: KeyRef<'_>) -> Lookup<T> {
        let now = self.inner.clock.now();
        let (kind, entry) = match self.near(key, now) {
            Near::Fresh(entry) | Near::Eager(entry) => (OutcomeKind::Fresh, entry),
            Near::Stale(entry) => (OutcomeKind::Stale(StaleReason::Allowed), entry),
            Near::Negative(entry) => {
                self.inner.tally.answer(OutcomeKind::Negative);
                return Lookup::Negative(entry.0.meta().age(now));
            }
            Near::Miss(reason) => {
                self.inner.tally.miss(reason);
                return Lookup::Miss(reason);
            }
        };
        self.inner.tally.answer(kind);
        let outcome = Outcome::hit(kind, Tier::Memory, entry.meta.age(now));
        Lookup::Hit(Loaded::new(entry, outcome))
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

    pub(crate) fn remaining(&self, key: KeyRef<'_>) -> Option<std::time::Duration> {
        let now = self.inner.clock.now();
        let entry = self.inner.memory.peek(self.entry_ref(key))?;
        let fresh = self.freshness(entry.meta(), now) == Ok(Freshness::Fresh);
        fresh.then(|| entry.meta().soft_at.since(now))
    }

    /// Fresh by the coarse clock with room for its lag, so that no precise one need be asked.
    fn is_surely_fresh(&self, meta: &Meta, coarse: Timestamp) -> bool {
        coarse + COARSE_LAG < meta.soft_at && meta.standing(&self.inner.epochs) == Standing::Valid
    }

    fn gone<T>(&self, id: EntryRef<'_>, entry: &AnyEntry, reason: MissReason) -> Near<T> {
        self.inner.memory.remove_same(id, entry);
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
