//! Storing a value that the caller brings.

use std::time::Duration;

use crate::cache::far::Far;
use crate::cache::lead::Shape;
use crate::cache::{Cache, Wire};
use crate::entry::{AnyEntry, EntryId};
use crate::epochs::{Refusal, held_until};
use crate::error::Error;
use crate::key::CacheKey;
use crate::loaded::Stored;
use crate::notice::Op;
use crate::options::EntryOptions;
use crate::shared::{Condition, Verdict};
use crate::stats::Count;
use crate::time::Timestamp;

impl Cache {
    /// Stores a value, or with `None` "there is no such value", as a mutation of the key: loads that began before
    /// cannot overwrite it, and nobody joins them any more.
    pub(crate) async fn write<T: Send + Sync + 'static>(
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
        let seen = self.inner.epochs.seen();
        let entry = self.shape(
            &id,
            value,
            wire,
            Shape {
                policy,
                marks,
                seen,
                now,
                delta: Duration::ZERO,
            },
        );
        match self.storable(&entry, now) {
            Ok(()) => {}
            Err(Refusal::HeldOff) => return Ok(Stored::HeldOff),
            // A tag was invalidated since the call began.
            Err(Refusal::Mutated) => return Ok(Stored::Superseded),
        }
        let stored = match self.far().cloned() {
            Some(far) => self.write_through(&far, &id, &entry, wire, now).await,
            None => self.write_here(&id, &entry, now),
        };
        let refusal = match stored {
            Stored::Yes | Stored::Locally | Stored::ZeroTtl | Stored::TooLarge => Ok(()),
            Stored::HeldOff => Err(Refusal::HeldOff),
            Stored::Superseded => Err(Refusal::Mutated),
        };
        let _ = self.count_store(refusal);
        Ok(if stored.is_stored() && policy.ttl.is_zero() {
            Stored::ZeroTtl
        } else {
            stored
        })
    }

    /// Whatever the key went through before is older than what the caller brings: only a hold-off refuses it.
    fn write_here(&self, id: &EntryId, entry: &AnyEntry, now: Timestamp) -> Stored {
        let stored = self.inner.epochs.mutate_since(id, u64::MAX, now, |epoch| {
            entry.meta().stored_at_epoch(epoch);
            self.inner.flights.detach_entry(id);
            self.insert(id, entry)
        });
        match stored {
            Ok(true) => Stored::Yes,
            Ok(false) if entry.meta().soft_at <= now => Stored::ZeroTtl,
            Ok(false) => Stored::TooLarge,
            Err(Refusal::HeldOff) => Stored::HeldOff,
            Err(Refusal::Mutated) => Stored::Superseded,
        }
    }

    /// The epoch moves, the shared tier changes, and if nothing else happened to the key meanwhile the value is kept
    /// here, too.
    async fn write_through<T: Send + Sync + 'static>(
        &self,
        far: &Far,
        id: &EntryId,
        entry: &AnyEntry,
        wire: Wire<T>,
        now: Timestamp,
    ) -> Stored {
        self.start_upkeep();
        let begun = self.inner.epochs.mutate_since(id, u64::MAX, now, |epoch| {
            self.forget_here(id);
            epoch
        });
        let Ok(begun) = begun else { return Stored::HeldOff };
        let answer = self
            .set_far(far, Op::Set, id, entry, wire, Condition::Always)
            .await;
        let stored = match answer {
            Ok(Some(Verdict::Applied)) => Stored::Yes,
            Ok(Some(Verdict::HeldOff(_))) => Stored::HeldOff,
            Ok(Some(Verdict::OutOfMemory) | None) => Stored::Locally,
            Ok(Some(_)) => Stored::Superseded,
            Err(fault) => {
                self.degraded("set", &fault);
                Stored::Locally
            }
        };
        if stored == Stored::Locally {
            // What the shared tier has is older, or unknown: other nodes must not go on reading it.
            far.recovery().add_key(self, id, Duration::ZERO);
        }
        self.end_mutation(id, begun, entry, stored.is_stored());
        stored
    }

    /// Ends what [`forget_here`](Self::forget_here) began: keeps `entry` if it was stored and nothing but its own echo
    /// happened to the key meanwhile.
    pub(crate) fn end_mutation(&self, id: &EntryId, begun: u64, entry: &AnyEntry, stored: bool) {
        let (now, version) = (self.inner.clock.now(), entry.meta().version);
        self.inner
            .epochs
            .acknowledged(id, now, begun, version, |undisturbed, epoch| {
                if stored && undisturbed {
                    entry.meta().stored_at_epoch(epoch);
                    self.insert(id, entry);
                } else if self
                    .current(id)
                    .is_some_and(|current| current.meta().version != version)
                {
                    self.inner.memory.remove(id.as_ref());
                }
            });
    }

    /// Forgets what this process has under a key; the key's stripe is locked by the caller.
    pub(crate) fn forget_here(&self, id: &EntryId) {
        self.inner.flights.detach_entry(id);
        self.inner.failures.forget(id.as_ref());
        self.inner.memory.remove(id.as_ref());
    }

    /// Forgets everything about a key, as a mutation of it.
    pub(crate) fn forget(&self, id: &EntryId, hold: Duration) {
        let now = self.inner.clock.now();
        self.inner
            .epochs
            .mutate(id, now, held_until(now, hold), |_| self.forget_here(id));
        self.inner.tally.count(Count::Invalidation);
    }
}
