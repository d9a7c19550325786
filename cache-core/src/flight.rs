//! Single flight: of all who want one thing at one time, one gets it and the others wait for that.
//!
//! ```text
//! join(key) ──► Leader    does the work and `complete`s; dropping it hands the lead to a follower
//!           └─► Follower  a future: the result, or the lead
//! ```
//!
//! What holds, whatever is dropped when (the model checker drives this file, see the tests):
//!
//! * A flight has at most one leader that it will listen to, and never none while somebody waits.
//! * The first result lands and reaches every follower; a later one of the same flight is ignored.
//! * A follower that is dropped wakes nobody wrongly and leaves nothing behind.
//! * A flight that landed, or that everybody left, is in no map.
//!
//! No I/O, no clock, no runtime. `K` names the thing, `C` is what the leader says about the flight when it starts
//! (a joiner may refuse it and starts another), `V` is the result.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hash};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use super::sync::{Arc, Mutex, lock};

/// All flights of one cache.
pub(crate) struct Flights<K, C, V, S> {
    shards: Box<[Mutex<Shard<K, C, V>>]>,
    hasher: S,
}

type Shard<K, C, V> = HashMap<K, Arc<Flight<C, V>>>;

/// The part that one caller plays.
#[derive(Debug)]
pub(crate) enum Role<K: Key, C, V: Clone, S: Hasher> {
    Leader(Leader<K, C, V, S>),
    Follower(Follower<K, C, V, S>),
}

/// What a follower gets.
#[derive(Debug)]
pub(crate) enum Arrival<K: Key, C, V: Clone, S: Hasher> {
    Landed(V),
    /// The leader left; whoever gets this does the work now.
    Lead(Leader<K, C, V, S>),
}

/// What names a flight.
pub(crate) trait Key: Hash + Eq + Clone {}
impl<K: Hash + Eq + Clone> Key for K {}

/// What finds a flight's shard; only `Clone + Default` hashers are of use, so that every flight finds its own again.
pub(crate) trait Hasher: BuildHasher + Clone + Default {}
impl<S: BuildHasher + Clone + Default> Hasher for S {}

impl<K: Key, C, V: Clone, S: Hasher> Flights<K, C, V, S> {
    pub(crate) fn new(shards: usize) -> Self {
        let hasher = S::default();
        let shards = (0..shards.max(1)).map(|_| Mutex::new(HashMap::new())).collect();
        Self { shards, hasher }
    }

    /// Joins the flight of `key` if there is one that `admit` accepts, and otherwise starts one.
    ///
    /// A flight that is not accepted goes on for those who wait for it already; nobody joins it any more.
    pub(crate) fn join(
        self: &Arc<Self>,
        key: &K,
        admit: impl FnOnce(&C) -> bool,
        context: impl FnOnce() -> C,
    ) -> Role<K, C, V, S> {
        let mut shard = self.shard(key);
        if let Some(flight) = shard.get(key).cloned()
            && admit(&flight.context)
        {
            return self.enter(key, flight);
        }
        Role::Leader(self.start(&mut shard, key, context()))
    }

    /// Starts a flight of `key` unless there is one already.
    pub(crate) fn lead(self: &Arc<Self>, key: &K, context: impl FnOnce() -> C) -> Option<Leader<K, C, V, S>> {
        let mut shard = self.shard(key);
        (!shard.contains_key(key)).then(|| self.start(&mut shard, key, context()))
    }

    /// Takes flights out of sight: who waits goes on waiting, who comes later starts another.
    ///
    /// Looks only where things that hash like `like` are.
    pub(crate) fn detach_where<Q: Hash>(&self, like: &Q, matches: impl Fn(&K) -> bool) {
        let index = self.hasher.hash_one(like) as usize % self.shards.len();
        lock(&self.shards[index]).retain(|key, _| !matches(key));
    }

    /// Takes every flight out of sight.
    pub(crate) fn detach_all(&self) {
        self.shards.iter().for_each(|shard| lock(shard).clear());
    }

    /// What `of` gives of the flights in sight.
    pub(crate) fn gather<R>(&self, of: impl Fn(&C) -> Option<R>) -> Vec<R> {
        let mut gathered = Vec::new();
        for shard in &self.shards {
            gathered.extend(lock(shard).values().filter_map(|flight| of(&flight.context)));
        }
        gathered
    }

    /// How many flights are in sight.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// How many callers wait for flights in sight.
    pub(crate) fn waiting(&self) -> usize {
        let count = |shard: &Mutex<Shard<K, C, V>>| -> usize {
            lock(shard)
                .values()
                .map(|flight| lock(&flight.state).waiters.len())
                .sum()
        };
        self.shards.iter().map(count).sum()
    }

    fn start(self: &Arc<Self>, shard: &mut Shard<K, C, V>, key: &K, context: C) -> Leader<K, C, V, S> {
        let flight = Arc::new(Flight::new(context));
        shard.insert(key.clone(), flight.clone());
        Leader {
            flights: self.clone(),
            key: key.clone(),
            flight,
            generation: 0,
            landed: AtomicBool::new(false),
        }
    }

    fn enter(self: &Arc<Self>, key: &K, flight: Arc<Flight<C, V>>) -> Role<K, C, V, S> {
        let mut state = lock(&flight.state);
        if let Phase::Vacant = state.phase {
            let generation = state.take_lead();
            drop(state);
            return Role::Leader(self.leader(key, flight, generation));
        }
        let seat = state.waiters.sit();
        let generation = state.generation;
        drop(state);
        Role::Follower(Follower {
            flights: self.clone(),
            key: key.clone(),
            flight,
            seat: Some(seat),
            generation,
        })
    }

    fn leader(self: &Arc<Self>, key: &K, flight: Arc<Flight<C, V>>, generation: u64) -> Leader<K, C, V, S> {
        Leader {
            flights: self.clone(),
            key: key.clone(),
            flight,
            generation,
            landed: AtomicBool::new(false),
        }
    }

    fn shard(&self, key: &K) -> super::sync::MutexGuard<'_, Shard<K, C, V>> {
        let index = self.hasher.hash_one(key) as usize % self.shards.len();
        lock(&self.shards[index])
    }

    /// Removes `flight`, if it is the one in sight.
    fn forget(&self, shard: &mut Shard<K, C, V>, key: &K, flight: &Arc<Flight<C, V>>) {
        if shard.get(key).is_some_and(|current| Arc::ptr_eq(current, flight)) {
            shard.remove(key);
        }
    }
}

/// One piece of work, and who waits for it.
struct Flight<C, V> {
    id: u64,
    context: C,
    state: Mutex<State<V>>,
}

struct State<V> {
    phase: Phase<V>,
    /// Grows with each change of leader; a leader of an older generation is not listened to when it leaves.
    generation: u64,
    waiters: Waiters,
    /// Wakes the leader when the last follower has left.
    abandoned: Option<Waker>,
}

enum Phase<V> {
    Led,
    /// The leader left, and somebody waits.
    Vacant,
    Landed(V),
}

impl<C, V> Flight<C, V> {
    fn new(context: C) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let state = State {
            phase: Phase::Led,
            generation: 0,
            waiters: Waiters::default(),
            abandoned: None,
        };
        Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            context,
            state: Mutex::new(state),
        }
    }
}

impl<V> State<V> {
    fn take_lead(&mut self) -> u64 {
        self.phase = Phase::Led;
        self.generation += 1;
        self.generation
    }
}

/// Does the work of a flight. Dropping it before it [landed](Self::land) hands the lead to a follower.
#[must_use]
pub(crate) struct Leader<K: Key, C, V: Clone, S: Hasher> {
    flights: Arc<Flights<K, C, V, S>>,
    key: K,
    flight: Arc<Flight<C, V>>,
    generation: u64,
    landed: AtomicBool,
}

impl<K: Key, C, V: Clone, S: Hasher> Leader<K, C, V, S> {
    /// A number no other flight of this process has.
    pub(crate) fn id(&self) -> u64 {
        self.flight.id
    }

    pub(crate) fn context(&self) -> &C {
        &self.flight.context
    }

    /// One more who waits for this flight.
    pub(crate) fn follower(&self) -> Follower<K, C, V, S> {
        let mut state = lock(&self.flight.state);
        let seat = Some(state.waiters.sit());
        let generation = state.generation;
        drop(state);
        Follower {
            flights: self.flights.clone(),
            key: self.key.clone(),
            flight: self.flight.clone(),
            seat,
            generation,
        }
    }

    /// Lands the flight: everyone who waits gets `value`, unless another leader of this flight was faster. It stays in
    /// sight, and whoever joins gets the value at once, until the leader is dropped.
    pub(crate) fn land(&self, value: V) {
        self.landed.store(true, Ordering::Relaxed);
        let mut state = lock(&self.flight.state);
        if matches!(state.phase, Phase::Landed(_)) {
            return;
        }
        state.phase = Phase::Landed(value);
        let wakers = state.waiters.take_wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Lands the flight, and takes it out of sight.
    pub(crate) fn complete(self, value: V) {
        self.land(value);
    }

    /// Waits until nobody follows.
    pub(crate) fn abandoned(&self) -> Abandoned<'_, C, V> {
        Abandoned { flight: &self.flight }
    }
}

impl<K: Key, C, V: Clone, S: Hasher> Drop for Leader<K, C, V, S> {
    fn drop(&mut self) {
        let mut shard = self.flights.shard(&self.key);
        if self.landed.load(Ordering::Relaxed) {
            self.flights.forget(&mut shard, &self.key, &self.flight);
            return;
        }
        let mut state = lock(&self.flight.state);
        if state.generation != self.generation || !matches!(state.phase, Phase::Led) {
            return;
        }
        state.phase = Phase::Vacant;
        if state.waiters.len() == 0 {
            self.flights.forget(&mut shard, &self.key, &self.flight);
        }
        // Everyone is woken and the first to look takes the lead: waking one of them would have to be repeated
        // whenever that one is dropped, and a leader rarely leaves.
        let wakers = state.waiters.take_wakers();
        drop(state);
        drop(shard);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Waits for a flight. Dropping it withdraws from the flight and disturbs nobody.
#[must_use]
pub(crate) struct Follower<K: Key, C, V: Clone, S: Hasher> {
    flights: Arc<Flights<K, C, V, S>>,
    key: K,
    flight: Arc<Flight<C, V>>,
    /// `None` once the flight was answered or left.
    seat: Option<usize>,
    /// The generation that this follower waits for.
    generation: u64,
}

impl<K: Key, C, V: Clone, S: Hasher> Follower<K, C, V, S> {
    /// A number no other flight of this process has.
    pub(crate) fn id(&self) -> u64 {
        self.flight.id
    }

    pub(crate) fn context(&self) -> &C {
        &self.flight.context
    }

    /// Takes the lead from a leader that has been waited for too long, once per leader: of many impatient followers
    /// one succeeds and the others go on waiting, now for that one.
    pub(crate) fn usurp(&mut self) -> Option<Leader<K, C, V, S>> {
        let mut state = lock(&self.flight.state);
        if !matches!(state.phase, Phase::Led) || state.generation != self.generation {
            self.generation = state.generation;
            return None;
        }
        let generation = state.take_lead();
        self.generation = generation;
        drop(state);
        Some(self.flights.leader(&self.key, self.flight.clone(), generation))
    }
}

impl<K: Key + Unpin, C, V: Clone, S: Hasher> Future for Follower<K, C, V, S> {
    type Output = Arrival<K, C, V, S>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let seat = this.seat.expect("a follower is not polled after it was answered");
        let mut state = lock(&this.flight.state);
        match &state.phase {
            Phase::Led => {
                state.waiters.wait(seat, context.waker());
                Poll::Pending
            }
            Phase::Landed(value) => {
                let value = value.clone();
                state.waiters.leave(seat);
                this.seat = None;
                Poll::Ready(Arrival::Landed(value))
            }
            Phase::Vacant => {
                let generation = state.take_lead();
                state.waiters.leave(seat);
                this.seat = None;
                drop(state);
                let leader = this.flights.leader(&this.key, this.flight.clone(), generation);
                Poll::Ready(Arrival::Lead(leader))
            }
        }
    }
}

impl<K: Key, C, V: Clone, S: Hasher> Drop for Follower<K, C, V, S> {
    fn drop(&mut self) {
        let Some(seat) = self.seat.take() else { return };
        let mut shard = self.flights.shard(&self.key);
        let mut state = lock(&self.flight.state);
        state.waiters.leave(seat);
        if state.waiters.len() > 0 {
            return;
        }
        if let Phase::Vacant = state.phase {
            self.flights.forget(&mut shard, &self.key, &self.flight);
        }
        let abandoned = state.abandoned.take();
        drop(state);
        drop(shard);
        if let Some(waker) = abandoned {
            waker.wake();
        }
    }
}

/// Ends when nobody follows the flight; see [`Leader::abandoned`].
pub(crate) struct Abandoned<'a, C, V> {
    flight: &'a Flight<C, V>,
}

impl<C, V> Future for Abandoned<'_, C, V> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.flight.state);
        if state.waiters.len() == 0 {
            return Poll::Ready(());
        }
        state.abandoned = Some(context.waker().clone());
        Poll::Pending
    }
}

/// Who waits: numbered seats, so that leaving costs the same whoever leaves.
#[derive(Default)]
struct Waiters {
    seats: Vec<Seat>,
    free: Vec<usize>,
}

enum Seat {
    Free,
    Taken(Option<Waker>),
}

impl Waiters {
    fn len(&self) -> usize {
        self.seats.len() - self.free.len()
    }

    fn sit(&mut self) -> usize {
        if let Some(seat) = self.free.pop() {
            self.seats[seat] = Seat::Taken(None);
            return seat;
        }
        self.seats.push(Seat::Taken(None));
        self.seats.len() - 1
    }

    fn wait(&mut self, seat: usize, waker: &Waker) {
        match &mut self.seats[seat] {
            Seat::Taken(Some(current)) if current.will_wake(waker) => {}
            seat => *seat = Seat::Taken(Some(waker.clone())),
        }
    }

    fn leave(&mut self, seat: usize) {
        self.seats[seat] = Seat::Free;
        self.free.push(seat);
    }

    fn take_wakers(&mut self) -> Vec<Waker> {
        let take = |seat: &mut Seat| match seat {
            Seat::Taken(waker) => waker.take(),
            Seat::Free => None,
        };
        self.seats.iter_mut().filter_map(take).collect()
    }
}

impl<K, C, V, S> fmt::Debug for Flights<K, C, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights")
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}

impl<K: Key, C, V: Clone, S: Hasher> fmt::Debug for Leader<K, C, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leader")
            .field("flight", &self.flight.id)
            .finish_non_exhaustive()
    }
}

impl<K: Key, C, V: Clone, S: Hasher> fmt::Debug for Follower<K, C, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("flight", &self.flight.id)
            .finish_non_exhaustive()
    }
}
