//! After a load: what the loader gave is offered to all nodes, or they are told how it failed.

use std::time::Duration;

use crate::cache::far::depart::FailedElsewhere;
use crate::cache::far::read::FarEntry;
use crate::cache::far::{Far, HeldLease, Keep, Leave, Right, Views, port_version};
use crate::cache::flights::FlightContext;
use crate::cache::lead::{Load, LoadKind};
use crate::codec::envelope::{Contents, Envelope, Lifetimes};
use crate::entry::AnyEntry;
use crate::notice::Op;
use crate::shared::{Change, CommitAnswer, Condition, Ending, Fault, Payload, StoredValue, Verdict};
use crate::sync::Arc;

impl<T: Send + Sync + 'static> Load<T> {
    /// Offers what the loader gave to the shared tier; whether this node may keep it.
    pub(crate) async fn commit(&self, far: &Far, leave: Leave<T>, entry: &AnyEntry, seen: u64) -> Keep {
        let lease = match leave.right {
            Right::Lease(lease) => lease,
            Right::Newer => return Keep::Yes,
            Right::Away(returns) => {
                self.announce_later(far);
                return Keep::Alone(returns);
            }
        };
        let offer = match self.offer(far, &lease, entry, leave.views, seen).await {
            Ok(Some(payload)) => payload,
            Ok(None) => {
                self.report(lease.commit(None, None, Ending::Released).await);
                return Keep::Yes;
            }
            Err(Refused) => {
                self.report(lease.commit(None, None, Ending::Released).await);
                self.announce_later(far);
                return Keep::No;
            }
        };
        let announced = (self.kind == LoadKind::Forced).then(|| offer.clone());
        let returns = far.alone.returns();
        let answer = lease.commit(Some(offer), None, Ending::Done).await;
        let Some(answer) = self.report(answer) else {
            self.announce_later(far);
            return Keep::Alone(returns);
        };
        if let (Verdict::Applied, Some(payload)) = (&answer.verdict, announced) {
            self.announce(far, payload, entry).await;
        }
        self.settle_commit(far, answer, seen).await
    }

    /// What the shared tier decided about this load's result; whether this node may keep it.
    pub(crate) async fn settle_commit(&self, far: &Far, answer: CommitAnswer, seen: u64) -> Keep {
        match answer.verdict {
            Verdict::Applied | Verdict::Nothing | Verdict::OutOfMemory => Keep::Yes,
            refused => {
                tracing::debug!(
                    cache = self.cache.name(),
                    verdict = refused.as_str(),
                    "the shared tier refused a load"
                );
                self.announce_later(far);
                if let Some(current) = answer.current {
                    self.adopt(far, &current, seen).await;
                }
                Keep::No
            }
        }
    }

    /// The entry's bytes, with the versions of its marks from before the load; `None` if it stays in this process.
    pub(crate) async fn offer(
        &self,
        far: &Far,
        lease: &HeldLease,
        entry: &AnyEntry,
        mut views: Views,
        seen: u64,
    ) -> Result<Option<Payload>, Refused> {
        let meta = entry.meta();
        // A zero TTL is "do not store".
        if meta.soft_at <= meta.loaded_at || far.recovery.doubts(&self.id, &meta.marks) {
            return Ok(None);
        }
        // The load found these tags: what counts is whether they moved since it began.
        let found: Vec<_> = meta
            .marks
            .iter()
            .filter(|mark| views.get(mark).is_none())
            .cloned()
            .collect();
        let budget = self.cache.far_budget(far);
        if let Err(fault) = self.cache.view_marks(far, &found, &mut views, &budget).await {
            self.cache.degraded("marks", &fault);
            return Ok(None);
        }
        let moved = |mark| {
            let moved_at = views.get(mark).and_then(|view| view.versions.hard_moved_at());
            mark.was_moved_hard_since(seen)
                || match (moved_at, lease.position) {
                    (Some(moved), Some(position)) => moved != position && !position.is_after(moved),
                    (Some(_), None) => true,
                    (None, _) => false,
                }
        };
        if found.iter().any(moved) || meta.marks.held_off(self.cache.inner.clock.now()) {
            return Err(Refused);
        }
        Ok(self.cache.payload(far, &self.id, entry, self.wire, &views))
    }

    /// A forced load is announced like a `set`, unless something else happened to the key since it was stored.
    async fn announce(&self, far: &Far, payload: Payload, entry: &AnyEntry) {
        let version = port_version(entry.meta().version);
        let change = Change::Set {
            payload,
            condition: Condition::Seen(Some(version)),
        };
        let budget = self.cache.far_budget(far);
        let announced = self
            .cache
            .mutate_far(far, Op::Refresh, &self.id, version, change, &budget)
            .await;
        if let Err(fault) = announced {
            self.cache.degraded("announce", &fault);
            self.announce_later(far);
        }
    }

    /// The other nodes must not go on with what a forced load has replaced.
    fn announce_later(&self, far: &Far) {
        if self.kind == LoadKind::Forced {
            far.recovery.add_key(&self.cache, &self.id, Duration::ZERO);
        }
    }

    /// What stands in the shared tier instead of this load's result is what this process keeps.
    async fn adopt(&self, far: &Far, current: &StoredValue, seen: u64) {
        let asked = super::read::Asked {
            seen,
            at: self.cache.inner.clock.now(),
        };
        let mut inquiry = self.cache.inquiry(far);
        let judged = self
            .cache
            .judge_far(&mut inquiry, &self.id, current, asked, self.read_as())
            .await;
        if let Ok(FarEntry::Fresh(entry)) = judged {
            self.cache.promote(&self.id, &entry);
        }
    }

    /// Tells the nodes that wait that the load failed, and, if the options say so, those that come within `error_ttl`.
    pub(crate) async fn tell_failure(
        &self,
        leave: Option<(Arc<Far>, Leave<T>)>,
        flight: &FlightContext,
        kind: &str,
        no_stale: bool,
    ) {
        let Some((far, Leave { right, views, .. })) = leave else {
            return;
        };
        let Right::Lease(lease) = right else { return };
        let text = FailedElsewhere::text(kind, no_stale);
        let record = self.record(&far, flight, &views, &text);
        let ending = lease.failure(&text);
        self.report(lease.commit(None, record, ending).await);
    }

    /// What those find who come within `error_ttl`: it ends with its marks, as a value does.
    pub(crate) fn record(
        &self,
        far: &Far,
        flight: &FlightContext,
        views: &Views,
        text: &str,
    ) -> Option<(Vec<u8>, Duration)> {
        let ttl = self.policy.error_ttl;
        if ttl.is_zero() || far.recovery.doubts(&self.id, &flight.marks) {
            return None;
        }
        let marks = views.for_envelope(&flight.marks)?;
        let envelope = Envelope {
            version: rand::random(),
            schema: far.settings.schema,
            lifetimes: Lifetimes::new(ttl, ttl, Duration::ZERO),
            delta: Duration::ZERO,
            marks: &marks,
            contents: Contents::Failure(text),
        };
        let key = self.cache.far_key(self.id.key());
        let bytes = envelope.encode(key.as_bytes(), &far.framing).ok()?;
        Some((bytes, ttl))
    }

    pub(crate) fn report<A>(&self, answer: Result<A, Fault>) -> Option<A> {
        answer
            .inspect_err(|fault| self.cache.degraded("commit", fault))
            .ok()
    }
}

/// A load's result that must not be stored.
pub(crate) struct Refused;
