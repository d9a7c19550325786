//! Many keys at once, with one loader call for those that are missing.

mod land;
mod load;
mod look;

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::Ordering;

use crate::cache::aboard::{LoadBerth, Passage};
use crate::cache::answer::Answer;
use crate::cache::flights::{Follower, Leader, Role, Settled};
use crate::cache::lead::{Load, LoadKind};
use crate::cache::load::{Call, Plan, Start, Waited};
use crate::cache::patience::Patience;
use crate::cache::{Cache, CacheValue, Wire};
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, LoadError};
use crate::key::CacheKey;
use crate::loaded::Loaded;
use crate::options::EntryOptions;
use crate::outcome::{MissReason, OutcomeKind, StaleReason};
use crate::stats::Watch;
use crate::sync::Arc;
use crate::waits::Edge;

use self::load::load_together;

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
        self.load_many(keys, options.into(), Wire::serde(), loader).await
    }

    /// [`get_or_load_many`](Self::get_or_load_many), for values of any wire.
    pub(crate) async fn load_many<T, E, F, Fut>(
        &self,
        keys: &[CacheKey],
        options: EntryOptions,
        wire: Wire<T>,
        loader: F,
    ) -> Result<Vec<Option<Loaded<T>>>, LoadError<E>>
    where
        T: Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(Vec<CacheKey>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HashMap<CacheKey, T>, E>> + Send + 'static,
    {
        let options = self.complete(&options, keys.first().map_or("", CacheKey::prefix));
        let policy = options.resolve()?;
        let call = |key: &CacheKey| Call {
            cache: self.clone(),
            id: self.id(key),
            options: options.clone(),
            policy,
            plan: Plan::read(wire).accepting_negatives(),
        };
        let calls = keys.iter().map(call).collect();
        let batch = Batch {
            calls,
            answers: keys.iter().map(|_| None).collect(),
            watches: keys.iter().map(|key| self.watch(key.as_key())).collect(),
            not_before: vec![0; keys.len()],
        };
        Box::pin(batch.run(Arc::new(loader))).await
    }
}

/// The callers of one batch, and what each of them got so far.
struct Batch<'a, T> {
    calls: Vec<Call<T>>,
    answers: Vec<Option<Answer<T>>>,
    watches: Vec<Watch<'a>>,
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
    /// Where the load of the former may lie.
    berth: Arc<LoadBerth>,
    /// Who this batch waits for, noted while it does.
    _edges: Vec<Edge>,
}

impl<T: Send + Sync + 'static> Batch<'_, T> {
    async fn run<E, F, Fut>(mut self, loader: Arc<F>) -> Result<Vec<Option<Loaded<T>>>, LoadError<E>>
    where
        E: Send + Sync + 'static,
        F: Fn(Vec<CacheKey>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HashMap<CacheKey, T>, E>> + Send + 'static,
    {
        let result = self.go(loader).await;
        // An error is the batch's: what was not answered by then failed with it.
        if let Err(error) = &result {
            let kind = error.cache().map(Error::kind);
            self.watches.iter_mut().for_each(|watch| watch.failed(kind));
        }
        result
    }

    fn give(&mut self, index: usize, answer: Answer<T>) {
        self.watches[index].answered(&answer.outcome());
        self.answers[index] = Some(answer);
    }

    async fn go<E, F, Fut>(&mut self, loader: Arc<F>) -> Result<Vec<Option<Loaded<T>>>, LoadError<E>>
    where
        E: Send + Sync + 'static,
        F: Fn(Vec<CacheKey>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HashMap<CacheKey, T>, E>> + Send + 'static,
    {
        let Some(first) = self.calls.first() else {
            return Ok(Vec::new());
        };
        let mut patience = Patience::of(&first.policy);
        let cache = first.cache.clone();
        for pass in 0..MAX_PASSES {
            let last = pass + 1 == MAX_PASSES;
            let Departure {
                leaders,
                waits,
                berth,
                _edges,
            } = self.depart::<E>()?;
            let passage = match leaders.is_empty() {
                true => None,
                false => {
                    let load = Together { leaders, berth };
                    start_loading(&cache, load, loader.clone(), &mut patience).await
                }
            };
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
                let waited = call.follow(follower, passage.as_ref(), &stale, &mut patience);
                let answer = match waited.await {
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
                self.give(index, answer);
            }
            if self.answers.iter().all(Option::is_some) {
                let answers = std::mem::take(&mut self.answers).into_iter();
                return Ok(answers.map(|answer| answer.and_then(Answer::optional)).collect());
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
        let berth = Arc::<LoadBerth>::default();
        for index in 0..self.calls.len() {
            if self.answers[index].is_some() {
                continue;
            }
            let call = &self.calls[index];
            let joined = call.cache.inner.epochs.seen();
            let (reason, stale) = match call.start() {
                Start::Answer(answer) => {
                    self.give(index, answer);
                    continue;
                }
                Start::Eager(entry) => {
                    let hit = call.hit(entry, OutcomeKind::Fresh);
                    self.give(index, hit);
                    continue;
                }
                Start::Load { reason, stale } => (reason, stale),
            };
            self.watches[index].missed(reason);
            if let Some(failure) = call.recorded::<E>() {
                let answer = call.fail(failure, reason, stale)?;
                self.give(index, answer);
                continue;
            }
            let role = call.join::<E>(true, self.not_before[index], || berth.clone());
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
            berth,
            _edges: edges,
        })
    }
}

/// What one load is to land, and where it may lie.
struct Together<T> {
    leaders: Vec<(Load<T>, Leader)>,
    berth: Arc<LoadBerth>,
}

impl<T> Together<T> {
    /// Whether everybody who joins one of these flights would find the load.
    fn is_found_by_all(&self) -> bool {
        let lies_there = |leader: &Leader| Arc::ptr_eq(&leader.context().berth, &self.berth);
        self.leaders.iter().all(|(_, leader)| lies_there(leader))
    }
}

/// Loads in a task of its own, or here if none can be started. As long as it only looks into the shared tier it is aboard
/// the caller, on the passage that is returned.
async fn start_loading<'c, T, E, F, Fut>(
    cache: &'c Cache,
    together: Together<T>,
    loader: Arc<F>,
    patience: &mut Patience,
) -> Option<Passage<'c>>
where
    T: Send + Sync + 'static,
    E: Send + Sync + 'static,
    F: Fn(Vec<CacheKey>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<HashMap<CacheKey, T>, E>> + Send + 'static,
{
    let tasks = &cache.inner.tasks;
    let detached = !tasks.is_closing() && tasks.runtime().is_some();
    for (_, leader) in &together.leaders {
        leader.context().detached.store(detached, Ordering::Relaxed);
    }
    let looks_first = detached && cache.far().is_some() && together.is_found_by_all();
    let Together { leaders, berth } = together;
    let berth = looks_first.then_some(berth);
    let load = Box::pin(load_together(leaders, loader, berth.clone()));
    if detached {
        return Some(Passage::begin(tasks, berth, load));
    }
    patience.wait_for(load).await;
    None
}

/// The own keys, those of failed foreign loads, and once more for what was dropped meanwhile.
const MAX_PASSES: usize = 3;
