//! The right to load a key, held in the shared tier: renewed while the load runs, given back whatever becomes of it.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use crate::cache::Cache;
use crate::cache::far::depart::FailedElsewhere;
use crate::cache::far::{Far, Holding};
use crate::notice::LogId;
use crate::shared::{CommitAnswer, CommitRequest, Ending, Fault, Lease, Payload};
use crate::stats::Count;
use crate::sync::Arc;

/// The right to load a key, held in the shared tier. Given back when it is dropped, whatever the reason.
pub(crate) struct HeldLease {
    cache: Cache,
    far: Arc<Far>,
    key: String,
    lease: Lease,
    /// Others are kept from loading.
    is_locked: bool,
    /// The newest notice that this node had heard when the lease was given.
    pub(crate) position: Option<LogId>,
    given_back: bool,
}

impl HeldLease {
    pub(crate) fn new(cache: &Cache, far: &Arc<Far>, key: String, lease: Lease) -> Self {
        let position = far.hearing.position();
        Self {
            cache: cache.clone(),
            far: far.clone(),
            key,
            lease,
            position,
            is_locked: true,
            given_back: false,
        }
    }

    /// Whether the key is locked for it, or other nodes may load at the same time.
    pub(crate) fn locked(mut self, is_locked: bool) -> Self {
        self.is_locked = is_locked;
        self
    }

    /// Renews the lock for as long as this is polled; never ends by itself. A lock that is lost is not taken again:
    /// the commit will be refused if somebody else stored meanwhile.
    pub(crate) async fn keep(&self) -> Infallible {
        if !self.is_locked {
            return pending().await;
        }
        let ttl = self.far.settings.lock_ttl;
        loop {
            tokio::time::sleep(ttl / 3).await;
            if !self.renew().await {
                return pending().await;
            }
        }
    }

    /// Whether the lock is still this lease's, as far as is known.
    pub(crate) async fn renew(&self) -> bool {
        let (ttl, within) = (self.far.settings.lock_ttl, self.far.settings.budget);
        let renewed = self
            .far
            .port
            .renew(&self.key, self.lease.token, ttl, within)
            .await;
        match renewed {
            Ok(true) => true,
            Ok(false) => {
                self.cache.inner.tally.count(Count::LeaseLost);
                false
            }
            Err(fault) => {
                self.cache.degraded("renew", &fault);
                true
            }
        }
    }

    /// How those who wait for this very lease hear that its load failed.
    pub(crate) fn failure(&self, text: &str) -> Ending {
        Ending::Failed(FailedElsewhere::told(text, self.lease.token))
    }

    /// Ends the load in the shared tier: stores, gives the lock back and wakes who waits, in one step.
    pub(crate) async fn commit(
        mut self,
        store: Option<Payload>,
        record: Option<(Vec<u8>, Duration)>,
        ending: Ending,
    ) -> Result<CommitAnswer, Fault> {
        let request = self.request(store, record, ending);
        let answer = self.far.port.commit(request, self.far.settings.budget).await;
        // Without an answer the lock may still be held: dropping this gives it back.
        self.given_back = answer.is_ok();
        answer
    }

    /// The end of the load, as the shared tier is told.
    pub(crate) fn request(
        &self,
        store: Option<Payload>,
        record: Option<(Vec<u8>, Duration)>,
        ending: Ending,
    ) -> CommitRequest<'_> {
        CommitRequest {
            key: &self.key,
            token: Some(self.lease.token),
            seen: self.lease.seen,
            started: Some(self.lease.started),
            max_load: self.cache.inner.settings.max_load,
            fence: &self.lease.fence,
            store,
            record,
            ending,
        }
    }

    /// The shared tier has answered the end of the load.
    pub(crate) fn was_given_back(mut self) {
        self.given_back = true;
    }
}

/// How one load of many ends.
pub(crate) struct End {
    pub(crate) lease: HeldLease,
    pub(crate) store: Option<Payload>,
    pub(crate) record: Option<(Vec<u8>, Duration)>,
    pub(crate) ending: Ending,
}

/// Ends many loads, in one round trip per server.
pub(crate) async fn commit_together(far: &Far, ends: Vec<End>) -> Result<Vec<CommitAnswer>, Fault> {
    if ends.is_empty() {
        return Ok(Vec::new());
    }
    let mut leases = Vec::with_capacity(ends.len());
    let mut rest = Vec::with_capacity(ends.len());
    for End {
        lease,
        store,
        record,
        ending,
    } in ends
    {
        leases.push(lease);
        rest.push((store, record, ending));
    }
    let requests = leases
        .iter()
        .zip(rest)
        .map(|(lease, (store, record, ending))| lease.request(store, record, ending))
        .collect();
    let answers = far.port.commit_many(requests, far.settings.budget).await?;
    leases.into_iter().for_each(HeldLease::was_given_back);
    Ok(answers)
}

/// Renews many locks for as long as this is polled; never ends by itself.
pub(crate) async fn keep_together(leases: &[&HeldLease]) -> Infallible {
    let mut held: Vec<_> = leases.iter().copied().filter(|lease| lease.is_locked).collect();
    let Some(first) = held.first() else {
        return pending().await;
    };
    let ttl = first.far.settings.lock_ttl;
    loop {
        tokio::time::sleep(ttl / 3).await;
        let mut still = Vec::with_capacity(held.len());
        for lease in held {
            if lease.renew().await {
                still.push(lease);
            }
        }
        held = still;
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        if !self.given_back && self.is_locked {
            let holding = Holding::Load(std::mem::take(&mut self.key));
            self.cache.give_back(self.far.clone(), holding, self.lease.token);
        }
    }
}
