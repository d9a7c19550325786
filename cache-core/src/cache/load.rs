//! `get_or_load`: the whole read-through path, in reading order, as one caller goes through it.
//!
//! 1. Look at the in-process tier: fresh or negative answers; a stale value is kept to fall back on.
//! 2. Join the flight of the key, or start it.
//! 3. Wait: for the result, for the soft timeout if there is something to fall back on, for the hard timeout.
//! 4. Turn what came into this caller's answer ([`answer`](super::answer)).

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;

use crate::cache::aboard::{LoadBerth, Passage};
use crate::cache::answer::{Answer, aborted};
use crate::cache::context::Running;
use crate::cache::flights::{Arrival, Failure, FlightContext, FlightId, Follower, Leader, Role, Settled};
use crate::cache::lead::{Load, LoadKind};
use crate::cache::near::Near;
use crate::cache::patience::{Patience, sleep};
use crate::cache::tasks::Urgency;
use crate::cache::{Cache, CacheValue, Inner, LoadContext, Wire};
use crate::entry::{AnyEntry, Entry, EntryId};
use crate::error::{Error, LoadError};
use crate::key::CacheKey;
use crate::options::{EntryOptions, Policy};
use crate::outcome::{MissReason, Outcome, OutcomeKind, StaleReason, Tier};
use crate::stats::{Count, Watch};
use crate::sync::Arc;
use crate::waits;

/// A loader without its type: one shape of load code per value and error type, however many loaders there are.
pub(crate) type Loader<'a, T, E> = Box<
    dyn FnOnce(LoadContext<T>) -> Pin<Box<dyn Future<Output = Result<Option<T>, E>> + Send + 'a>> + Send + 'a,
>;

/// A loader, and where it can run.
pub(crate) enum Work<'a, T, E> {
    /// In a task of its own.
    Owned(Loader<'static, T, E>),
    /// In its caller only.
    Borrowed(Loader<'a, T, E>),
}

/// What kind of call it is.
#[derive(Debug)]
pub(crate) struct Plan<T> {
    pub(super) wire: Wire<T>,
    pub(super) forced: bool,
    optional: bool,
}

impl<T> Plan<T> {
    pub(crate) fn read(wire: Wire<T>) -> Self {
        Self {
            wire,
            forced: false,
            optional: false,
        }
    }

    pub(crate) fn forced(mut self) -> Self {
        self.forced = true;
        self
    }

    pub(crate) fn accepting_negatives(mut self) -> Self {
        self.optional = true;
        self
    }
}

/// A call that the in-process tier could not answer at once.
pub(crate) type Reading<'a, T, E> =
    Pin<Box<dyn Future<Output = Result<Answer<T>, LoadError<E>>> + Send + 'a>>;

/// The loader of a value that exists.
pub(crate) fn certain<'a, T, E, F, Fut>(loader: F) -> Loader<'a, T, E>
where
    T: 'a,
    F: FnOnce(LoadContext<T>) -> Fut + Send + 'a,
    Fut: Future<Output = Result<T, E>> + Send + 'a,
{
    Box::new(move |context| {
        let load = loader(context);
        Box::pin(async move { load.await.map(Some) })
    })
}

/// The loader of a value that may not exist.
pub(crate) fn optional<'a, T, E, F, Fut>(loader: F) -> Loader<'a, T, E>
where
    F: FnOnce(LoadContext<T>) -> Fut + Send + 'a,
    Fut: Future<Output = Result<Option<T>, E>> + Send + 'a,
{
    Box::new(move |context| Box::pin(loader(context)))
}

impl Cache {
    /// Boxed, so that a call that hits does not pay for the size of one that misses.
    pub(crate) fn read_through<'a, T, E>(
        &self,
        key: &CacheKey,
        options: EntryOptions,
        plan: Plan<T>,
        work: Work<'a, T, E>,
    ) -> Reading<'a, T, E>
    where
        T: Send + Sync + 'static,
        E: Send + Sync + 'static,
    {
        let id = self.id(key);
        let cache = self.clone();
        Box::pin(async move {
            let options = cache.complete(&options, id.key().prefix());
            let policy = options.resolve()?;
            cache.start_upkeep();
            Call {
                cache,
                id,
                options,
                policy,
                plan,
            }
            .run(work)
            .await
        })
    }
}

impl Cache {
    /// Loads `entry` anew ahead of its end, in the caller. `None` if somebody else does, here or on another node.
    pub(crate) async fn renew<T, E>(
        &self,
        key: &CacheKey,
        options: &EntryOptions,
        entry: &Arc<Entry<T>>,
        loader: Loader<'static, T, E>,
    ) -> Result<Option<Settled>, Error>
    where
        T: CacheValue,
        E: Send + Sync + 'static,
    {
        let options = self.complete(options, key.prefix());
        let call = Call {
            cache: self.clone(),
            id: self.id(key),
            policy: options.resolve()?,
            options,
            plan: Plan::read(Wire::serde()),
        };
        let load = call.load(LoadKind::Eager, Some(entry.clone()));
        Ok(load
            .refresh_here(entry, call.flight_context(true, Arc::default()), loader)
            .await)
    }
}

/// One caller on its way through a load.
pub(super) struct Call<T> {
    pub(super) cache: Cache,
    pub(super) id: EntryId,
    pub(super) options: EntryOptions,
    pub(super) policy: Policy,
    pub(super) plan: Plan<T>,
}

/// What the in-process tier means for a call.
pub(super) enum Start<T> {
    Answer(Answer<T>),
    /// Fresh, and a refresh may be due.
    Eager(Arc<Entry<T>>),
    Load {
        reason: MissReason,
        stale: Option<Arc<Entry<T>>>,
    },
}

/// How a wait for a flight ended.
pub(super) enum Waited<T> {
    Landed(Settled),
    Lead(Leader),
    /// The load is slow, and this stale value may be shown instead.
    Stale(Arc<Entry<T>>),
    /// With what the load so far wants to be answered instead.
    HardTimeout(Option<AnyEntry>),
}

impl<T: Send + Sync + 'static> Call<T> {
    /// Every call ends here, so every call is counted once.
    async fn run<E: Send + Sync + 'static>(self, work: Work<'_, T, E>) -> Result<Answer<T>, LoadError<E>> {
        let mut watch = self.cache.watch(self.id.key().as_key());
        let result = self.go(work, &mut watch).await;
        match &result {
            Ok(answer) => watch.answered(&answer.outcome()),
            Err(error) => watch.failed(error.cache().map(Error::kind)),
        }
        result
    }

    async fn go<E: Send + Sync + 'static>(
        &self,
        work: Work<'_, T, E>,
        watch: &mut Watch<'_>,
    ) -> Result<Answer<T>, LoadError<E>> {
        let mut work = Some(work);
        // Which flights are too old to join: none, until a result turned out to be.
        let mut not_before = 0;
        let mut patience = Patience::of(&self.policy);
        loop {
            // Noted before the look: what is invalidated from here on, this caller may still get.
            let joined = self.cache.inner.epochs.seen();
            let (reason, stale) = match self.start() {
                Start::Answer(answer) => return Ok(answer),
                Start::Eager(entry) => return Ok(self.eager(entry, work)),
                Start::Load { reason, stale } => (reason, stale),
            };
            watch.missed(reason);
            if let Some(failure) = self.recorded::<E>() {
                return self.fail(failure, reason, stale);
            }
            let role = self.join::<E>(matches!(work, Some(Work::Owned(_))), not_before, Arc::default);
            let _edge = self.edge(&role)?;
            let waited = match role {
                Role::Leader(leader) => self.lead(leader, work.take(), &stale, &mut patience).await,
                Role::Follower(follower) => self.follow(follower, None, &stale, &mut patience).await,
            };
            // A leader that gave up leaves the lead to whoever waits.
            let waited = match waited {
                Waited::Lead(leader) => self.lead(leader, work.take(), &stale, &mut patience).await,
                waited => waited,
            };
            let led = work.is_none();
            match waited {
                Waited::Landed(settled) if !led && self.must_ask_again(&settled, joined) => {
                    not_before = joined;
                }
                Waited::Landed(settled) => return self.answer(settled, led, reason, stale),
                Waited::Stale(entry) => return Ok(self.stale(entry, StaleReason::SlowLoad, reason)),
                Waited::HardTimeout(fallback) => return self.fail(self.timed_out(fallback), reason, stale),
                // The lead came back although this caller's loader is spent: its runtime dropped it.
                Waited::Lead(_) => return self.answer(aborted(), led, reason, stale),
            }
        }
    }

    /// Step 1: what the in-process tier says.
    pub(super) fn start(&self) -> Start<T> {
        let inner = &self.cache.inner;
        let now = inner.clock.now();
        if self.plan.forced {
            let stale = match self.cache.near(self.id.key().as_key(), now) {
                Near::Fresh(entry) | Near::Eager(entry) | Near::Stale(entry) => Some(entry),
                Near::Negative(_) | Near::Miss(_) => None,
            };
            return Start::Load {
                reason: MissReason::Forced,
                stale,
            };
        }
        match self.cache.near::<T>(self.id.key().as_key(), now) {
            Near::Fresh(entry) => Start::Answer(self.hit(entry, OutcomeKind::Fresh)),
            Near::Eager(entry) => Start::Eager(entry),
            Near::Negative(entry) if self.plan.optional => {
                let age = entry.0.meta().age(now);
                Start::Answer(Answer::Negative(Outcome::hit(
                    OutcomeKind::Negative,
                    Tier::Memory,
                    age,
                )))
            }
            Near::Negative(_) => missed(MissReason::OtherType, None),
            Near::Stale(entry) if !self.policy.fail_safe => {
                drop(entry);
                missed(MissReason::Expired, None)
            }
            Near::Stale(entry) if entry.meta.is_throttled(now) => {
                Start::Answer(self.hit(entry, OutcomeKind::Stale(StaleReason::Throttled)))
            }
            Near::Stale(entry) => missed(MissReason::Expired, Some(entry)),
            Near::Miss(reason) => missed(reason, None),
        }
    }

    fn eager<E: Send + Sync + 'static>(
        &self,
        entry: Arc<Entry<T>>,
        work: Option<Work<'_, T, E>>,
    ) -> Answer<T> {
        if let Some(Work::Owned(loader)) = work {
            let load = self.load(LoadKind::Eager, Some(entry.clone()));
            load.refresh_if_due(&entry, self.flight_context(true, Arc::default()), loader);
        }
        self.hit(entry, OutcomeKind::Fresh)
    }

    pub(super) fn recorded<E: 'static>(&self) -> Option<Failure> {
        if self.policy.error_ttl.is_zero() || self.plan.forced {
            return None;
        }
        let now = self.cache.inner.clock.now();
        self.cache.inner.failures.recall::<T, E>(self.id.as_ref(), now)
    }

    /// Step 2: the flight of the key that this caller may be part of, if it began at `not_before` or later.
    pub(super) fn join<E: 'static>(
        &self,
        owned: bool,
        not_before: u64,
        berth: impl FnOnce() -> Arc<LoadBerth>,
    ) -> Role {
        // Who asks for a new load shares one that was asked for likewise and has yet to call its loader: that it will is
        // certain, and that it calls it after this.
        let is_new = |flight: &FlightContext| flight.forced && !flight.running.has_begun();
        let admit = |flight: &FlightContext| {
            (!self.plan.forced || is_new(flight)) && flight.seen >= not_before && flight.is_current()
        };
        let flight = FlightId::new::<T, E>(self.id.clone(), self.plan.optional);
        let Inner { flights, tasks, .. } = &*self.cache.inner;
        let role = flights.join(&flight, admit, || self.flight_context(owned, berth()));
        if let Role::Follower(follower) = &role {
            follower.context().call_ashore(tasks);
        }
        role
    }

    fn flight_context(&self, detached: bool, berth: Arc<LoadBerth>) -> FlightContext {
        FlightContext {
            seen: self.cache.inner.epochs.seen(),
            marks: self.cache.marks_of(self.id.key(), self.options.tag_set()),
            forced: self.plan.forced,
            detached: detached.into(),
            berth,
            running: Running::default(),
            urgent: Urgency::default(),
            overdue: false.into(),
        }
    }

    /// Notes the wait, if this call is itself part of a load.
    pub(super) fn edge(&self, role: &Role) -> Result<Option<waits::Edge>, Error> {
        let (flight, context) = match role {
            Role::Leader(leader) => (leader.id(), leader.context()),
            Role::Follower(follower) => (follower.id(), follower.context()),
        };
        let edge = waits::wait_for(flight).inspect_err(|_| self.cache.inner.tally.count(Count::Reentrant))?;
        if edge.is_some() {
            context.urgent.set();
        }
        Ok(edge)
    }

    /// Step 3, for the caller who leads.
    async fn lead<E: Send + Sync + 'static>(
        &self,
        leader: Leader,
        work: Option<Work<'_, T, E>>,
        stale: &Option<Arc<Entry<T>>>,
        patience: &mut Patience,
    ) -> Waited<T> {
        let kind = if self.plan.forced {
            LoadKind::Forced
        } else {
            LoadKind::Miss
        };
        let mut load = self.load(kind, stale.clone());
        let tasks = &self.cache.inner.tasks;
        let detached =
            matches!(work, Some(Work::Owned(_))) && !tasks.is_closing() && tasks.runtime().is_some();
        // Whoever leads now decides: it may have taken over from one of the other kind.
        leader.context().detached.store(detached, Ordering::Relaxed);
        let running = leader.context().running.clone();
        match work {
            Some(Work::Owned(loader)) if detached => {
                let follower = leader.follower();
                let looks_first = self.cache.far().is_some() && kind == LoadKind::Miss;
                load.berth = looks_first.then(|| leader.context().berth.clone());
                let berth = load.berth.clone();
                let task = async move {
                    load.run(leader, loader).await;
                };
                let passage = Passage::begin(tasks, berth, Box::pin(task));
                self.follow(follower, Some(&passage), stale, patience).await
            }
            Some(Work::Owned(loader)) => {
                let load = Box::pin(load.run(leader, loader));
                self.attend(load, running, stale, patience).await
            }
            Some(Work::Borrowed(loader)) => {
                let load = Box::pin(load.run(leader, loader));
                self.attend(load, running, stale, patience).await
            }
            // This caller's loader was dropped with the runtime that ran it; the next in line has its own.
            None => Waited::Landed(aborted()),
        }
    }

    /// Runs a load inside its caller.
    async fn attend(
        &self,
        mut load: impl Future<Output = Option<Settled>> + Unpin,
        running: Running,
        stale: &Option<Arc<Entry<T>>>,
        patience: &mut Patience,
    ) -> Waited<T> {
        let mut may_show = self.may_show(stale);
        loop {
            tokio::select! {
                biased;
                settled = &mut load => return Waited::Landed(settled.unwrap_or_else(aborted)),
                () = &mut patience.soft, if may_show => {
                    may_show = false;
                    if let Some(entry) = self.still_usable(stale) {
                        return Waited::Stale(entry);
                    }
                }
                () = &mut patience.hard => return Waited::HardTimeout(self.fallback(&running)),
            }
        }
    }

    /// Step 3, for the caller who waits, and carries the load as long as it is aboard.
    pub(super) async fn follow(
        &self,
        mut follower: Follower,
        passage: Option<&Passage<'_>>,
        stale: &Option<Arc<Entry<T>>>,
        patience: &mut Patience,
    ) -> Waited<T> {
        let mut may_show = self.may_show(stale);
        loop {
            let Patience { soft, hard } = &mut *patience;
            let is_slow = follower.context().is_overdue();
            let aboard = passage.filter(|passage| !passage.is_over());
            let sailing = async {
                if let Some(passage) = aboard {
                    passage.sail().await;
                }
            };
            let soft_timeout = async {
                if !is_slow {
                    soft.await;
                }
            };
            tokio::select! {
                biased;
                () = sailing, if aboard.is_some() => {}
                // What is aboard lands in this caller's hands, and need not wake it.
                arrival = &mut follower, if aboard.is_none() => return match arrival {
                    Arrival::Landed(settled) => Waited::Landed(settled),
                    Arrival::Lead(leader) => Waited::Lead(leader),
                },
                () = soft_timeout, if may_show => {
                    may_show = false;
                    if let Some(entry) = self.still_usable(stale) {
                        follower.context().overdue.store(true, Ordering::Relaxed);
                        return Waited::Stale(entry);
                    }
                }
                () = hard => return Waited::HardTimeout(self.fallback(&follower.context().running)),
                // Nobody else polls what is aboard.
                () = sleep(self.cache.inner.settings.lock_wait), if aboard.is_none() => {
                    // A task of its own is always polled; a leader inside its caller may not be.
                    if !follower.context().is_detached() && let Some(leader) = follower.usurp() {
                        return Waited::Lead(leader);
                    }
                }
            }
        }
    }

    pub(super) fn load(&self, kind: LoadKind, previous: Option<Arc<Entry<T>>>) -> Load<T> {
        let (cache, id) = (self.cache.clone(), self.id.clone());
        Load {
            cache,
            id,
            policy: self.policy,
            wire: self.plan.wire.written_in(self.policy.codec),
            kind,
            optional: self.plan.optional,
            previous,
            berth: None,
        }
    }

    /// Whether a slow load may be answered for by this stale value.
    fn may_show(&self, stale: &Option<Arc<Entry<T>>>) -> bool {
        self.policy.soft_timeout.is_some() && !self.plan.forced && stale.is_some()
    }

    /// Whether the result is, or may be, older than an invalidation that came before this caller did: of a tag that was
    /// not known when it joined. It asks once, since it then joins only flights that began after it came.
    pub(super) fn must_ask_again(&self, settled: &Settled, joined: u64) -> bool {
        match settled {
            // Others may be shown what is stale, and this caller may not.
            Settled::Slow(_) if !self.policy.fail_safe => true,
            Settled::Loaded(entry)
            | Settled::Found(entry, _)
            | Settled::Doubted(entry)
            | Settled::Slow(entry) => entry.meta().marks.moved_between(entry.meta().seen, joined),
            Settled::Failed(_) => false,
        }
    }
}

fn missed<T>(reason: MissReason, stale: Option<Arc<Entry<T>>>) -> Start<T> {
    Start::Load { reason, stale }
}
