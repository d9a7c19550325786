//! What a flight of the cache is about, and how it can end.

use std::any::{Any, TypeId};
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cache::LoadFlights;
use crate::cache::aboard::LoadBerth;
use crate::cache::context::Running;
use crate::cache::tasks::Urgency;
use crate::entry::{AnyEntry, EntryId, Prehashed};
use crate::epochs::{Marks, Standing};
use crate::error::Error;
use crate::flight;
use crate::outcome::Tier;
use crate::sync::Arc;

/// Which load: callers share one if they agree on the entry and understand the same value and error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlightId {
    pub(crate) entry: EntryId,
    types: TypeId,
    /// Whether the load may find that there is no such value.
    optional: bool,
}

impl FlightId {
    pub(crate) fn new<T: 'static, E: 'static>(entry: EntryId, optional: bool) -> Self {
        Self {
            entry,
            types: TypeId::of::<(T, E)>(),
            optional,
        }
    }
}

impl Hash for FlightId {
    /// By the entry alone, so that all flights of an entry share a shard and a mutation finds them together.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entry.hash(state);
    }
}

/// What a flight's leader says about it when it starts.
#[derive(Debug)]
pub(crate) struct FlightContext {
    /// The epoch at which it began.
    pub(crate) seen: u64,
    /// The marks that were known by then.
    pub(crate) marks: Marks,
    /// It loads whatever is stored.
    pub(crate) forced: bool,
    /// Its leader runs in a task of its own, or would as soon as anybody joined, and is polled whatever its caller does.
    pub(crate) detached: AtomicBool,
    /// Where its load lies while it is aboard the caller.
    pub(crate) berth: Arc<LoadBerth>,
    pub(crate) running: Running,
    /// A load waits for it.
    pub(crate) urgent: Urgency,
    /// It exceeded a caller's soft timeout: others with a stale value need not wait for it.
    pub(crate) overdue: AtomicBool,
}

impl FlightContext {
    /// Whether a caller that arrives now may have this flight's result.
    pub(crate) fn is_current(&self) -> bool {
        self.marks.standing(self.seen) == Standing::Valid
    }

    pub(crate) fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Relaxed)
    }

    pub(crate) fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Relaxed)
    }
}

pub(crate) type Leader = flight::Leader<FlightId, FlightContext, Settled, Prehashed>;
pub(crate) type Follower = flight::Follower<FlightId, FlightContext, Settled, Prehashed>;
pub(crate) type Role = flight::Role<FlightId, FlightContext, Settled, Prehashed>;
pub(crate) type Arrival = flight::Arrival<FlightId, FlightContext, Settled, Prehashed>;

/// How a load ended; every waiter gets a copy.
#[derive(Clone)]
pub(crate) enum Settled {
    /// A tier had it after all: a flight had just ended.
    Found(AnyEntry, Tier),
    /// The loader gave it.
    Loaded(AnyEntry),
    /// The loader gave it and called the load failed.
    Doubted(AnyEntry),
    /// Another node's load is slow, and this stale value may be shown instead.
    Slow(AnyEntry),
    Failed(Failure),
}

/// Why a load gave nothing.
#[derive(Clone)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    /// No stale value may stand in.
    pub(crate) no_stale: bool,
    /// What the loader wants to be answered instead.
    pub(crate) fallback: Option<AnyEntry>,
    /// A stale value of the shared tier, for callers who had none.
    pub(crate) stale: Option<AnyEntry>,
}

#[derive(Clone)]
pub(crate) enum Cause {
    /// The loader's own error.
    Loader(Arc<dyn Any + Send + Sync>),
    Cache(Error),
}

impl Cause {
    /// The failure in one word, as other nodes are told.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Loader(_) => "loader_error",
            Self::Cache(error) => error.kind().as_str(),
        }
    }
}

impl LoadFlights {
    /// Takes every flight of this entry out of sight, whatever it loads.
    pub(crate) fn detach_entry(&self, entry: &EntryId) {
        self.detach_where(entry, |flight| flight.entry == *entry);
    }
}
