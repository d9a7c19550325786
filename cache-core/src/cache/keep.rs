//! What becomes of a load's result: kept in the tiers, or remembered as a failure.

use std::any::TypeId;
use std::time::Duration;

use crate::cache::context::Said;
use crate::cache::failures::Recorded;
use crate::cache::far::{Far, Keep, Leave};
use crate::cache::flights::{Cause, Failure, FlightContext, Settled};
use crate::cache::lead::{Load, LoadKind};
use crate::cache::shape::Shape;
use crate::entry::AnyEntry;
use crate::epochs::Kind;
use crate::freshness::{Freshness, smoothed};
use crate::stats::Count;
use crate::sync::Arc;
use crate::tag::MAX_TAGS;
use crate::time::Timestamp;

/// What a loader gave.
pub(crate) struct Kept {
    pub(crate) settled: Settled,
    /// The entry, if it is to be stored.
    pub(crate) entry: Option<AnyEntry>,
}

impl<T: Send + Sync + 'static> Load<T> {
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
        let delta = smoothed(self.previous.as_ref().map(|previous| previous.meta.delta()), took);
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
    pub(crate) async fn store(&self, kept: &Kept, leave: Option<(Arc<Far>, Leave<T>)>, seen: u64) {
        let Some(entry) = &kept.entry else { return };
        match leave {
            Some((far, leave)) => {
                let keep = Box::pin(self.commit(&far, leave, entry, seen)).await;
                self.store_if(keep, &far, entry, seen);
            }
            None => self.store_here(entry, seen),
        }
    }

    pub(crate) fn store_if(&self, keep: Keep, far: &Far, entry: &AnyEntry, seen: u64) {
        match keep {
            Keep::Yes => self.store_here(entry, seen),
            Keep::Alone(returns) => self.store_alone(far, returns, entry, seen),
            Keep::No => {
                self.cache.inner.tally.count(Count::StoreRefused);
                if self.kind == LoadKind::Forced {
                    // What the caller wanted replaced goes, although something kept this out.
                    self.cache.end_mutation(&self.id, seen, entry, false);
                }
            }
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
    pub(crate) fn throttle(&self, flight: &FlightContext, now: Timestamp) {
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
