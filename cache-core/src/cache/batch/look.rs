//! Asking the shared tier for all keys of a batch at once, and for the leases of those that it does not have.

use crate::cache::aboard::{LoadBerth, go_ashore};
use crate::cache::far::{Departure as Takeoff, Far, HeldLease, Holding, Inquiry, Leave, Right, Sight};
use crate::cache::flights::Leader;
use crate::cache::lead::Load;
use crate::shared::{LeaseAnswer, LeaseRequest};
use crate::sync::Arc;

use super::load::{Ready, Waiting};

/// Reads all keys, and takes the leases of those that are missing, in one round trip each.
pub(super) async fn depart_together<T: Send + Sync + 'static>(
    far: &Arc<Far>,
    missing: Vec<(Load<T>, Leader)>,
    berth: Option<&LoadBerth>,
) -> (Vec<Ready<T>>, Vec<Waiting<T>>) {
    let Some((first, _)) = missing.first() else {
        return (Vec::new(), Vec::new());
    };
    let (cache, read_as) = (first.cache.clone(), first.read_as());
    let mut inquiry = cache.inquiry(far);
    let read = {
        let ids: Vec<_> = missing.iter().map(|(load, _)| load.id.clone()).collect();
        let marks: Vec<_> = missing
            .iter()
            .map(|(_, leader)| &leader.context().marks)
            .collect();
        cache.read_far_many(&mut inquiry, &ids, &marks, read_as).await
    };
    let mut ready = Vec::new();
    let read = match read {
        Ok(read) => read,
        Err(fault) => {
            for (load, leader) in missing {
                let departure = load.depart_alone(&fault, None);
                ready.extend(take_off(far, load, leader, departure));
            }
            return (ready, Vec::new());
        }
    };
    let mut asking = Vec::new();
    for ((load, leader), read) in missing.into_iter().zip(read) {
        let departure = match load.sight(read) {
            Sight::Found(entry) => Takeoff::Found(entry),
            Sight::Newer => Takeoff::Load(Leave::newer()),
            Sight::Nothing { refuse, stale } => {
                asking.push(Waiting {
                    load,
                    leader,
                    refuse,
                    stale,
                });
                continue;
            }
        };
        ready.extend(take_off(far, load, leader, departure));
    }
    if !asking.is_empty() {
        go_ashore(berth).await;
    }
    let waiting = take_leases(far, &inquiry, asking, &mut ready).await;
    (ready, waiting)
}

/// Takes the leases that are free; the flights of the others.
async fn take_leases<T: Send + Sync + 'static>(
    far: &Arc<Far>,
    inquiry: &Inquiry<'_>,
    asking: Vec<Waiting<T>>,
    ready: &mut Vec<Ready<T>>,
) -> Vec<Waiting<T>> {
    let Some(first) = asking.first() else {
        return Vec::new();
    };
    let cache = first.load.cache.clone();
    let keys: Vec<String> = asking
        .iter()
        .map(|wait| cache.far_key(wait.load.id.key()))
        .collect();
    let requests = asking.iter().zip(&keys);
    let requests = requests.map(|(wait, key)| wait.load.lease_request(far, key, wait.refuse));
    let requests: Vec<LeaseRequest<'_>> = requests.collect();
    let unanswered = requests.iter().map(|request| {
        let holding = Holding::Load(request.key.to_owned());
        cache.give_back_unheard(far, holding, request.token)
    });
    let unanswered: Vec<_> = unanswered.collect();
    let answers = match inquiry.budget.left(cache.clock()) {
        Ok(within) => far.port().lease_many(requests, within).await,
        Err(fault) => Err(fault),
    };
    for unanswered in unanswered {
        unanswered.hear(&answers);
    }
    let answers = match answers {
        Ok(answers) => answers,
        Err(fault) => {
            for Waiting {
                load, leader, stale, ..
            } in asking
            {
                let departure = load.depart_alone(&fault, stale);
                ready.extend(take_off(far, load, leader, departure));
            }
            return Vec::new();
        }
    };
    let mut waiting = Vec::new();
    for ((wait, key), answer) in asking.into_iter().zip(keys).zip(answers) {
        let LeaseAnswer::Lease(lease) = answer else {
            waiting.push(wait);
            continue;
        };
        let Waiting {
            load, leader, stale, ..
        } = wait;
        let departure = Takeoff::Load(Leave {
            right: Right::Lease(HeldLease::new(&cache, far, key, lease).locked(load.policy.distributed)),
            views: inquiry.views.of(&leader.context().marks),
            stale,
        });
        ready.extend(take_off(far, load, leader, departure));
    }
    waiting
}

/// Lands the flight, unless its value is to be loaded.
pub(super) fn take_off<T: Send + Sync + 'static>(
    far: &Arc<Far>,
    mut load: Load<T>,
    leader: Leader,
    departure: Takeoff<T>,
) -> Option<Ready<T>> {
    match load.take_off(departure, leader.context()) {
        Ok(leave) => Some(Ready {
            load,
            leader,
            leave: Some((far.clone(), leave)),
        }),
        Err(Some(settled)) => {
            leader.complete(settled);
            None
        }
        Err(None) => None,
    }
}
