//! The shared tier, as the engine uses it: what is read there, loaded once for the fleet, changed and heard.
//!
//! ```text
//! read      bytes ─► envelope ─► marks compared ─► an entry for the in-process tier
//! depart    on a miss: the value after all, or the right to load (a lease), or who loads; waits for that one
//! commit    after the load: offer what it gave, or tell how it failed; the lease is given back
//! change    set, remove, marks: the epoch moves, the server changes and announces in one step, the epoch moves again
//! listen    the log of what other nodes changed
//! recovery  changes that the server did not acknowledge, until it does; sets are offered again by `replay`
//! ```
//!
//! Two rules hold everywhere here. A failing shared tier never fails a read or a load: it costs at most one budget and
//! is counted. There is a breaker behind the port, one per server: of what is known to be away, nothing is asked and
//! nobody waits for it. And an answer is believed only if nothing that this node learned while it was under way speaks
//! against it: every question notes the epoch at which it was sent.

mod alone;
mod change;
mod commit;
mod compare;
mod depart;
mod giveback;
mod lease;
mod listen;
mod read;
mod recovery;
mod replay;
mod wakeup;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::cache::Cache;
use crate::codec::Codec;
use crate::codec::envelope::{Framing, Mark as EnvelopeMark, MarkKind, fingerprint};
use crate::entry::EntryId;
use crate::epochs::{Mark, MarkName, MarkView, Marks};
use crate::key::CacheKey;
use crate::measure::SharedTally;
use crate::samples::BREAKER_STATES;
use crate::shared::{self, EndpointHealth, Fault, FaultKind, Shared};
use crate::stats::{Count, SharedStats};
use crate::sync::Arc;
use crate::time::{Clock, Timestamp};

pub(crate) use alone::Keep;
pub(crate) use change::Setting;
pub(crate) use depart::{Departure, Leave, Right, Sight};
pub(crate) use giveback::Holding;
pub(crate) use lease::{End, HeldLease, commit_together, keep_together};
pub(crate) use listen::{WeakCache, listen};
pub(crate) use read::{FarEntry, ReadAs};
pub(crate) use wakeup::Wakeup;

use alone::Alone;
use listen::Hearing;
use recovery::Recovery;

/// The shared tier of one cache.
pub(crate) struct Far {
    port: Arc<dyn Shared>,
    codec: Codec,
    framing: Framing,
    settings: FarSettings,
    /// How long a copy here is served without another look at the original.
    near_cap: Duration,
    hearing: Hearing,
    recovery: Recovery,
    alone: Alone,
    /// Bounds what is told again and again in the background.
    giving_back: Semaphore,
    /// Answers about marks that were asked for before this epoch are not believed any more.
    forget_before: AtomicU64,
    tally: Arc<SharedTally>,
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
    pub(crate) fn new(
        port: Arc<dyn Shared>,
        codec: Codec,
        framing: Framing,
        settings: FarSettings,
        tally: Arc<SharedTally>,
    ) -> Self {
        /// Whatever else could not be given back is told once only.
        const GIVEN_BACK_AGAIN: usize = 256;
        let near_cap = match port.may_lose_notices() {
            true => NEAR_CAP,
            false => Duration::MAX,
        };
        Self {
            near_cap,
            port,
            codec,
            framing,
            settings,
            hearing: Hearing::default(),
            recovery: Recovery::default(),
            alone: Alone::default(),
            giving_back: Semaphore::new(GIVEN_BACK_AGAIN),
            forget_before: AtomicU64::new(0),
            tally,
        }
    }

    /// Whether what was true at `confirmed` may still be served.
    pub(crate) fn trusts(&self, confirmed: Timestamp, now: Timestamp) -> bool {
        now.since(confirmed) <= self.near_cap
            && self
                .hearing
                .trusts(confirmed, now, self.settings.disconnected_cap)
    }

    pub(crate) fn hearing(&self) -> &Hearing {
        &self.hearing
    }

    /// Nobody applies the log any more: what is here is confirmed by nobody.
    pub(crate) fn stop_hearing(&self) {
        self.hearing.stop();
    }

    /// How long one operation may take.
    pub(crate) fn budget(&self) -> Duration {
        self.settings.budget
    }

    /// What was not acknowledged yet.
    pub(crate) fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    pub(crate) fn alone(&self) -> &Alone {
        &self.alone
    }

    pub(crate) fn port(&self) -> &Arc<dyn Shared> {
        &self.port
    }

    /// How long a lock lasts, and how long entries are served while the log is not heard.
    pub(crate) fn regimen(&self) -> (Duration, Duration) {
        (self.settings.lock_ttl, self.settings.disconnected_cap)
    }

    /// Whether a breaker keeps operations from a server.
    pub(crate) fn is_refused(&self) -> bool {
        self.port.health().iter().any(|server| server.breaker != "closed")
    }

    /// What is known without asking.
    pub(crate) fn stats(&self, now: Timestamp) -> SharedStats {
        let servers = self.port.health();
        let sum = |of: fn(&EndpointHealth) -> u64| servers.iter().map(of).sum();
        // The worst of them, in the order of how much they refuse.
        let breakers = servers.iter().map(|server| server.breaker);
        let worst = breakers.max_by_key(|state| BREAKER_STATES.iter().position(|known| known == state));
        SharedStats {
            operation_times: self.tally.took.read(),
            errors: self.tally.faults.read().counts,
            breaker: worst.unwrap_or("closed"),
            breaker_openings: sum(|server| server.breaker_openings),
            servers: servers.len() as u64,
            servers_connected: sum(|server| u64::from(server.connected)),
            in_flight: sum(|server| server.in_flight as u64),
            reconnects: added_up(servers.iter().flat_map(|server| &server.reconnects)),
            log_heard: self.hearing.is_heard(),
            log_lag: self.hearing.last_confirmed().map(|at| now.since(at)),
            log_gaps: self.tally.gaps.read().counts,
            decode_errors: self.tally.unreadable.read().counts,
            pending_invalidations: self.recovery.len() as u64,
        }
    }

    /// Believes no answer about marks that was asked for before `epoch`.
    fn forget_marks(&self, epoch: u64) {
        self.forget_before.fetch_max(epoch, Ordering::SeqCst);
    }

    /// The epoch from which on answers about marks are believed without asking again. While the log is not heard none
    /// is, since nobody would tell that it changed.
    fn believable(&self) -> u64 {
        if self.hearing.is_heard() {
            self.forget_before.load(Ordering::SeqCst)
        } else {
            u64::MAX
        }
    }

    /// The life of marks: beyond any entry that compares itself with them.
    fn marks_ttl(&self) -> Duration {
        crate::options::MAX_TTL.saturating_mul(2)
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
        self.left_at(clock.now())
    }

    /// What is left of it at this instant.
    pub(crate) fn left_at(&self, now: Timestamp) -> Result<Duration, Fault> {
        let left = self.ends.since(now);
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
        // Not `format!`, which costs as much as the rest of a hit in memory.
        let (namespace, key) = (&*self.namespace.text, key.text());
        let mut text = String::with_capacity(namespace.len() + 1 + key.len());
        text.push_str(namespace);
        text.push(':');
        text.push_str(key);
        text
    }

    /// The key's text in the shared tier, of an entry of whatever namespace.
    pub(crate) fn far_key_of(&self, id: &EntryId) -> String {
        self.within_namespace_of(id).far_key(id.key())
    }

    pub(crate) fn far_budget(&self, far: &Far) -> Budget {
        Budget::begin(&*self.inner.clock, far.settings.budget)
    }

    /// Begins an operation on the shared tier.
    pub(crate) fn inquiry<'a>(&self, far: &'a Far) -> Inquiry<'a> {
        Inquiry {
            far,
            budget: self.far_budget(far),
            views: Views::default(),
        }
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

    /// Adds what the shared tier says of `marks`: remembered where that can be relied on, the rest asked for together.
    pub(crate) async fn view_marks(
        &self,
        far: &Far,
        marks: impl IntoIterator<Item = &Arc<Mark>>,
        views: &mut Views,
        budget: &Budget,
    ) -> Result<(), Fault> {
        let believable = far.believable();
        let mut cold = Vec::new();
        for mark in marks {
            if views.get(mark).is_some() {
                continue;
            }
            match mark.known(believable) {
                Some(view) => views.put(mark, view),
                None => cold.push(mark.clone()),
            }
        }
        if cold.is_empty() {
            return Ok(());
        }
        // Boxed: nearly every operation knows its marks, and is the smaller for it.
        Box::pin(self.ask_for_marks(far, cold, views, budget)).await
    }

    /// Asks anew for those of `marks` that were last asked for at `written` or before; whether there were any.
    async fn view_marks_anew(
        &self,
        far: &Far,
        mut marks: Vec<Arc<Mark>>,
        written: Timestamp,
        views: &mut Views,
        budget: &Budget,
    ) -> Result<bool, Fault> {
        let asked_before = |view: &MarkView| view.asked <= written + WRITTEN_WITHIN;
        marks.retain(|mark| views.get(mark).is_none_or(&asked_before));
        let any = !marks.is_empty();
        self.ask_for_marks(far, marks, views, budget).await?;
        Ok(any)
    }

    async fn ask_for_marks(
        &self,
        far: &Far,
        mut marks: Vec<Arc<Mark>>,
        views: &mut Views,
        budget: &Budget,
    ) -> Result<(), Fault> {
        marks.sort_unstable_by_key(|mark| Arc::as_ptr(mark).addr());
        marks.dedup_by(|one, other| Arc::ptr_eq(one, other));
        for marks in marks.chunks(MARKS_PER_QUESTION) {
            let (seen, asked) = (self.inner.epochs.seen(), self.inner.clock.now());
            let names: Vec<shared::Mark<'_>> = marks.iter().map(|mark| mark.name().shared()).collect();
            let within = budget.left(&*self.inner.clock)?;
            let answers = far.port.marks(&names, far.marks_ttl(), within).await?;
            if answers.len() != marks.len() {
                let context = "other marks were answered than asked for";
                return Err(Fault::new(FaultKind::Protocol, context));
            }
            for (mark, versions) in marks.iter().zip(answers) {
                let view = Arc::new(MarkView {
                    hard: fingerprint(versions.hard.as_bytes()),
                    soft: fingerprint(versions.soft.as_bytes()),
                    versions,
                    asked,
                });
                mark.remember(view.clone(), seen);
                views.put(mark, view);
            }
        }
        Ok(())
    }
}

/// One operation on the shared tier: its time, and what it knows of marks.
#[derive(Debug)]
pub(crate) struct Inquiry<'a> {
    pub(crate) far: &'a Far,
    pub(crate) budget: Budget,
    pub(crate) views: Views,
}

/// What one operation knows of marks: the same for all of its steps.
#[derive(Debug, Default)]
pub(crate) struct Views(Vec<(Arc<Mark>, Arc<MarkView>)>);

impl Views {
    pub(crate) fn get(&self, mark: &Arc<Mark>) -> Option<&MarkView> {
        self.0
            .iter()
            .find(|(known, _)| Arc::ptr_eq(known, mark))
            .map(|(_, view)| &**view)
    }

    fn put(&mut self, mark: &Arc<Mark>, view: Arc<MarkView>) {
        match self.0.iter_mut().find(|(known, _)| Arc::ptr_eq(known, mark)) {
            Some((_, known)) => *known = view,
            None => self.0.push((mark.clone(), view)),
        }
    }

    /// What is known of these marks.
    pub(crate) fn of(&self, marks: &Marks) -> Self {
        let known = marks.iter().filter_map(|mark| {
            let (_, view) = self.0.iter().find(|(known, _)| Arc::ptr_eq(known, mark))?;
            Some((mark.clone(), view.clone()))
        });
        Self(known.collect())
    }

    /// The marks with their versions as they stand in an envelope; `None` if one of them was never asked for.
    fn for_envelope<'a>(&self, marks: &'a Marks) -> Option<Vec<EnvelopeMark<'a>>> {
        marks
            .iter()
            .map(|mark| {
                let view = self.get(mark)?;
                let (kind, name) = envelope_name(mark.name());
                Some(EnvelopeMark {
                    kind,
                    name,
                    hard: view.hard,
                    soft: view.soft,
                })
            })
            .collect()
    }
}

/// Runs `last_words` unless it is [disarmed](Self::disarm): for a caller that is cancelled while the shared tier is
/// being asked, or does not hear the answer.
pub(crate) struct Unheard<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Unheard<F> {
    pub(crate) fn run(last_words: F) -> Self {
        Self(Some(last_words))
    }

    /// The caller has heard `answer`. A fault after sending says nothing: what was asked for may have been given.
    pub(crate) fn hear<T>(self, answer: &Result<T, Fault>) {
        match answer {
            Err(fault) if fault.maybe_applied() => {}
            _ => self.disarm(),
        }
    }

    pub(crate) fn disarm(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for Unheard<F> {
    fn drop(&mut self) {
        if let Some(last_words) = self.0.take() {
            last_words();
        }
    }
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

/// Where a node that crashes may have changed a key and told nobody.
const NEAR_CAP: Duration = Duration::from_secs(60);
/// More marks than this are asked for in several questions: a question of many would hold others up on the server.
const MARKS_PER_QUESTION: usize = 500;
/// What is left of a life is told in whole milliseconds: a value may be that much younger than it seems. Asking once more
/// than needed is a question; once less, a load.
const WRITTEN_WITHIN: Duration = Duration::from_millis(1);

/// The counts of each word over all servers, in the order in which they are met.
fn added_up<'a>(counts: impl Iterator<Item = &'a (&'static str, u64)>) -> Vec<(&'static str, u64)> {
    let mut sums: Vec<(&'static str, u64)> = Vec::new();
    for (word, count) in counts {
        match sums.iter_mut().find(|(known, _)| known == word) {
            Some((_, sum)) => *sum += count,
            None => sums.push((word, *count)),
        }
    }
    sums
}
