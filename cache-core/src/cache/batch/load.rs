//! One loader call for the keys of a batch that neither a tier nor another node has.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use crate::cache::aboard::{LoadBerth, go_ashore};
use crate::cache::context::Said;
use crate::cache::far::{Far, HeldLease, Leave, keep_together};
use crate::cache::flights::{Leader, Settled};
use crate::cache::lead::Load;
use crate::cache::run::{Ran, run};
use crate::entry::Entry;
use crate::key::CacheKey;
use crate::outcome::Tier;
use crate::shared::Refuse;
use crate::stats::{Count, LoadWatch};
use crate::sync::Arc;
use crate::waits::{self, Edge};

use super::land::{fail_together, land_together};
use super::look::{depart_together, take_off};

/// A flight whose value is to be loaded, and what it takes along from the shared tier.
pub(super) struct Ready<T> {
    pub(super) load: Load<T>,
    pub(super) leader: Leader,
    pub(super) leave: Option<(Arc<Far>, Leave<T>)>,
}

/// A flight that another node may be loading.
pub(super) struct Waiting<T> {
    pub(super) load: Load<T>,
    pub(super) leader: Leader,
    pub(super) refuse: Refuse,
    pub(super) stale: Option<Arc<Entry<T>>>,
}

/// One loader call for all flights that neither a tier nor another node answers; what other nodes load is waited for
/// meanwhile, and loaded here if they do not.
pub(super) async fn load_together<T, E, F, Fut>(
    leaders: Vec<(Load<T>, Leader)>,
    loader: Arc<F>,
    berth: Option<Arc<LoadBerth>>,
) where
    T: Send + Sync + 'static,
    E: Send + Sync + 'static,
    F: Fn(Vec<CacheKey>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<HashMap<CacheKey, T>, E>> + Send + 'static,
{
    let mut missing = Vec::with_capacity(leaders.len());
    for (load, leader) in leaders {
        match load.found_meanwhile() {
            Some(found) => leader.complete(Settled::Found(found, Tier::Memory)),
            None => missing.push((load, leader)),
        }
    }
    let Some((first, _)) = missing.first() else { return };
    let Some(far) = first.cache.far().cloned() else {
        let alone = |(load, leader)| Ready {
            load,
            leader,
            leave: None,
        };
        return load_all::<T, E, F, Fut>(missing.into_iter().map(alone).collect(), &loader).await;
    };
    let (ready, waiting) = depart_together(&far, missing, berth.as_deref()).await;
    if ready.is_empty() && waiting.is_empty() {
        return;
    }
    go_ashore(berth.as_deref()).await;
    tokio::join!(
        load_all::<T, E, F, Fut>(ready, &loader),
        load_late::<T, E, F, Fut>(&far, waiting, &loader)
    );
}

/// Waits for what other nodes load, and loads what they do not.
async fn load_late<T, E, F, Fut>(far: &Arc<Far>, waiting: Vec<Waiting<T>>, loader: &Arc<F>)
where
    T: Send + Sync + 'static,
    E: Send + Sync + 'static,
    F: Fn(Vec<CacheKey>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<HashMap<CacheKey, T>, E>> + Send + 'static,
{
    let mut waits = tokio::task::JoinSet::new();
    for wait in waiting {
        waits.spawn(wait_for_other(far.clone(), wait));
    }
    while let Some(first) = waits.join_next().await {
        // A wait that panicked has dropped its flight's leader: whoever follows takes over.
        let mut ready: Vec<_> = first.ok().flatten().into_iter().collect();
        while let Some(next) = waits.try_join_next() {
            ready.extend(next.ok().flatten());
        }
        load_all::<T, E, F, Fut>(ready, loader).await;
    }
}

async fn wait_for_other<T: Send + Sync + 'static>(far: Arc<Far>, wait: Waiting<T>) -> Option<Ready<T>> {
    let Waiting {
        load,
        leader,
        refuse,
        mut stale,
    } = wait;
    let inquiry = load.cache.inquiry(&far);
    let obtained = load
        .obtain(&far, inquiry, leader.context(), refuse, &mut stale)
        .await;
    let departure = obtained.unwrap_or_else(|fault| load.depart_alone(&fault, stale));
    take_off(&far, load, leader, departure)
}

async fn load_all<T, E, F, Fut>(ready: Vec<Ready<T>>, loader: &Arc<F>)
where
    T: Send + Sync + 'static,
    E: Send + Sync + 'static,
    F: Fn(Vec<CacheKey>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<HashMap<CacheKey, T>, E>> + Send + 'static,
{
    let Some(first) = ready.first() else { return };
    let (cache, flight, limit) = (first.load.cache.clone(), first.leader.id(), first.load.limit());
    // Who waits for one of these flights waits for the load of all.
    let others = ready.iter().skip(1).map(|ready| ready.leader.id());
    let _edges: Vec<Edge> = others.map(|other| waits::landed_by(other, flight)).collect();
    let leases: Vec<&HeldLease> = ready
        .iter()
        .filter_map(|ready| ready.leave.as_ref()?.1.lease())
        .collect();
    let keys = ready.iter().map(|ready| ready.load.id.key().clone()).collect();
    let loading = async {
        let _permit = cache.inner.tasks.load_permit(any_is_urgent(&ready)).await;
        let watch = LoadWatch::begin(&cache.inner.tally);
        let (started, loader) = (cache.inner.clock.now(), loader.clone());
        let ran = run(limit, flight, async move { loader(keys).await }).await;
        watch.returned();
        (started, ran)
    };
    let (started, ran) = tokio::select! {
        biased;
        loaded = loading => loaded,
        never = keep_together(&leases) => match never {},
        () = all_are_abandoned(&ready) => return,
    };
    let now = cache.inner.clock.now();
    let took = now.since(started);
    cache.inner.load_took(took);
    match ran {
        Ran::Value(mut values) => {
            cache.inner.tally.count(Count::LoadOk);
            let kept = ready.into_iter().map(|Ready { load, leader, leave }| {
                let value = values.remove(load.id.key());
                let kept = load.keep(value, Said::default(), leader.context(), now, took);
                (load, leader, leave, kept)
            });
            land_together(kept.collect()).await;
        }
        failed => {
            let cause = cache.cause(failed);
            fail_together::<T, E>(ready, &cause, now).await;
        }
    }
}

/// Ends when some load waits for one of these flights.
async fn any_is_urgent<T>(flights: &[Ready<T>]) {
    let mut urgent: Vec<Pin<Box<_>>> = flights
        .iter()
        .map(|ready| Box::pin(ready.leader.context().urgent.wait()))
        .collect();
    std::future::poll_fn(|context| {
        match urgent.iter_mut().any(|one| one.as_mut().poll(context).is_ready()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

/// Ends when nobody waits for any of these flights, if their options say to stop then.
async fn all_are_abandoned<T: Send + Sync + 'static>(flights: &[Ready<T>]) {
    std::future::poll_fn(|context| {
        let is_abandoned = |Ready { load, leader, .. }: &Ready<T>| {
            let mut abandoned = leader.abandoned();
            load.stops_when_abandoned(leader.context()) && Pin::new(&mut abandoned).poll(context).is_ready()
        };
        match flights.iter().all(is_abandoned) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}
