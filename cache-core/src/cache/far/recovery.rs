//! Recovery: invalidations that the shared tier did not acknowledge, until it does.
//!
//! While an invalidation is pending, this node neither believes what the shared tier has under it nor stores there. A
//! `set` that was not acknowledged is pending in the same way, and is offered again if it still can be
//! ([`replay`](super::replay)); otherwise it becomes an invalidation of its key: whatever other nodes read then is
//! loaded anew, never older than what was set. When there are too many, they become one: everything of the cache.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::Rng as _;

use crate::cache::far::Far;
use crate::cache::far::replay::{QueuedSet, Replayed};
use crate::cache::{Cache, KeyPattern, Wire};
use crate::entry::{AnyEntry, EntryId, Prehashed, Version};
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
    keys: HashMap<EntryId, PendingKey, Prehashed>,
    marks: Vec<(Arc<Mark>, Strength, Due)>,
    patterns: Vec<(Arc<Namespace>, KeyPattern, Due)>,
    /// How many were ever added.
    added: u64,
}

#[derive(Clone, Debug)]
struct PendingKey {
    due: Due,
    /// What to store; without it, the key is invalidated.
    set: Option<QueuedSet>,
    /// When to try that: nodes that come back together do not offer what they have together.
    not_before: Option<Timestamp>,
    /// How often it was put off because the log was not heard.
    put_off: u32,
}

/// For how long to hold stores off, and which addition asked for it last: what is added while it is being delivered is
/// still pending afterwards.
#[derive(Clone, Copy, Debug)]
struct Due {
    hold: Duration,
    added: u64,
}

/// When what is pending is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Invalidations at once, sets a little later.
    Spread,
    /// All of it at once: the node is about to go.
    AtOnce,
}

/// What is pending, taken out to be tried.
enum Task {
    Key(EntryId, Due),
    Set(EntryId, Due, QueuedSet),
    Mark(Arc<Mark>, Strength, Due),
    Pattern(Arc<Namespace>, KeyPattern, Due),
}

impl Recovery {
    pub(crate) fn add_key(&self, cache: &Cache, id: &EntryId, hold: Duration) {
        let mut pending = lock(&self.pending);
        let due = pending.due(hold);
        pending.invalidate(id, due);
        pending.keep_bounded(cache);
        self.note(&pending);
    }

    /// A `set` that was not acknowledged, over the version `replaces` that this node knew; `None` if it knew none.
    /// A pending invalidation of the key remains one.
    pub(crate) fn add_set<T: Send + Sync + 'static>(
        &self,
        cache: &Cache,
        id: &EntryId,
        replaces: Option<Version>,
        entry: &AnyEntry,
        wire: Wire<T>,
    ) {
        let mut pending = lock(&self.pending);
        let due = pending.due(Duration::ZERO);
        let was_invalidated = pending.keys.get(id).is_some_and(|known| known.set.is_none());
        match replaces.filter(|_| !was_invalidated) {
            None => pending.invalidate(id, due),
            Some(replaces) => {
                let key = PendingKey {
                    due,
                    set: Some(QueuedSet::new(cache, replaces, entry, wire)),
                    not_before: None,
                    put_off: 0,
                };
                pending.keys.insert(id.clone(), key);
            }
        }
        pending.keep_bounded(cache);
        self.note(&pending);
    }

    /// A later `set` was acknowledged: an earlier one need not be offered any more. An invalidation remains.
    pub(crate) fn set_arrived(&self, id: &EntryId) {
        let mut pending = lock(&self.pending);
        if pending.keys.get(id).is_some_and(|known| known.set.is_some()) {
            pending.keys.remove(id);
            self.note(&pending);
        }
    }

    /// The versions of the values that are pending.
    pub(super) fn sets(&self) -> HashSet<Version> {
        let pending = lock(&self.pending);
        let sets = pending.keys.values().filter_map(|key| key.set.as_ref());
        sets.map(|set| set.version).collect()
    }

    /// Whether something is pending under this very key.
    pub(crate) fn has_key(&self, id: &EntryId) -> bool {
        lock(&self.pending).keys.contains_key(id)
    }

    /// What the pending `set` of `version` replaces in the shared tier.
    pub(super) fn set_replaces(&self, id: &EntryId, version: Version) -> Option<Version> {
        let pending = lock(&self.pending);
        let set = pending.keys.get(id)?.set.as_ref()?;
        (set.version == version).then_some(set.replaces)
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

    /// What covers most comes first, and invalidations before sets.
    fn next(&self, now: Timestamp, pace: Pace) -> Option<Task> {
        let pending = lock(&self.pending);
        if let Some((mark, strength, due)) = pending.marks.first().cloned() {
            return Some(Task::Mark(mark, strength, due));
        }
        if let Some((at, pattern, due)) = pending.patterns.first().cloned() {
            return Some(Task::Pattern(at, pattern, due));
        }
        let mut keys = pending.keys.iter();
        if let Some((id, key)) = keys.find(|(_, key)| key.set.is_none()) {
            return Some(Task::Key(id.clone(), key.due));
        }
        let is_due = |key: &PendingKey| pace == Pace::AtOnce || key.not_before.is_some_and(|at| at <= now);
        let (id, key) = pending.keys.iter().find(|(_, key)| is_due(key))?;
        Some(Task::Set(id.clone(), key.due, key.set.clone()?))
    }

    /// Says when those sets are to be offered that have no time yet.
    fn schedule(&self, now: Timestamp) {
        for key in lock(&self.pending).keys.values_mut() {
            if key.set.is_some() && key.not_before.is_none() {
                let pause = rand::rng().random_range(Duration::ZERO..SPREAD);
                key.not_before = Some(now + pause);
            }
        }
    }

    /// Nobody answers: sets begin anew to wait when somebody does.
    fn unschedule(&self) {
        for key in lock(&self.pending).keys.values_mut() {
            key.not_before = None;
        }
    }

    /// Puts a set off, unless it was often enough.
    fn put_off(&self, id: &EntryId, until: Timestamp) -> bool {
        let mut pending = lock(&self.pending);
        let Some(key) = pending.keys.get_mut(id) else {
            return false;
        };
        key.put_off += 1;
        key.not_before = Some(until);
        key.put_off <= MAX_PUT_OFF
    }

    /// The set cannot be offered: its key is invalidated instead, unless something was added meanwhile.
    fn give_up(&self, id: &EntryId, done: Due) {
        if let Some(key) = lock(&self.pending).keys.get_mut(id)
            && key.due.added == done.added
        {
            key.set = None;
        }
    }

    /// Something was acknowledged: it is pending no more, unless it was added again meanwhile.
    fn done(&self, task: &Task) {
        let mut pending = lock(&self.pending);
        match task {
            Task::Key(id, done) | Task::Set(id, done, _) => {
                let known = pending.keys.get(id);
                if known.is_some_and(|key| key.due.added == done.added) {
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

    /// An invalidation replaces a set.
    fn invalidate(&mut self, id: &EntryId, due: Due) {
        let known = self.keys.get(id).map(|known| due.after(known.due));
        let key = PendingKey {
            due: known.unwrap_or(due),
            set: None,
            not_before: None,
            put_off: 0,
        };
        self.keys.insert(id.clone(), key);
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
        let keys = self.keys.values().map(|key| &key.due);
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
    async fn recover(&self, far: &Far, pace: Pace) -> Result<(), Fault> {
        far.recovery.schedule(self.inner.clock.now());
        while let Some(task) = far.recovery.next(self.inner.clock.now(), pace) {
            let delivered = match &task {
                Task::Set(id, due, set) => match self.replay(far, id, set).await {
                    Ok(Replayed::Stored) => Ok(()),
                    Ok(Replayed::NotYet) if pace == Pace::Spread => {
                        if !far.recovery.put_off(id, self.inner.clock.now() + SPREAD) {
                            far.recovery.give_up(id, *due);
                        }
                        continue;
                    }
                    Ok(Replayed::NotYet | Replayed::Never) => {
                        far.recovery.give_up(id, *due);
                        continue;
                    }
                    Err(fault) => Err(fault),
                },
                invalidation => self.deliver(far, invalidation).await,
            };
            match delivered {
                Ok(()) => self.inner.tally.count(Count::Recovered),
                // It cannot be sent, now or ever, and must not keep the others waiting.
                Err(fault) if fault.kind() == FaultKind::Invalid => {
                    tracing::warn!(cache = self.name(), %fault, "what is pending cannot be delivered");
                }
                Err(fault) => {
                    far.recovery.unschedule();
                    return Err(fault);
                }
            }
            far.recovery.done(&task);
        }
        Ok(())
    }

    /// As when it was first tried: once the server has changed, this node forgets what it read in between.
    async fn deliver(&self, far: &Far, task: &Task) -> Result<(), Fault> {
        match task {
            Task::Key(id, due) | Task::Set(id, due, _) => {
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
            && let Err(fault) = self.recover(&far, Pace::Spread).await
        {
            self.degraded("recover", &fault);
        }
    }

    /// Sends what is still pending to the shared tier, for at most `timeout`; how many invalidations and values are
    /// left.
    ///
    /// Without a shared tier nothing is ever pending.
    pub async fn flush_pending(&self, timeout: Duration) -> usize {
        let Some(far) = self.far().cloned() else { return 0 };
        let flush = async {
            while let Err(fault) = self.recover(&far, Pace::AtOnce).await {
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
/// With the second that passes between tries, sets are offered within two.
const SPREAD: Duration = Duration::from_secs(1);
/// Meanwhile other nodes may read what was replaced.
const MAX_PUT_OFF: u32 = 3;
const RETRY: Duration = Duration::from_millis(100);
