//! The supervisor of the connection to one server: lazy, bounded, and never stuck.
//!
//! * Nothing happens before the first operation; then one task keeps a connection for as long as the [`Link`] lives.
//! * While no connection stands and none has failed yet, operations wait for it within their own deadline. After a
//!   failed attempt they fail at once with its reason, and the task tries again every second.
//! * A connection is replaced when the other side closes it, when it is silent for three seconds although a byte is
//!   due, and when an answer says that it leads to the wrong server (a replica, a loading one).
//! * At most `max_in_flight` operations are under way; the next one is refused at once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::PubSub;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::config::{Address, Settings};
use super::connection::{self, Connection, End, Expect};
use super::fault::{self, Answer};
use super::request::Batch;
use super::sentinel::Sentinels;
use crate::shared::{EndpointHealth, Fault, FaultKind};
use crate::sync::{Mutex, lock};
use crate::time::{Clock, SystemClock};

/// The connection to one server, whichever that is at the moment.
pub(super) struct Link {
    core: Arc<Core>,
    supervisor: Mutex<Option<AbortOnDropHandle<()>>>,
}

struct Core {
    target: Target,
    settings: Settings,
    expect: Expect,
    state: watch::Sender<State>,
    in_flight: Semaphore,
    connects: AtomicU64,
}

/// Which server is meant.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// This one.
    Fixed(Address),
    /// The one that sentinels name.
    Sentinel(Arc<Sentinels>),
}

#[derive(Clone, Debug)]
enum State {
    /// An attempt is due or under way, and worth waiting for.
    Connecting,
    Up(Arc<Connection>),
    /// The last attempt failed; the next one is made without anybody waiting for it.
    Down(Fault),
    Closed,
}

impl Target {
    async fn locate(&self) -> Result<Address, Fault> {
        match self {
            Self::Fixed(address) => Ok(address.clone()),
            Self::Sentinel(sentinels) => sentinels.master().await,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(address) => address.fmt(f),
            Self::Sentinel(sentinels) => sentinels.fmt(f),
        }
    }
}

impl Link {
    pub(super) fn new(target: Target, settings: Settings, expect: Expect) -> Self {
        let in_flight = Semaphore::new(settings.max_in_flight.min(Semaphore::MAX_PERMITS));
        Self {
            core: Arc::new(Core {
                target,
                settings,
                expect,
                state: watch::Sender::new(State::Connecting),
                in_flight,
                connects: AtomicU64::new(0),
            }),
            supervisor: Mutex::new(None),
        }
    }

    /// Sends a batch within a budget; see the module's rules. `asking` prefixes every call with `ASKING`.
    pub(super) async fn run(
        &self,
        batch: &Batch,
        asking: bool,
        within: Duration,
    ) -> Result<Vec<Answer>, Fault> {
        let Ok(_permit) = self.core.in_flight.try_acquire() else {
            return Err(Fault::new(
                FaultKind::Overload,
                "too many operations are under way",
            ));
        };
        let sent = AtomicBool::new(false);
        match timeout(within, self.attempt(batch, asking, &sent)).await {
            Ok(result) => result,
            Err(_) if sent.load(Ordering::Relaxed) => {
                Err(fault::timeout("no answer within the budget").after_sending())
            }
            Err(_) => Err(fault::timeout("no connection within the budget")),
        }
    }

    async fn attempt(&self, batch: &Batch, asking: bool, sent: &AtomicBool) -> Result<Vec<Answer>, Fault> {
        let connection = self.connection(0).await?;
        sent.store(true, Ordering::Relaxed);
        match connection.send(batch, asking).await {
            Err(fault) if fault.kind() == FaultKind::Disconnected && batch.repeatable => {
                // The supervisor learns of it by itself; wait for what it brings.
                let next = self.connection(connection.id()).await.map_err(|_| fault)?;
                next.send(batch, asking).await
            }
            Err(fault) => {
                if fault.kind() == FaultKind::Protocol {
                    connection.condemn(fault.clone());
                }
                Err(fault)
            }
            answered => answered,
        }
    }

    /// A usable connection made after the one of this id.
    async fn connection(&self, after: u64) -> Result<Arc<Connection>, Fault> {
        let mut state = self.core.state.subscribe();
        self.supervise();
        loop {
            match &*state.borrow_and_update() {
                State::Up(connection) if connection.id() > after && connection.is_usable() => {
                    return Ok(connection.clone());
                }
                State::Down(fault) => return Err(fault.clone()),
                State::Closed => return Err(closed()),
                State::Connecting | State::Up(_) => {}
            }
            state.changed().await.map_err(|_| closed())?;
        }
    }

    /// Starts the supervisor, also after its runtime has gone.
    fn supervise(&self) {
        let mut supervisor = lock(&self.supervisor);
        if supervisor.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        if matches!(*self.core.state.borrow(), State::Closed) {
            return;
        }
        self.core.state.send_replace(State::Connecting);
        *supervisor = Some(AbortOnDropHandle::new(tokio::spawn(supervise(self.core.clone()))));
    }

    /// A connection of its own, for blocking reads. The caller watches it.
    pub(super) async fn dedicated(&self) -> Result<(Connection, Address), Fault> {
        if matches!(*self.core.state.borrow(), State::Closed) {
            return Err(closed());
        }
        self.core.open().await
    }

    /// A connection of its own, for subscriptions.
    pub(super) async fn subscriber(&self) -> Result<PubSub, Fault> {
        let address = self.core.target.locate().await?;
        connection::open_pubsub(&address, &self.core.settings).await
    }

    /// Whether those who decide still name this address as the master.
    pub(super) async fn confirms(&self, address: &Address) -> bool {
        match &self.core.target {
            Target::Fixed(_) => true,
            Target::Sentinel(sentinels) => sentinels.majority_names(address).await,
        }
    }

    pub(super) fn health(&self) -> EndpointHealth {
        let state = self.core.state.borrow().clone();
        let (connected, last_fault) = match state {
            State::Up(connection) => (connection.is_usable(), None),
            State::Down(fault) => (false, Some(fault)),
            State::Connecting | State::Closed => (false, None),
        };
        let free = self.core.in_flight.available_permits();
        EndpointHealth {
            endpoint: self.core.target.to_string(),
            connected,
            connects: self.core.connects.load(Ordering::Relaxed),
            in_flight: self.core.settings.max_in_flight.saturating_sub(free),
            last_fault,
        }
    }

    pub(super) fn close(&self) {
        self.core.state.send_replace(State::Closed);
        lock(&self.supervisor).take();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.health()).finish()
    }
}

/// Keeps a connection standing, until aborted.
async fn supervise(core: Arc<Core>) {
    loop {
        let began = SystemClock.now();
        let pause = match core.connect().await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                core.connects.fetch_add(1, Ordering::Relaxed);
                core.show(State::Up(connection.clone()));
                let end = connection.watch().await;
                let lived = SystemClock.now().since(began);
                tracing::debug!(endpoint = %core.target, ?end, "a connection to Redis ended");
                core.after(end, lived)
            }
            Err(fault) => {
                tracing::debug!(endpoint = %core.target, %fault, "no connection to Redis");
                let pause = core.pause_after(&fault);
                core.show(State::Down(fault));
                pause.saturating_sub(SystemClock.now().since(began))
            }
        };
        tokio::time::sleep(pause).await;
    }
}

impl Core {
    async fn connect(&self) -> Result<Connection, Fault> {
        self.open().await.map(|(connection, _)| connection)
    }

    async fn open(&self) -> Result<(Connection, Address), Fault> {
        match &self.target {
            Target::Fixed(address) => self.open_at(address.clone()).await,
            Target::Sentinel(sentinels) => {
                let address = sentinels.master().await?;
                let opened = self.open_at(address).await;
                if opened.is_err() {
                    sentinels.distrust_first();
                }
                opened
            }
        }
    }

    async fn open_at(&self, address: Address) -> Result<(Connection, Address), Fault> {
        let connection = Connection::open(&address, &self.settings, self.expect).await?;
        Ok((connection, address))
    }

    /// From one attempt to the next. A server is not asked more often than once a second; sentinels know first when
    /// things change, and are asked more often.
    fn pause_after(&self, fault: &Fault) -> Duration {
        let jitter = Duration::from_millis(rand::random_range(0..=100));
        match (&self.target, fault.kind()) {
            (_, FaultKind::Auth) => Duration::from_secs(1) + jitter,
            (Target::Sentinel(_), _) => Duration::from_millis(300).saturating_sub(jitter),
            (Target::Fixed(_), _) => Duration::from_secs(1).saturating_sub(jitter),
        }
    }

    /// Shows how things stand; a closed link stays closed.
    fn show(&self, next: State) {
        self.state.send_if_modified(|state| {
            let open = !matches!(state, State::Closed);
            if open {
                *state = next;
            }
            open
        });
    }

    /// What to do when a connection has ended: at once anew, unless it was useless or lived too short.
    fn after(&self, end: End, lived: Duration) -> Duration {
        match end {
            End::Condemned(fault) => {
                let pause = self.pause_after(&fault);
                self.show(State::Down(fault));
                pause
            }
            End::Closed | End::Silent if lived >= SHORT_LIFE => {
                self.show(State::Connecting);
                Duration::ZERO
            }
            End::Closed | End::Silent => {
                self.show(State::Down(Fault::new(
                    FaultKind::Disconnected,
                    "the server closes connections at once",
                )));
                SHORT_LIFE
            }
        }
    }
}

fn closed() -> Fault {
    Fault::new(FaultKind::Closed, "the shared tier was closed")
}

/// A connection that ended sooner counts as a failed attempt.
const SHORT_LIFE: Duration = Duration::from_millis(200);
