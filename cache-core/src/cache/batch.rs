//! Many keys at once, with one loader call for those that are missing.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::Poll;

use crate::cache::context::Said;
use crate::cache::lead::{Follower, Leader, Load, LoadKind, Ran, Role, Settled, run};
use crate::cache::load::{Answer, Call, Patience, Plan, Start, Waited};
use crate::cache::{Cache, CacheValue, Wire};
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, LoadError};
use crate::key::CacheKey;
use crate::loaded::Loaded;
use crate::options::EntryOptions;
use crate::outcome::{MissReason, OutcomeKind, StaleReason, Tier};
use crate::stats::Count;
use crate::sync::Arc;
use crate::telemetry;
use crate::waits::{self, Edge};

impl Cache {
    /// The values under `keys`, in their order; one call of `loader` gets exactly the keys that are missing and that
    /// nobody else is loading. What the loader leaves out is kept as "no such value".
    ///
    /// Keys that others are loading are waited for while the own ones load. If such a foreign load fails, `loader`
    /// is called once more, for those keys.
    ///
    /// # Errors
    ///
    /// The loader's error, if it fails and some missing key has no stale value to stand in; otherwise as for
    /// [`get_or_load`](Self::get_or_load).
    ///
    /// # Cancellation
    ///
    /// As for [`get_or_load`](Self::get_or_load): the load goes on.
    pub async fn get_or_load_many<T, E, F, Fut>(
        &self,
        keys: &[CacheKey],
        options: impl Into<EntryOptions> + Send,
        loader: F,
    ) -> Result<Vec<Option<Loaded<T>>>, LoadError<E>>
    where
        T: CacheValue,
        E: Send + Sync + 'static,
        F: Fn(Vec<CacheKey>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HashMap<CacheKey, T>, E>> + Send + 'static,
    {
        let options = options.into().or(&self.inner.defaults);
        let policy = options.resolve()?;
        let call = |key: &CacheKey| Call {
            cache: self.clone(),
            id: self.id(key),
            options: options.clone(),
            policy,
            plan: Plan::read(Wire::serde()).accepting_negatives(),
        };
        let calls = keys.iter().map(call).collect();
        Box::pin(
            Batch {
                calls,
                answers: keys.iter().map(|_| None).collect(),
                not_before: vec![0; keys.len()],
            }
            .run(Arc::new(loader)),
        )
        .await
    }
}

/// The callers of one batch, and what each of them got so far.
struct Batch<T> {
    calls: Vec<Call<T>>,
    answers: Vec<Option<Answer<T>>>,
    /// Which flights of a key are too old to join.
    not_before: Vec<u64>,
}

/// One key that waits for a flight.
struct Wait<T> {
    index: usize,
    follower: Follower,
    reason: MissReason,
    stale: Option<Arc<Entry<T>>>,
    /// This batch loads the key itself.
    own: bool,
    /// The epoch at which it joined.
    joined: u64,
}

/// What one pass sets out to do.
struct Departure<T> {
    /// The keys that this batch loads.
    leaders: Vec<(Load<T>, Leader)>,
    /// Those, and the keys that others load.
    waits: Vec<Wait<T>>,
    /// Who this batch waits for, noted while it does.
    _edges: Vec<Edge>,
}

impl<T: Send + Sync + 'static> Batch<T> {
    async fn run<E, F, Fut>(mut self, loader: Arc<F>) -> Result<Vec<Option<Loaded<T>>>, LoadError<E>>
    where
        E: Send + Sync + 'static,
        F: Fn(Vec<CacheKey>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HashMap<CacheKey, T>, E>> + Send + 'static,
    {
        let Some(first) = self.calls.first() else {
            return Ok(Vec::new());
        };
        let mut patience = Patience::of(&first.policy);
        for pass in 0..MAX_PASSES {
            let last = pass + 1 == MAX_PASSES;
            let Departure {
                leaders,
                waits,
                _edges,
            } = self.depart::<E>()?;
            if !leaders.is_empty() {
                self.start_loading(leaders, loader.clone(), &mut patience).await;
            }
            for Wait {
                index,
                follower,
                reason,
                stale,
                own,
                joined,
            } in waits
            {
                let call = &self.calls[index];
                let answer = match call.follow(follower, &stale, &mut patience).await {
                    Waited::Landed(Settled::Failed(_)) if !own && !last => continue,
                    Waited::Landed(settled) if !own && call.must_ask_again(&settled, joined) && !last => {
                        self.not_before[index] = joined;
                        continue;
                    }
                    Waited::Landed(settled) => call.answer(settled, own, reason, stale)?,
                    Waited::Stale(entry) => call.stale(entry, StaleReason::SlowLoad, reason),
                    Waited::HardTimeout(fallback) => call.fail(call.timed_out(fallback), reason, stale)?,
                    // Whoever led this key is gone: it is this batch's to load, in the next pass.
                    Waited::Lead(_) => continue,
                };
                self.answers[index] = Some(answer);
            }
            if self.answers.iter().all(Option::is_some) {
                return Ok(self
                    .answers
                    .into_iter()
                    .map(|answer| answer.and_then(Answer::optional))
                    .collect());
            }
        }
        Err(LoadError::Cache(Error::new(
            ErrorKind::LoadAborted,
            "the loads of a batch were dropped again and again",
        )))
    }

    /// Answers what the tiers can answer and joins or starts the flights of the rest.
    fn depart<E: Send + Sync + 'static>(&mut self) -> Result<Departure<T>, LoadError<E>> {
        let (mut leaders, mut waits, mut edges) = (Vec::new(), Vec::new(), Vec::new());
        for (index, call) in self.calls.iter().enumerate() {
            if self.answers[index].is_some() {
                continue;
            }
            let joined = call.cache.inner.epochs.seen();
            let (reason, stale) = match call.start() {
                Start::Answer(answer) => {
                    self.answers[index] = Some(answer);
                    continue;
                }
                Start::Eager(entry) => {
                    self.answers[index] = Some(call.hit(entry, OutcomeKind::Fresh));
                    continue;
                }
                Start::Load { reason, stale } => (reason, stale),
            };
            if let Some(failure) = call.recorded::<E>() {
                self.answers[index] = Some(call.fail(failure, reason, stale)?);
                continue;
            }
            let role = call.join::<E>(true, self.not_before[index]);
            edges.extend(call.edge(&role)?);
            let (follower, own) = match role {
                Role::Follower(follower) => (follower, false),
                Role::Leader(leader) => {
                    let follower = leader.follower();
                    leaders.push((call.load(LoadKind::Miss, stale.clone()), leader));
                    (follower, true)
                }
            };
            waits.push(Wait {
                index,
                follower,
                reason,
                stale,
                own,
                joined,
            });
        }
        Ok(Departure {
            leaders,
            waits,
            _edges: edges,
        })
    }

    /// Loads in a task of its own, or here if none can be started.
    async fn start_loading<E, F, Fut>(
        &self,
        leaders: Vec<(Load<T>, Leader)>,
        loader: Arc<F>,
        patience: &mut Patience,
    ) where
        E: Send + Sync + 'static,
        F: Fn(Vec<CacheKey>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HashMap<CacheKey, T>, E>> + Send + 'static,
    {
        let Some(call) = self.calls.first() else { return };
        let tasks = &call.cache.inner.tasks;
        let detached = !tasks.is_closing() && tasks.runtime().is_some();
        for (_, leader) in &leaders {
            leader.context().detached.store(detached, Ordering::Relaxed);
        }
        let load = load_together(leaders, loader);
        if detached {
            // A task that is not taken any more is dropped, and its leads fall to whoever waits.
            let _ = tasks.spawn(load);
        } else {
            patience.wait_for(load).await;
        }
    }
}

/// One loader call for many flights.
async fn load_together<T, E, F, Fut>(leaders: Vec<(Load<T>, Leader)>, loader: Arc<F>)
where
    T: Send + Sync + 'static,
    E: Send + Sync + 'static,
    F: Fn(Vec<CacheKey>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<HashMap<CacheKey, T>, E>> + Send + 'static,
{
    let Some((first, _)) = leaders.first() else { return };
    let (cache, limit) = (first.cache.clone(), first.limit());
    let _permit = cache.inner.tasks.load_permit(any_is_urgent(&leaders)).await;
    let mut missing = Vec::with_capacity(leaders.len());
    for (load, leader) in leaders {
        match load.found_meanwhile() {
            Some(found) => leader.complete(Settled::Found(found, Tier::Memory)),
            None => missing.push((load, leader)),
        }
    }
    let Some((_, leader)) = missing.first() else {
        return;
    };
    let flight = leader.id();
    let _edges: Vec<Edge> = missing
        .iter()
        .skip(1)
        .map(|(_, other)| waits::landed_by(other.id(), flight))
        .collect();
    let keys = missing.iter().map(|(load, _)| load.id.key().clone()).collect();
    cache.inner.tally.count(Count::Load);
    let started = cache.inner.clock.now();
    let ran = tokio::select! {
        biased;
        ran = run(limit, flight, async move { loader(keys).await }) => ran,
        () = all_are_abandoned(&missing) => return,
    };
    let now = cache.inner.clock.now();
    telemetry::load_took(cache.name(), now.since(started));
    match ran {
        Ran::Value(mut values) => {
            for (load, leader) in missing {
                let value = values.remove(load.id.key());
                let kept = load.keep(value, Said::default(), leader.context(), now, now.since(started));
                if let Some(entry) = &kept.entry {
                    load.store_here(entry, leader.context().seen);
                }
                leader.complete(kept.settled);
            }
        }
        failed => {
            let cause = cache.cause(failed);
            for (load, leader) in missing {
                let settled = load.failed::<E>(cause.clone(), Said::default(), leader.context(), now);
                leader.complete(settled);
            }
        }
    }
}

/// Ends when some load waits for one of these flights.
async fn any_is_urgent<T>(flights: &[(Load<T>, Leader)]) {
    let mut urgent: Vec<Pin<Box<_>>> = flights
        .iter()
        .map(|(_, leader)| Box::pin(leader.context().urgent.wait()))
        .collect();
    std::future::poll_fn(|context| {
        match urgent.iter_mut().any(|one| one.as_mut().poll(context).is_ready()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

/// Ends when nobody waits for any of these flights, if their options say to stop then.
async fn all_are_abandoned<T: Send + Sync + 'static>(flights: &[(Load<T>, Leader)]) {
    std::future::poll_fn(|context| {
        let is_abandoned = |(load, leader): &(Load<T>, Leader)| {
            let mut abandoned = leader.abandoned();
            load.stops_when_abandoned(leader.context()) && Pin::new(&mut abandoned).poll(context).is_ready()
        };
        match flights.iter().all(is_abandoned) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

/// The own keys, those of failed foreign loads, and once more for what was dropped meanwhile.
const MAX_PASSES: usize = 3;
