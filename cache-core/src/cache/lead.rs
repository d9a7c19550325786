//! One load, from the decision to load to its result: run the loader, store what it gave, or tell why not.
//!
//! This runs once per flight: for a borrowing loader in its caller, for an owning one in a task of its own; while it only
//! looks into the shared tier, [aboard](super::aboard) its caller.
//! Dropping it at any point drops the [`Leader`], and a follower takes over.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tracing::Instrument as _;

use crate::cache::aboard::{LoadBerth, go_ashore};
use crate::cache::far::{Departure, Far, HeldLease, Leave, Right};
use crate::cache::flights::{Cause, Failure, FlightContext, Leader, Settled};
use crate::cache::near::Near;
use crate::cache::run::{Ran, deadline, run};
use crate::cache::{Cache, LoadContext, Loader, Wire};
use crate::entry::{AnyEntry, Entry, EntryId, typed};
use crate::error::{Error, ErrorKind};
use crate::freshness::Freshness;
use crate::options::Policy;
use crate::outcome::Tier;
use crate::stats::{Count, LoadWatch};
use crate::sync::Arc;

/// Everything that a load needs besides its loader.
pub(crate) struct Load<T> {
    pub(crate) cache: Cache,
    pub(crate) id: EntryId,
    pub(crate) policy: Policy,
    pub(crate) wire: Wire<T>,
    pub(crate) kind: LoadKind,
    /// Whether the load may find that there is no such value.
    pub(crate) optional: bool,
    /// What was there before, if it may still be used.
    pub(crate) previous: Option<Arc<Entry<T>>>,
    /// Where it lies, if it may be aboard its caller.
    pub(crate) berth: Option<Arc<LoadBerth>>,
}

/// Why a load runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadKind {
    /// Nothing usable is stored.
    Miss,
    /// A value in use nears its end; nobody waits.
    Eager,
    /// The caller wants a new value, whatever is stored.
    Forced,
}

impl LoadKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Miss => "miss",
            Self::Eager => "eager",
            Self::Forced => "forced",
        }
    }
}

impl<T: Send + Sync + 'static> Load<T> {
    /// Runs the load and lands the flight. `None`: the last caller left, and the options say to stop then, or another
    /// node does it and nobody waits here.
    pub(crate) async fn run<E: Send + Sync + 'static>(
        mut self,
        leader: Leader,
        loader: Loader<'_, T, E>,
    ) -> Option<Settled> {
        // The prefix names the function; the rest of a key may be somebody's data and stays out of traces.
        let span = tracing::debug_span!(
            "cache_load",
            cache = self.cache.name(),
            prefix = self.id.key().prefix(),
            kind = self.kind.as_str(),
        );
        let abandoned = abandoned(self.policy, self.kind, &leader);
        let settled = tokio::select! {
            biased;
            settled = self.settle(&leader, loader).instrument(span) => settled?,
            () = abandoned => return None,
        };
        leader.complete(settled.clone());
        Some(settled)
    }

    pub(crate) fn stops_when_abandoned(&self, flight: &FlightContext) -> bool {
        stops_when_abandoned(&self.policy, self.kind, flight)
    }

    async fn settle<E: Send + Sync + 'static>(
        &mut self,
        leader: &Leader,
        loader: Loader<'_, T, E>,
    ) -> Option<Settled> {
        if let Some(found) = self.found_meanwhile() {
            return Some(Settled::Found(found, Tier::Memory));
        }
        let flight = leader.context();
        let leave = match self.look_further(flight).await {
            Ok(leave) => leave,
            Err(settled) => return settled,
        };
        go_ashore(self.berth.as_deref()).await;
        // Boxed: what only looks has no room for a loader.
        Some(Box::pin(self.load(leader, loader, leave)).await)
    }

    /// Calls the loader, and stores what it gives or tells why not.
    async fn load<E: Send + Sync + 'static>(
        &self,
        leader: &Leader,
        loader: Loader<'_, T, E>,
        leave: Option<(Arc<Far>, Leave<T>)>,
    ) -> Settled {
        let flight = leader.context();
        let lease = leave.as_ref().and_then(|(_, leave)| leave.lease());
        // Waiting for another node takes no permit; loading does. The lease is kept while this waits for one.
        let _permit = while_leased(lease, self.cache.inner.tasks.load_permit(flight.urgent.wait())).await;
        let context = LoadContext::new(self.id.key().clone(), self.previous.clone());
        let tally = &self.cache.inner.tally;
        let watch = LoadWatch::begin(tally);
        let started = self.cache.inner.clock.now();
        flight.running.begin(&context);
        let said = context.clone();
        // The call itself may panic, so it is part of the future that is caught.
        let work = run(self.limit(), leader.id(), async move { loader(context).await });
        let ran = while_leased(lease, work).await;
        watch.returned();
        let now = self.cache.inner.clock.now();
        let took = now.since(started);
        self.cache.inner.load_took(took);
        let said = said.take();
        match ran {
            Ran::Value(value) => {
                tally.count(match said.failed {
                    Some(_) => Count::LoadFailed,
                    None => Count::LoadOk,
                });
                let kept = self.keep(value, said, flight, now, took);
                let mut store = pin!(self.store(&kept, leave, flight.seen));
                // Usually the value is stored when its callers get it. A slow shared tier does not make them wait, unless
                // they wanted the old value replaced: then it must not be read any more once they have the new one.
                let patience = match self.kind {
                    LoadKind::Forced => Duration::MAX,
                    LoadKind::Miss | LoadKind::Eager => STORE_PATIENCE,
                };
                if deadline(patience, store.as_mut()).await.is_none() {
                    leader.land(kept.settled.clone());
                    store.await;
                }
                kept.settled.clone()
            }
            failed => {
                let cause = self.cache.cause(failed);
                let (kind, no_stale) = (cause.kind(), said.no_stale);
                let settled = self.failed::<E>(cause, said, flight, now);
                leader.land(settled.clone());
                self.tell_failure(leave, flight, kind, no_stale).await;
                settled
            }
        }
    }

    /// Asks the shared tier for the value, or for the right to load it. `Err` with the end of the load if it needs no
    /// loader.
    async fn look_further(
        &mut self,
        flight: &FlightContext,
    ) -> Result<Option<(Arc<Far>, Leave<T>)>, Option<Settled>> {
        let Some(far) = self.cache.far().cloned() else {
            return Ok(None);
        };
        let departure = self.depart(&far, flight).await;
        self.take_off(departure, flight).map(|leave| Some((far, leave)))
    }

    /// What a departure means for the load. `Err` with the end of the load if it needs no loader.
    pub(crate) fn take_off(
        &mut self,
        departure: Departure<T>,
        flight: &FlightContext,
    ) -> Result<Leave<T>, Option<Settled>> {
        match departure {
            Departure::Found(entry) => {
                self.cache.promote(&self.id, &entry);
                Err(Some(Settled::Found(entry, Tier::Shared)))
            }
            Departure::FailedElsewhere(failed, stale) => {
                let stale = self.stand_in(stale);
                let message = format!("the load failed on another node a moment ago: {}", failed.kind);
                if !failed.no_stale {
                    self.throttle(flight, self.cache.inner.clock.now());
                }
                Err(Some(Settled::Failed(Failure {
                    cause: Cause::Cache(Error::new(ErrorKind::RecordedFailure, message)),
                    no_stale: failed.no_stale,
                    fallback: None,
                    stale,
                })))
            }
            Departure::SlowElsewhere(stale) => {
                let stale: AnyEntry = stale;
                self.cache.promote(&self.id, &stale);
                Err(Some(Settled::Slow(stale)))
            }
            Departure::NotNeeded => Err(None),
            Departure::Load(mut leave) => {
                if matches!(leave.right, Right::Away(_)) && self.kind == LoadKind::Miss {
                    self.manage_alone()?;
                }
                if let Some(stale) = leave.stale.take() {
                    self.previous = Some(stale.clone());
                    self.stand_in(Some(stale));
                }
                Ok(leave)
            }
        }
    }

    /// The shared tier is away altogether, so nobody can confirm what this process has: what is fresh by its TTL is
    /// better than another load, and what is stale may stand in for one that fails.
    fn manage_alone(&mut self) -> Result<(), Option<Settled>> {
        match self.cache.unconfirmed::<T>(&self.id) {
            Some(entry) => {
                let (meta, now) = (entry.meta(), self.cache.inner.clock.now());
                let is_fresh = self.cache.freshness(meta, now) == Ok(Freshness::Fresh);
                if (is_fresh || meta.is_throttled(now)) && (!meta.negative || self.optional) {
                    return Err(Some(Settled::Found(entry, Tier::Memory)));
                }
                self.previous = self.previous.take().or_else(|| typed(entry));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Lets a stale value of the shared tier stand in for a failing load; further callers find it here.
    fn stand_in(&self, stale: Option<Arc<Entry<T>>>) -> Option<AnyEntry> {
        let stale: AnyEntry = stale?;
        self.cache.promote(&self.id, &stale);
        Some(stale)
    }

    /// What another flight, that ended just before this one began, has stored.
    pub(crate) fn found_meanwhile(&self) -> Option<AnyEntry> {
        let now = self.cache.inner.clock.now();
        match (self.kind, self.cache.near::<T>(self.id.key().as_key(), now)) {
            (LoadKind::Miss, Near::Fresh(entry) | Near::Eager(entry)) => Some(entry),
            (LoadKind::Eager, Near::Fresh(entry)) if self.is_new(&entry) => Some(entry),
            (LoadKind::Miss, Near::Negative(entry)) if self.optional => Some(entry.0),
            _ => None,
        }
    }

    /// Whether this is not what the load is to replace.
    pub(crate) fn is_new(&self, entry: &Entry<T>) -> bool {
        let previous = self.previous.as_ref();
        previous.is_none_or(|previous| previous.meta.version != entry.meta.version)
    }

    /// How long the loader may run: to the end of its caller's patience if nothing goes on behind it.
    pub(crate) fn limit(&self) -> Duration {
        let max_load = self.cache.inner.settings.max_load;
        let goes_on = self.policy.background_completion || self.kind == LoadKind::Eager;
        if goes_on {
            max_load
        } else {
            self.policy.hard_timeout.min(max_load)
        }
    }
}

/// How long callers wait for their value to be stored in the shared tier: a slow round trip.
pub(crate) const STORE_PATIENCE: Duration = Duration::from_millis(25);

/// Ends when the last caller has left, if the options say to stop then.
///
/// A load in its caller ends with that one, and one behind a value that was shown already is nobody's to abandon.
async fn abandoned(policy: Policy, kind: LoadKind, leader: &Leader) {
    if stops_when_abandoned(&policy, kind, leader.context()) {
        leader.abandoned().await;
    }
    if !stops_when_abandoned(&policy, kind, leader.context()) {
        std::future::pending::<()>().await;
    }
}

fn stops_when_abandoned(policy: &Policy, kind: LoadKind, flight: &FlightContext) -> bool {
    policy.abort_when_abandoned && kind != LoadKind::Eager && flight.is_detached() && !flight.is_overdue()
}

/// Runs `work`, and keeps the lease that it runs under for as long.
async fn while_leased<F: Future>(lease: Option<&HeldLease>, work: F) -> F::Output {
    let kept = async {
        match lease {
            Some(lease) => lease.keep().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        output = work => output,
        never = kept => match never {},
    }
}
