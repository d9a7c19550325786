//! Storing a value that the caller brings.

use std::time::Duration;

use crate::cache::lead::Shape;
use crate::cache::{Cache, Wire};
use crate::entry::EntryId;
use crate::epochs::{Refusal, held_until};
use crate::error::Error;
use crate::key::CacheKey;
use crate::loaded::Stored;
use crate::options::EntryOptions;
use crate::stats::Count;

impl Cache {
    /// Stores a value, or with `None` "there is no such value", as a mutation of the key: loads that began before
    /// cannot overwrite it, and nobody joins them any more.
    pub(crate) fn write<T: Send + Sync + 'static>(
        &self,
        key: &CacheKey,
        value: Option<T>,
        options: &EntryOptions,
        wire: Wire<T>,
    ) -> Result<Stored, Error> {
        let options = options.or(&self.inner.defaults);
        let policy = options.resolve()?;
        if policy.clamped {
            self.inner.tally.count(Count::TtlClamped);
        }
        let id = self.id(key);
        let now = self.inner.clock.now();
        let marks = self.marks_of(key, options.tag_set());
        // Weighing a value may run the user's serde code: before the key is locked.
        let shape = Shape {
            policy,
            marks,
            seen: self.inner.epochs.seen(),
            now,
            delta: Duration::ZERO,
        };
        let entry = self.shape(&id, value, wire, shape);
        if self.storable(&entry, now).is_err() {
            return Ok(Stored::HeldOff);
        }
        // Whatever the key went through before is older than what the caller brings: only a hold-off refuses it.
        let stored = self.inner.epochs.mutate_since(&id, u64::MAX, now, |epoch| {
            entry.meta().stored_at_epoch(epoch);
            self.inner.flights.detach_entry(&id);
            self.insert(&id, &entry);
        });
        let _ = self.count_store(stored);
        Ok(match stored {
            Ok(()) if policy.ttl.is_zero() => Stored::ZeroTtl,
            Ok(()) => Stored::Yes,
            Err(Refusal::HeldOff) => Stored::HeldOff,
            Err(Refusal::Mutated) => Stored::Superseded,
        })
    }

    /// Forgets everything about a key, as a mutation of it.
    pub(crate) fn forget(&self, id: &EntryId, hold: Duration) {
        let now = self.inner.clock.now();
        self.inner.epochs.mutate(id, now, held_until(now, hold), |_| {
            self.inner.flights.detach_entry(id);
            self.inner.failures.forget(id.as_ref());
            self.inner.memory.remove(id.as_ref());
        });
        self.inner.tally.count(Count::Invalidation);
    }
}
