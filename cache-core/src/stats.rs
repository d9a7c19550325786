//! Always-on counters: what happened since the cache was built, without any metrics recorder.
//!
//! Counting must not cost a hit more than it must: counters are striped, each thread counts in its own stripe, and
//! reading adds the stripes up.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::outcome::{MissReason, OutcomeKind};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $field:ident = $variant:ident,)+) => {
        /// Something that is counted.
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum Count { $($variant,)+ }

        const COUNTS: usize = [$(Count::$variant,)+].len();

        /// What happened since the cache was built; one consistent reading per counter, not across them.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// Fresh values served from the in-process tier.
    hits_fresh = HitFresh,
    /// Stale values served, for whatever reason.
    hits_stale = HitStale,
    /// "No such value" served from a tier.
    hits_negative = HitNegative,
    /// Lookups that found nothing under the key.
    misses_absent = MissAbsent,
    /// Lookups that found an entry past its TTL.
    misses_expired = MissExpired,
    /// Lookups that found an entry whose tag, prefix or namespace was invalidated.
    misses_invalidated = MissInvalidated,
    /// Lookups that found a value of another type.
    misses_other_type = MissOtherType,
    /// Lookups that found an entry of which invalidations could not be heard.
    misses_unconfirmed = MissUnconfirmed,
    /// Calls that asked for a new load, or not to use the cache.
    misses_by_request = MissByRequest,
    /// Runs of loaders that were started.
    loads = Load,
    /// Loads that ended in an error of the loader.
    load_errors = LoadError,
    /// Loads that panicked.
    load_panics = LoadPanic,
    /// Loads that took longer than they may.
    load_timeouts = LoadTimeout,
    /// Calls answered by another call's load.
    shared = Shared,
    /// Stale values served because a load failed, was throttled or slow.
    stale_on_error = StaleOnError,
    /// Fallback values of loaders served for their failures.
    fallbacks = Fallback,
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
    /// Calls that would have waited for themselves.
    reentrant = Reentrant,
    /// Fresh values served from the shared tier.
    shared_hits = SharedHit,
    /// Lookups in the shared tier that found nothing usable.
    shared_misses = SharedMiss,
    /// Steps that the shared tier did not answer, and that were done without it.
    degraded = Degraded,
    /// Stored values that could not be read: foreign, damaged, of another version.
    decode_errors = DecodeError,
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
}

impl Counters {
    /// All answers from a tier.
    pub fn hits(&self) -> u64 {
        self.hits_fresh + self.hits_stale + self.hits_negative
    }

    /// All lookups that no tier could answer.
    pub fn misses(&self) -> u64 {
        self.misses_absent
            + self.misses_expired
            + self.misses_invalidated
            + self.misses_other_type
            + self.misses_unconfirmed
            + self.misses_by_request
    }

    /// The share of lookups that a tier answered; 0 before the first.
    pub fn hit_ratio(&self) -> f64 {
        let lookups = self.hits() + self.misses();
        if lookups == 0 {
            0.0
        } else {
            self.hits() as f64 / lookups as f64
        }
    }
}

/// A reading of a cache's counters and sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// What happened since the cache was built.
    pub counters: Counters,
    /// Entries in the in-process tier, dead ones that were not met yet included.
    pub entries: u64,
    /// Their weight: bytes if the tier is bounded by bytes, otherwise their number.
    pub weight: u64,
    /// Entries evicted for space.
    pub evictions: u64,
    /// Loads that run now.
    pub loads_running: u64,
    /// Callers that wait for loads now.
    pub waiters: u64,
}

/// The striped counters behind [`Counters`].
#[derive(Debug)]
pub(crate) struct Tally {
    stripes: Box<[Stripe]>,
}

/// On its own cache lines, so that threads do not contend.
#[derive(Debug)]
#[repr(align(128))]
struct Stripe([AtomicU64; COUNTS]);

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            stripes: (0..STRIPES)
                .map(|_| Stripe([const { AtomicU64::new(0) }; COUNTS]))
                .collect(),
        }
    }

    #[inline]
    pub(crate) fn count(&self, count: Count) {
        self.stripes[own_stripe()].0[count as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn miss(&self, reason: MissReason) {
        self.count(match reason {
            MissReason::Absent => Count::MissAbsent,
            MissReason::Expired => Count::MissExpired,
            MissReason::Invalidated => Count::MissInvalidated,
            MissReason::OtherType => Count::MissOtherType,
            MissReason::Unconfirmed => Count::MissUnconfirmed,
            MissReason::Forced | MissReason::Bypassed => Count::MissByRequest,
        });
    }

    /// Counts an answer by how it was come by.
    pub(crate) fn answer(&self, kind: OutcomeKind) {
        match kind {
            OutcomeKind::Fresh => self.count(Count::HitFresh),
            OutcomeKind::Negative => self.count(Count::HitNegative),
            OutcomeKind::Stale(reason) => {
                self.count(Count::HitStale);
                if reason != crate::outcome::StaleReason::Allowed {
                    self.count(Count::StaleOnError);
                }
            }
            OutcomeKind::Shared => self.count(Count::Shared),
            OutcomeKind::Fallback => self.count(Count::Fallback),
            OutcomeKind::Loaded => {}
        }
    }

    pub(crate) fn read(&self) -> Counters {
        let sum = |count: Count| {
            self.stripes
                .iter()
                .map(|stripe| stripe.0[count as usize].load(Ordering::Relaxed))
                .sum()
        };
        Counters::read(sum)
    }
}

#[inline]
fn own_stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    OWN.with(|own| {
        if own.get() == usize::MAX {
            own.set(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
        }
        own.get()
    })
}

const STRIPES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_count_apart_and_are_read_together() {
        let tally = Tally::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|_| tally.count(Count::HitFresh)));
            }
        });
        tally.miss(MissReason::Absent);
        let counters = tally.read();
        assert_eq!((counters.hits(), counters.misses()), (4_000, 1));
        assert!((counters.hit_ratio() - 4_000.0 / 4_001.0).abs() < 1e-9);
    }
}
