//! Storing a value that the caller brings.

use std::time::Duration;

use crate::cache::far::{Far, Setting, Unheard};
use crate::cache::shape::Shape;
use crate::cache::{Cache, Wire};
use crate::entry::{AnyEntry, EntryId, Version};
use crate::epochs::{Refusal, held_until};
use crate::error::Error;
use crate::key::CacheKey;
use crate::loaded::Stored;
use crate::notice::Op;
use crate::options::{EntryOptions, Policy};
use crate::shared::{Condition, MAX_KEYS_PER_NOTICE, Verdict};
use crate::stats::Count;
use crate::sync::Arc;
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
        let stored = self.write_many(vec![(key.clone(), value)], options, wire).await?;
        stored
            .into_iter()
            .next()
            .ok_or_else(|| Error::invalid("a write of one value stored none"))
    }

    /// Like [`write`](Self::write), for many keys; the shared tier gets them together.
    pub(crate) async fn write_many<T: Send + Sync + 'static>(
        &self,
        values: Vec<(CacheKey, Option<T>)>,
        options: &EntryOptions,
        wire: Wire<T>,
    ) -> Result<Vec<Stored>, Error> {
        let options = self.complete(options, values.first().map_or("", |(key, _)| key.prefix()));
        let policy = options.resolve()?;
        let wire = wire.written_in(policy.codec);
        let mut stored = Vec::with_capacity(values.len());
        let mut values = values.into_iter().peekable();
        while values.peek().is_some() {
            let some = values.by_ref().take(MAX_KEYS_PER_NOTICE);
            let some = some.map(|(key, value)| self.setting(&key, value, &options, policy, wire));
            let some: Vec<Setting> = some.collect();
            stored.extend(self.write_some(&some, policy, wire).await);
        }
        Ok(stored)
    }

    fn setting<T: Send + Sync + 'static>(
        &self,
        key: &CacheKey,
        value: Option<T>,
        options: &EntryOptions,
        policy: Policy,
        wire: Wire<T>,
    ) -> Setting {
        if policy.clamped {
            self.inner.tally.count(Count::TtlClamped);
        }
        let id = self.id(key);
        // Weighing a value may run the user's serde code: before the key is locked.
        let shape = Shape {
            policy,
            marks: self.marks_of(key, options.tag_set()),
            seen: self.inner.epochs.seen(),
            now: self.inner.clock.now(),
            delta: Duration::ZERO,
        };
        let entry = self.shape(&id, value, wire, shape);
        Setting { id, entry }
    }

    async fn write_some<T: Send + Sync + 'static>(
        &self,
        settings: &[Setting],
        policy: Policy,
        wire: Wire<T>,
    ) -> Vec<Stored> {
        let now = self.inner.clock.now();
        let may = |set: &Setting| self.may_store(&set.entry, now);
        let mut stored: Vec<Stored> = match (self.far().cloned(), policy.ttl.is_zero()) {
            (None, _) => settings
                .iter()
                .map(|set| match may(set) {
                    Ok(()) => self.write_here(&set.id, &set.entry, now),
                    Err(refusal) => refused(refusal),
                })
                .collect(),
            (Some(_), true) => self.remove_instead(settings).await,
            (Some(far), false) => self.write_through(&far, settings, wire, now).await,
        };
        for stored in &mut stored {
            let _ = self.count_store(match stored {
                Stored::HeldOff => Err(Refusal::HeldOff),
                Stored::Superseded => Err(Refusal::Mutated),
                Stored::Yes | Stored::Locally | Stored::ZeroTtl | Stored::TooLarge => Ok(()),
            });
            if stored.is_stored() && policy.ttl.is_zero() {
                *stored = Stored::ZeroTtl;
            }
        }
        stored
    }

    /// A zero TTL is "do not store", and what stands there is older than what is not stored.
    async fn remove_instead(&self, settings: &[Setting]) -> Vec<Stored> {
        for set in settings {
            // Not acknowledged, it is pending: that is all there is to say about it here.
            let _ = self.remove_key(&set.id, Duration::ZERO).await;
        }
        vec![Stored::ZeroTtl; settings.len()]
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
            Ok(false) if entry.meta().soft_at <= entry.meta().loaded_at => Stored::ZeroTtl,
            Ok(false) => Stored::TooLarge,
            Err(refusal) => refused(refusal),
        }
    }

    /// The epoch moves, the shared tier changes, and if nothing else happened to a key meanwhile its value is kept here,
    /// too.
    async fn write_through<T: Send + Sync + 'static>(
        &self,
        far: &Arc<Far>,
        settings: &[Setting],
        wire: Wire<T>,
        now: Timestamp,
    ) -> Vec<Stored> {
        self.start_upkeep();
        let mut stored = vec![Stored::Superseded; settings.len()];
        let (mut begun, mut sent) = (Vec::new(), Vec::new());
        for (at, set) in settings.iter().enumerate() {
            match self.begin_write(set, now) {
                Ok((epoch, replaces)) => {
                    begun.push((at, epoch, replaces));
                    sent.push(set.clone());
                }
                Err(refusal) => stored[at] = refused(refusal),
            }
        }
        let unsent = self.invalidate_if_cancelled(far, sent.iter().map(|set| set.id.clone()).collect());
        let answer = match sent.is_empty() {
            true => Ok(Vec::new()),
            false => {
                self.set_far_many(far, Op::Set, &sent, wire, Condition::Always)
                    .await
            }
        };
        unsent.disarm();
        let verdicts = answer.unwrap_or_else(|fault| {
            self.degraded("set", &fault);
            vec![None; sent.len()]
        });
        for ((set, (at, epoch, replaces)), verdict) in sent.iter().zip(begun).zip(verdicts) {
            stored[at] = match verdict {
                Some(Verdict::Applied) => Stored::Yes,
                Some(Verdict::HeldOff(_)) => Stored::HeldOff,
                Some(Verdict::OutOfMemory) | None => Stored::Locally,
                Some(_) => Stored::Superseded,
            };
            match stored[at] {
                Stored::Yes => far.recovery().set_arrived(&set.id),
                // What the shared tier has is older, or unknown: other nodes must not go on reading it.
                Stored::Locally => far.recovery().add_set(self, &set.id, replaces, &set.entry, wire),
                _ => {}
            }
            self.end_mutation(&set.id, epoch, &set.entry, stored[at].is_stored());
        }
        stored
    }

    fn begin_write(&self, set: &Setting, now: Timestamp) -> Result<(u64, Option<Version>), Refusal> {
        self.may_store(&set.entry, now)?;
        self.inner.epochs.mutate_since(&set.id, u64::MAX, now, |epoch| {
            let replaces = self.replaces(&set.id);
            self.forget_here(&set.id);
            (epoch, replaces)
        })
    }

    /// For a caller that leaves while a change is on its way: whether it happened is not known, so the keys are
    /// invalidated.
    pub(crate) fn invalidate_if_cancelled(
        &self,
        far: &Arc<Far>,
        ids: Vec<EntryId>,
    ) -> Unheard<impl FnOnce()> {
        let (cache, far) = (self.clone(), far.clone());
        Unheard::run(move || {
            for id in &ids {
                far.recovery().add_key(&cache, id, Duration::ZERO);
                cache
                    .inner
                    .epochs
                    .mutate(id, cache.inner.clock.now(), Timestamp::ZERO, |_| {
                        cache.forget_here(id);
                    });
            }
        })
    }

    /// Ends what [`forget_here`](Self::forget_here) began: keeps `entry` if it was stored and nothing but its own echo
    /// happened to the key meanwhile. Whether it is kept.
    pub(crate) fn end_mutation(&self, id: &EntryId, begun: u64, entry: &AnyEntry, stored: bool) -> bool {
        let (now, version) = (self.inner.clock.now(), entry.meta().version);
        self.inner
            .epochs
            .acknowledged(id, now, begun, version, |undisturbed, epoch| {
                // What began while the change was on its way may have read what was there before.
                self.inner.flights.detach_entry(id);
                if stored && undisturbed {
                    entry.meta().stored_at_epoch(epoch);
                    return self.insert(id, entry);
                }
                if self
                    .current(id)
                    .is_some_and(|current| current.meta().version != version)
                {
                    self.inner.memory.remove(id.as_ref());
                }
                false
            })
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

fn refused(refusal: Refusal) -> Stored {
    match refusal {
        Refusal::HeldOff => Stored::HeldOff,
        Refusal::Mutated => Stored::Superseded,
    }
}
