//! [`Tally`]: counting, and the calls and loads that count themselves when they end.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::error::ErrorKind;
use crate::key::KeyRef;
use crate::observe::{self, End, Event, Observer};
use crate::outcome::{MissReason, Outcome, OutcomeKind, StaleReason, Tier};

use super::{COUNTS, Count, Counters};

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

    /// Counts a hit, and tells whether it is the one of [`SAMPLE`] that is looked at more closely. The counter itself says
    /// which one that is, so that telling costs no more than counting.
    #[inline]
    pub(crate) fn count_hit(&self) -> bool {
        let before =
            self.stripes[own_stripe()].0[Count::MemoryFresh as usize].fetch_add(1, Ordering::Relaxed);
        before % SAMPLE == SAMPLE / 2
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

    /// Counts a call that got an answer.
    pub(crate) fn answered(&self, outcome: &Outcome) {
        let count = count_of(outcome);
        self.count(count);
        match count {
            Count::Loaded | Count::Joined | Count::Fallback | Count::StaleFailed | Count::StaleSlow => {
                self.miss(outcome.reason.unwrap_or(MissReason::Absent));
            }
            _ if outcome.kind == OutcomeKind::Stale(StaleReason::Throttled) => {
                self.count(Count::StaleThrottled);
            }
            _ => {}
        }
    }

    /// Counts a lookup that found nothing.
    pub(crate) fn not_found(&self, reason: MissReason) {
        self.count(Count::LookupMissed);
        self.miss(reason);
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

/// The one counter of a call with this outcome.
fn count_of(outcome: &Outcome) -> Count {
    let shared = outcome.tier == Some(Tier::Shared);
    match outcome.kind {
        OutcomeKind::Fresh if shared => Count::SharedFresh,
        OutcomeKind::Fresh => Count::MemoryFresh,
        OutcomeKind::Negative if shared => Count::SharedNegative,
        OutcomeKind::Negative => Count::MemoryNegative,
        OutcomeKind::Stale(StaleReason::LoadFailed) => Count::StaleFailed,
        OutcomeKind::Stale(StaleReason::SlowLoad) => Count::StaleSlow,
        OutcomeKind::Stale(StaleReason::Allowed | StaleReason::Throttled) if shared => Count::SharedStale,
        OutcomeKind::Stale(StaleReason::Allowed | StaleReason::Throttled) => Count::MemoryStale,
        OutcomeKind::Loaded => Count::Loaded,
        OutcomeKind::Shared => Count::Joined,
        OutcomeKind::Fallback => Count::Fallback,
    }
}

/// A call that the in-process tier could not answer at once, until it ends: counted and told once, also if it is
/// dropped.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    tally: &'a Tally,
    observed: Option<Observed<'a>>,
    reason: MissReason,
    ended: bool,
}

/// Who wants to hear of a call, and which call it is.
#[derive(Debug)]
pub(crate) struct Observed<'a> {
    pub(crate) observer: &'a dyn Observer,
    pub(crate) namespace: &'a str,
    pub(crate) key: KeyRef<'a>,
}

impl<'a> Watch<'a> {
    pub(crate) fn begin(tally: &'a Tally, observed: Option<Observed<'a>>) -> Self {
        Self {
            tally,
            observed,
            reason: MissReason::Absent,
            ended: false,
        }
    }

    /// Notes why the tiers could not answer, as far as is known.
    pub(crate) fn missed(&mut self, reason: MissReason) {
        self.reason = reason;
    }

    pub(crate) fn answered(&mut self, outcome: &Outcome) {
        if self.ends(End::Answered(*outcome)) {
            self.tally.answered(outcome);
        }
    }

    pub(crate) fn not_found(&mut self, reason: MissReason) {
        if self.ends(End::NotFound(reason)) {
            self.tally.not_found(reason);
        }
    }

    /// With an error of this kind, or with the loader's.
    pub(crate) fn failed(&mut self, kind: Option<ErrorKind>) {
        if self.ends(End::Failed(kind, self.reason)) {
            self.tally.count(Count::Failure);
            self.tally.miss(self.reason);
        }
    }

    /// Whether it ends now, and has not before.
    fn ends(&mut self, end: End) -> bool {
        let ends = !std::mem::replace(&mut self.ended, true);
        if let (true, Some(observed)) = (ends, &self.observed) {
            observed.tell(end);
        }
        ends
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if self.ends(End::Abandoned(self.reason)) {
            self.tally.count(Count::Abandoned);
            self.tally.miss(self.reason);
        }
    }
}

impl Observed<'_> {
    pub(crate) fn tell(&self, end: End) {
        let event = Event {
            namespace: self.namespace,
            key: self.key,
            end,
        };
        observe::tell(self.observer, &event);
    }
}

/// A run of a loader, until it ends: counted when it starts, and as dropped unless it returns.
#[derive(Debug)]
pub(crate) struct LoadWatch<'a>(Option<&'a Tally>);

impl<'a> LoadWatch<'a> {
    pub(crate) fn begin(tally: &'a Tally) -> Self {
        tally.count(Count::LoadStarted);
        Self(Some(tally))
    }

    /// It returned; how is counted by whoever looks at what.
    pub(crate) fn returned(mut self) {
        self.0 = None;
    }
}

impl Drop for LoadWatch<'_> {
    fn drop(&mut self) {
        if let Some(tally) = self.0 {
            tally.count(Count::LoadDropped);
        }
    }
}

/// One hit in so many is attributed to its prefix and tags.
pub(crate) const SAMPLE: u64 = 64;

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
    use std::time::Duration;

    use super::*;

    #[test]
    fn threads_count_apart_and_are_read_together() {
        let tally = Tally::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|_| tally.count(Count::MemoryFresh)));
            }
        });
        tally.not_found(MissReason::Absent);
        let counters = tally.read();
        assert_eq!((counters.hits(), counters.misses()), (4_000, 1));
        assert!((counters.hit_ratio() - 4_000.0 / 4_001.0).abs() < 1e-9);
    }

    #[test]
    fn every_outcome_is_one_call_and_a_miss_has_one_reason() {
        let hit = |kind, tier| Outcome::hit(kind, tier, Duration::ZERO);
        let stale = OutcomeKind::Stale;
        let (memory, shared) = (Tier::Memory, Tier::Shared);
        let outcomes = [
            (hit(OutcomeKind::Fresh, memory), true),
            (hit(OutcomeKind::Fresh, shared), true),
            (hit(OutcomeKind::Negative, memory), true),
            (hit(OutcomeKind::Negative, shared), true),
            (hit(stale(StaleReason::Allowed), memory), true),
            (hit(stale(StaleReason::Allowed), shared), true),
            (hit(stale(StaleReason::Throttled), memory), true),
            (
                hit(stale(StaleReason::LoadFailed), memory).because(MissReason::Expired),
                false,
            ),
            (
                hit(stale(StaleReason::SlowLoad), memory).because(MissReason::Expired),
                false,
            ),
            (Outcome::load(OutcomeKind::Loaded, MissReason::Absent), false),
            (Outcome::load(OutcomeKind::Shared, MissReason::Invalidated), false),
            (Outcome::load(OutcomeKind::Fallback, MissReason::Forced), false),
        ];
        for (outcome, is_hit) in outcomes {
            let tally = Tally::new();
            Watch::begin(&tally, None).answered(&outcome);
            let counters = tally.read();
            assert_eq!(
                (counters.hits(), counters.misses(), reasons(&counters)),
                (u64::from(is_hit), u64::from(!is_hit), u64::from(!is_hit)),
                "{outcome}"
            );
        }
    }

    #[test]
    fn a_call_that_nobody_ends_was_abandoned_and_a_load_dropped() {
        let tally = Tally::new();
        Watch::begin(&tally, None).missed(MissReason::Expired);
        drop(LoadWatch::begin(&tally));
        LoadWatch::begin(&tally).returned();
        let counters = tally.read();
        assert_eq!((counters.abandoned, counters.misses_expired), (1, 1));
        assert_eq!((counters.loads_started, counters.loads_dropped), (2, 1));
    }

    #[test]
    fn a_reading_is_written_with_the_names_of_its_fields() {
        let json = serde_json::to_value(Tally::new().read()).expect("counters are numbers");
        for (name, value) in Tally::new().read().iter() {
            assert_eq!(json[name], value, "{name}");
        }
    }

    fn reasons(counters: &Counters) -> u64 {
        let reasons = counters.iter().filter(|(name, _)| name.starts_with("misses_"));
        reasons.map(|(_, count)| count).sum()
    }
}
