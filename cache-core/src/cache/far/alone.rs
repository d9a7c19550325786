//! What this node loaded while the shared tier was away: other nodes may have loaded something else.
//!
//! It is served for its time, or until the shared tier is back: then it counts as stale, so that whoever wants it asks
//! what all nodes have. A load that ends only then is treated the same.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::cache::Cache;
use crate::cache::far::Far;
use crate::cache::lead::Load;
use crate::entry::AnyEntry;
use crate::time::Timestamp;

/// Since when values were loaded alone, and how often the shared tier has come back.
#[derive(Debug)]
pub(crate) struct Alone {
    /// In nanoseconds; the greatest number if none was.
    since: AtomicU64,
    returns: AtomicU64,
}

impl Default for Alone {
    fn default() -> Self {
        Self {
            since: AtomicU64::new(u64::MAX),
            returns: AtomicU64::new(0),
        }
    }
}

/// Whether this node may keep what it loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Yes,
    No,
    /// Until the shared tier is back, which it was so many times before.
    Alone(u64),
}

impl Alone {
    /// How often the shared tier has come back.
    pub(crate) fn returns(&self) -> u64 {
        self.returns.load(Ordering::SeqCst)
    }

    fn note(&self, at: Timestamp) {
        self.since.fetch_min(at.as_nanos(), Ordering::SeqCst);
    }

    /// The shared tier is back; since when values were loaded alone, if any were.
    fn is_back(&self) -> Option<Timestamp> {
        self.returns.fetch_add(1, Ordering::SeqCst);
        let since = self.since.swap(u64::MAX, Ordering::SeqCst);
        (since != u64::MAX).then(|| Timestamp::from_nanos(since))
    }
}

impl<T: Send + Sync + 'static> Load<T> {
    /// Keeps here what no other node has.
    pub(crate) fn store_alone(&self, far: &Far, returns: u64, entry: &AnyEntry, seen: u64) {
        // Noted before it is stored, and looked at after: whenever the shared tier comes back, one of the two sees it.
        far.alone.note(entry.meta().confirmed_at);
        self.store_here(entry, seen);
        if far.alone.returns() != returns {
            entry.meta().expire(0);
        }
    }
}

impl Cache {
    /// The shared tier is back. What is pending is not looked at again: it is offered to all nodes, or removed.
    pub(crate) fn look_again_at_what_was_loaded_alone(&self, far: &Far) {
        let Some(since) = far.alone.is_back() else { return };
        let pending = far.recovery.sets();
        self.inner.memory.for_each(|entry| {
            let meta = entry.meta();
            if meta.confirmed_at >= since && !pending.contains(&meta.version) {
                meta.expire(0);
            }
        });
    }
}
