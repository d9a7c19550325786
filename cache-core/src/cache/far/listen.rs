//! Listening: what other nodes changed, applied to this node's tier in the order in which it happened.

use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::cache::far::{Far, entry_of, entry_version};
use crate::cache::{Cache, Inner};
use crate::epochs::{Kind, Mark, Strength, held_until};
use crate::notice::{Event, LogId, Notice};
use crate::shared::{self, GapReason, LogEvent, LogReader};
use crate::stats::Count;
use crate::sync::{Arc, Mutex, lock};
use crate::time::Timestamp;

/// Whether this node hears the log, and since when not.
#[derive(Debug, Default)]
pub(crate) struct Hearing {
    heard: AtomicBool,
    /// The last instant at which everything announced before it had been delivered, in nanoseconds.
    confirmed_at: AtomicU64,
    position: Mutex<Option<LogId>>,
    moved: Notify,
}

impl Hearing {
    pub(crate) fn is_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// The newest notice that was applied here.
    pub(crate) fn position(&self) -> Option<LogId> {
        *lock(&self.position)
    }

    /// Whether what was true at `confirmed` may still be served: for as long as the log is heard, and for `cap` after.
    pub(crate) fn trusts(&self, confirmed: Timestamp, now: Timestamp, cap: Duration) -> bool {
        if self.is_heard() {
            return true;
        }
        let last = Timestamp::from_nanos(self.confirmed_at.load(Ordering::Relaxed));
        now.since(last.max(confirmed)) <= cap
    }

    /// Whether what is announced reaches this node, or is about to for the first time.
    pub(crate) fn is_heard_or_beginning(&self) -> bool {
        self.is_heard() || self.position().is_none()
    }

    /// Waits until everything up to `end` was applied here, or the log began anew.
    pub(crate) async fn until(&self, end: LogId) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            // Enabled before the look, so that no move between the two is missed.
            moved.as_mut().enable();
            if self
                .position()
                .is_some_and(|position| position == end || position.is_after(end))
            {
                return;
            }
            moved.await;
        }
    }

    fn confirm(&self, at: Timestamp, position: LogId) {
        self.confirmed_at.fetch_max(at.as_nanos(), Ordering::Relaxed);
        self.moved_to(position);
        self.heard.store(true, Ordering::Relaxed);
    }

    fn moved_to(&self, position: LogId) {
        *lock(&self.position) = Some(position);
        self.moved.notify_waiters();
    }

    /// When it was last confirmed that everything announced before had been delivered.
    pub(crate) fn last_confirmed(&self) -> Option<Timestamp> {
        match self.confirmed_at.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Timestamp::from_nanos(nanos)),
        }
    }

    /// Nobody listens any more.
    pub(crate) fn stop(&self) {
        self.heard.store(false, Ordering::Relaxed);
    }
}

/// Applies the log to a cache, for as long as the cache has handles. It must not be stopped by a slow consumer, so
/// everything here is quick and waits for nothing.
pub(crate) async fn listen(cache: &WeakCache, mut log: LogReader) {
    loop {
        let event = tokio::select! {
            event = log.next() => event,
            // Looks now and then whether anybody still needs this.
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                if cache.inner.strong_count() == 0 {
                    return;
                }
                continue;
            }
        };
        let (Some(event), Some(cache)) = (event, cache.upgrade()) else {
            return;
        };
        let Some(far) = cache.far().cloned() else { return };
        cache.apply(&far, event);
    }
}

/// A cache that does not keep itself alive.
pub(crate) struct WeakCache {
    inner: Weak<Inner>,
    namespace: Arc<crate::epochs::Namespace>,
}

impl WeakCache {
    pub(crate) fn of(cache: &Cache) -> Self {
        Self {
            inner: Arc::downgrade(&cache.inner),
            namespace: cache.namespace.clone(),
        }
    }

    pub(crate) fn upgrade(&self) -> Option<Cache> {
        Some(Cache {
            inner: self.inner.upgrade()?,
            namespace: self.namespace.clone(),
        })
    }
}

impl Cache {
    fn apply(&self, far: &Far, event: LogEvent) {
        match event {
            LogEvent::Notices(notices) => notices
                .into_iter()
                .for_each(|notice| self.apply_notice(far, notice)),
            LogEvent::Confirmed { at, position } => far.hearing.confirm(at, position),
            LogEvent::Gap { reason, position } => {
                tracing::info!(
                    cache = self.name(),
                    reason = reason.as_str(),
                    "notices may have been missed; forgetting"
                );
                far.tally.gaps.count(reason as usize);
                // The position was fixed before this: what is announced from here on is heard.
                far.hearing.moved_to(position);
                // A reader that has just begun has missed nothing.
                if reason != GapReason::Started {
                    self.inner.tally.count(Count::LogGap);
                }
                self.forget_everything(far);
            }
            LogEvent::Unheard => {
                tracing::warn!(cache = self.name(), "the invalidation log is not heard");
                far.hearing.heard.store(false, Ordering::Relaxed);
            }
        }
    }

    fn apply_notice(&self, far: &Far, notice: Notice) {
        self.inner.tally.count(Count::Notice);
        match notice.event {
            Event::Keys(_, keys) => keys
                .iter()
                .for_each(|(key, version)| self.apply_key(key, *version)),
            Event::Marks {
                marks,
                strength,
                hold,
            } => {
                let strength = match strength {
                    shared::Strength::Hard => Strength::Hard,
                    shared::Strength::Soft => Strength::Soft,
                };
                let held_until = held_until(self.inner.clock.now(), hold);
                let marks = marks.iter().filter_map(|text| self.mark_called(text));
                // For its own invalidations this node has moved the mark when they were acknowledged; what was loaded
                // since is from after them.
                for mark in marks.filter(|mark| !mark.has_moved_for(notice.id)) {
                    self.inner.epochs.move_mark(&mark, strength, held_until);
                }
            }
            // Which keys match is the server's business; forgetting more than that is safe, and this is rare.
            Event::Pattern(_) => {
                self.forget_entries();
            }
            Event::Opened => {}
        }
        far.hearing.moved_to(notice.id);
    }

    /// A key has `version` now: this node's copy goes unless it is that very one.
    fn apply_key(&self, full_key: &str, version: shared::Version) {
        let Some(id) = entry_of(self, full_key) else {
            return;
        };
        let version = entry_version(version);
        let now = self.inner.clock.now();
        self.inner.epochs.heard(&id, now, version, || {
            if self
                .current(&id)
                .is_some_and(|entry| entry.meta().version == version)
            {
                return;
            }
            self.inner.flights.detach_entry(&id);
            self.inner.failures.forget(id.as_ref());
            self.inner.memory.remove(id.as_ref());
        });
    }

    fn mark_called(&self, text: &str) -> Option<Arc<Mark>> {
        match shared::Mark::parse(text)? {
            shared::Mark::Namespace(namespace) => Some(self.namespace_called(namespace)?.own.clone()),
            shared::Mark::Prefix(namespace, prefix) => Some(self.inner.epochs.mark(
                &*self.namespace_called(namespace)?,
                Kind::Prefix,
                prefix,
            )),
            shared::Mark::Tag(namespace, tag) => Some(self.inner.epochs.mark(
                &*self.namespace_called(namespace)?,
                Kind::Tag,
                tag,
            )),
        }
    }

    /// Something may have been missed: nothing that this node knows counts any more, nor what is on its way.
    fn forget_everything(&self, far: &Far) {
        let floor = self.forget_entries();
        far.forget_marks(floor);
    }

    fn forget_entries(&self) -> u64 {
        let floor = self.inner.epochs.raise_floor();
        self.inner.flights.detach_all();
        self.inner.memory.retain(|_, _| false);
        self.inner.failures.clear();
        floor
    }
}
