//! Recovery: invalidations that the shared tier did not acknowledge, until it does.
//!
//! While an invalidation is pending, this node neither believes what the shared tier has under it nor stores there. A
//! `set` that was not acknowledged is pending as an invalidation of its key: whatever other nodes read then is loaded
//! anew, never older than what was set. When there are too many, they become one: everything of the cache.

use std::collections::HashMap;
use std::time::Duration;

use crate::cache::Cache;
use crate::cache::far::Far;
use crate::entry::{EntryId, Prehashed};
use crate::epochs::{Mark, Marks, Strength};
use crate::shared::Fault;
use crate::stats::Count;
use crate::sync::{Arc, Mutex, lock};

/// What is pending.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    keys: HashMap<EntryId, Duration, Prehashed>,
    marks: Vec<PendingMark>,
    patterns: Vec<String>,
}

#[derive(Clone, Debug)]
struct PendingMark {
    mark: Arc<Mark>,
    strength: Strength,
    hold: Duration,
}

/// One pending invalidation, taken out to be tried.
enum Task {
    Key(EntryId, Duration),
    Mark(PendingMark),
    Pattern(String),
}

impl Recovery {
    pub(crate) fn add_key(&self, cache: &Cache, id: &EntryId, hold: Duration) {
        let mut pending = lock(&self.pending);
        let held = pending.keys.entry(id.clone()).or_default();
        *held = hold.max(*held);
        pending.keep_bounded(cache);
    }

    pub(crate) fn add_mark(&self, cache: &Cache, mark: &Arc<Mark>, strength: Strength, hold: Duration) {
        let mut pending = lock(&self.pending);
        pending.add_mark(PendingMark {
            mark: mark.clone(),
            strength,
            hold,
        });
        pending.keep_bounded(cache);
    }

    pub(crate) fn add_pattern(&self, cache: &Cache, glob: String) {
        let mut pending = lock(&self.pending);
        if !pending.patterns.contains(&glob) {
            pending.patterns.push(glob);
        }
        pending.keep_bounded(cache);
    }

    /// Whether something is pending that an entry with these marks falls under.
    pub(crate) fn doubts(&self, id: &EntryId, marks: &Marks) -> bool {
        let pending = lock(&self.pending);
        if pending.len() == 0 {
            return false;
        }
        pending.keys.contains_key(id)
            || !pending.patterns.is_empty()
            || marks.iter().any(|mark| {
                pending
                    .marks
                    .iter()
                    .any(|pending| Arc::ptr_eq(&pending.mark, mark))
            })
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.pending).len()
    }

    fn next(&self) -> Option<Task> {
        let mut pending = lock(&self.pending);
        // What covers most first.
        if let Some(mark) = pending.marks.first().cloned() {
            return Some(Task::Mark(mark));
        }
        if let Some(glob) = pending.patterns.first().cloned() {
            return Some(Task::Pattern(glob));
        }
        pending
            .keys
            .iter_mut()
            .next()
            .map(|(id, hold)| Task::Key(id.clone(), *hold))
    }

    /// Something was acknowledged: it is pending no more.
    fn done(&self, task: &Task) {
        let mut pending = lock(&self.pending);
        match task {
            Task::Key(id, _) => drop(pending.keys.remove(id)),
            Task::Mark(done) => pending
                .marks
                .retain(|pending| !Arc::ptr_eq(&pending.mark, &done.mark)),
            Task::Pattern(done) => pending.patterns.retain(|pending| pending != done),
        }
    }
}

impl Pending {
    fn len(&self) -> usize {
        self.keys.len() + self.marks.len() + self.patterns.len()
    }

    fn add_mark(&mut self, added: PendingMark) {
        match self
            .marks
            .iter_mut()
            .find(|pending| Arc::ptr_eq(&pending.mark, &added.mark))
        {
            Some(pending) => {
                pending.hold = pending.hold.max(added.hold);
                if added.strength == Strength::Hard {
                    pending.strength = Strength::Hard;
                }
            }
            None => self.marks.push(added),
        }
    }

    /// Too many become one that covers them all: never silence.
    fn keep_bounded(&mut self, cache: &Cache) {
        if self.len() <= MAX_PENDING {
            return;
        }
        tracing::warn!(
            cache = cache.name(),
            "too many invalidations are pending; the whole cache will be invalidated"
        );
        cache.inner.tally.count(Count::RecoveryOverflow);
        let hold = self
            .keys
            .values()
            .chain(self.marks.iter().map(|pending| &pending.hold))
            .max()
            .copied();
        *self = Self::default();
        let mark = cache.outermost_mark();
        self.add_mark(PendingMark {
            mark,
            strength: Strength::Hard,
            hold: hold.unwrap_or_default(),
        });
    }
}

impl Cache {
    /// Tries what is pending, one after another; stops at the first fault.
    pub(crate) async fn recover(&self, far: &Far) -> Result<(), Fault> {
        while let Some(task) = far.recovery.next() {
            match &task {
                Task::Key(id, hold) => self.within_namespace_of(id).remove_far(far, id, *hold).await?,
                Task::Mark(pending) => {
                    self.move_far(far, &pending.mark, pending.strength, pending.hold)
                        .await
                        .map(drop)?;
                }
                Task::Pattern(glob) => self.remove_pattern_far(far, glob).await?,
            }
            far.recovery.done(&task);
            self.inner.tally.count(Count::Recovered);
        }
        Ok(())
    }

    /// Tries what is pending, if anything is: once a second, for as long as the cache is used.
    pub(crate) async fn recover_if_possible(&self) {
        let Some(far) = self.far().cloned() else { return };
        if far.recovery.len() > 0
            && let Err(fault) = self.recover(&far).await
        {
            self.degraded("recover", &fault);
        }
    }

    /// Sends what is still pending to the shared tier, for at most `timeout`; how many invalidations are left.
    ///
    /// Without a shared tier nothing is ever pending.
    pub async fn flush_pending(&self, timeout: Duration) -> usize {
        let Some(far) = self.far().cloned() else { return 0 };
        let flush = async {
            while let Err(fault) = self.recover(&far).await {
                self.degraded("recover", &fault);
                tokio::time::sleep(RETRY).await;
            }
        };
        let _ = tokio::time::timeout(timeout, flush).await;
        far.recovery.len()
    }
}

/// Invalidations, about 100 bytes each.
const MAX_PENDING: usize = 10_000;
const RETRY: Duration = Duration::from_millis(100);
