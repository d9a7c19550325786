//! The supervisor of the connection to one server: lazy, bounded, and never stuck.
//!
//! * Nothing happens before the first operation; then one task keeps a connection for as long as the [`Link`] lives.
//! * While no connection stands and none has failed yet, operations wait for it within their own deadline. After a
//!   failed attempt they fail at once with its reason, and the task tries again every second.
//! * A connection is replaced when the other side closes it, when it is silent for three seconds although a byte is
//!   due, when an answer says that it leads to the wrong server (a replica, a loading one), and when a majority of the
//!   sentinels names another one.
//! * In front of it all is the breaker: a server that fails is not asked. Every connection made, and every sign of life
//!   on a quiet one, lets the supervisor probe it, so that recovery waits for no caller.
//! * At most `max_in_flight` operations are under way; the next one is refused at once.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::PubSub;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::config::{Address, Settings};
use super::connection::{self, Connection, End, Expect};
use super::fault::{self, Answer, Refusal};
use super::request::Batch;
use super::sentinel::Sentinels;
use crate::breaker::{Breaker, BreakerSettings, BreakerState, Permit, Report, Transition};
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
    in_flight: AtomicUsize,
    connects: AtomicU64,
    /// Connections made in place of others, in the order of [`REASONS`].
    reconnects: [AtomicU64; REASONS.len()],
    breaker_openings: AtomicU64,
    breaker: Breaker,
    /// Counts recoveries, for all links of a tier.
    recoveries: watch::Sender<u64>,
}

/// Which server is meant.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// This one.
    Fixed(Address),
    /// The one that sentinels name.
    Sentinel(Arc<Sentinels>),
}

/// What those who decide who the master is say of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Named,
    /// Another one is.
    Deposed,
    /// They are not reached, or do not agree.
    Unknown,
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

    async fn standing(&self, address: &Address) -> Standing {
        match self {
            Self::Fixed(_) => Standing::Named,
            Self::Sentinel(sentinels) => match sentinels.majority().await {
                Some(named) if named == *address => Standing::Named,
                Some(_) => Standing::Deposed,
                None => Standing::Unknown,
            },
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
    pub(super) fn new(
        target: Target,
        settings: Settings,
        expect: Expect,
        recoveries: &watch::Sender<u64>,
    ) -> Self {
        Self {
            core: Arc::new(Core {
                target,
                settings,
                expect,
                state: watch::Sender::new(State::Connecting),
                in_flight: AtomicUsize::new(0),
                connects: AtomicU64::new(0),
                reconnects: Default::default(),
                breaker_openings: AtomicU64::new(0),
                breaker: Breaker::new(BreakerSettings::default(), rand::random()),
                recoveries: recoveries.clone(),
            }),
            supervisor: Mutex::new(None),
        }
    }

    /// Sends a batch within a budget; see the module's rules. `asking` prefixes every call with `ASKING`.
    pub(super) async fn run(
        &self,
        batch: &Batch<'_>,
        asking: bool,
        within: Duration,
    ) -> Result<Vec<Answer>, Fault> {
        let permit = self.core.permit()?;
        let _place = self.core.place()?;
        let result = self.within(batch, asking, within).await;
        self.core.record(permit, report(&result));
        result
    }

    async fn within(&self, batch: &Batch<'_>, asking: bool, within: Duration) -> Result<Vec<Answer>, Fault> {
        let sent = AtomicBool::new(false);
        let mut attempt = pin!(self.attempt(batch, asking, &sent));
        for _ in 0..MAX_LATE {
            let began = SystemClock.coarse();
            if let Ok(result) = timeout(within, attempt.as_mut()).await {
                return result;
            }
            // A process that is so late itself has not looked yet at what the server answered.
            if SystemClock.now().since(began) < within * 2 {
                break;
            }
        }
        Err(match sent.load(Ordering::Relaxed) {
            true => fault::timeout("no answer within the budget").after_sending(),
            false => fault::timeout("no connection within the budget"),
        })
    }

    async fn attempt(
        &self,
        batch: &Batch<'_>,
        asking: bool,
        sent: &AtomicBool,
    ) -> Result<Vec<Answer>, Fault> {
        let connection = self.connection(0).await?;
        sent.store(true, Ordering::Relaxed);
        match connection.send(batch, asking).await {
            Err(fault) if fault.kind() == FaultKind::Disconnected && batch.repeatable => {
                // The supervisor learns of it by itself; wait for what it brings.
                let next = self.connection(connection.id()).await.map_err(|_| fault)?;
                Box::pin(next.send(batch, asking)).await
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
        if let State::Up(connection) = &*self.core.state.borrow()
            && connection.id() > after
            && connection.is_usable()
        {
            return Ok(connection.clone());
        }
        // Boxed, like all that is rare: every operation carries the room for what it may have to wait for.
        Box::pin(self.wait_for_connection(after)).await
    }

    async fn wait_for_connection(&self, after: u64) -> Result<Arc<Connection>, Fault> {
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

    /// What those who decide say of this address.
    /// Makes a new connection in place of this one.
    pub(super) fn mistrust(&self, why: &Fault) {
        if let State::Up(connection) = &*self.core.state.borrow() {
            connection.condemn(why.clone());
        }
    }

    pub(super) async fn standing(&self, address: &Address) -> Standing {
        self.core.target.standing(address).await
    }

    pub(super) fn health(&self) -> EndpointHealth {
        let state = self.core.state.borrow().clone();
        let (connected, last_fault) = match state {
            State::Up(connection) => (connection.is_usable(), None),
            State::Down(fault) => (false, Some(fault)),
            State::Connecting | State::Closed => (false, None),
        };
        EndpointHealth {
            endpoint: self.core.target.to_string(),
            connected,
            connects: self.core.connects.load(Ordering::Relaxed),
            reconnects: self.core.reconnects(),
            in_flight: self.core.in_flight.load(Ordering::Relaxed),
            last_fault,
            breaker: self.core.breaker.state().as_str(),
            breaker_openings: self.core.breaker_openings.load(Ordering::Relaxed),
        }
    }

    /// For operators: refuses everything, or closes the breaker at once.
    pub(super) fn force_breaker(&self, open: bool) {
        let transition = if open {
            self.core.breaker.force_open()
        } else {
            self.core.breaker.force_close()
        };
        self.core.tell(transition);
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
    let mut replaced: Option<usize> = None;
    loop {
        let began = SystemClock.now();
        let pause = match core.open().await {
            Ok((connection, address)) => {
                let connection = Arc::new(connection);
                core.connects.fetch_add(1, Ordering::Relaxed);
                if let Some(reason) = replaced.take() {
                    core.reconnects[reason].fetch_add(1, Ordering::Relaxed);
                }
                core.show(State::Up(connection.clone()));
                let end = core.attend(&connection, &address).await;
                let lived = SystemClock.now().since(began);
                tracing::debug!(endpoint = %core.target, ?end, "a connection to Redis ended");
                replaced = Some(reason_of(&end));
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

/// An operation's place among those that may be under way; free again when this is dropped.
struct Taken<'c>(&'c AtomicUsize);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a call says about the server's health.
fn report(result: &Result<Vec<Answer>, Fault>) -> Report {
    let failed = |fault: &Fault| fault.kind().counts_for_breaker();
    match result {
        Err(fault) if failed(fault) => Report::Failed,
        Err(_) => Report::Abandoned,
        Ok(answers) => {
            let ill = answers
                .iter()
                .any(|answer| matches!(answer, Err(Refusal::Fault(fault)) if failed(fault)));
            if ill { Report::Failed } else { Report::Answered }
        }
    }
}

/// The place of a reason in [`REASONS`].
fn reason_of(end: &End) -> usize {
    match end {
        End::Closed => 0,
        End::Silent => 1,
        End::Condemned(_) => 2,
        End::Deposed => 3,
    }
}

/// How often a process that could not run in time looks again whether it was answered.
const MAX_LATE: u32 = 8;

/// Why a connection was replaced: the server closed it, it fell silent, an answer said that it is of no use, or a
/// majority of the sentinels names another server.
const REASONS: [&str; 4] = ["closed", "silent", "refused", "deposed"];

impl Core {
    fn reconnects(&self) -> Vec<(&'static str, u64)> {
        let counts = self.reconnects.iter().map(|count| count.load(Ordering::Relaxed));
        REASONS.into_iter().zip(counts).collect()
    }

    fn place(&self) -> Result<Taken<'_>, Fault> {
        // Too many for a moment, if several are refused at once; never too many under way.
        let taken = Taken(&self.in_flight);
        if self.in_flight.fetch_add(1, Ordering::Relaxed) < self.settings.max_in_flight {
            return Ok(taken);
        }
        Err(Fault::new(
            FaultKind::Overload,
            "too many operations are under way",
        ))
    }

    /// By the coarse clock, like everything that every call does: the breaker counts in seconds.
    fn permit(&self) -> Result<Permit<'_>, Fault> {
        match self.breaker.permit(SystemClock.coarse()) {
            Ok(mut permit) => {
                self.tell(permit.take_transition());
                Ok(permit)
            }
            Err(refused) => Err(Fault::new(FaultKind::BreakerOpen, refused.as_str())),
        }
    }

    fn record(&self, permit: Permit<'_>, report: Report) {
        self.tell(permit.record(report, SystemClock.coarse()));
    }

    /// One line per change of state.
    fn tell(&self, transition: Option<Transition>) {
        let Some(Transition {
            from,
            to,
            cause,
            wait,
        }) = transition
        else {
            return;
        };
        if to == BreakerState::Open {
            self.breaker_openings.fetch_add(1, Ordering::Relaxed);
        }
        let (from, to, cause) = (from.as_str(), to.as_str(), cause.as_str());
        tracing::warn!(endpoint = %self.target, from, to, cause, ?wait, "the breaker of a Redis server changed");
        if self.breaker.state() == BreakerState::Closed {
            self.recoveries.send_modify(|times| *times += 1);
        }
    }

    /// Watches a connection to its end; whenever it is known to live, the breaker may learn so.
    async fn attend(&self, connection: &Connection, address: &Address) -> End {
        let alive = Notify::new();
        alive.notify_one();
        let probing = async {
            loop {
                alive.notified().await;
                self.revive(connection).await;
            }
        };
        tokio::select! {
            end = connection.watch(&alive) => end,
            () = probing => End::Closed,
            () = self.deposed(address) => {
                connection.condemn(Fault::new(FaultKind::ReadOnly, "another server is the master"));
                End::Deposed
            }
        }
    }

    /// Ends when sentinels have made another server the master: this one may not know it, and would go on to take
    /// writes that are lost.
    async fn deposed(&self, address: &Address) {
        if matches!(self.target, Target::Fixed(_)) {
            return std::future::pending().await;
        }
        while self.target.standing(address).await != Standing::Deposed {
            tokio::time::sleep(ASK_SENTINELS).await;
        }
    }

    /// Probes an open breaker until it closes or a probe fails.
    async fn revive(&self, connection: &Connection) {
        if self.breaker.state() == BreakerState::Closed {
            return;
        }
        self.tell(self.breaker.handshake_succeeded());
        while let Ok(permit) = self.permit() {
            if !permit.is_probe() {
                return;
            }
            let answered = timeout(self.settings.operation_timeout, connection.ping()).await;
            let alive = answered == Ok(true);
            self.record(permit, if alive { Report::Answered } else { Report::Failed });
            if !alive {
                return;
            }
        }
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
            End::Closed | End::Silent | End::Deposed if lived >= SHORT_LIFE => {
                self.show(State::Connecting);
                Duration::ZERO
            }
            End::Closed | End::Silent | End::Deposed => {
                self.show(State::Down(Fault::new(
                    FaultKind::Disconnected,
                    "connections do not last",
                )));
                SHORT_LIFE
            }
        }
    }
}

fn closed() -> Fault {
    Fault::new(FaultKind::Closed, "the shared tier was closed")
}

/// How often sentinels are asked whether the master is still the same.
const ASK_SENTINELS: Duration = Duration::from_secs(1);
/// A connection that ended sooner counts as a failed attempt.
const SHORT_LIFE: Duration = Duration::from_millis(200);
