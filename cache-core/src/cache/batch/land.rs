//! Landing the flights of a batch: what came is stored in one round trip, and why nothing came is told.

use std::pin::pin;

use crate::cache::context::Said;
use crate::cache::far::{End, Far, Keep, Leave, Right, commit_together};
use crate::cache::flights::{Cause, Leader};
use crate::cache::keep::Kept;
use crate::cache::lead::{Load, STORE_PATIENCE};
use crate::cache::run::deadline;
use crate::entry::AnyEntry;
use crate::shared::Ending;
use crate::sync::Arc;
use crate::time::Timestamp;

use super::load::Ready;

/// What was loaded for one key.
pub(super) type LoadedOne<T> = (Load<T>, Leader, Option<(Arc<Far>, Leave<T>)>, Kept);

/// Stores what was loaded, and lands the flights.
pub(super) async fn land_together<T: Send + Sync + 'static>(loaded: Vec<LoadedOne<T>>) {
    let (mut leaders, mut stores) = (Vec::new(), Vec::new());
    for (load, leader, leave, kept) in loaded {
        let seen = leader.context().seen;
        leaders.push((leader, kept.settled));
        if let Some(entry) = kept.entry {
            stores.push((load, leave, entry, seen));
        }
    }
    let mut storing = pin!(store_together(stores));
    // Usually the values are stored when their callers get them. A slow shared tier does not make them wait.
    if deadline(STORE_PATIENCE, storing.as_mut()).await.is_none() {
        for (leader, settled) in &mut leaders {
            leader.land(settled.clone());
        }
        storing.await;
    }
    for (leader, settled) in leaders {
        leader.complete(settled);
    }
}

type Store<T> = (Load<T>, Option<(Arc<Far>, Leave<T>)>, AnyEntry, u64);

async fn store_together<T: Send + Sync + 'static>(stores: Vec<Store<T>>) {
    let (mut offered, mut ends, mut far) = (Vec::new(), Vec::new(), None);
    for (load, leave, entry, seen) in stores {
        let Some((tier, Leave { right, views, .. })) = leave else {
            load.store_here(&entry, seen);
            continue;
        };
        let lease = match right {
            Right::Lease(lease) => lease,
            Right::Newer => {
                load.store_here(&entry, seen);
                continue;
            }
            Right::Away(returns) => {
                load.store_alone(&tier, returns, &entry, seen);
                continue;
            }
        };
        let offer = load.offer(&tier, &lease, &entry, views, seen).await;
        far = Some(tier);
        let (store, keep) = match offer {
            Ok(store) => (store, Keep::Yes),
            Err(_) => (None, Keep::No),
        };
        let ending = match store {
            Some(_) => Ending::Done,
            None => Ending::Released,
        };
        ends.push(End {
            lease,
            store,
            record: None,
            ending,
        });
        offered.push((load, entry, seen, keep));
    }
    let Some(far) = far else { return };
    let returns = far.alone().returns();
    let mut answers = match commit_together(&far, ends).await {
        Ok(answers) => answers.into_iter(),
        Err(fault) => {
            if let Some((load, ..)) = offered.first() {
                load.cache.degraded("commit_many", &fault);
            }
            Vec::new().into_iter()
        }
    };
    for (load, entry, seen, keep) in offered {
        let accepted = match answers.next() {
            Some(answer) => load.settle_commit(&far, answer, seen).await,
            None => Keep::Alone(returns),
        };
        let keep = if keep == Keep::Yes { accepted } else { keep };
        load.store_if(keep, &far, &entry, seen);
    }
}

pub(super) async fn fail_together<T, E>(ready: Vec<Ready<T>>, cause: &Cause, now: Timestamp)
where
    T: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    let (mut ends, mut tier) = (Vec::new(), None);
    for Ready { load, leader, leave } in ready {
        let settled = load.failed::<E>(cause.clone(), Said::default(), leader.context(), now);
        if let Some((far, Leave { right, views, .. })) = leave
            && let Right::Lease(lease) = right
        {
            ends.push(End {
                ending: lease.failure(cause.kind()),
                lease,
                store: None,
                record: load.record(&far, leader.context(), &views, cause.kind()),
            });
            tier = Some((far, load.cache.clone()));
        }
        leader.complete(settled);
    }
    if let Some((far, cache)) = tier
        && let Err(fault) = commit_together(&far, ends).await
    {
        cache.degraded("commit_many", &fault);
    }
}
