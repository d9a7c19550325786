//! Atomic read-modify-write.

use std::time::Duration;

use crate::cache::lead::Shape;
use crate::cache::near::Near;
use crate::cache::{Cache, CacheValue, Wire};
use crate::entry::typed;
use crate::error::{Error, ErrorKind};
use crate::key::CacheKey;
use crate::loaded::Loaded;
use crate::options::EntryOptions;
use crate::outcome::{MissReason, Outcome, OutcomeKind};

impl Cache {
    /// Replaces the value under `key` by what `change` makes of it, atomically: concurrent updates all take effect,
    /// one after another.
    ///
    /// `change` gets the fresh value, or `None` if there is none, and may run several times: each time another
    /// writer was faster, on that writer's value. Like [`set`](Self::set), an update is not overwritten by a load that
    /// began earlier.
    ///
    /// # Errors
    ///
    /// [`Contended`](ErrorKind::Contended) if other writers were faster 1,000 times in a row;
    /// [`Invalid`](ErrorKind::Invalid) for contradicting options.
    ///
    /// # Cancellation
    ///
    /// Dropped before it is done, it has changed nothing.
    pub async fn update<T, F>(
        &self,
        key: &CacheKey,
        options: impl Into<EntryOptions> + Send,
        mut change: F,
    ) -> Result<Loaded<T>, Error>
    where
        T: CacheValue + Clone,
        F: FnMut(Option<T>) -> T + Send,
    {
        let options = options.into().or(&self.inner.defaults);
        let policy = options.resolve()?;
        let id = self.id(key);
        for attempt in 0..MAX_ATTEMPTS {
            let now = self.inner.clock.now();
            let seen = self.inner.epochs.seen();
            let (before, version) = match self.near::<T>(key.as_key(), now) {
                Near::Fresh(entry) | Near::Eager(entry) => {
                    (Some(entry.value.clone()), Some(entry.meta.version))
                }
                Near::Stale(entry) => (None, Some(entry.meta.version)),
                Near::Negative(entry) => (None, Some(entry.0.meta().version)),
                Near::Miss(_) => (None, self.current(&id).map(|entry| entry.meta().version)),
            };
            let value = change(before);
            let marks = self.marks_of(key, options.tag_set());
            let entry = self.shape(
                &id,
                Some(value),
                Wire::serde(),
                Shape {
                    policy,
                    marks,
                    seen,
                    now,
                    delta: Duration::ZERO,
                },
            );
            if self.storable(&entry, now).is_ok() && self.swap(&id, version, &entry, seen) {
                let outcome = Outcome::load(OutcomeKind::Loaded, MissReason::Forced);
                return typed(entry)
                    .map(|entry| Loaded::new(entry, outcome))
                    .ok_or_else(|| Error::invalid("an updated value has another type than it was given"));
            }
            if attempt % 16 == 15 {
                tokio::task::yield_now().await;
            }
        }
        Err(Error::new(
            ErrorKind::Contended,
            format!("`{key}` was changed by others {MAX_ATTEMPTS} times while this update tried"),
        ))
    }

    /// Puts `entry` in place if the one with `version` (or none) is still there.
    fn swap(
        &self,
        id: &crate::entry::EntryId,
        version: Option<crate::entry::Version>,
        entry: &crate::entry::AnyEntry,
        seen: u64,
    ) -> bool {
        let now = self.inner.clock.now();
        let swapped = self.inner.epochs.mutate_if(
            id,
            seen,
            now,
            || self.current(id).map(|entry| entry.meta().version) == version,
            |epoch| {
                entry.meta().stored_at_epoch(epoch);
                self.inner.flights.detach_entry(id);
                self.insert(id, entry);
            },
        );
        let _ = self.count_store(swapped);
        swapped.is_ok()
    }
}

/// Far more than contention explains; beyond it something else is wrong.
const MAX_ATTEMPTS: usize = 1_000;
