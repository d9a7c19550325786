//! Entries of the in-process tier: how they come about, and whether they may be stored.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use crate::cache::run::message_of;
use crate::cache::{Cache, Wire};
use crate::entry::{AnyEntry, Birth, Entry, EntryId, Meta, Negative, Version};
use crate::epochs::{Marks, Refusal, Standing};
use crate::freshness::{eager_from, jittered};
use crate::options::Policy;
use crate::stats::Count;
use crate::sync::Arc;
use crate::tag::TagSet;
use crate::time::Timestamp;

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
    pub(crate) fn succeed(
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
    pub(crate) fn replace(
        &self,
        id: &EntryId,
        entry: &AnyEntry,
        seen: u64,
        now: Timestamp,
    ) -> Result<bool, Refusal> {
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
        self.inner.traffic.stored(&meta.marks);
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
