//! Atomic read-modify-write.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use crate::cache::far::{Far, FarEntry, ReadAs, port_version};
use crate::cache::hold::Reach;
use crate::cache::near::Near;
use crate::cache::shape::Shape;
use crate::cache::{Cache, CacheValue, Wire};
use crate::entry::{AnyEntry, EntryId, Version, typed};
use crate::epochs::Refusal;
use crate::error::{Error, ErrorKind};
use crate::key::CacheKey;
use crate::loaded::Loaded;
use crate::notice::Op;
use crate::options::{EntryOptions, Policy};
use crate::outcome::{MissReason, Outcome, OutcomeKind};
use crate::shared::{Condition, Fault, Verdict};
use crate::sync::Arc;
use crate::time::Timestamp;

/// An update that happens when this is awaited.
///
/// # Cancellation
///
/// Dropped before it is done, it has changed nothing, or with a shared tier perhaps everything.
#[must_use = "an update happens when it is awaited"]
pub struct Updating<'a, T, F> {
    cache: &'a Cache,
    key: &'a CacheKey,
    options: EntryOptions,
    change: F,
    reach: Reach,
    value: PhantomData<fn() -> T>,
}

impl<T, F> Updating<'_, T, F> {
    /// Goes on without the shared tier while that is away: `change` gets what this node has, and the updates of this
    /// node that chose the same all take effect, one after another. **Updates of other nodes meanwhile are not seen.**
    /// When the shared tier is back it gets the new value if nothing else has happened to the key there; otherwise the
    /// key is invalidated on all nodes, and what was updated meanwhile is lost. For values that can be made anew.
    pub fn local_fallback(mut self) -> Self {
        self.reach = Reach::FallBack;
        self
    }
}

impl<T, F> fmt::Debug for Updating<'_, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Updating")
            .field("key", self.key)
            .finish_non_exhaustive()
    }
}

impl<'a, T, F> IntoFuture for Updating<'a, T, F>
where
    T: CacheValue + Clone,
    F: FnMut(Option<T>) -> T + Send + 'a,
{
    type Output = Result<Loaded<T>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<T, F> Updating<'_, T, F>
where
    T: CacheValue + Clone,
    F: FnMut(Option<T>) -> T + Send,
{
    async fn run(mut self) -> Result<Loaded<T>, Error> {
        let (cache, key) = (self.cache, self.key);
        let options = cache.complete(&self.options, key.prefix());
        let policy = options.resolve()?;
        let wire = Wire::<T>::serde().written_in(policy.codec);
        let id = cache.id(key);
        for attempt in 0..MAX_ATTEMPTS {
            let now = cache.inner.clock.now();
            let seen = cache.inner.epochs.seen();
            let before = cache.current_for_update(&id, now, policy, self.reach).await?;
            let value = (self.change)(before.value);
            let marks = cache.marks_of(key, options.tag_set());
            let shape = Shape {
                policy,
                marks,
                seen,
                now,
                delta: Duration::ZERO,
            };
            let entry = cache.shape(&id, Some(value), wire, shape);
            let swapped = match cache.storable(&entry, now) {
                Ok(()) => {
                    let over = Over {
                        version: before.version,
                        decided: before.decided,
                        reach: self.reach,
                        seen,
                    };
                    cache.swap(&id, over, &entry, wire).await?
                }
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
}

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
    /// shared tier and it does not answer, unless [`local_fallback`](Updating::local_fallback) was chosen.
    pub fn update<'a, T, F>(
        &'a self,
        key: &'a CacheKey,
        options: impl Into<EntryOptions>,
        change: F,
    ) -> Updating<'a, T, F>
    where
        T: CacheValue + Clone,
        F: FnMut(Option<T>) -> T + Send,
    {
        Updating {
            cache: self,
            key,
            options: options.into(),
            change,
            reach: Reach::Fleet,
            value: PhantomData,
        }
    }

    /// What stands under the key where updates are decided: in the shared tier if there is one, else here.
    async fn current_for_update<T: CacheValue + Clone>(
        &self,
        id: &EntryId,
        now: Timestamp,
        policy: Policy,
        reach: Reach,
    ) -> Result<Before<T>, Error> {
        let Some(far) = self.far().cloned() else {
            return Ok(self.current_here(id, now));
        };
        self.start_upkeep();
        // What an update has left here is continued here until the shared tier has it.
        if reach == Reach::FallBack && far.recovery().has_key(id) {
            return Ok(self.current_here(id, now));
        }
        let read_as = ReadAs {
            wire: Wire::<T>::serde(),
            policy,
        };
        let mut inquiry = self.inquiry(&far);
        let read = match self.read_far(&mut inquiry, id, None, read_as).await {
            Ok(read) => read,
            Err(fault) if reach == Reach::FallBack => {
                self.degraded("update", &fault);
                return Ok(self.current_here(id, now));
            }
            Err(fault) => return Err(self.unavailable("update", &fault)),
        };
        let (value, version) = match read {
            FarEntry::Fresh(entry) => {
                let version = entry.meta().version;
                let value = typed::<T>(entry).map(|entry| entry.value.clone());
                (value, Some(version))
            }
            FarEntry::Stale(_, version) | FarEntry::Gone(version) | FarEntry::Newer(version) => {
                (None, Some(version))
            }
            FarEntry::Unusable(version) => (None, version),
            // One that was overtaken is not absent: tried again.
            FarEntry::Overtaken | FarEntry::Absent => (None, None),
        };
        Ok(Before {
            value,
            version,
            decided: Decided::Far(far),
        })
    }

    fn current_here<T: CacheValue + Clone>(&self, id: &EntryId, now: Timestamp) -> Before<T> {
        let (value, version) = match self.near::<T>(id.key().as_key(), now) {
            Near::Fresh(entry) | Near::Eager(entry) => (Some(entry.value.clone()), Some(entry.meta.version)),
            Near::Stale(entry) => (None, Some(entry.meta.version)),
            Near::Negative(entry) => (None, Some(entry.0.meta().version)),
            Near::Miss(_) => (None, self.current(id).map(|entry| entry.meta().version)),
        };
        Before {
            value,
            version,
            decided: Decided::Here,
        }
    }

    /// Puts `entry` in place if what stands there is still what was seen.
    async fn swap<T: CacheValue>(
        &self,
        id: &EntryId,
        over: Over,
        entry: &AnyEntry,
        wire: Wire<T>,
    ) -> Result<Result<(), Refusal>, Error> {
        match over.decided {
            Decided::Here => Ok(self.swap_here(id, &over, entry, wire)),
            Decided::Far(ref far) => self.swap_far(far, id, &over, entry, wire).await,
        }
    }

    fn swap_here<T: CacheValue>(
        &self,
        id: &EntryId,
        over: &Over,
        entry: &AnyEntry,
        wire: Wire<T>,
    ) -> Result<(), Refusal> {
        let unchanged = || self.current(id).map(|entry| entry.meta().version) == over.version;
        let now = self.inner.clock.now();
        let swapped = self
            .inner
            .epochs
            .mutate_if(id, over.seen, now, unchanged, |epoch| {
                if let Some(far) = self.far() {
                    far.recovery().add_set(self, id, self.replaces(id), entry, wire);
                }
                entry.meta().stored_at_epoch(epoch);
                self.inner.flights.detach_entry(id);
                self.insert(id, entry);
            });
        self.count_store(swapped)
    }

    async fn swap_far<T: CacheValue>(
        &self,
        far: &Arc<Far>,
        id: &EntryId,
        over: &Over,
        entry: &AnyEntry,
        wire: Wire<T>,
    ) -> Result<Result<(), Refusal>, Error> {
        let now = self.inner.clock.now();
        let begun = self.inner.epochs.mutate_since(id, u64::MAX, now, |epoch| {
            self.forget_here(id);
            epoch
        });
        let begun = match begun {
            Ok(begun) => begun,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let condition = Condition::Seen(over.version.map(port_version));
        let answer = self.set_far(far, Op::Update, id, entry, wire, condition).await;
        let applied = matches!(answer, Ok(Some(Verdict::Applied)));
        // Whether the shared tier has it is not known: it is offered again, as what it is.
        let falls_back = over.reach == Reach::FallBack && answer.is_err();
        if falls_back {
            far.recovery().add_set(self, id, over.version, entry, wire);
        }
        let kept = self.end_mutation(id, begun, entry, applied || falls_back);
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
            Err(fault) if falls_back && kept => {
                self.degraded("update", &fault);
                Ok(Ok(()))
            }
            Err(fault) => {
                if falls_back {
                    far.recovery().add_key(self, id, Duration::ZERO);
                }
                Err(self.unavailable("update", &fault))
            }
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
    decided: Decided,
}

/// Where it is decided which of two updates came first.
enum Decided {
    Here,
    Far(Arc<Far>),
}

/// What an update replaces.
struct Over {
    version: Option<Version>,
    decided: Decided,
    reach: Reach,
    seen: u64,
}

/// Far more than contention explains; beyond it something else is wrong.
const MAX_ATTEMPTS: usize = 1_000;
