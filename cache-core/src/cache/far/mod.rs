//! The shared tier, as the engine uses it: what is read there, loaded once for the fleet, changed and heard.
//!
//! ```text
//! read      bytes ─► envelope ─► marks compared ─► an entry for the in-process tier
//! lease     on a miss: the value after all, or the right to load, or who loads; waits for that one
//! change    set, remove, marks: the epoch moves, the server changes and announces in one step, the epoch moves again
//! listen    the log of what other nodes changed
//! recovery  changes that the server did not acknowledge, until it does
//! ```
//!
//! Two rules hold everywhere here. A failing shared tier never fails a read or a load: it costs at most one budget and
//! is counted. And an answer is believed only if nothing that this node learned while it was under way speaks against
//! it: every question notes the epoch at which it was sent.

mod change;
mod lease;
mod listen;
mod read;
mod recovery;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::breaker::{Breaker, Report, Transition};
use crate::cache::Cache;
use crate::codec::Codec;
use crate::codec::envelope::{Framing, Mark, MarkKind, fingerprint};
use crate::entry::EntryId;
use crate::epochs::{MarkName, Marks};
use crate::key::CacheKey;
use crate::shared::{self, Fault, FaultKind, MarkVersions, Reply, Shared};
use crate::stats::Count;
use crate::sync::Arc;
use crate::time::{Clock, Timestamp};

pub(crate) use lease::{Departure, HeldLease, Leave};
pub(crate) use listen::{WeakCache, listen};

use listen::Hearing;
pub(crate) use read::{FarEntry, ReadAs};
use recovery::Recovery;

/// The shared tier of one cache.
pub(crate) struct Far {
    port: Arc<dyn Shared>,
    breaker: Breaker,
    clock: Arc<dyn Clock>,
    codec: Codec,
    framing: Framing,
    settings: FarSettings,
    hearing: Hearing,
    recovery: Recovery,
    /// Answers about marks that were asked for before this epoch are not believed any more.
    forget_before: AtomicU64,
}

/// How the shared tier is used; told at the setters of the builder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FarSettings {
    /// For all steps of a call before its load, together.
    pub(crate) budget: Duration,
    /// How long a lock lasts unless renewed.
    pub(crate) lock_ttl: Duration,
    /// How long versions outlive the longest load.
    pub(crate) lease_window: Duration,
    /// How long entries are served while the log is not heard.
    pub(crate) disconnected_cap: Duration,
    /// The number of this build's form of values.
    pub(crate) schema: u32,
}

impl Far {
    #[cfg(feature = "redis")]
    pub(crate) fn new(
        port: Arc<dyn Shared>,
        clock: Arc<dyn Clock>,
        codec: Codec,
        framing: Framing,
        settings: FarSettings,
    ) -> Self {
        Self {
            port,
            breaker: Breaker::new(crate::breaker::BreakerSettings::default(), rand::random()),
            clock,
            codec,
            framing,
            settings,
            hearing: Hearing::default(),
            recovery: Recovery::default(),
            forget_before: AtomicU64::new(0),
        }
    }

    /// Whether what was true at `confirmed` may still be served.
    pub(crate) fn trusts(&self, confirmed: Timestamp, now: Timestamp) -> bool {
        self.hearing
            .trusts(confirmed, now, self.settings.disconnected_cap)
    }

    /// How long one operation may take.
    pub(crate) fn budget(&self) -> Duration {
        self.settings.budget
    }

    /// What was not acknowledged yet.
    pub(crate) fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    pub(crate) fn port(&self) -> &Arc<dyn Shared> {
        &self.port
    }

    /// Asks the shared tier, unless it has failed so often that asking is a waste: then the question is dropped unsent.
    pub(crate) async fn ask<T>(&self, question: Reply<'_, T>) -> Result<T, Fault> {
        let mut permit = self
            .breaker
            .permit(self.clock.now())
            .map_err(|refused| Fault::new(FaultKind::BreakerOpen, refused.as_str()))?;
        tell(permit.take_transition());
        let answer = question.await;
        let failed = answer
            .as_ref()
            .is_err_and(|fault| fault.kind().counts_for_breaker());
        tell(permit.record(
            if failed { Report::Failed } else { Report::Answered },
            self.clock.now(),
        ));
        answer
    }

    /// Another connection of this node reached the server: the next question finds out whether it answers.
    fn reached(&self) {
        tell(self.breaker.handshake_succeeded());
    }

    /// Believes no answer about marks that was asked for before `epoch`.
    fn forget_marks(&self, epoch: u64) {
        self.forget_before.fetch_max(epoch, Ordering::SeqCst);
    }

    /// The life of marks: beyond any entry that compares itself with them.
    fn marks_ttl(&self) -> Duration {
        crate::options::MAX_TTL.saturating_mul(2)
    }
}

fn tell(transition: Option<Transition>) {
    if let Some(Transition { from, to, cause, .. }) = transition {
        tracing::warn!(
            from = from.as_str(),
            to = to.as_str(),
            cause = cause.as_str(),
            "the shared tier's breaker changed"
        );
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.port.close();
    }
}

impl fmt::Debug for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Far")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// The time that the steps of one call may take together. Once it is over, or a step failed, the rest is skipped.
#[derive(Debug)]
pub(crate) struct Budget {
    ends: Timestamp,
}

impl Budget {
    pub(crate) fn begin(clock: &dyn Clock, length: Duration) -> Self {
        Self {
            ends: clock.now() + length,
        }
    }

    /// What is left of it.
    pub(crate) fn left(&self, clock: &dyn Clock) -> Result<Duration, Fault> {
        let left = self.ends.since(clock.now());
        if left.is_zero() {
            Err(Fault::new(FaultKind::Timeout, "the budget of the call is spent"))
        } else {
            Ok(left)
        }
    }
}

impl Cache {
    /// The shared tier, if there is one and the cache is not closing.
    pub(crate) fn far(&self) -> Option<&Arc<Far>> {
        self.inner.far.as_ref()
    }

    /// The key's text in the shared tier.
    pub(crate) fn far_key(&self, key: &CacheKey) -> String {
        format!("{}:{}", self.namespace.text, key.text())
    }

    pub(crate) fn far_budget(&self, far: &Far) -> Budget {
        Budget::begin(&*self.inner.clock, far.settings.budget)
    }

    /// Counts and tells what the shared tier did not do.
    pub(crate) fn degraded(&self, step: &'static str, fault: &Fault) {
        self.inner.tally.count(Count::Degraded);
        tracing::debug!(
            cache = self.name(),
            step,
            kind = fault.kind().as_str(),
            "the shared tier did not answer"
        );
    }

    /// The versions of `marks`, in their order: remembered ones, and the others asked for together.
    ///
    /// While the log is not heard nothing is remembered, since nobody would tell that it changed. With `anew`,
    /// everything is asked for.
    async fn mark_versions(
        &self,
        far: &Far,
        marks: &Marks,
        anew: bool,
        budget: &Budget,
    ) -> Result<Vec<MarkVersions>, Fault> {
        let seen = self.inner.epochs.seen();
        let believable = if anew || !far.hearing.is_heard() {
            u64::MAX
        } else {
            far.forget_before.load(Ordering::SeqCst)
        };
        let known: Vec<_> = marks.iter().map(|mark| mark.known(believable)).collect();
        let cold: Vec<_> = marks
            .iter()
            .zip(&known)
            .filter(|(_, known)| known.is_none())
            .map(|(mark, _)| mark.clone())
            .collect();
        let mut answers = if cold.is_empty() {
            Vec::new().into_iter()
        } else {
            let names: Vec<shared::Mark<'_>> = cold.iter().map(|mark| mark.name().shared()).collect();
            let within = budget.left(&*self.inner.clock)?;
            let answers = far.ask(far.port.marks(&names, far.marks_ttl(), within)).await?;
            for (mark, answer) in cold.iter().zip(&answers) {
                mark.remember(answer.clone(), seen);
            }
            answers.into_iter()
        };
        let unanswered = || Fault::new(FaultKind::Protocol, "fewer marks were answered than asked for");
        known
            .into_iter()
            .map(|known| known.or_else(|| answers.next()).ok_or_else(unanswered))
            .collect()
    }
}

/// Marks with their versions as they stand in an envelope.
fn envelope_marks<'a>(marks: &'a Marks, versions: &[MarkVersions]) -> Vec<Mark<'a>> {
    let mark = |(mark, versions): (&'a Arc<crate::epochs::Mark>, &MarkVersions)| {
        let (kind, name) = envelope_name(mark.name());
        Mark {
            kind,
            name,
            hard: fingerprint(versions.hard.as_bytes()),
            soft: fingerprint(versions.soft.as_bytes()),
        }
    };
    marks.iter().zip(versions).map(mark).collect()
}

/// A mark's name within an envelope, whose key tells the innermost namespace.
fn envelope_name(name: &MarkName) -> (MarkKind, &str) {
    match name {
        MarkName::Namespace(namespace) => (MarkKind::Namespace, namespace),
        MarkName::Prefix(_, prefix) => (MarkKind::Prefix, prefix),
        MarkName::Tag(_, tag) => (MarkKind::Tag, tag),
    }
}

/// An entry's version, as the port writes it.
pub(crate) fn port_version(version: crate::entry::Version) -> shared::Version {
    shared::Version::from_bytes(version.to_be_bytes())
}

/// The port's version, as an entry has it.
pub(crate) fn entry_version(version: shared::Version) -> crate::entry::Version {
    crate::entry::Version::from_be_bytes(*version.as_bytes())
}

/// The whole key of an entry, by the namespaces that the cache knows; `None` for another cache's.
pub(crate) fn entry_of(cache: &Cache, full_key: &str) -> Option<EntryId> {
    let (namespace, key) = full_key.split_once(':')?;
    let namespace = cache.namespace_id(namespace)?;
    Some(EntryId::new(namespace, CacheKey::parse(key).ok()?))
}
