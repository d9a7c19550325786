//! [`Known`]: what the shared tier said of a mark last, compared on every read without a lock.
//!
//! All reads of a cache compare the same few marks (its namespace, a prefix, a tag or two). Under a lock, or by cloning
//! what is known, they would queue up behind each other for that. So the part that is compared is kept in atomics, behind
//! a number that is odd while they change and another one afterwards: a reader who sees the same even number before and
//! after has read what belongs together. Who does not takes the lock.

use std::sync::atomic::{AtomicU64, Ordering};

use super::MarkView;
use crate::sync::{Arc, Mutex, lock};

/// What is known of one mark.
#[derive(Debug, Default)]
pub(crate) struct Known {
    last: Mutex<Option<(Arc<MarkView>, u64)>>,
    turn: AtomicU64,
    hard: AtomicU64,
    soft: AtomicU64,
    /// One more than what this node had seen when it asked; zero while nothing is known.
    seen: AtomicU64,
}

/// The part that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Glimpse {
    /// The fingerprints of the versions.
    pub(crate) hard: u64,
    pub(crate) soft: u64,
    /// What this node had seen when it asked.
    pub(crate) seen: u64,
}

impl Known {
    /// Everything, with what this node had seen when it asked.
    pub(crate) fn last(&self) -> Option<(Arc<MarkView>, u64)> {
        lock(&self.last).clone()
    }

    /// The part that is compared; `None` while nothing is known, or while it changes.
    pub(crate) fn glimpse(&self) -> Option<Glimpse> {
        let turn = self.turn.load(Ordering::SeqCst);
        let (hard, soft) = (self.hard.load(Ordering::SeqCst), self.soft.load(Ordering::SeqCst));
        let seen = self.seen.load(Ordering::SeqCst).checked_sub(1)?;
        let undisturbed = turn.is_multiple_of(2) && self.turn.load(Ordering::SeqCst) == turn;
        undisturbed.then_some(Glimpse { hard, soft, seen })
    }

    /// Remembers an answer to a question that was sent at `seen`, unless a later one is known.
    pub(crate) fn remember(&self, view: Arc<MarkView>, seen: u64) {
        let mut last = lock(&self.last);
        if last.as_ref().is_some_and(|(_, before)| *before > seen) {
            return;
        }
        self.turn.fetch_add(1, Ordering::SeqCst);
        self.hard.store(view.hard, Ordering::SeqCst);
        self.soft.store(view.soft, Ordering::SeqCst);
        self.seen.store(seen.saturating_add(1), Ordering::SeqCst);
        self.turn.fetch_add(1, Ordering::SeqCst);
        *last = Some((view, seen));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::shared::MarkVersions;
    use crate::time::Timestamp;

    fn view(number: u64) -> Arc<MarkView> {
        let versions = MarkVersions {
            hard: number.to_string(),
            soft: number.to_string(),
            hold: Duration::ZERO,
        };
        Arc::new(MarkView {
            versions,
            hard: number,
            soft: number,
            asked: Timestamp::ZERO,
        })
    }

    #[test]
    fn an_older_answer_does_not_replace_a_later_one() {
        let known = Known::default();
        assert_eq!(known.glimpse(), None);
        known.remember(view(7), 0);
        known.remember(view(9), 5);
        known.remember(view(8), 4);
        let expected = Glimpse {
            hard: 9,
            soft: 9,
            seen: 5,
        };
        assert_eq!(known.glimpse(), Some(expected));
        assert_eq!(known.last().map(|(view, seen)| (view.hard, seen)), Some((9, 5)));
    }

    #[test]
    fn a_glimpse_is_never_half_of_one_answer_and_half_of_another() {
        let known = Known::default();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..20_000).for_each(|number| known.remember(view(number), number)));
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if let Some(Glimpse { hard, soft, seen }) = known.glimpse() {
                            assert!(hard == soft && soft == seen);
                        }
                    }
                });
            }
        });
    }
}
