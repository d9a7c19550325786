//! One connection to one server: greeted, checked, and watched.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, ProtocolVersion, RedisConnectionInfo, Value};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::config::{Address, Login, Settings};
use super::exchange::Exchange;
use super::fault::{self, Answer, Refusal};
use super::request::{Batch, Calls, ScriptForm, command};
use super::stream::{Activity, Loan, Progress, Stream};
use crate::shared::{Fault, FaultKind};
use crate::sync::{Mutex, lock};
use crate::time::{Clock, SystemClock};

/// A multiplexed connection: any number of requests at a time, answered in order.
pub(super) struct Connection {
    id: u64,
    exchange: Exchange,
    activity: Arc<Activity>,
    /// The driver has ended: the other side closed, or the bytes were not RESP.
    ended: CancellationToken,
    /// Somebody learned from an answer that this connection is of no use.
    condemned: CancellationToken,
    verdict: Mutex<Option<Fault>>,
    _porter: AbortOnDropHandle<()>,
}

/// What the other side must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// A server that takes writes.
    Master,
    /// Whatever it is.
    Any,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The other side closed it.
    Closed,
    /// No byte for too long although one was due.
    Silent,
    /// An answer said that it is of no use.
    Condemned(Fault),
    /// Another server is the master now.
    Deposed,
}

impl Connection {
    /// Connects and greets within the connect timeout.
    pub(super) async fn open(address: &Address, settings: &Settings, expect: Expect) -> Result<Self, Fault> {
        let progress = Progress::new();
        let opening = async {
            let stream = Stream::connect(address, settings, &progress).await?;
            Self::greet(stream, settings, expect).await
        };
        timeout(settings.connect_timeout, opening)
            .await
            .map_err(|_| progress.fault(address, settings.connect_timeout))?
    }

    /// The driver greets: it knows every server's way of that. Then the stream is ours.
    async fn greet(stream: Stream, settings: &Settings, expect: Expect) -> Result<Self, Fault> {
        let activity = stream.activity();
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None);
        let loan = Loan::of(stream);
        let greeted = MultiplexedConnection::new_with_config(&info(settings), loan.clone(), config).await;
        greeted
            .map(drop)
            .map_err(|error| activity.explain(fault::greeting(&error)))?;
        let stream = loan.back().ok_or_else(|| fault::shape("the greeting"))?;
        let (exchange, porter) = Exchange::over(stream);
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let porter = AbortOnDropHandle::new(tokio::spawn(async move {
            porter.await;
            drop(guard);
        }));
        let connection = Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            exchange,
            activity,
            ended,
            condemned: CancellationToken::new(),
            verdict: Mutex::new(None),
            _porter: porter,
        };
        let role = connection.one("ROLE").await;
        check_role(role, expect).map_err(|fault| connection.activity.explain(fault))?;
        Ok(connection)
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.ended.is_cancelled() && !self.condemned.is_cancelled()
    }

    /// Sends a batch and waits for all answers. A script that the server does not know is sent once as text.
    pub(super) async fn send(&self, batch: &Batch<'_>, asking: bool) -> Result<Vec<Answer>, Fault> {
        let mut answers = self.send_form(&batch.calls, ScriptForm::Hash, asking).await?;
        if answers.iter().any(is_unknown) {
            Box::pin(self.send_texts(batch, &mut answers, asking)).await?;
        }
        for answer in &answers {
            self.judge(answer);
        }
        Ok(answers)
    }

    /// Sends those scripts as text that were not known.
    async fn send_texts(&self, batch: &Batch<'_>, answers: &mut [Answer], asking: bool) -> Result<(), Fault> {
        let calls = batch.calls.listed().iter().zip(&*answers);
        let calls = calls.filter(|(_, answer)| is_unknown(answer));
        let calls = Calls::List(calls.map(|(call, _)| call.clone()).collect());
        let again = self.send_form(&calls, ScriptForm::Text, asking).await?;
        let places = answers.iter_mut().filter(|answer| is_unknown(answer));
        for (place, answer) in places.zip(again) {
            *place = answer;
        }
        Ok(())
    }

    async fn send_form(
        &self,
        calls: &Calls<'_>,
        form: ScriptForm,
        asking: bool,
    ) -> Result<Vec<Answer>, Fault> {
        // Asking for permission is answered, too.
        let step = if asking { 2 } else { 1 };
        let asked = self
            .exchange
            .ask(calls.len() * step, |out| calls.write(form, asking, out));
        let values = asked.await.map_err(Fault::after_sending)?.into_iter();
        Ok(values.skip(step - 1).step_by(step).map(fault::answer).collect())
    }

    /// The answer to a command of one word.
    async fn one(&self, word: &str) -> Answer {
        let calls = Calls::List(vec![command(&[word]).into()]);
        let answers = self.send_form(&calls, ScriptForm::Hash, false).await;
        let answer = answers.map_err(Refusal::Fault)?.into_iter().next();
        answer.unwrap_or_else(|| Err(Refusal::Fault(fault::shape(word))))
    }

    /// Some answers speak about the server rather than the command.
    fn judge(&self, answer: &Answer) {
        if let Err(Refusal::Fault(fault)) = answer
            && condemns(fault.kind())
        {
            self.condemn(fault.clone());
        }
    }

    pub(super) fn condemn(&self, fault: Fault) {
        lock(&self.verdict).get_or_insert(fault);
        self.condemned.cancel();
    }

    /// Whether the server answers.
    pub(super) async fn ping(&self) -> bool {
        self.one("PING").await.is_ok()
    }

    /// Returns when the connection has ended or should. Asks for a sign of life after a second of silence, and tells
    /// `alive` of each.
    pub(super) async fn watch(&self, alive: &Notify) -> End {
        tokio::select! {
            biased;
            () = self.condemned.cancelled() => {
                let verdict = lock(&self.verdict).clone();
                End::Condemned(verdict.unwrap_or_else(|| Fault::new(FaultKind::Server, "condemned")))
            }
            () = self.ended.cancelled() => End::Closed,
            () = self.fall_silent(alive) => End::Silent,
        }
    }

    async fn fall_silent(&self, alive: &Notify) {
        loop {
            let quiet = SystemClock.now().since(self.activity.last());
            if quiet < QUIET {
                tokio::time::sleep(QUIET - quiet).await;
                continue;
            }
            let asked = SystemClock.coarse();
            match timeout(SILENCE, self.ping()).await {
                Ok(true) => alive.notify_one(),
                Err(_) if self.activity.last() <= asked => return,
                Ok(false) | Err(_) => {}
            }
            // The coarse clock may not have moved; neither does this loop run hot.
            tokio::time::sleep(TICK).await;
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.id)
            .field("usable", &self.is_usable())
            .finish_non_exhaustive()
    }
}

/// A connection that only listens.
pub(super) async fn open_pubsub(address: &Address, settings: &Settings) -> Result<PubSub, Fault> {
    let progress = Progress::new();
    let opening = async {
        let stream = Stream::connect(address, settings, &progress).await?;
        PubSub::new(&info(settings), stream)
            .await
            .map_err(|error| fault::greeting(&error))
    };
    timeout(settings.connect_timeout, opening)
        .await
        .map_err(|_| progress.fault(address, settings.connect_timeout))?
}

fn is_unknown(answer: &Answer) -> bool {
    *answer == Err(Refusal::NoScript)
}

fn condemns(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Loading
            | FaultKind::ReadOnly
            | FaultKind::MasterDown
            | FaultKind::Auth
            | FaultKind::Protocol
    )
}

fn info(settings: &Settings) -> RedisConnectionInfo {
    let Login { username, password } = &settings.login;
    let mut info = RedisConnectionInfo::default()
        .set_db(i64::from(settings.database))
        .set_skip_set_lib_name();
    if let Some(username) = username {
        info = info.set_username(username);
    }
    if let Some(password) = password {
        info = info.set_password(password.expose_text());
    }
    if settings.resp3 {
        info = info.set_protocol(ProtocolVersion::RESP3);
    }
    info
}

/// A user who may not ask for the role is believed to be connected to a master.
fn check_role(role: Answer, expect: Expect) -> Result<(), Fault> {
    let role = match role.map_err(Fault::from) {
        Ok(role) => role,
        Err(fault) => {
            return match fault.kind() {
                FaultKind::NoPermission | FaultKind::Server => Ok(()),
                FaultKind::Disconnected => Err(Fault::new(
                    FaultKind::Handshake,
                    "the connection ended during the greeting",
                )),
                _ => Err(fault),
            };
        }
    };
    let Value::Array(items) = role else {
        return Err(fault::shape("ROLE"));
    };
    match items.first() {
        Some(Value::BulkString(name)) if expect == Expect::Any || name == b"master" => Ok(()),
        Some(Value::BulkString(_)) => Err(Fault::new(FaultKind::ReadOnly, "the server is a replica")),
        _ => Err(fault::shape("ROLE")),
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);
/// After so long without a byte, ask for one.
const QUIET: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(20);
/// So long to answer that: with the second before, a dead connection is replaced within three.
const SILENCE: Duration = Duration::from_secs(2);
