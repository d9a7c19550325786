//! Recovery: invalidations that the shared tier did not acknowledge, until it does.
//!
//! While an invalidation is pending, this node neither believes what the shared tier has under it nor stores there. A
//! `set` that was not acknowledged is pending as an invalidation of its key: whatever other nodes read then is loaded
//! anew, never older than what was set. When there are too many, they become one: everything of the cache.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::cache::far::Far;
use crate::cache::{Cache, KeyPattern};
use crate::entry::{EntryId, Prehashed};
use crate::epochs::{Mark, Marks, Namespace, Strength};
use crate::shared::{Fault, FaultKind};
use crate::stats::Count;
use crate::sync::{Arc, Mutex, lock};
use crate::time::Timestamp;

/// What is pending.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    pending: Mutex<Pending>,
    /// Whether anything is: told to every read, which would otherwise wait for all others to be told.
    any: AtomicBool,
}

#[derive(Debug, Default)]
struct Pending {
    keys: HashMap<EntryId, Due, Prehashed>,
    marks: Vec<(Arc<Mark>, Strength, Due)>,
    patterns: Vec<(Arc<Namespace>, KeyPattern, Due)>,
    /// How many were ever added.
    added: u64,
}

/// For how long to hold stores off, and which addition asked for it last: what is added while it is being delivered is
/// still pending afterwards.
#[derive(Clone, Copy, Debug)]
struct Due {
    hold: Duration,
    added: u64,
}

/// One pending invalidation, taken out to be tried.
enum Task {
    Key(EntryId, Due),
    Mark(Arc<Mark>, Strength, Due),
    Pattern(Arc<Namespace>, KeyPattern, Due),
}

impl Recovery {
    pub(crate) fn add_key(&self, cache: &Cache, id: &EntryId, hold: Duration) {
        let mut pending = lock(&self.pending);
        let due = pending.due(hold);
        pending
            .keys
            .entry(id.clone())
            .and_modify(|known| *known = due.after(*known))
            .or_insert(due);
        pending.keep_bounded(cache);
        self.note(&pending);
    }

    pub(crate) fn add_mark(&self, cache: &Cache, mark: &Arc<Mark>, strength: Strength, hold: Duration) {
        let mut pending = lock(&self.pending);
        pending.add_mark(mark, strength, hold);
        pending.keep_bounded(cache);
        self.note(&pending);
    }

    pub(crate) fn add_pattern(&self, cache: &Cache, pattern: &KeyPattern) {
        let mut pending = lock(&self.pending);
        let due = pending.due(Duration::ZERO);
        let namespace = cache.namespace.id;
        let known = pending
            .patterns
            .iter_mut()
            .find(|(at, known, _)| at.id == namespace && known == pattern);
        match known {
            Some((_, _, known)) => *known = due,
            None => pending
                .patterns
                .push((cache.namespace.clone(), pattern.clone(), due)),
        }
        pending.keep_bounded(cache);
        self.note(&pending);
    }

    /// Called before the lock is released: what was added is seen by every read that begins afterwards.
    fn note(&self, pending: &Pending) {
        self.any.store(pending.len() > 0, Ordering::SeqCst);
    }

    /// Whether something is pending that an entry with these marks falls under.
    pub(crate) fn doubts(&self, id: &EntryId, marks: &Marks) -> bool {
        if !self.any.load(Ordering::SeqCst) {
            return false;
        }
        let pending = lock(&self.pending);
        pending.keys.contains_key(id)
            || pending
                .patterns
                .iter()
                .any(|(at, pattern, _)| at.id == id.namespace() && pattern.matches(id.key()))
            || marks
                .iter()
                .any(|mark| pending.marks.iter().any(|(known, ..)| Arc::ptr_eq(known, mark)))
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.pending).len()
    }

    /// What covers most comes first.
    fn next(&self) -> Option<Task> {
        let pending = lock(&self.pending);
        let mark = pending.marks.first().cloned();
        let pattern = pending.patterns.first().cloned();
        let key = || {
            pending
                .keys
                .iter()
                .next()
                .map(|(id, due)| Task::Key(id.clone(), *due))
        };
        mark.map(|(mark, strength, due)| Task::Mark(mark, strength, due))
            .or_else(|| pattern.map(|(at, pattern, due)| Task::Pattern(at, pattern, due)))
            .or_else(key)
    }

    /// Something was acknowledged: it is pending no more, unless it was added again meanwhile.
    fn done(&self, task: &Task) {
        let mut pending = lock(&self.pending);
        match task {
            Task::Key(id, done) => {
                if pending.keys.get(id).is_some_and(|due| due.added == done.added) {
                    pending.keys.remove(id);
                }
            }
            Task::Mark(.., done) => pending.marks.retain(|(.., due)| due.added != done.added),
            Task::Pattern(.., done) => pending.patterns.retain(|(.., due)| due.added != done.added),
        }
        self.note(&pending);
    }
}

impl Due {
    fn after(self, earlier: Self) -> Self {
        Self {
            hold: self.hold.max(earlier.hold),
            ..self
        }
    }
}

impl Pending {
    fn len(&self) -> usize {
        self.keys.len() + self.marks.len() + self.patterns.len()
    }

    fn due(&mut self, hold: Duration) -> Due {
        self.added += 1;
        let added = self.added;
        Due { hold, added }
    }

    fn add_mark(&mut self, mark: &Arc<Mark>, strength: Strength, hold: Duration) {
        let due = self.due(hold);
        match self.marks.iter_mut().find(|(known, ..)| Arc::ptr_eq(known, mark)) {
            Some((_, known_strength, known)) => {
                *known = due.after(*known);
                if strength == Strength::Hard {
                    *known_strength = Strength::Hard;
                }
            }
            None => self.marks.push((mark.clone(), strength, due)),
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
        let keys = self.keys.values();
        let marks = self.marks.iter().map(|(.., due)| due);
        let hold = keys.chain(marks).map(|due| due.hold).max().unwrap_or_default();
        *self = Self {
            added: self.added,
            ..Self::default()
        };
        self.add_mark(&cache.outermost_mark(), Strength::Hard, hold);
    }
}

impl Cache {
    /// Tries what is pending, one after another; stops at the first fault.
    pub(crate) async fn recover(&self, far: &Far) -> Result<(), Fault> {
        while let Some(task) = far.recovery.next() {
            match self.deliver(far, &task).await {
                Ok(()) => self.inner.tally.count(Count::Recovered),
                // It cannot be sent, now or ever, and must not keep the others waiting.
                Err(fault) if fault.kind() == FaultKind::Invalid => {
                    tracing::warn!(cache = self.name(), %fault, "a pending invalidation cannot be delivered");
                }
                Err(fault) => return Err(fault),
            }
            far.recovery.done(&task);
        }
        Ok(())
    }

    /// As when it was first tried: once the server has changed, this node forgets what it read in between.
    async fn deliver(&self, far: &Far, task: &Task) -> Result<(), Fault> {
        match task {
            Task::Key(id, due) => {
                let cache = self.within_namespace_of(id);
                let version = cache.remove_far(far, id, due.hold).await?;
                let now = self.inner.clock.now();
                self.inner
                    .epochs
                    .mutate_as(id, Some(version), now, Timestamp::ZERO, |_| self.forget_here(id));
            }
            Task::Mark(mark, strength, due) => {
                let notice = self.move_far(far, mark, *strength, due.hold).await?;
                mark.acknowledged(notice);
                self.inner.epochs.move_mark(mark, *strength, Timestamp::ZERO);
            }
            Task::Pattern(namespace, pattern, _) => {
                let at = self.at(namespace.clone());
                at.remove_pattern_far(far, pattern).await?;
                at.remove_all_here(pattern);
            }
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
