//! [`Cache`]: a cloneable handle whose methods each name a step and leave the doing to it.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::entry::{AnyEntry, EntryId, EntryRef, Prehashed};
use crate::epochs::{Epochs, Namespace};
use crate::error::{Error, ErrorKind, LoadError};
use crate::flight::Flights;
use crate::key::{CacheKey, KeyRef};
use crate::loaded::{Loaded, Lookup, Stored};
use crate::measure::{CounterFamily, Histogram};
use crate::memory::Memory;
use crate::observe::Observer;
use crate::options::{EntryOptions, Policy};
use crate::policies::Policies;
use crate::stats::Tally;
use crate::sync::{Arc, Mutex, lock};
use crate::tag::TagSet;
use crate::time::Clock;
use crate::traffic::TrafficCounter;

mod aboard;
mod ahead;
mod answer;
mod batch;
mod berth;
mod builder;
mod claim;
mod context;
mod failures;
pub(crate) mod far;
mod flights;
mod hold;
mod inspect;
mod install;
mod invalidate;
mod keep;
mod lead;
mod leases;
mod load;
mod lock;
mod memory_cache;
mod near;
mod patience;
mod permit;
mod policy;
mod refresh;
mod run;
mod shape;
mod statistics;
mod tasks;
mod typed;
mod update;
mod upkeep;
pub(crate) mod warm;
mod wire;
mod write;

pub use ahead::Ahead;
pub use builder::CacheBuilder;
pub use claim::{Claim, ClaimAttempt, Claiming, Confirmation, TryClaiming};
pub use context::LoadContext;
pub use inspect::{Inspected, Inspection};
pub use invalidate::{Invalidation, KeyPattern};
pub use lock::{LockGuard, Locking, TryLocking};
pub use memory_cache::{MemoryCache, MemoryCacheBuilder};
pub use permit::StorePermit;
pub use typed::Typed;
pub use update::Updating;

pub(crate) use builder::check_name;

use failures::Failures;
use far::Far;
use flights::{FlightContext, FlightId, Settled};
use leases::Leases;
use tasks::Tasks;
use upkeep::Upkeep;
use warm::Warmers;

pub(crate) use load::{Loader, Plan, Work};
pub(crate) use wire::Wire;

/// What a [`Cache`] can hold: values that can be written to and read from a shared tier.
///
/// Implemented for everything that fits. For values without serde there is [`MemoryCache`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be cached: it must be `Serialize + DeserializeOwned + Send + Sync + 'static`",
    note = "derive serde's `Serialize` and `Deserialize`, or use a `MemoryCache`, which needs neither"
)]
pub trait CacheValue: Serialize + DeserializeOwned + Send + Sync + 'static {}

// Without this the compiler lists whatever else implements serde's traits in this build.
#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> CacheValue for T {}

/// A cache: an in-process tier with single flight, stale fallback, tags and more; see the [crate docs](crate).
///
/// Clones are handles to the same cache. [`namespace`](Self::namespace) gives a handle to a part of it.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
    namespace: Arc<Namespace>,
}

/// What all handles of one cache share.
pub(crate) struct Inner {
    pub(crate) name: Arc<str>,
    clock: Arc<dyn Clock>,
    memory: Memory,
    epochs: Epochs,
    flights: Arc<LoadFlights>,
    failures: Failures,
    leases: Leases,
    namespaces: Mutex<Vec<Arc<Namespace>>>,
    /// The shared tier, if there is one.
    far: Option<Arc<Far>>,
    pub(crate) defaults: EntryOptions,
    policies: Policies,
    /// The defaults, complete: for values that come from the shared tier without a call's options.
    default_policy: Policy,
    tasks: Tasks,
    tally: Tally,
    traffic: TrafficCounter,
    pub(crate) load_times: Histogram,
    families: Mutex<Vec<Arc<CounterFamily>>>,
    observer: Option<Arc<dyn Observer>>,
    upkeep: Upkeep,
    warmers: Warmers,
    settings: Settings,
}

/// The loads in flight: by entry and by the types of value and error, so that every caller understands the result.
pub(crate) type LoadFlights = Flights<FlightId, FlightContext, Settled, Prehashed>;

/// Engine-wide settings; their meaning is told at the builder's setters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) max_load: Duration,
    pub(crate) lock_wait: Duration,
}

impl Cache {
    /// Starts building a cache. The name is its label in metrics and logs, and its outermost namespace.
    pub fn builder(name: impl Into<String>) -> CacheBuilder {
        CacheBuilder::new(name.into())
    }

    /// The name that the cache was built with.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The namespace that this handle reads and writes, the cache's name first.
    pub fn namespace_text(&self) -> &str {
        &self.namespace.text
    }

    /// A handle to a part of this cache: its keys, tags and prefixes are apart from all others', and
    /// [`clear`](Self::clear) on it clears only the part. Clearing the whole clears its parts as well.
    ///
    /// The cache remembers its namespaces for its lifetime, a few hundred bytes each.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) if the name is empty, longer than 64 bytes, or has characters other than
    /// ASCII letters, digits, `_`, `-` and `.`.
    pub fn namespace(&self, name: &str) -> Result<Self, Error> {
        check_name("namespace", name)?;
        let text = format!("{}/{name}", self.namespace.text);
        let mut namespaces = lock(&self.inner.namespaces);
        if let Some(known) = namespaces.iter().find(|known| *known.text == *text) {
            return Ok(self.at(known.clone()));
        }
        let id = u32::try_from(namespaces.len())
            .map_err(|_| Error::invalid("the cache has more namespaces than it can number"))?;
        let namespace = Arc::new(Namespace::within(Some(&self.namespace), id, &text));
        namespaces.push(namespace.clone());
        Ok(self.at(namespace))
    }

    /// Whether [`namespace`](Self::namespace) was called with this name before.
    pub fn has_namespace(&self, name: &str) -> bool {
        let text = format!("{}/{name}", self.namespace.text);
        lock(&self.inner.namespaces)
            .iter()
            .any(|known| *known.text == *text)
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    fn at(&self, namespace: Arc<Namespace>) -> Self {
        Self {
            inner: self.inner.clone(),
            namespace,
        }
    }

    /// The value under `key`, loaded if need be by a loader that owns what it uses.
    ///
    /// * A fresh value is returned at once: no lock, no task, no allocation.
    /// * Otherwise one load runs, however many callers want it, and all get its value or its error. The loader runs in a
    ///   task of its own.
    /// * A stale value ([`EntryOptions::stale_for`]) stands in for a load that fails or exceeds
    ///   [`EntryOptions::soft_timeout`].
    ///
    /// # Errors
    ///
    /// [`LoadError::Loader`] with the loader's error, shared by all who waited; [`LoadError::Cache`] for a load that
    /// timed out, panicked, waits for itself, or has contradicting options. That the value could not be *stored* is
    /// never an error.
    ///
    /// # Cancellation
    ///
    /// Dropping this future gives up this caller's interest. The load goes on for the others, and even without
    /// others, unless [`EntryOptions::abort_when_abandoned`] says otherwise.
    pub async fn get_or_load<T, E, F, Fut>(
        &self,
        key: &CacheKey,
        options: impl Into<EntryOptions> + Send,
        loader: F,
    ) -> Result<Loaded<T>, LoadError<E>>
    where
        T: CacheValue,
        E: Send + Sync + 'static,
        F: FnOnce(LoadContext<T>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        if let Some(hit) = self.hit(key.as_key()) {
            return Ok(hit);
        }
        let work = Work::Owned(load::certain(loader));
        self.read_through(key, options.into(), Plan::read(Wire::serde()), work)
            .await?
            .certain()
    }

    /// Like [`get_or_load`](Self::get_or_load), with a loader that may borrow from the caller.
    ///
    /// The load runs inside the caller's future. When that is dropped, the next waiter runs its own loader; when it
    /// is not polled, waiters lose patience after
    /// [`CacheBuilder::lock_wait`] and one of them loads. There are no background loads with a borrowing loader:
    /// eager refresh does not start, and a soft timeout drops the load.
    ///
    /// # Errors
    ///
    /// As for [`get_or_load`](Self::get_or_load).
    pub async fn get_or_load_borrowed<'a, T, E, F, Fut>(
        &'a self,
        key: &CacheKey,
        options: impl Into<EntryOptions> + Send,
        loader: F,
    ) -> Result<Loaded<T>, LoadError<E>>
    where
        T: CacheValue,
        E: Send + Sync + 'static,
        F: FnOnce(LoadContext<T>) -> Fut + Send + 'a,
        Fut: Future<Output = Result<T, E>> + Send + 'a,
    {
        if let Some(hit) = self.hit(key.as_key()) {
            return Ok(hit);
        }
        let work = Work::Borrowed(load::certain(loader));
        self.read_through(key, options.into(), Plan::read(Wire::serde()), work)
            .await?
            .certain()
    }

    /// Like [`get_or_load`](Self::get_or_load), for values that may not exist: the loader's `Ok(None)` is kept for
    /// [`EntryOptions::negative_ttl`] and answers without another load.
    ///
    /// # Errors
    ///
    /// As for [`get_or_load`](Self::get_or_load).
    pub async fn get_or_load_optional<T, E, F, Fut>(
        &self,
        key: &CacheKey,
        options: impl Into<EntryOptions> + Send,
        loader: F,
    ) -> Result<Option<Loaded<T>>, LoadError<E>>
    where
        T: CacheValue,
        E: Send + Sync + 'static,
        F: FnOnce(LoadContext<T>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Option<T>, E>> + Send + 'static,
    {
        if let Some(hit) = self.hit(key.as_key()) {
            return Ok(Some(hit));
        }
        let work = Work::Owned(load::optional(loader));
        let plan = Plan::read(Wire::serde()).accepting_negatives();
        Ok(self
            .read_through(key, options.into(), plan, work)
            .await?
            .optional())
    }

    /// Loads anew although a fresh value may be there, and announces the new one like [`set`](Self::set).
    ///
    /// It shares no load whose loader was called before it: of many concurrent refreshes of a key, those that come while
    /// one waits for its turn share that one. If it fails, the old entry stays.
    ///
    /// # Errors
    ///
    /// As for [`get_or_load`](Self::get_or_load).
    pub async fn refresh<T, E, F, Fut>(
        &self,
        key: &CacheKey,
        options: impl Into<EntryOptions> + Send,
        loader: F,
    ) -> Result<Loaded<T>, LoadError<E>>
    where
        T: CacheValue,
        E: Send + Sync + 'static,
        F: FnOnce(LoadContext<T>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let work = Work::Owned(load::certain(loader));
        self.read_through(key, options.into(), Plan::read(Wire::serde()).forced(), work)
            .await?
            .certain()
    }

    /// The fresh value under `key`, if a tier has one. Never loads, never returns a stale one.
    pub async fn get<T: CacheValue>(&self, key: &CacheKey) -> Option<Loaded<T>> {
        if let Some(hit) = self.hit(key.as_key()) {
            return Some(hit);
        }
        self.fresh_or_miss(key.as_key(), Wire::serde()).await
    }

    /// The fresh value that the in-process tier has under `key`, without waiting for anything: the hit path for callers
    /// that are not async. A miss is not counted, since it is expected to be followed by a [`get`](Self::get).
    pub fn get_in_process<T: CacheValue>(&self, key: KeyRef<'_>) -> Option<Loaded<T>> {
        self.hit(key)
    }

    /// What the tiers know about `key`, stale values included, and why not if they know nothing.
    pub async fn lookup<T: CacheValue>(&self, key: &CacheKey) -> Lookup<T> {
        self.look_anywhere(key.as_key(), Wire::serde()).await
    }

    /// Whether a fresh value, or a fresh "no such value", is stored under `key`.
    pub async fn contains(&self, key: &CacheKey) -> bool {
        self.remaining_ttl(key).await.is_some()
    }

    /// How long the entry under `key` stays fresh; `None` if there is no fresh one.
    pub async fn remaining_ttl(&self, key: &CacheKey) -> Option<Duration> {
        let here = self.remaining(key.as_key());
        match (here, self.far().cloned()) {
            (Some((remaining, true)), _) => Some(remaining),
            (here, None) => here.map(|(remaining, _)| remaining),
            (here, Some(far)) => {
                self.start_upkeep();
                match self.remaining_far(&far, key).await {
                    Ok(there) => there,
                    Err(fault) => {
                        self.degraded("remaining_ttl", &fault);
                        here.map(|(remaining, _)| remaining)
                    }
                }
            }
        }
    }

    /// Stores `value` under `key`. A load of the key that began earlier cannot overwrite it.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for contradicting options.
    pub async fn set<T: CacheValue>(
        &self,
        key: &CacheKey,
        value: T,
        options: impl Into<EntryOptions> + Send,
    ) -> Result<Stored, Error> {
        self.write(key, Some(value), &options.into(), Wire::serde()).await
    }

    /// The fresh values under `keys`, in their order.
    pub async fn get_many<T: CacheValue>(&self, keys: &[CacheKey]) -> Vec<Option<Loaded<T>>> {
        self.look_for_many(keys, Wire::serde()).await
    }

    /// Stores many values with the same options.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for contradicting options; then nothing is stored.
    pub async fn set_many<T: CacheValue>(
        &self,
        values: impl IntoIterator<Item = (CacheKey, T)> + Send,
        options: impl Into<EntryOptions> + Send,
    ) -> Result<Vec<Stored>, Error> {
        let options = options.into();
        let values = values
            .into_iter()
            .map(|(key, value)| (key, Some(value)))
            .collect();
        self.write_many(values, &options, Wire::serde()).await
    }

    /// Delivers what is pending for the other nodes, for at most half of `timeout`, and logs how much it could not
    /// ([`flush_pending`](Self::flush_pending) returns it). Then runs every task of this cache to its end, for at most
    /// `timeout`, and starts none from now on: later loads run in their callers, and nothing is refreshed in the
    /// background. What has not ended by then is dropped; who waits for it gets a [`LoadAborted`](ErrorKind::LoadAborted).
    /// Without a tokio runtime nothing is waited for.
    ///
    /// # Errors
    ///
    /// [`Closed`](ErrorKind::Closed) with the number of tasks that had not ended.
    pub async fn close(&self, timeout: Duration) -> Result<(), Error> {
        let undelivered = self.flush_pending(timeout / 2).await;
        if undelivered > 0 {
            tracing::warn!(
                cache = self.name(),
                undelivered,
                "invalidations were not delivered before the cache closed"
            );
        }
        let aboard = || self.inner.flights.gather(|flight| flight.berth.call());
        match self.inner.tasks.close(timeout, aboard).await {
            0 => Ok(()),
            left => Err(Error::new(
                ErrorKind::Closed,
                format!(
                    "cache `{}` was closed with {left} loads still running after {timeout:?}",
                    self.name()
                ),
            )),
        }
    }

    /// Runs `task` as one of this cache's own: in the caller's span, and waited for by [`close`](Self::close). It needs
    /// a bound of its own.
    ///
    /// # Errors
    ///
    /// The task, unpolled, where no tokio runtime runs.
    pub fn spawn<F>(&self, task: F) -> Result<(), F>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.start_upkeep();
        self.inner.tasks.spawn(task)
    }

    /// Runs `task` like [`spawn`](Self::spawn), as work that nobody waits for: at most
    /// [`max_background_loads`](CacheBuilder::max_background_loads) of it runs at once.
    ///
    /// # Errors
    ///
    /// The task, unpolled, if the bound is reached, the cache is closing, or no tokio runtime runs.
    pub fn spawn_background<F>(&self, task: F) -> Result<(), F>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(permit) = self.inner.tasks.background_permit() else {
            return Err(task);
        };
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(task);
        }
        // A runtime is there, so the task is taken.
        let _ = self.inner.tasks.spawn(async move {
            let _permit = permit;
            task.await;
        });
        Ok(())
    }

    /// The clock that the cache was built with.
    pub fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    /// Whether there is a shared tier, so that what one node stores another may find.
    pub fn is_shared(&self) -> bool {
        self.far().is_some()
    }

    /// How many loads are in flight.
    pub fn loads_in_flight(&self) -> usize {
        self.inner.flights.len()
    }

    fn id(&self, key: &CacheKey) -> EntryId {
        EntryId::new(self.namespace.id, key.clone())
    }

    #[inline]
    fn entry_ref<'a>(&self, key: KeyRef<'a>) -> EntryRef<'a> {
        EntryRef {
            namespace: self.namespace.id,
            key,
        }
    }

    fn marks_of(&self, key: &CacheKey, tags: &TagSet) -> crate::epochs::Marks {
        self.inner.epochs.marks(&self.namespace, key.prefix(), tags)
    }

    fn namespace_called(&self, text: &str) -> Option<Arc<Namespace>> {
        lock(&self.inner.namespaces)
            .iter()
            .find(|namespace| *namespace.text == *text)
            .cloned()
    }

    fn namespace_id(&self, text: &str) -> Option<u32> {
        Some(self.namespace_called(text)?.id)
    }

    /// A handle to the namespace of an entry of this cache.
    fn within_namespace_of(&self, id: &EntryId) -> Self {
        let namespace = lock(&self.inner.namespaces).get(id.namespace() as usize).cloned();
        self.at(namespace.unwrap_or_else(|| self.namespace.clone()))
    }

    /// The mark that everything in the cache carries.
    fn outermost_mark(&self) -> Arc<crate::epochs::Mark> {
        let outermost = lock(&self.inner.namespaces)
            .first()
            .map(|namespace| namespace.own.clone());
        outermost.unwrap_or_else(|| self.namespace.own.clone())
    }

    fn current(&self, id: &EntryId) -> Option<AnyEntry> {
        self.inner.memory.peek(id.as_ref())
    }
}

impl Inner {
    pub(crate) fn is_closing(&self) -> bool {
        self.tasks.is_closing()
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("namespace", &self.namespace.text)
            .field("memory", &self.inner.memory)
            .finish_non_exhaustive()
    }
}
