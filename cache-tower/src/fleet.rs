//! Collapsing across processes: of all nodes that share a store, one asks the origin.
//!
//! The leader of a process's flight takes a lease in the shared tier. Who does not get it looks into the store again and
//! again, at growing intervals, until the response is there, it is known that it cannot be shared, or the wait is over.
//! The holder renews its lease until the response is stored; when it dies, the lease ends by itself.
//!
//! The shared tier is never worth failing for: when it does not answer at once, the node goes to the origin without a
//! lease. Without a shared tier nothing of this happens.

use std::time::Duration;

use cache_core::key::CacheKey;
use cache_core::{EntryOptions, LockGuard};
use tokio::sync::oneshot;

use crate::exchange::{HttpCache, Inquiry};
use crate::policy::{Decision, Serve, StoredHead, decide};
use crate::store::{Candidate, Found, Store};

/// The right to ask the origin for all nodes. Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Its task gives the lease back when this goes.
    _held: oneshot::Sender<()>,
}

/// What a leader is to do.
pub(crate) enum Turn {
    /// Ask the origin; without a lease if nobody could be asked for one, or it was waited for long enough.
    Ours(Option<Lease>),
    /// Another node has stored it.
    Stored(Found),
    /// Another node found that it cannot be shared.
    Unshareable,
}

/// Waits for the turn to ask the origin, or for what another node has stored.
pub(crate) async fn turn(cache: &HttpCache, inquiry: &mut Inquiry, key: &CacheKey) -> Turn {
    let store = &cache.store;
    if !store.cache.is_shared() {
        return Turn::Ours(None);
    }
    let waiting = wait(cache, inquiry, key);
    match tokio::time::timeout(store.config.wait_timeout, waiting).await {
        Ok(turn) => turn,
        Err(_) => Turn::Ours(None),
    }
}

async fn wait(cache: &HttpCache, inquiry: &mut Inquiry, key: &CacheKey) -> Turn {
    let store = &cache.store;
    let mut pause = FIRST_PAUSE;
    loop {
        let taken = take(store, key).await;
        if matches!(taken, Taken::Unknown) {
            return Turn::Ours(None);
        }
        // What is invalidated from now on is neither used nor stored.
        inquiry.permit = store.cache.store_permit();
        let found = store.find(&inquiry.target, &inquiry.fields).await;
        if usable(cache, inquiry, &found).is_some() {
            return Turn::Stored(found);
        }
        if let Taken::Ours(guard) = taken {
            return Turn::Ours(Some(hold(store, guard)));
        }
        if store.cache.get::<bool>(&store.unshareable(key)).await.is_some() {
            return Turn::Unshareable;
        }
        tokio::time::sleep(pause.mul_f64(rand_share())).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The turn for work that nobody waits for: `None` if another node does it.
pub(crate) async fn try_turn(cache: &HttpCache, key: &CacheKey) -> Option<Option<Lease>> {
    let store = &cache.store;
    if !store.cache.is_shared() {
        return Some(None);
    }
    match take(store, key).await {
        Taken::Ours(guard) => Some(Some(hold(store, guard))),
        Taken::Others => None,
        Taken::Unknown => Some(None),
    }
}

/// What is stored now and answers the request as a response that came after it asked would: fresh, and not the one that
/// was to be validated.
pub(crate) fn usable<'a>(
    cache: &HttpCache,
    inquiry: &Inquiry,
    found: &'a Found,
) -> Option<(&'a Candidate, &'a StoredHead, i64)> {
    let view = inquiry.view().without_forced_validation();
    let (selection, chosen) = found.select(&view, &cache.store.config);
    let (response, policy) = (chosen?, cache.policy());
    let head = response.head(policy)?;
    let old = inquiry.stored.as_ref().and_then(|stored| stored.head(policy));
    if old.is_some_and(|old| old.received() == head.received()) {
        return None;
    }
    match decide(&view, selection, cache.wall(), policy) {
        Decision::Serve(Serve { ttl, stale: None, .. }) => Some((response, head, ttl)),
        _ => None,
    }
}

/// Tells the other nodes not to wait, then gives the lease back.
pub(crate) fn tell_unshareable(store: &Store, key: &CacheKey, duration: Duration, lease: Lease) {
    let (cache, key) = (store.cache.clone(), store.unshareable(key));
    let permit = cache.store_permit();
    let told = async move {
        let options = EntryOptions::ttl(duration).stale_for(Duration::ZERO).jitter(0.0);
        // When it cannot be told, the others wait for their turn instead.
        drop(permit.store(&key, true, options).await);
        drop(lease);
    };
    // Without a runtime there is no lease either.
    drop(cache.spawn(told));
}

enum Taken {
    Ours(LockGuard),
    Others,
    /// Nobody could tell in time.
    Unknown,
}

async fn take(store: &Store, key: &CacheKey) -> Taken {
    match store.cache.try_lock(key.text(), lease(store)).await {
        Ok(Some(guard)) => Taken::Ours(guard),
        Ok(None) => Taken::Others,
        Err(error) => {
            tracing::debug!(%error, "the origin is asked without a lease");
            Taken::Unknown
        }
    }
}

/// Renews the lease until it is given back, or lost.
fn hold(store: &Store, guard: LockGuard) -> Lease {
    let (held, mut given_back) = oneshot::channel::<()>();
    let length = lease(store);
    let renewing = async move {
        loop {
            tokio::select! {
                biased;
                _ = &mut given_back => break,
                () = tokio::time::sleep(length / 3) => {
                    // What is lost, or cannot be asked about, ends by itself.
                    if !guard.renew(length).await && !guard.is_held() {
                        return;
                    }
                }
            }
        }
        guard.release().await;
    };
    // Who holds a lease runs in a task already.
    drop(store.cache.spawn(renewing));
    Lease { _held: held }
}

/// Nodes that wait for the same do not look at the same moments.
fn rand_share() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    // Seeded anew for each: as random as need be for a pause.
    let random = RandomState::new().hash_one(0_u8);
    0.5 + (random % 1_024) as f64 / 1_024.0
}

/// How long a node that dies keeps the others waiting: they have as long again to ask the origin for those who wait.
fn lease(store: &Store) -> Duration {
    (store.config.wait_timeout / 2).clamp(SHORTEST_LEASE, LONGEST_LEASE)
}

/// A few times what a renewal takes.
const SHORTEST_LEASE: Duration = Duration::from_millis(500);
const LONGEST_LEASE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
