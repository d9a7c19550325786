//! Refresh ahead of expiry: in the background, bounded, and part of the key's flight like any other load.

use std::time::Duration;

use rand::Rng as _;

use crate::cache::Loader;
use crate::cache::flights::{FlightContext, FlightId, Leader, Settled};
use crate::cache::lead::Load;
use crate::entry::Entry;
use crate::freshness::{backoff, starts_refresh};
use crate::stats::Count;
use crate::sync::Arc;
use crate::time::Clock;

impl<T: Send + Sync + 'static> Load<T> {
    /// Starts a refresh of `entry` if chance and time say so, nobody else did, and there is room for one.
    /// Never waits; the caller answers with the current value.
    pub(crate) fn refresh_if_due<E: Send + Sync + 'static>(
        self,
        entry: &Arc<Entry<T>>,
        context: FlightContext,
        loader: Loader<'static, T, E>,
    ) {
        let inner = self.cache.inner.clone();
        let now = inner.clock.now();
        let meta = &entry.meta;
        let chance = 1.0 - rand::rng().random::<f64>();
        if !starts_refresh(
            self.policy.eager,
            meta.eager_from,
            meta.soft_at,
            meta.delta(),
            now,
            chance,
        ) || !meta.claim_refresh(now, now + inner.settings.max_load)
        {
            return;
        }
        let Some(permit) = inner.tasks.background_permit() else {
            inner.tally.count(Count::RefreshDropped);
            meta.allow_refresh(now + backoff(1, self.policy.throttle));
            return;
        };
        let turn = self.turn(entry);
        // A load of the key that runs already may replace the entry; if not, a later hit tries again.
        let Some(leader) = self.lead_refresh::<E>(context) else {
            return;
        };
        let task = async move {
            let _permit = permit;
            turn.end(self.run(leader, loader).await);
        };
        // Without a runtime there is no background; the value is loaded when it is stale.
        let _ = inner.tasks.spawn(task);
    }

    /// Refreshes `entry` in the caller, whether it is due or not. `None` if somebody else does, here or elsewhere.
    pub(crate) async fn refresh_here<E: Send + Sync + 'static>(
        self,
        entry: &Arc<Entry<T>>,
        context: FlightContext,
        loader: Loader<'static, T, E>,
    ) -> Option<Settled> {
        let inner = &self.cache.inner;
        let now = inner.clock.now();
        if !entry.meta.claim_refresh(now, now + inner.settings.max_load) {
            return None;
        }
        let turn = self.turn(entry);
        let leader = self.lead_refresh::<E>(context)?;
        turn.end(self.run(leader, loader).await)
    }

    fn lead_refresh<E: 'static>(&self, context: FlightContext) -> Option<Leader> {
        let inner = &self.cache.inner;
        let flight = FlightId::new::<T, E>(self.id.clone(), self.optional);
        let leader = inner.flights.lead(&flight, || context)?;
        inner.tally.count(Count::Refresh);
        Some(leader)
    }

    fn turn(&self, entry: &Arc<Entry<T>>) -> Turn<T> {
        Turn {
            entry: entry.clone(),
            clock: self.cache.inner.clock.clone(),
            throttle: self.policy.throttle,
        }
    }
}

/// The right to refresh an entry, given back for a while later when it ends: whether the refresh was dropped, failed,
/// or gave nothing to store. If it replaced the entry, nobody asks any more.
struct Turn<T> {
    entry: Arc<Entry<T>>,
    clock: Arc<dyn Clock>,
    throttle: Duration,
}

impl<T> Turn<T> {
    /// `None`: another node does it, and what it stores is found when this one looks again.
    fn end(self, settled: Option<Settled>) -> Option<Settled> {
        let failed = matches!(settled, Some(Settled::Failed(_) | Settled::Doubted(_)));
        if failed && self.entry.meta.refresh_failed() == 1 {
            tracing::warn!("a refresh ahead of expiry failed; the current value stays");
        }
        settled
    }
}

impl<T> Drop for Turn<T> {
    fn drop(&mut self) {
        let meta = &self.entry.meta;
        let wait = backoff(meta.refresh_failures().max(1), self.throttle);
        meta.allow_refresh(self.clock.now() + wait);
    }
}
