//! Always-on counters: what happened since the cache was built, without any metrics recorder.
//!
//! # What is counted
//!
//! Every call that reads (`get_or_load` and its kin, `refresh`, `get`, `lookup`, `get_many`, each key of a batch, each
//! call of a `#[cached]` function) ends in exactly one of these, and is counted when it ends:
//!
//! | | a tier answered, without a load: a *hit* | a *miss* |
//! |---|---|---|
//! | in process | `memory_hits_fresh`, `memory_hits_stale`, `memory_hits_negative` | |
//! | shared | `shared_hits_fresh`, `shared_hits_stale`, `shared_hits_negative` | |
//! | a load | | `loaded`, `joined` |
//! | a stand-in for a load | | `stale_for_failed_loads`, `stale_for_slow_loads`, `fallbacks` |
//! | nothing | | `lookups_missed`, `failures`, `abandoned` |
//!
//! So these sums hold whenever no call is under way:
//!
//! * [`calls`](Counters::calls) = [`hits`](Counters::hits) + [`misses`](Counters::misses).
//! * [`misses`](Counters::misses) = the sum of `misses_absent` .. `misses_by_request`: each miss has one reason, that of
//!   the in-process tier, since the shared one had nothing better.
//! * `loads_started` = `loads_ok` + `loads_failed` + `loads_panicked` + `loads_timed_out` + `loads_dropped`. Loads are
//!   not calls: refreshes in the background load without one, and one load of a batch answers many.
//!
//! Not counted: [`contains`](crate::Cache::contains), [`remaining_ttl`](crate::Cache::remaining_ttl), a miss of
//! [`get_in_process`](crate::Cache::get_in_process), which a counted call follows, and calls refused for their options.
//!
//! # What it costs
//!
//! Counting must not cost a hit more than it must: counters are striped, each thread counts in its own stripe, and
//! reading adds the stripes up.

mod tally;

use std::time::Duration;

use serde::{Serialize, Serializer};

pub use crate::measure::{CounterFamily, Distribution, FamilyReading};
pub use crate::samples::{METRICS, Metric, MetricKind, Sample, SampleValue};
pub use crate::traffic::{Busy, Traffic};

pub(crate) use tally::{LoadWatch, Observed, SAMPLE, Tally, Watch};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $field:ident = $variant:ident,)+) => {
        /// Something that is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Count { $($variant,)+ }

        const COUNTS: usize = [$(Count::$variant,)+].len();

        /// What happened since the cache was built; one consistent reading per counter, not across them.
        ///
        /// See the [module](self) for the sums that hold.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        #[non_exhaustive]
        pub struct Counters { $($(#[doc = $doc])+ pub $field: u64,)+ }

        impl Counters {
            fn read(sum: impl Fn(Count) -> u64) -> Self {
                Self { $($field: sum(Count::$variant),)+ }
            }

            /// Every counter with its name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field),)+].into_iter()
            }
        }
    };
}

counters! {
    /// Calls answered with a fresh value of the in-process tier.
    memory_hits_fresh = MemoryFresh,
    /// Calls answered with a stale value of the in-process tier, without a load: the caller allowed it, or a load failed
    /// a moment ago and the next is due later.
    memory_hits_stale = MemoryStale,
    /// Calls answered with "no such value" by the in-process tier.
    memory_hits_negative = MemoryNegative,
    /// Calls answered with a fresh value of the shared tier.
    shared_hits_fresh = SharedFresh,
    /// Calls answered with a stale value of the shared tier, because the caller allowed it.
    shared_hits_stale = SharedStale,
    /// Calls answered with "no such value" by the shared tier.
    shared_hits_negative = SharedNegative,
    /// Calls answered by the load that they ran.
    loaded = Loaded,
    /// Calls answered by another call's load.
    joined = Joined,
    /// Calls answered with a stale value, because the load failed.
    stale_for_failed_loads = StaleFailed,
    /// Calls answered with a stale value, because the load took longer than the soft timeout.
    stale_for_slow_loads = StaleSlow,
    /// Calls answered with the fallback value that the loader named for its failure.
    fallbacks = Fallback,
    /// Lookups without a loader that found nothing, or nothing fresh where that was asked for.
    lookups_missed = LookupMissed,
    /// Calls that ended in an error.
    failures = Failure,
    /// Calls whose callers left before there was an answer.
    abandoned = Abandoned,

    /// Misses because nothing was stored under the key.
    misses_absent = MissAbsent,
    /// Misses because the entry was past its TTL.
    misses_expired = MissExpired,
    /// Misses because a tag, prefix or namespace of the entry was invalidated.
    misses_invalidated = MissInvalidated,
    /// Misses because what was stored has another type than asked for.
    misses_other_type = MissOtherType,
    /// Misses because invalidations of the entry could not be heard.
    misses_unconfirmed = MissUnconfirmed,
    /// Misses because the call asked for a new load, or not to use the cache.
    misses_by_request = MissByRequest,

    /// Runs of loaders that were started.
    loads_started = LoadStarted,
    /// Loads that gave a value, or "no such value".
    loads_ok = LoadOk,
    /// Loads that ended in an error of the loader, or that the loader called failed.
    loads_failed = LoadFailed,
    /// Loads that panicked.
    loads_panicked = LoadPanicked,
    /// Loads that were stopped because they took longer than a load may.
    loads_timed_out = LoadTimedOut,
    /// Loads that were dropped before they ended: with their caller, their runtime, or the cache.
    loads_dropped = LoadDropped,

    /// Of the calls: those that waited until their hard timeout, whatever they were then answered with.
    calls_timed_out = CallTimedOut,
    /// Of [`memory_hits_stale`](Self::memory_hits_stale): those served because a load failed a moment ago.
    stale_throttled = StaleThrottled,
    /// Of the [`failures`](Self::failures): calls that would have waited for themselves.
    reentrant = Reentrant,
    /// Refreshes started ahead of expiry.
    refreshes = Refresh,
    /// Refreshes that were due and dropped, because enough of them ran.
    refreshes_dropped = RefreshDropped,
    /// Values stored.
    stores = Store,
    /// Values not stored, because something newer happened meanwhile.
    stores_refused = StoreRefused,
    /// Keys invalidated.
    invalidations = Invalidation,
    /// Tags, prefixes, patterns and namespaces invalidated.
    group_invalidations = GroupInvalidation,
    /// TTLs that were cut to the maximum.
    ttls_clamped = TtlClamped,
    /// Steps that the shared tier did not answer, and that were done without it.
    degraded = Degraded,
    /// Stored values that could not be read: foreign, damaged, of another version.
    decode_errors = DecodeError,
    /// Entries dropped from the in-process tier because they were past their life.
    dropped_expired = DroppedExpired,
    /// Entries dropped from the in-process tier because a tag, prefix or namespace of theirs was invalidated.
    dropped_invalidated = DroppedInvalidated,
    /// Leases taken: rights to load for all nodes.
    leases_taken = LeaseTaken,
    /// Loads that ran without a lease, because the shared tier did not answer.
    loads_without_lease = WithoutLease,
    /// Waits for another node's load.
    lease_waits = LeaseWait,
    /// Leases that ended before their loads did.
    leases_lost = LeaseLost,
    /// Notices of the invalidation log that were applied.
    notices = Notice,
    /// Times that notices may have been missed, and everything in this process was forgotten.
    log_gaps = LogGap,
    /// Pending invalidations that were delivered after all.
    recovered = Recovered,
    /// Times that too many invalidations were pending and became one of everything.
    recovery_overflows = RecoveryOverflow,
    /// Runs of warmers that came to their end.
    warmers_done = WarmerDone,
    /// Runs of warmers that failed, panicked, took too long or were dropped.
    warmers_failed = WarmerFailed,
    /// Runs of warmers that were not needed, because another node did it.
    warmers_elsewhere = WarmerElsewhere,
    /// Keys that warming loaded.
    warmed_loaded = WarmedLoaded,
    /// Keys that warming found fresh, or somebody else loaded.
    warmed_skipped = WarmedSkipped,
    /// Keys that warming could not load.
    warmed_failed = WarmedFailed,
}

impl Counters {
    /// Calls that ended: every call, exactly once.
    pub fn calls(&self) -> u64 {
        self.hits() + self.misses()
    }

    /// Calls that a tier answered without a load.
    pub fn hits(&self) -> u64 {
        self.memory_hits() + self.shared_hits()
    }

    /// Calls that the in-process tier answered without a load.
    pub fn memory_hits(&self) -> u64 {
        self.memory_hits_fresh + self.memory_hits_stale + self.memory_hits_negative
    }

    /// Calls that the shared tier answered without a load.
    pub fn shared_hits(&self) -> u64 {
        self.shared_hits_fresh + self.shared_hits_stale + self.shared_hits_negative
    }

    /// Calls that no tier could answer, whatever came of them.
    pub fn misses(&self) -> u64 {
        self.loaded
            + self.joined
            + self.stale_for_failed_loads
            + self.stale_for_slow_loads
            + self.fallbacks
            + self.lookups_missed
            + self.failures
            + self.abandoned
    }

    /// Stale values that stood in for a load: one that failed just now or a moment ago, or that is slow.
    pub fn stale_on_error(&self) -> u64 {
        self.stale_for_failed_loads + self.stale_for_slow_loads + self.stale_throttled
    }

    /// The share of calls that a tier answered without a load; 0 before the first.
    pub fn hit_ratio(&self) -> f64 {
        match self.calls() {
            0 => 0.0,
            calls => self.hits() as f64 / calls as f64,
        }
    }
}

/// A reading of a cache's counters and sizes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// What happened since the cache was built.
    pub counters: Counters,
    /// Entries in the in-process tier, dead ones that were not met yet included.
    pub entries: u64,
    /// Their weight: bytes if the tier is bounded by bytes, otherwise their number.
    pub weight: u64,
    /// The bound of that weight.
    pub capacity: u64,
    /// What it is counted in: `bytes` or `entries`.
    pub weighed_in: &'static str,
    /// Entries evicted for space.
    pub evictions: u64,
    /// Loads that run now.
    pub loads_running: u64,
    /// Callers that wait for loads now.
    pub waiters: u64,
    /// How long loads took.
    pub load_times: Distribution,
    /// What is known of the shared tier, if there is one.
    pub shared: Option<SharedStats>,
    /// What other parts of the application [count](crate::Cache::counter_family) under this cache's name, such as HTTP
    /// requests.
    pub families: Vec<FamilyReading>,
}

/// A reading of what concerns the shared tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SharedStats {
    /// How long operations took that were sent.
    pub operation_times: Distribution,
    #[serde(serialize_with = "as_map")]
    /// Operations that gave no answer, by [kind](crate::shared::FaultKind::as_str).
    pub errors: Vec<(&'static str, u64)>,
    /// The breakers of the servers, the worst of them: `closed`, `half_open`, `open` or `forced_open`.
    pub breaker: &'static str,
    /// How often a breaker opened.
    pub breaker_openings: u64,
    /// Servers that are known.
    pub servers: u64,
    /// Of these, those to which a connection stands.
    pub servers_connected: u64,
    /// Operations under way.
    pub in_flight: u64,
    #[serde(serialize_with = "as_map")]
    /// Connections made in place of one that had ended, by why it had: `closed` by the server, `silent` for too long, or
    /// `refused`, because an answer said that it is of no use.
    pub reconnects: Vec<(&'static str, u64)>,
    /// Whether invalidations by other nodes are heard.
    pub log_heard: bool,
    /// How long ago it was confirmed that all of them had been heard; `None` if never.
    #[serde(rename = "log_lag_seconds", serialize_with = "as_seconds")]
    pub log_lag: Option<Duration>,
    #[serde(serialize_with = "as_map")]
    /// Times that some may have been missed, by [reason](crate::shared::GapReason::as_str).
    pub log_gaps: Vec<(&'static str, u64)>,
    #[serde(serialize_with = "as_map")]
    /// Stored values that could not be read, by what was wrong with them.
    pub decode_errors: Vec<(&'static str, u64)>,
    /// Invalidations that the shared tier has yet to acknowledge.
    pub pending_invalidations: u64,
}

/// Pairs of a name and a number, written as an object.
pub(crate) fn as_map<S: Serializer>(pairs: &[(&'static str, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().copied())
}

fn as_seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}
