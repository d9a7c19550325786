//! Atomic read-modify-write.

use std::time::Duration;

use crate::cache::far::{FarEntry, ReadAs, port_version};
use crate::cache::near::Near;
use crate::cache::shape::Shape;
use crate::cache::{Cache, CacheValue, Wire};
use crate::entry::{AnyEntry, Entry, EntryId, Version, typed};
use crate::epochs::Refusal;
use crate::error::{Error, ErrorKind};
use crate::key::CacheKey;
use crate::loaded::Loaded;
use crate::notice::Op;
use crate::options::{EntryOptions, Policy};
use crate::outcome::{MissReason, Outcome, OutcomeKind};
use crate::shared::{Condition, Fault, Verdict};
use crate::time::Timestamp;

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
    /// [`Contended`](ErrorKind::Contended) if other writers were faster 1,000 times in a row, or an invalidation holds
    /// stores off ([`Invalidation::hold`](crate::Invalidation::hold));
    /// [`Invalid`](ErrorKind::Invalid) for contradicting options; [`Unavailable`](ErrorKind::Unavailable) if there is a
    /// shared tier and it does not answer.
    ///
    /// # Cancellation
    ///
    /// Dropped before it is done, it has changed nothing, or with a shared tier perhaps everything.
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
        let options = self.complete(&options.into(), key.prefix());
        let policy = options.resolve()?;
        let wire = Wire::<T>::serde().written_in(policy.codec);
        let id = self.id(key);
        for attempt in 0..MAX_ATTEMPTS {
            let now = self.inner.clock.now();
            let seen = self.inner.epochs.seen();
            let before = self.current_for_update(&id, now, policy).await?;
            let value = change(before.value);
            let marks = self.marks_of(key, options.tag_set());
            let shape = Shape {
                policy,
                marks,
                seen,
                now,
                delta: Duration::ZERO,
            };
            let entry = self.shape(&id, Some(value), wire, shape);
            let swapped = match self.storable(&entry, now) {
                Ok(()) => self.swap(&id, before.version, &entry, seen, wire).await?,
                Err(refusal) => Err(refusal),
            };
            match swapped {
                Ok(()) => {
                    let outcome = Outcome::load(OutcomeKind::Loaded, MissReason::Forced);
                    return typed(entry)
                        .map(|entry| Loaded::new(entry, outcome))
                        .ok_or_else(|| {
                            Error::invalid("an updated value has another type than it was given")
                        });
                }
                // Trying again would only meet the same end of the hold-off.
                Err(Refusal::HeldOff) => {
                    return Err(Error::new(
                        ErrorKind::Contended,
                        format!("stores under `{key}` are held off by an invalidation; try again later"),
                    ));
                }
                Err(Refusal::Mutated) => {}
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

    /// What stands under the key where updates are decided: in the shared tier if there is one, else here.
    async fn current_for_update<T: CacheValue + Clone>(
        &self,
        id: &EntryId,
        now: Timestamp,
        policy: Policy,
    ) -> Result<Before<T>, Error> {
        let Some(far) = self.far().cloned() else {
            return Ok(match self.near::<T>(id.key().as_key(), now) {
                Near::Fresh(entry) | Near::Eager(entry) => Before::of(&entry),
                Near::Stale(entry) => Before {
                    value: None,
                    version: Some(entry.meta.version),
                },
                Near::Negative(entry) => Before {
                    value: None,
                    version: Some(entry.0.meta().version),
                },
                Near::Miss(_) => Before {
                    value: None,
                    version: self.current(id).map(|entry| entry.meta().version),
                },
            });
        };
        self.start_upkeep();
        let read_as = ReadAs {
            wire: Wire::<T>::serde(),
            policy,
        };
        let mut inquiry = self.inquiry(&far);
        let read = self.read_far(&mut inquiry, id, None, read_as).await;
        match read.map_err(|fault| self.unavailable("update", &fault))? {
            FarEntry::Fresh(entry) => {
                let version = entry.meta().version;
                let value = typed::<T>(entry).map(|entry| entry.value.clone());
                Ok(Before {
                    value,
                    version: Some(version),
                })
            }
            FarEntry::Stale(_, version) => Ok(Before {
                value: None,
                version: Some(version),
            }),
            FarEntry::Gone(version) | FarEntry::Newer(version) => Ok(Before {
                value: None,
                version: Some(version),
            }),
            FarEntry::Unusable(version) => Ok(Before { value: None, version }),
            // One that was overtaken is not absent: tried again.
            FarEntry::Overtaken | FarEntry::Absent => Ok(Before {
                value: None,
                version: None,
            }),
        }
    }

    /// Puts `entry` in place if what stands there is still what was seen.
    async fn swap<T: CacheValue>(
        &self,
        id: &EntryId,
        version: Option<Version>,
        entry: &AnyEntry,
        seen: u64,
        wire: Wire<T>,
    ) -> Result<Result<(), Refusal>, Error> {
        let now = self.inner.clock.now();
        let Some(far) = self.far().cloned() else {
            let unchanged = || self.current(id).map(|entry| entry.meta().version) == version;
            let swapped = self.inner.epochs.mutate_if(id, seen, now, unchanged, |epoch| {
                entry.meta().stored_at_epoch(epoch);
                self.inner.flights.detach_entry(id);
                self.insert(id, entry);
            });
            return Ok(self.count_store(swapped));
        };
        let begun = self.inner.epochs.mutate_since(id, u64::MAX, now, |epoch| {
            self.forget_here(id);
            epoch
        });
        let begun = match begun {
            Ok(begun) => begun,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let condition = Condition::Seen(version.map(port_version));
        let answer = self.set_far(&far, Op::Update, id, entry, wire, condition).await;
        let applied = matches!(answer, Ok(Some(Verdict::Applied)));
        self.end_mutation(id, begun, entry, applied);
        match answer {
            Ok(Some(Verdict::OutOfMemory)) => Err(Error::new(
                ErrorKind::Unavailable,
                "the shared tier has no room left",
            )),
            Ok(Some(Verdict::HeldOff(_))) => Ok(Err(Refusal::HeldOff)),
            Ok(Some(_)) if applied => Ok(Ok(())),
            Ok(Some(_)) => Ok(Err(Refusal::Mutated)),
            Ok(None) => Err(Error::invalid(
                "the updated value cannot be written to the shared tier",
            )),
            Err(fault) => Err(self.unavailable("update", &fault)),
        }
    }

    pub(crate) fn unavailable(&self, step: &'static str, fault: &Fault) -> Error {
        self.degraded(step, fault);
        Error::new(
            ErrorKind::Unavailable,
            format!("the shared tier did not answer: {fault}"),
        )
    }
}

/// What an update starts from.
struct Before<T> {
    value: Option<T>,
    version: Option<Version>,
}

impl<T: Clone> Before<T> {
    fn of(entry: &Entry<T>) -> Self {
        Self {
            value: Some(entry.value.clone()),
            version: Some(entry.meta.version),
        }
    }
}

/// Far more than contention explains; beyond it something else is wrong.
const MAX_ATTEMPTS: usize = 1_000;
