//! Offering a `set` again that the shared tier did not acknowledge.
//!
//! Nobody else may have changed the key meanwhile, nor anything that the value depends on:
//!
//! 1. the value is still what this node serves, and fresh: an eviction, an end of life, and whatever this node did or
//!    heard of its key, tags, prefix, namespace or of a pattern speak against it;
//! 2. the node has heard everything that was announced after the versions of its marks were read, so that (1) is asked
//!    about all of it; what is announced later, readers find by those versions;
//! 3. in the shared tier stands what the set replaced, or nothing. Nothing means nothing newer, for as long as
//!    versions outlive what they belong to.
//!
//! Otherwise the key is invalidated.

use std::fmt;
use std::time::Duration;

use crate::cache::far::{Far, Inquiry, Views, port_version};
use crate::cache::{Cache, Wire};
use crate::entry::{AnyEntry, EntryId, Version};
use crate::freshness::Freshness;
use crate::notice::Op;
use crate::shared::{Change, Condition, Fault, Mutation, Payload, Verdict};
use crate::sync::Arc;
use crate::time::Timestamp;

/// A `set` that was not acknowledged.
#[derive(Clone)]
pub(crate) struct QueuedSet {
    /// Of the value, which is in this node's memory for as long as it may be offered.
    pub(super) version: Version,
    /// What stood in the shared tier, as this node knew.
    pub(super) replaces: Version,
    made: Timestamp,
    encode: Encode,
}

type Encode = Arc<dyn Fn(&Cache, &Far, &EntryId, &AnyEntry, &Views) -> Option<Payload> + Send + Sync>;

/// What became of the offer.
pub(super) enum Replayed {
    Stored,
    /// The log is not heard yet, or not all of it.
    NotYet,
    /// Something else has happened: the key has to be invalidated.
    Never,
}

impl QueuedSet {
    pub(super) fn new<T: Send + Sync + 'static>(
        cache: &Cache,
        replaces: Version,
        entry: &AnyEntry,
        wire: Wire<T>,
    ) -> Self {
        Self {
            version: entry.meta().version,
            replaces,
            made: cache.inner.clock.now(),
            encode: Arc::new(move |cache, far, id, entry, views| cache.payload(far, id, entry, wire, views)),
        }
    }
}

impl fmt::Debug for QueuedSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueuedSet").finish_non_exhaustive()
    }
}

impl Cache {
    /// The version in the shared tier that a `set` of this key would replace, as this node knows; the key's stripe is
    /// locked by the caller, or the answer may be outdated.
    pub(crate) fn replaces(&self, id: &EntryId) -> Option<Version> {
        let here = self.current(id)?.meta().version;
        let pending = self.far()?.recovery.set_replaces(id, here);
        Some(pending.unwrap_or(here))
    }

    pub(super) async fn replay(&self, far: &Far, id: &EntryId, set: &QueuedSet) -> Result<Replayed, Fault> {
        let cache = self.within_namespace_of(id);
        let Some(entry) = cache.still_stands(far, id, set) else {
            return Ok(Replayed::Never);
        };
        if !far.hearing.is_heard() {
            return Ok(Replayed::NotYet);
        }
        let Inquiry {
            budget, mut views, ..
        } = cache.inquiry(far);
        let marks = entry.meta().marks.iter();
        cache.view_marks(far, marks, &mut views, &budget).await?;
        let end = far.port.log_end(budget.left(cache.clock())?).await?;
        let patience = budget.left(cache.clock())?;
        if tokio::time::timeout(patience, far.hearing.until(end))
            .await
            .is_err()
        {
            return Ok(Replayed::NotYet);
        }
        let sent = cache.inner.epochs.seen();
        let Some(entry) = cache.still_stands(far, id, set) else {
            return Ok(Replayed::Never);
        };
        let Some(payload) = (set.encode)(&cache, far, id, &entry, &views) else {
            return Ok(Replayed::Never);
        };
        let key = cache.far_key(id.key());
        let mutation = Mutation {
            key: &key,
            version: port_version(set.version),
            change: Change::Set {
                payload,
                condition: Condition::Seen(Some(port_version(set.replaces))),
            },
        };
        let answer = far
            .port
            .mutate(Op::Set, vec![mutation], far.settings.budget)
            .await?;
        let stands = match answer.verdicts.first() {
            Some(Verdict::Applied) => true,
            // The first attempt had arrived after all, and with it its notice where the two are one step.
            Some(Verdict::Superseded(Some(other))) => {
                *other == port_version(set.version) && !far.port.may_lose_notices()
            }
            _ => false,
        };
        if !stands {
            return Ok(Replayed::Never);
        }
        cache.end_mutation(id, sent, &entry, true);
        Ok(Replayed::Stored)
    }

    /// The value, if it is still what this node has, and nothing speaks against it.
    fn still_stands(&self, far: &Far, id: &EntryId, set: &QueuedSet) -> Option<AnyEntry> {
        let now = self.inner.clock.now();
        let entry = self.current(id)?;
        let meta = entry.meta();
        let is_young = now.since(set.made) + MARGIN < far.settings.lease_window;
        let stands = meta.version == set.version
            && is_young
            && !meta.marks.held_off(now)
            && self.freshness(meta, now) == Ok(Freshness::Fresh);
        stands.then_some(entry)
    }
}

/// Between the last look at the age of a set and its arrival.
const MARGIN: Duration = Duration::from_secs(1);
