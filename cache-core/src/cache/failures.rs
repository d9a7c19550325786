//! Failures that are remembered for `error_ttl`, so that further callers get them without another load.

use std::any::{Any, TypeId};

use quick_cache::sync::Cache as Store;

use crate::cache::flights::Failure;
use crate::entry::{EntryId, EntryRef, Prehashed};
use crate::epochs::{Marks, Standing};
use crate::later::drop_later;
use crate::sync::Arc;
use crate::time::Timestamp;

/// The remembered failures of one cache; bounded, since a failing origin fails for many keys.
pub(crate) struct Failures {
    store: Store<EntryId, Arc<Recorded>, quick_cache::UnitWeighter, Prehashed>,
}

/// One remembered failure.
pub(crate) struct Recorded {
    pub(crate) failure: Failure,
    /// The loader's types of value and error: another loader's failure would mean nothing to the caller.
    pub(crate) types: TypeId,
    pub(crate) until: Timestamp,
    pub(crate) seen: u64,
    pub(crate) marks: Marks,
}

impl Failures {
    pub(crate) fn new() -> Self {
        Self {
            store: Store::with(
                CAPACITY,
                CAPACITY as u64,
                quick_cache::UnitWeighter,
                Prehashed,
                quick_cache::sync::DefaultLifecycle::default(),
            ),
        }
    }

    /// The failure remembered for this key, if it is of a loader of these types, and nothing was invalidated since.
    pub(crate) fn recall<T: Any, E: Any>(&self, id: EntryRef<'_>, now: Timestamp) -> Option<Failure> {
        let recorded = self.store.get(&id)?;
        let valid = now < recorded.until
            && recorded.types == TypeId::of::<(T, E)>()
            && recorded.marks.standing(recorded.seen) == Standing::Valid;
        valid.then(|| recorded.failure.clone())
    }

    pub(crate) fn remember(&self, id: EntryId, recorded: Recorded) {
        let mut replaced = Default::default();
        self.store
            .insert_with_lifecycle(id, Arc::new(recorded), &mut replaced);
        for (_, recorded) in replaced.into_iter().flatten() {
            drop_later(recorded);
        }
    }

    pub(crate) fn forget(&self, id: EntryRef<'_>) {
        if let Some((_, recorded)) = self.store.remove(&id) {
            drop_later(recorded);
        }
    }

    pub(crate) fn clear(&self) {
        self.store.clear();
    }
}

/// Enough for every key that a failing origin is asked for within an error TTL; the rest just load again.
const CAPACITY: usize = 10_000;
