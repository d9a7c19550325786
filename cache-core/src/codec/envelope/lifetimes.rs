//! [`Lifetimes`]: the TTLs of an entry, and what remains of them at a given PTTL.

use std::time::Duration;

/// How long an entry is fresh, readable and physically there. Whole milliseconds, like everything in Redis.
///
/// An entry outlives its hard TTL when a load may take longer than that: its version must stand for as long as a
/// load that saw it can still want to write. The key gets the physical TTL as PX, and what remains of the others
/// follows from the PTTL that a reader is told, `remaining = pttl − (physical − ttl)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetimes {
    soft: u64,
    hard: u64,
    physical: u64,
}

impl Lifetimes {
    /// Fresh for `soft`, readable for `hard`, there for at least `lease_window`. A `soft` above `hard` counts as `hard`.
    pub(crate) fn new(soft: Duration, hard: Duration, lease_window: Duration) -> Self {
        let hard = millis(hard);
        Self {
            soft: millis(soft).min(hard),
            hard,
            physical: hard.max(millis(lease_window)),
        }
    }

    /// From what an entry says; `None` if it contradicts itself.
    pub(super) fn from_stored(physical: u64, quiet_below: u64, gone_below: u64) -> Option<Self> {
        let soft = physical.checked_sub(quiet_below)?;
        let hard = physical.checked_sub(gone_below)?;
        (soft <= hard).then_some(Self { soft, hard, physical })
    }

    pub(crate) fn soft(&self) -> Duration {
        Duration::from_millis(self.soft)
    }

    pub(crate) fn hard(&self) -> Duration {
        Duration::from_millis(self.hard)
    }

    /// The PX of the key, in milliseconds.
    pub(crate) fn px(&self) -> u64 {
        self.physical
    }

    /// How long the entry stays fresh, if `pttl` remains of the key. Never more than the soft TTL, even if
    /// something prolonged the key.
    pub(crate) fn soft_remaining(&self, pttl: Duration) -> Duration {
        remaining(self.soft, self.quiet_below(), pttl)
    }

    /// How long the entry stays readable.
    pub(crate) fn hard_remaining(&self, pttl: Duration) -> Duration {
        remaining(self.hard, self.gone_below(), pttl)
    }

    /// How long ago the entry was written. An entry that was expired early looks older than it is.
    pub(crate) fn age(&self, pttl: Duration) -> Duration {
        Duration::from_millis(self.physical.saturating_sub(millis(pttl)))
    }

    /// The PTTL at which the entry stops being fresh.
    pub(super) fn quiet_below(&self) -> u64 {
        self.physical - self.soft
    }

    /// The PTTL at which the entry stops being readable.
    pub(super) fn gone_below(&self) -> u64 {
        self.physical - self.hard
    }
}

fn remaining(ttl: u64, below: u64, pttl: Duration) -> Duration {
    Duration::from_millis(millis(pttl).saturating_sub(below).min(ttl))
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
