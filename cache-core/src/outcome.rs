//! What happened to a call: the one vocabulary of logs, metrics, `Cache-Status` and tests.

use std::fmt;
use std::time::Duration;

/// How a value was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Hit, stale hit, load, ..
    pub kind: OutcomeKind,
    /// Where the value lay; `None` when it was just loaded.
    pub tier: Option<Tier>,
    /// Why the caches could not answer, when they could not.
    pub reason: Option<MissReason>,
    /// Time since the value was loaded.
    pub age: Duration,
}

/// The closed list of what can happen to a call that gets an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutcomeKind {
    /// A fresh value from a tier.
    Fresh,
    /// A stale value, and why a stale one.
    Stale(StaleReason),
    /// "There is no such value", from a tier.
    Negative,
    /// This call ran the loader.
    Loaded,
    /// Another call's load answered this one.
    Shared,
    /// The loader's own fallback value answered for its failure.
    Fallback,
}

/// Why a stale value was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StaleReason {
    /// The load failed.
    LoadFailed,
    /// A load failed a moment ago; the next try is due later.
    Throttled,
    /// The load is slower than the soft timeout and goes on in the background.
    SlowLoad,
    /// The caller asked for stale values too.
    Allowed,
}

/// Where a value lay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Tier {
    /// In this process (L1).
    Memory,
    /// In Redis (L2).
    Shared,
}

/// Why the caches could not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MissReason {
    /// Nothing is stored under the key.
    Absent,
    /// It was stored, and is past its TTL.
    Expired,
    /// It carries a tag, prefix or namespace that was invalidated since.
    Invalidated,
    /// What is stored has another type than asked for.
    OtherType,
    /// It is stored here, but invalidations by other nodes are not heard at the moment.
    Unconfirmed,
    /// The caller asked for a new load.
    Forced,
    /// The options say not to use the cache.
    Bypassed,
}

impl OutcomeKind {
    /// The kind in one word, as in logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale(_) => "stale",
            Self::Negative => "negative",
            Self::Loaded => "loaded",
            Self::Shared => "shared",
            Self::Fallback => "fallback",
        }
    }
}

impl StaleReason {
    /// The reason in one word, as in logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LoadFailed => "load_failed",
            Self::Throttled => "throttled",
            Self::SlowLoad => "slow_load",
            Self::Allowed => "allowed",
        }
    }
}

impl Tier {
    /// The tier in one word, as in logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Shared => "shared",
        }
    }
}

impl MissReason {
    /// The reason in one word, as in logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Expired => "expired",
            Self::Invalidated => "invalidated",
            Self::OtherType => "other_type",
            Self::Unconfirmed => "unconfirmed",
            Self::Forced => "forced",
            Self::Bypassed => "bypassed",
        }
    }
}

impl Outcome {
    #[inline]
    pub(crate) fn hit(kind: OutcomeKind, tier: Tier, age: Duration) -> Self {
        Self {
            kind,
            tier: Some(tier),
            reason: None,
            age,
        }
    }

    pub(crate) fn load(kind: OutcomeKind, reason: MissReason) -> Self {
        Self {
            kind,
            tier: None,
            reason: Some(reason),
            age: Duration::ZERO,
        }
    }

    pub(crate) fn because(mut self, reason: MissReason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// A tier answered, without a load on behalf of this call.
    pub fn is_hit(&self) -> bool {
        self.tier.is_some()
    }

    /// The value was past its freshness.
    pub fn is_stale(&self) -> bool {
        matches!(self.kind, OutcomeKind::Stale(_))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        if let Some(tier) = self.tier {
            write!(f, " tier={}", tier.as_str())?;
        }
        if let OutcomeKind::Stale(reason) = self.kind {
            write!(f, " because={}", reason.as_str())?;
        }
        if let Some(reason) = self.reason {
            write!(f, " reason={}", reason.as_str())?;
        }
        write!(f, " age={:?}", self.age)
    }
}
