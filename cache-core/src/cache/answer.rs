//! What one caller gets: a value, that there is none, something stale, or the error.

use crate::cache::context::Running;
use crate::cache::flights::{Cause, Failure, Settled};
use crate::cache::load::Call;
use crate::entry::{AnyEntry, Entry, typed};
use crate::error::{Error, ErrorKind, LoadError};
use crate::freshness::Freshness;
use crate::loaded::Loaded;
use crate::outcome::{MissReason, Outcome, OutcomeKind, StaleReason, Tier};
use crate::stats::Count;
use crate::sync::Arc;

/// What a call gets if it gets no error.
#[derive(Debug)]
pub(crate) enum Answer<T> {
    Value(Loaded<T>),
    /// There is no such value.
    Negative(Outcome),
}

impl<T> Answer<T> {
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Value(loaded) => loaded.outcome(),
            Self::Negative(outcome) => *outcome,
        }
    }

    pub(crate) fn optional(self) -> Option<Loaded<T>> {
        match self {
            Self::Value(loaded) => Some(loaded),
            Self::Negative(_) => None,
        }
    }

    /// For loaders that always give a value: their calls pass negative entries by.
    pub(crate) fn certain<E>(self) -> Result<Loaded<T>, LoadError<E>> {
        self.optional().ok_or_else(|| {
            LoadError::Cache(Error::new(
                ErrorKind::Invalid,
                "a load that gives a value shared a flight with one that may not",
            ))
        })
    }
}

impl<T: Send + Sync + 'static> Call<T> {
    pub(super) fn hit(&self, entry: Arc<Entry<T>>, kind: OutcomeKind) -> Answer<T> {
        let age = entry.meta.age(self.cache.inner.clock.now());
        Answer::Value(Loaded::new(entry, Outcome::hit(kind, Tier::Memory, age)))
    }

    /// This caller's answer to how the load ended.
    pub(super) fn answer<E: Send + Sync + 'static>(
        &self,
        settled: Settled,
        led: bool,
        reason: MissReason,
        stale: Option<Arc<Entry<T>>>,
    ) -> Result<Answer<T>, LoadError<E>> {
        let loaded = if led {
            OutcomeKind::Loaded
        } else {
            OutcomeKind::Shared
        };
        match settled {
            Settled::Loaded(entry) => Ok(Self::given(entry, Outcome::load(loaded, reason))),
            Settled::Found(entry, tier) => {
                let now = self.cache.inner.clock.now();
                let age = entry.meta().age(now);
                let kind = if entry.meta().negative {
                    OutcomeKind::Negative
                } else if entry.meta().is_throttled(now) {
                    OutcomeKind::Stale(StaleReason::Throttled)
                } else {
                    OutcomeKind::Fresh
                };
                Ok(Self::given(entry, Outcome::hit(kind, tier, age)))
            }
            // It was good when the wait ended, so it is for those who came before.
            Settled::Slow(entry) => {
                let age = entry.meta().age(self.cache.inner.clock.now());
                let kind = OutcomeKind::Stale(StaleReason::SlowLoad);
                Ok(Self::given(
                    entry,
                    Outcome::hit(kind, Tier::Memory, age).because(reason),
                ))
            }
            Settled::Doubted(entry) => Ok(match self.still_usable(&stale) {
                Some(stale) => self.stale(stale, StaleReason::LoadFailed, reason),
                None => Self::given(entry, Outcome::load(loaded, reason)),
            }),
            Settled::Failed(failure) => self.fail(failure, reason, stale),
        }
    }

    fn given(entry: AnyEntry, outcome: Outcome) -> Answer<T> {
        match typed(entry) {
            Some(entry) => Answer::Value(Loaded::new(entry, outcome)),
            // The flight's types are this call's: what is not a `T` says that there is none.
            None => Answer::Negative(outcome),
        }
    }

    pub(super) fn still_usable(&self, stale: &Option<Arc<Entry<T>>>) -> Option<Arc<Entry<T>>> {
        stale.as_ref().filter(|stale| self.usable(stale)).cloned()
    }

    pub(super) fn stale(&self, entry: Arc<Entry<T>>, because: StaleReason, reason: MissReason) -> Answer<T> {
        let kind = OutcomeKind::Stale(because);
        let age = entry.meta.age(self.cache.inner.clock.now());
        Answer::Value(Loaded::new(
            entry,
            Outcome::hit(kind, Tier::Memory, age).because(reason),
        ))
    }

    /// The best answer to a failure: a stale value, the loader's fallback, or the error.
    pub(super) fn fail<E: Send + Sync + 'static>(
        &self,
        failure: Failure,
        reason: MissReason,
        stale: Option<Arc<Entry<T>>>,
    ) -> Result<Answer<T>, LoadError<E>> {
        let stale = stale.or_else(|| typed(failure.stale.clone()?));
        let stale = stale.filter(|_| !failure.no_stale && !self.plan.forced);
        if let Some(stale) = self.still_usable(&stale) {
            return Ok(self.stale(stale, StaleReason::LoadFailed, reason));
        }
        if let Some(fallback) = failure.fallback {
            return Ok(Self::given(
                fallback,
                Outcome::load(OutcomeKind::Fallback, reason),
            ));
        }
        Err(match failure.cause {
            Cause::Cache(error) => LoadError::Cache(error),
            Cause::Loader(error) => match error.downcast() {
                Ok(error) => LoadError::Loader(error),
                Err(_) => LoadError::Cache(Error::new(
                    ErrorKind::RecordedFailure,
                    "the load failed a moment ago",
                )),
            },
        })
    }

    pub(super) fn fallback(&self, running: &Running) -> Option<AnyEntry> {
        running.fallback(|value: T| self.cache.passing(&self.id, value, self.plan.wire, self.policy))
    }

    pub(super) fn timed_out(&self, fallback: Option<AnyEntry>) -> Failure {
        let waited = self.policy.hard_timeout;
        self.cache.inner.tally.count(Count::CallTimedOut);
        let error = Error::new(
            ErrorKind::LoadTimeout,
            format!("no value after the hard timeout of {waited:?}"),
        );
        Failure {
            fallback,
            ..failure(error)
        }
    }

    /// Whether a stale value may still be shown: it has not ended, and nothing was invalidated since.
    fn usable(&self, stale: &Entry<T>) -> bool {
        let inner = &self.cache.inner;
        let alive = matches!(
            self.cache.freshness(&stale.meta, inner.clock.now()),
            Ok(Freshness::Fresh | Freshness::Stale)
        );
        // A mutation removes the entry, so one that is still in its place was not mutated; of one that was evicted
        // meanwhile only the record of mutations can tell.
        let in_place = || {
            self.cache
                .current(&self.id)
                .is_some_and(|entry| entry.meta().version == stale.meta.version)
        };
        self.policy.fail_safe
            && alive
            && (in_place() || !inner.epochs.mutated_since(&self.id, stale.meta.key_seen()))
    }
}

pub(super) fn aborted() -> Settled {
    Settled::Failed(failure(Error::new(
        ErrorKind::LoadAborted,
        "the load was dropped before it ended",
    )))
}

fn failure(error: Error) -> Failure {
    Failure {
        cause: Cause::Cache(error),
        no_stale: false,
        fallback: None,
        stale: None,
    }
}
