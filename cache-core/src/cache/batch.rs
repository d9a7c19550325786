//! Many keys at once, with one loader call for those that are missing.

use std::collections::HashMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::task::Poll;

use crate::cache::aboard::{LoadBerth, Passage, go_ashore};
use crate::cache::answer::Answer;
use crate::cache::context::Said;
use crate::cache::far::{
    Departure as Takeoff, End, Far, HeldLease, Holding, Inquiry, Keep, Leave, Right, Sight, commit_together,
    keep_together,
};
use crate::cache::flights::{Cause, Follower, Leader, Role, Settled};
use crate::cache::keep::Kept;
use crate::cache::lead::{Load, LoadKind, STORE_PATIENCE};
use crate::cache::load::{Call, Plan, Start, Waited};
use crate::cache::patience::Patience;
use crate::cache::run::{Ran, deadline, run};
use crate::cache::{Cache, CacheValue, Wire};
use crate::entry::{AnyEntry, Entry};
use crate::error::{Error, ErrorKind, LoadError};
use crate::key::CacheKey;
use crate::loaded::Loaded;
use crate::options::EntryOptions;
use crate::outcome::{MissReason, OutcomeKind, StaleReason, Tier};
use crate::shared::{Ending, LeaseAnswer, LeaseRequest, Refuse};
use crate::stats::{Count, LoadWatch, Watch};
use crate::sync::Arc;
use crate::time::Timestamp;
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

/// A flight whose value is to be loaded, and what it takes along from the shared tier.
struct Ready<T> {
    load: Load<T>,
    leader: Leader,
    leave: Option<(Arc<Far>, Leave<T>)>,
}

/// A flight that another node may be loading.
struct Waiting<T> {
    load: Load<T>,
    leader: Leader,
    refuse: Refuse,
    stale: Option<Arc<Entry<T>>>,
}

/// One loader call for all flights that neither a tier nor another node answers; what other nodes load is waited for
/// meanwhile, and loaded here if they do not.
async fn load_together<T, E, F, Fut>(
    leaders: Vec<(Load<T>, Leader)>,
    loader: Arc<F>,
    berth: Option<Arc<LoadBerth>>,
) where
    T: Send + Sync + 'static,
    E: Send + Sync + 'static,
    F: Fn(Vec<CacheKey>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<HashMap<CacheKey, T>, E>> + Send + 'static,
{
    let mut missing = Vec::with_capacity(leaders.len());
    for (load, leader) in leaders {
        match load.found_meanwhile() {
            Some(found) => leader.complete(Settled::Found(found, Tier::Memory)),
            None => missing.push((load, leader)),
        }
    }
    let Some((first, _)) = missing.first() else { return };
    let Some(far) = first.cache.far().cloned() else {
        let alone = |(load, leader)| Ready {
            load,
            leader,
            leave: None,
        };
        return load_all::<T, E, F, Fut>(missing.into_iter().map(alone).collect(), &loader).await;
    };
    let (ready, waiting) = depart_together(&far, missing, berth.as_deref()).await;
    if ready.is_empty() && waiting.is_empty() {
        return;
    }
    go_ashore(berth.as_deref()).await;
    tokio::join!(
        load_all::<T, E, F, Fut>(ready, &loader),
        load_late::<T, E, F, Fut>(&far, waiting, &loader)
    );
}

/// Reads all keys, and takes the leases of those that are missing, in one round trip each.
async fn depart_together<T: Send + Sync + 'static>(
    far: &Arc<Far>,
    missing: Vec<(Load<T>, Leader)>,
    berth: Option<&LoadBerth>,
) -> (Vec<Ready<T>>, Vec<Waiting<T>>) {
    let Some((first, _)) = missing.first() else {
        return (Vec::new(), Vec::new());
    };
    let (cache, read_as) = (first.cache.clone(), first.read_as());
    let mut inquiry = cache.inquiry(far);
    let read = {
        let ids: Vec<_> = missing.iter().map(|(load, _)| load.id.clone()).collect();
        let marks: Vec<_> = missing
            .iter()
            .map(|(_, leader)| &leader.context().marks)
            .collect();
        cache.read_far_many(&mut inquiry, &ids, &marks, read_as).await
    };
    let mut ready = Vec::new();
    let read = match read {
        Ok(read) => read,
        Err(fault) => {
            for (load, leader) in missing {
                let departure = load.depart_alone(&fault, None);
                ready.extend(take_off(far, load, leader, departure));
            }
            return (ready, Vec::new());
        }
    };
    let mut asking = Vec::new();
    for ((load, leader), read) in missing.into_iter().zip(read) {
        let departure = match load.sight(read) {
            Sight::Found(entry) => Takeoff::Found(entry),
            Sight::Newer => Takeoff::Load(Leave::newer()),
            Sight::Nothing { refuse, stale } => {
                asking.push(Waiting {
                    load,
                    leader,
                    refuse,
                    stale,
                });
                continue;
            }
        };
        ready.extend(take_off(far, load, leader, departure));
    }
    if !asking.is_empty() {
        go_ashore(berth).await;
    }
    let waiting = take_leases(far, &inquiry, asking, &mut ready).await;
    (ready, waiting)
}

/// Takes the leases that are free; the flights of the others.
async fn take_leases<T: Send + Sync + 'static>(
    far: &Arc<Far>,
    inquiry: &Inquiry<'_>,
    asking: Vec<Waiting<T>>,
    ready: &mut Vec<Ready<T>>,
) -> Vec<Waiting<T>> {
    let Some(first) = asking.first() else {
        return Vec::new();
    };
    let cache = first.load.cache.clone();
    let keys: Vec<String> = asking
        .iter()
        .map(|wait| cache.far_key(wait.load.id.key()))
        .collect();
    let requests = asking.iter().zip(&keys);
    let requests = requests.map(|(wait, key)| wait.load.lease_request(far, key, wait.refuse));
    let requests: Vec<LeaseRequest<'_>> = requests.collect();
    let unanswered = requests.iter().map(|request| {
        let holding = Holding::Load(request.key.to_owned());
        cache.give_back_unheard(far, holding, request.token)
    });
    let unanswered: Vec<_> = unanswered.collect();
    let answers = match inquiry.budget.left(cache.clock()) {
        Ok(within) => far.port().lease_many(requests, within).await,
        Err(fault) => Err(fault),
    };
    for unanswered in unanswered {
        unanswered.hear(&answers);
    }
    let answers = match answers {
        Ok(answers) => answers,
        Err(fault) => {
            for Waiting {
                load, leader, stale, ..
            } in asking
            {
                let departure = load.depart_alone(&fault, stale);
                ready.extend(take_off(far, load, leader, departure));
            }
            return Vec::new();
        }
    };
    let mut waiting = Vec::new();
    for ((wait, key), answer) in asking.into_iter().zip(keys).zip(answers) {
        let LeaseAnswer::Lease(lease) = answer else {
            waiting.push(wait);
            continue;
        };
        let Waiting {
            load, leader, stale, ..
        } = wait;
        let departure = Takeoff::Load(Leave {
            right: Right::Lease(HeldLease::new(&cache, far, key, lease).locked(load.policy.distributed)),
            views: inquiry.views.of(&leader.context().marks),
            stale,
        });
        ready.extend(take_off(far, load, leader, departure));
    }
    waiting
}

/// Lands the flight, unless its value is to be loaded.
fn take_off<T: Send + Sync + 'static>(
    far: &Arc<Far>,
    mut load: Load<T>,
    leader: Leader,
    departure: Takeoff<T>,
) -> Option<Ready<T>> {
    match load.take_off(departure, leader.context()) {
        Ok(leave) => Some(Ready {
            load,
            leader,
            leave: Some((far.clone(), leave)),
        }),
        Err(Some(settled)) => {
            leader.complete(settled);
            None
        }
        Err(None) => None,
    }
}

/// Waits for what other nodes load, and loads what they do not.
async fn load_late<T, E, F, Fut>(far: &Arc<Far>, waiting: Vec<Waiting<T>>, loader: &Arc<F>)
where
    T: Send + Sync + 'static,
    E: Send + Sync + 'static,
    F: Fn(Vec<CacheKey>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<HashMap<CacheKey, T>, E>> + Send + 'static,
{
    let mut waits = tokio::task::JoinSet::new();
    for wait in waiting {
        waits.spawn(wait_for_other(far.clone(), wait));
    }
    while let Some(first) = waits.join_next().await {
        // A wait that panicked has dropped its flight's leader: whoever follows takes over.
        let mut ready: Vec<_> = first.ok().flatten().into_iter().collect();
        while let Some(next) = waits.try_join_next() {
            ready.extend(next.ok().flatten());
        }
        load_all::<T, E, F, Fut>(ready, loader).await;
    }
}

async fn wait_for_other<T: Send + Sync + 'static>(far: Arc<Far>, wait: Waiting<T>) -> Option<Ready<T>> {
    let Waiting {
        load,
        leader,
        refuse,
        mut stale,
    } = wait;
    let inquiry = load.cache.inquiry(&far);
    let obtained = load
        .obtain(&far, inquiry, leader.context(), refuse, &mut stale)
        .await;
    let departure = obtained.unwrap_or_else(|fault| load.depart_alone(&fault, stale));
    take_off(&far, load, leader, departure)
}

async fn load_all<T, E, F, Fut>(ready: Vec<Ready<T>>, loader: &Arc<F>)
where
    T: Send + Sync + 'static,
    E: Send + Sync + 'static,
    F: Fn(Vec<CacheKey>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<HashMap<CacheKey, T>, E>> + Send + 'static,
{
    let Some(first) = ready.first() else { return };
    let (cache, flight, limit) = (first.load.cache.clone(), first.leader.id(), first.load.limit());
    // Who waits for one of these flights waits for the load of all.
    let others = ready.iter().skip(1).map(|ready| ready.leader.id());
    let _edges: Vec<Edge> = others.map(|other| waits::landed_by(other, flight)).collect();
    let leases: Vec<&HeldLease> = ready
        .iter()
        .filter_map(|ready| ready.leave.as_ref()?.1.lease())
        .collect();
    let keys = ready.iter().map(|ready| ready.load.id.key().clone()).collect();
    let loading = async {
        let _permit = cache.inner.tasks.load_permit(any_is_urgent(&ready)).await;
        let watch = LoadWatch::begin(&cache.inner.tally);
        let (started, loader) = (cache.inner.clock.now(), loader.clone());
        let ran = run(limit, flight, async move { loader(keys).await }).await;
        watch.returned();
        (started, ran)
    };
    let (started, ran) = tokio::select! {
        biased;
        loaded = loading => loaded,
        never = keep_together(&leases) => match never {},
        () = all_are_abandoned(&ready) => return,
    };
    let now = cache.inner.clock.now();
    let took = now.since(started);
    cache.inner.load_took(took);
    match ran {
        Ran::Value(mut values) => {
            cache.inner.tally.count(Count::LoadOk);
            let kept = ready.into_iter().map(|Ready { load, leader, leave }| {
                let value = values.remove(load.id.key());
                let kept = load.keep(value, Said::default(), leader.context(), now, took);
                (load, leader, leave, kept)
            });
            land_together(kept.collect()).await;
        }
        failed => {
            let cause = cache.cause(failed);
            fail_together::<T, E>(ready, &cause, now).await;
        }
    }
}

/// Ends when some load waits for one of these flights.
async fn any_is_urgent<T>(flights: &[Ready<T>]) {
    let mut urgent: Vec<Pin<Box<_>>> = flights
        .iter()
        .map(|ready| Box::pin(ready.leader.context().urgent.wait()))
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
async fn all_are_abandoned<T: Send + Sync + 'static>(flights: &[Ready<T>]) {
    std::future::poll_fn(|context| {
        let is_abandoned = |Ready { load, leader, .. }: &Ready<T>| {
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

/// What was loaded for one key.
type LoadedOne<T> = (Load<T>, Leader, Option<(Arc<Far>, Leave<T>)>, Kept);

/// Stores what was loaded, and lands the flights.
async fn land_together<T: Send + Sync + 'static>(loaded: Vec<LoadedOne<T>>) {
    let (mut leaders, mut stores) = (Vec::new(), Vec::new());
    for (load, leader, leave, kept) in loaded {
        let seen = leader.context().seen;
        leaders.push((leader, kept.settled));
        if let Some(entry) = kept.entry {
            stores.push((load, leave, entry, seen));
        }
    }
    let mut storing = pin!(store_together(stores));
    // Usually the values are stored when their callers get them. A slow shared tier does not make them wait.
    if deadline(STORE_PATIENCE, storing.as_mut()).await.is_none() {
        for (leader, settled) in &mut leaders {
            leader.land(settled.clone());
        }
        storing.await;
    }
    for (leader, settled) in leaders {
        leader.complete(settled);
    }
}

type Store<T> = (Load<T>, Option<(Arc<Far>, Leave<T>)>, AnyEntry, u64);

async fn store_together<T: Send + Sync + 'static>(stores: Vec<Store<T>>) {
    let (mut offered, mut ends, mut far) = (Vec::new(), Vec::new(), None);
    for (load, leave, entry, seen) in stores {
        let Some((tier, Leave { right, views, .. })) = leave else {
            load.store_here(&entry, seen);
            continue;
        };
        let lease = match right {
            Right::Lease(lease) => lease,
            Right::Newer => {
                load.store_here(&entry, seen);
                continue;
            }
            Right::Away(returns) => {
                load.store_alone(&tier, returns, &entry, seen);
                continue;
            }
        };
        let offer = load.offer(&tier, &lease, &entry, views, seen).await;
        far = Some(tier);
        let (store, keep) = match offer {
            Ok(store) => (store, Keep::Yes),
            Err(_) => (None, Keep::No),
        };
        let ending = match store {
            Some(_) => Ending::Done,
            None => Ending::Released,
        };
        ends.push(End {
            lease,
            store,
            record: None,
            ending,
        });
        offered.push((load, entry, seen, keep));
    }
    let Some(far) = far else { return };
    let returns = far.alone().returns();
    let mut answers = match commit_together(&far, ends).await {
        Ok(answers) => answers.into_iter(),
        Err(fault) => {
            if let Some((load, ..)) = offered.first() {
                load.cache.degraded("commit_many", &fault);
            }
            Vec::new().into_iter()
        }
    };
    for (load, entry, seen, keep) in offered {
        let accepted = match answers.next() {
            Some(answer) => load.settle_commit(&far, answer, seen).await,
            None => Keep::Alone(returns),
        };
        let keep = if keep == Keep::Yes { accepted } else { keep };
        load.store_if(keep, &far, &entry, seen);
    }
}

async fn fail_together<T, E>(ready: Vec<Ready<T>>, cause: &Cause, now: Timestamp)
where
    T: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    let (mut ends, mut tier) = (Vec::new(), None);
    for Ready { load, leader, leave } in ready {
        let settled = load.failed::<E>(cause.clone(), Said::default(), leader.context(), now);
        if let Some((far, Leave { right, views, .. })) = leave
            && let Right::Lease(lease) = right
        {
            ends.push(End {
                ending: lease.failure(cause.kind()),
                lease,
                store: None,
                record: load.record(&far, leader.context(), &views, cause.kind()),
            });
            tier = Some((far, load.cache.clone()));
        }
        leader.complete(settled);
    }
    if let Some((far, cache)) = tier
        && let Err(fault) = commit_together(&far, ends).await
    {
        cache.degraded("commit_many", &fault);
    }
}

/// The own keys, those of failed foreign loads, and once more for what was dropped meanwhile.
const MAX_PASSES: usize = 3;
