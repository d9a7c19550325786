//! [`ScriptedStore`]: a shared tier in memory that does what a test tells it to.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};

use crate::shared::{EndpointHealth, Fault, FaultKind, GapReason, Shared, SharedTier};
use crate::sync::{Arc, Mutex, lock};
use crate::testing::intercept::{Asked, Decision, Intercepted, Interceptor, Operation, Pass, deadline};
use crate::testing::server::{Line, Port, Server};
use crate::time::Clock;

/// A shared tier in memory, for tests of fleets without Redis.
///
/// Every cache that is built with it is a node of one fleet: they share values, leases, tags, locks and the log of
/// invalidations, step by step as on Redis. Clones are handles to the same store. [`node`](Self::node) gives a handle
/// whose faults are its own, for tests in which one node is cut off.
///
/// ```
/// use cache_core::testing::{ManualClock, ScriptedStore};
/// use cache_core::{Cache, CacheKey, Tier, time::minutes};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = ManualClock::new();
/// let store = ScriptedStore::new(clock.clone());
/// let node = || Cache::builder("shop").clock(clock.clone()).shared(store.clone()).build();
/// let (one, two) = (node()?, node()?);
///
/// let key = CacheKey::build("price", 7)?;
/// one.set(&key, 100_u32, minutes(5)).await?;
/// let price = two.get::<u32>(&key).await.expect("one has stored it for both");
/// assert_eq!((*price, price.outcome().tier), (100, Some(Tier::Shared)));
///
/// // A node begins to hear the log with its first read, and forgets then what it read before.
/// store.heard().await;
/// two.get::<u32>(&key).await;
/// store.go_away();
/// let price = two.get_or_load(&key, minutes(5), |_| async { Ok::<_, std::io::Error>(101_u32) }).await?;
/// assert_eq!(*price, 100, "what a node has is served while the store is away");
/// # Ok(()) }
/// ```
///
/// Give the store the clock of the caches: it tells how long entries and locks live. As with Redis, nodes hear the log in
/// tasks of their own: [`heard`](Self::heard) waits for them.
#[derive(Clone)]
pub struct ScriptedStore {
    server: Arc<Server>,
    script: Arc<Script>,
}

/// What one handle's operations come to.
#[derive(Debug)]
struct Script {
    line: Line,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// The reach of the store has changed.
    changed: Notify,
    recoveries: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    reach: Reach,
    planned: HashMap<Operation, VecDeque<Planned>>,
    gates: HashMap<Operation, Arc<Barrier>>,
    asked: Vec<Asked>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reach {
    #[default]
    Reachable,
    /// Connections are refused.
    Away,
    /// Nothing is answered.
    Silent,
}

#[derive(Debug)]
enum Planned {
    /// It is not carried out.
    Fail(Fault),
    /// It is carried out, and the answer gets lost.
    LoseAnswer,
}

impl ScriptedStore {
    /// An empty store that tells time by `clock`.
    pub fn new(clock: impl Clock) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let server = Arc::new(Server::new(clock.clone()));
        Self {
            script: Arc::new(Script::new(clock)),
            server,
        }
    }

    /// The same store, through a line of its own: faults that are scripted here concern only the caches that are built
    /// with this handle and its clones.
    #[must_use]
    pub fn node(&self) -> Self {
        Self {
            server: self.server.clone(),
            script: Arc::new(Script::new(self.script.clock.clone())),
        }
    }

    /// The next `times` operations of this kind fail with `kind`, and are not carried out.
    pub fn fail_next(&self, operation: Operation, times: usize, kind: FaultKind) {
        let fault = Fault::new(kind, "scripted");
        self.plan(operation, times, || Planned::Fail(fault.clone()));
    }

    /// The next `times` operations of this kind are carried out, and their callers hear that their time is over: what
    /// was asked may have happened, and did.
    pub fn lose_next_answers(&self, operation: Operation, times: usize) {
        self.plan(operation, times, || Planned::LoseAnswer);
    }

    fn plan(&self, operation: Operation, times: usize, planned: impl Fn() -> Planned) {
        let mut state = lock(&self.script.state);
        let queue = state.planned.entry(operation).or_default();
        queue.extend(std::iter::repeat_with(planned).take(times));
    }

    /// Operations of this kind wait at the gate, from now on until it is opened or their time is over.
    pub fn hold(&self, operation: Operation) -> Gate {
        let barrier = Arc::new(Barrier {
            open: Semaphore::new(0),
            arrived: Semaphore::new(0),
        });
        lock(&self.script.state).gates.insert(operation, barrier.clone());
        Gate {
            script: self.script.clone(),
            operation,
            barrier,
        }
    }

    /// From now on connections are refused: every operation fails at once, and the nodes do not hear the log.
    ///
    /// They know that they do not, as after three heartbeats without an answer.
    pub fn go_away(&self) {
        self.reach(Reach::Away);
    }

    /// From now on nothing is answered: every operation takes all of its time and then fails, and the nodes do not hear
    /// the log.
    pub fn go_silent(&self) {
        self.reach(Reach::Silent);
    }

    /// Everything is answered again. The nodes hear what they missed of the log, and deliver what they could not.
    pub fn come_back(&self) {
        self.reach(Reach::Reachable);
    }

    fn reach(&self, reach: Reach) {
        let before = std::mem::replace(&mut lock(&self.script.state).reach, reach);
        let mut server = self.server.state();
        match (before, reach) {
            (Reach::Reachable, Reach::Away | Reach::Silent) => {
                server.silence_log(self.script.line);
                server.hang_up_on_waiters(self.script.line);
            }
            (Reach::Away | Reach::Silent, Reach::Reachable) => {
                server.release_log(self.script.line);
                self.script.recoveries.send_modify(|times| *times += 1);
            }
            _ => {}
        }
        drop(server);
        self.script.changed.notify_waiters();
    }

    /// The nodes hear nothing of the log until [`release_log`](Self::release_log), and do not know it: what other nodes
    /// invalidate meanwhile is on its way.
    pub fn hold_log(&self) {
        self.server.state().hold_log(self.script.line);
    }

    /// What [`hold_log`](Self::hold_log) held up arrives.
    pub fn release_log(&self) {
        self.server.state().release_log(self.script.line);
    }

    /// The nodes are told that they missed a part of the log: they forget what they have in memory.
    pub fn lose_notices(&self) {
        self.server
            .state()
            .lose_notices(self.script.line, GapReason::Trimmed);
    }

    /// Everything that is stored is lost, for all handles: as `FLUSHALL`.
    pub fn flush(&self) {
        self.server.state().flush();
    }

    /// Whether the store refuses values for lack of memory, for all handles. What invalidates gets through.
    pub fn set_full(&self, full: bool) {
        self.server.state().fill(full);
    }

    /// The full texts of all keys with a value or a tombstone: `namespace:prefix:part..`, in order.
    pub fn keys(&self) -> Vec<String> {
        self.server.state().keys()
    }

    /// Puts bytes under a full key, as another program might; without a `life` they stay for ever.
    pub fn put_raw(&self, key: &str, bytes: impl Into<Vec<u8>>, life: Option<Duration>) {
        self.server.state().put_raw(key, bytes.into(), life);
    }

    /// Deletes what stands under a full key without leaving a trace, as an eviction does.
    pub fn evict(&self, key: &str) {
        self.server.state().delete_raw(key);
    }

    /// Whether somebody holds the lease of a full key: its load is under way, or its holder died.
    pub fn is_leased(&self, key: &str) -> bool {
        self.server.state().is_locked(key)
    }

    /// Takes the lease of a full key away from whoever loads it, as if its time had ended.
    pub fn break_lease(&self, key: &str) {
        self.server.state().delete_lock(key);
    }

    /// Gives the tasks of the caches their turns, until every node has heard what was announced so far (unless it is cut
    /// off, or its log is held).
    ///
    /// Exact on a current-thread runtime. On several threads a node may just be about to begin to hear.
    pub async fn heard(&self) {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        while self.server.state().is_unheard() {
            tokio::task::yield_now().await;
        }
    }

    /// What was asked for through this handle and its clones, in order, refused questions included.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.script.state).asked.clone()
    }

    /// How often this kind of operation was asked for.
    pub fn count(&self, operation: Operation) -> usize {
        let state = lock(&self.script.state);
        let same = |asked: &&Asked| asked.operation == operation;
        state.asked.iter().filter(same).count()
    }

    /// Forgets what was [asked](Self::asked) so far.
    pub fn forget_asked(&self) {
        lock(&self.script.state).asked.clear();
    }
}

impl SharedTier for ScriptedStore {
    fn open(&self, root: &str, clock: Arc<dyn Clock>) -> Arc<dyn Shared> {
        let port = Port::open(self.server.clone(), root, clock, self.script.line);
        Arc::new(Intercepted {
            behind: Arc::new(port),
            interceptor: self.script.clone(),
        })
    }
}

impl fmt::Debug for ScriptedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedStore")
            .field("line", &self.script.line)
            .finish_non_exhaustive()
    }
}

impl Script {
    fn new(clock: Arc<dyn Clock>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            line: NEXT.fetch_add(1, Ordering::Relaxed),
            clock,
            state: Mutex::default(),
            changed: Notify::new(),
            recoveries: watch::Sender::new(0),
        }
    }

    /// Waits while nothing is answered.
    async fn reached(&self) -> Result<(), Fault> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Enabled before the look, so that no change between the two is missed.
            changed.as_mut().enable();
            let reach = lock(&self.state).reach;
            match reach {
                Reach::Reachable => return Ok(()),
                Reach::Away => return Err(Fault::new(FaultKind::Connect, "the store is away")),
                Reach::Silent => changed.await,
            }
        }
    }

    async fn pass(&self, operation: Operation) -> Result<(), Fault> {
        self.reached().await?;
        let gate = lock(&self.state).gates.get(&operation).cloned();
        if let Some(barrier) = gate {
            barrier.wait().await;
        }
        Ok(())
    }
}

impl Interceptor for Script {
    fn decide(&self, asked: Asked, within: Duration) -> Decision<'_> {
        Box::pin(async move {
            let operation = asked.operation;
            lock(&self.state).asked.push(asked);
            let began = self.clock.now();
            let Some(passed) = deadline(within, self.pass(operation)).await else {
                return Err(timed_out());
            };
            passed?;
            let left = within.saturating_sub(self.clock.now().since(began));
            let planned = lock(&self.state)
                .planned
                .get_mut(&operation)
                .and_then(VecDeque::pop_front);
            match planned {
                Some(Planned::Fail(fault)) => Err(fault),
                Some(Planned::LoseAnswer) => Ok(Pass {
                    left,
                    lost: Some(timed_out()),
                }),
                None => Ok(Pass { left, lost: None }),
            }
        })
    }

    fn health(&self, mut behind: Vec<EndpointHealth>) -> Vec<EndpointHealth> {
        let reach = lock(&self.state).reach;
        for endpoint in &mut behind {
            if reach != Reach::Reachable {
                endpoint.connected = false;
                endpoint.last_fault = Some(Fault::new(FaultKind::Connect, "the store is away"));
            }
        }
        behind
    }

    fn recoveries(&self, _: watch::Receiver<u64>) -> watch::Receiver<u64> {
        self.recoveries.subscribe()
    }
}

fn timed_out() -> Fault {
    Fault::new(FaultKind::Timeout, "no answer within the budget").after_sending()
}

/// Where operations of one kind wait, until it is opened or dropped.
#[must_use = "dropping it opens it"]
#[derive(Debug)]
pub struct Gate {
    script: Arc<Script>,
    operation: Operation,
    barrier: Arc<Barrier>,
}

#[derive(Debug)]
struct Barrier {
    open: Semaphore,
    arrived: Semaphore,
}

impl Barrier {
    async fn wait(&self) {
        self.arrived.add_permits(1);
        // Closed is open for all.
        if let Ok(permit) = self.open.acquire().await {
            permit.forget();
        }
    }
}

impl Gate {
    /// Waits until `operations` more have arrived at the gate.
    pub async fn arrived(&self, operations: u32) {
        // It is never closed.
        if let Ok(permits) = self.barrier.arrived.acquire_many(operations).await {
            permits.forget();
        }
    }

    /// Lets so many pass: of those that wait, and then of those to come.
    pub fn let_through(&self, operations: usize) {
        self.barrier.open.add_permits(operations);
    }

    /// Lets everything pass from now on.
    pub fn open(self) {}
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.barrier.open.close();
        let mut state = lock(&self.script.state);
        let gates = &mut state.gates;
        // Another gate may stand there by now.
        if gates
            .get(&self.operation)
            .is_some_and(|gate| Arc::ptr_eq(gate, &self.barrier))
        {
            gates.remove(&self.operation);
        }
    }
}

/// More than a task of a cache needs to begin.
const TURNS: usize = 16;
