//! Refreshing ahead: what would go stale before a warmer runs again is loaded by this run.

use std::time::Duration;

use crate::entry::Meta;
use crate::time::Timestamp;

/// How long until the next run of the warmer, if it runs at an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Horizon(pub(super) Option<Duration>);

impl Horizon {
    pub(super) const NONE: Self = Self(None);

    /// Whether an entry that is fresh `now` would not last. What is younger than half the interval is left alone: it was
    /// loaded by this run of another node, and lasts for less than an interval however often it is loaded.
    pub(super) fn is_due(self, meta: &Meta, now: Timestamp) -> bool {
        self.0
            .is_some_and(|every| meta.soft_at.since(now) <= every && meta.age(now) >= every / 2)
    }
}
