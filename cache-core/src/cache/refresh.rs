//! Refresh ahead of expiry: in the background, bounded, and part of the key's flight like any other load.

use rand::Rng as _;

use crate::cache::Loader;
use crate::cache::lead::{FlightContext, FlightId, Load, Settled};
use crate::entry::Entry;
use crate::freshness::{backoff, starts_refresh};
use crate::stats::Count;
use crate::sync::Arc;

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
            meta.delta,
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
        // A load of the key that runs already will replace the entry: nothing to do.
        let Some(leader) = inner
            .flights
            .lead(&FlightId::new::<T, E>(self.id.clone(), self.optional), || context)
        else {
            return;
        };
        inner.tally.count(Count::Refresh);
        let (entry, policy) = (entry.clone(), self.policy);
        let task = async move {
            let _permit = permit;
            let clock = self.cache.inner.clock.clone();
            let settled = self.run(leader, loader).await;
            if settled.is_none() {
                // Another node does it: what it stores is found when this one looks again.
                entry
                    .meta
                    .allow_refresh(clock.now() + backoff(1, policy.throttle));
            }
            if let Some(Settled::Failed(_) | Settled::Doubted(_)) = settled {
                let failures = entry.meta.refresh_failed();
                entry
                    .meta
                    .allow_refresh(clock.now() + backoff(failures, policy.throttle));
                if failures == 1 {
                    tracing::warn!("a refresh ahead of expiry failed; the current value stays");
                }
            }
        };
        // Without a runtime there is no background; the value is loaded when it is stale.
        let _ = inner.tasks.spawn(task);
    }
}
