//! The reader of the invalidation log: on its own connection, complete or saying that it is not.
//!
//! A task reads with `XREAD BLOCK`, so notices arrive as they are written. Once a second it asks for the role of the
//! server and the newest id: when everything up to that id has been delivered, the instant of the question is confirmed.
//! In the same breath it compares the last entry that it read with what the server has there now: a log restored from
//! an older copy continues with the same numbers, but not with the same entries.
//!
//! What is a gap is decided by [`Position`], which does no I/O.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::adapter::{self, Adapter, Heard};
use super::config::Address;
use super::connection::Connection;
use super::fault::{self, Answer};
use super::link::Standing;
use super::reply::{Items, bytes, log_id, text};
use super::request::{Batch, Call, ScriptCall, command};
use super::route::Route;
use super::scripts;
use crate::notice::{Event, LogId, Notice};
use crate::shared::{Fault, FaultKind, GapReason, LogEvent, LogReader};
use crate::sync::{Mutex, lock};
use crate::time::{Clock, Timestamp};

pub(super) fn follow(adapter: &Adapter, closed: CancellationToken) -> LogReader {
    let (sender, events) = mpsc::channel(QUEUE);
    let liveness = Arc::new(Liveness {
        clock: adapter.clock.clone(),
        confirmed: AtomicU64::new(adapter.clock.now().as_nanos()),
        silent: AtomicBool::new(false),
    });
    let follower = Follower {
        route: adapter.route.clone(),
        log: adapter.layout.log(),
        slot: adapter.layout.slot(),
        heard: adapter.heard.clone(),
        outbox: Outbox {
            events: sender.clone(),
            overflown: false,
        },
        liveness: liveness.clone(),
        position: None,
    };
    let task = tokio::spawn(async move {
        let work = async {
            tokio::select! {
                () = follower.run() => {}
                () = announce_silence(&liveness, &sender) => {}
            }
        };
        let _ = closed.run_until_cancelled(work).await;
    });
    LogReader::new(events, AbortOnDropHandle::new(task))
}

/// The newest id, on the connection that every operation uses.
pub(super) async fn end(adapter: &Adapter, within: Duration) -> Result<LogId, Fault> {
    let call = ScriptCall::new(&scripts::OPEN_LOG)
        .key(adapter.layout.log())
        .arg(adapter::fresh_incarnation());
    let calls = vec![(adapter.layout.slot(), call.into())];
    let what = "the end of the log";
    let answers = adapter.route.run(calls, true, within).await?;
    let answer = answers.into_iter().next().ok_or_else(|| fault::shape(what))?;
    log_id(what, &text(what, answer.map_err(Fault::from)?)?)
}

/// One entry as the server has it: the id, and its fields with their values.
type Entry = (LogId, Vec<(Vec<u8>, Vec<u8>)>);

struct Follower {
    route: Arc<Route>,
    log: String,
    slot: u16,
    heard: Arc<Mutex<Heard>>,
    outbox: Outbox,
    liveness: Arc<Liveness>,
    position: Option<Position>,
}

/// The last entry that was read, or skipped over by a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Position(Entry);

/// What a question about the log brought.
struct Heartbeat {
    asked: Timestamp,
    newest: Option<Entry>,
    /// What the server has at our position.
    here: Option<Entry>,
    is_master: bool,
}

impl Position {
    fn id(&self) -> LogId {
        self.0.0
    }

    /// Whether the log as the server has it is the continuation of what was read.
    fn continues_in(&self, newest: Option<&Entry>, here: Option<&Entry>) -> Result<(), GapReason> {
        let Some((newest, _)) = newest else {
            return Err(GapReason::NewLog);
        };
        if newest.incarnation() != self.id().incarnation() {
            return Err(GapReason::NewLog);
        }
        if newest.number() < self.id().number() {
            return Err(GapReason::Older);
        }
        match here {
            Some(entry) if *entry == self.0 => Ok(()),
            Some(_) => Err(GapReason::Older),
            None => Err(GapReason::Trimmed),
        }
    }

    /// Whether an entry is the very next one.
    fn admits(&self, id: LogId) -> Result<(), GapReason> {
        if id.follows(self.id()) {
            return Ok(());
        }
        if id.incarnation() == self.id().incarnation() {
            Err(GapReason::Trimmed)
        } else {
            Err(GapReason::NewLog)
        }
    }
}

impl Follower {
    async fn run(mut self) {
        loop {
            let began = self.liveness.clock.now();
            let end = self.session().await;
            if self.outbox.events.is_closed() {
                return;
            }
            if let Err(fault) = end {
                tracing::debug!(log = %self.log, %fault, "the invalidation log is not being read");
                self.route.doubt();
                let lasted = self.liveness.clock.now().since(began);
                let pause = Duration::from_millis(rand::random_range(200..=300));
                tokio::time::sleep(pause.saturating_sub(lasted)).await;
            }
        }
    }

    /// One connection's worth of reading.
    async fn session(&mut self) -> Result<(), Fault> {
        let (connection, address) = self.route.dedicated(self.slot).await?;
        self.open_log(&connection).await?;
        let mut unconfirmed = self.heartbeat(&connection, &address).await?;
        loop {
            if self.outbox.events.is_closed() {
                return Ok(());
            }
            unconfirmed = self.confirm(unconfirmed);
            self.read(&connection).await?;
            unconfirmed = self.confirm(unconfirmed);
            let last = self.liveness.asked(unconfirmed.as_ref());
            if self.liveness.clock.now().since(last) >= HEARTBEAT {
                unconfirmed = self.heartbeat(&connection, &address).await?;
            }
        }
    }

    /// The log exists from now on, so that its identity can be compared.
    async fn open_log(&self, connection: &Connection) -> Result<(), Fault> {
        let call = ScriptCall::new(&scripts::OPEN_LOG)
            .key(self.log.as_str())
            .arg(adapter::fresh_incarnation());
        let answers = ask(connection, vec![call.into()], ANSWER).await?;
        for answer in answers {
            answer.map_err(Fault::from)?;
        }
        Ok(())
    }

    /// Asks who and where the server is; settles a gap if there is one.
    async fn heartbeat(
        &mut self,
        connection: &Connection,
        address: &Address,
    ) -> Result<Option<(Timestamp, LogId)>, Fault> {
        let beat = self.ask_for_heartbeat(connection).await?;
        let standing = match &self.position {
            None => Err(GapReason::Started),
            Some(position) => position.continues_in(beat.newest.as_ref(), beat.here.as_ref()),
        };
        if !beat.is_master {
            // It would go on to pass on what its master writes, and nobody would ever confirm it.
            return Err(Fault::new(
                FaultKind::ReadOnly,
                "the server is not a master any more",
            ));
        }
        let Some(newest) = beat.newest else {
            self.settle(connection, GapReason::NewLog).await?;
            return Ok(None);
        };
        let newest_id = newest.0;
        if let Err(reason) = standing {
            self.skip_to(Position(newest), reason);
        }
        match self.route.standing(address).await {
            Standing::Named => Ok(Some((beat.asked, newest_id))),
            Standing::Unknown => Ok(None),
            Standing::Deposed => Err(Fault::new(FaultKind::ReadOnly, "another server is the master")),
        }
    }

    async fn ask_for_heartbeat(&self, connection: &Connection) -> Result<Heartbeat, Fault> {
        let here = self
            .position
            .as_ref()
            .map_or_else(|| "+".to_owned(), |position| position.id().to_string());
        let asked = self.liveness.clock.now();
        let calls: Vec<Call> = vec![
            command(&["XREVRANGE", &self.log, "+", "-", "COUNT", "1"]).into(),
            command(&["XRANGE", &self.log, &here, &here, "COUNT", "1"]).into(),
            command(&["ROLE"]).into(),
        ];
        let mut answers = ask(connection, calls, ANSWER).await?.into_iter();
        let mut next = || answers.next().ok_or_else(|| fault::shape("a heartbeat"));
        Ok(Heartbeat {
            asked,
            newest: entries(next()?)?.pop(),
            here: entries(next()?)?.pop(),
            is_master: is_master(next()?)?,
        })
    }

    /// Says so if everything up to a confirmed id has been delivered; otherwise keeps it for later.
    fn confirm(&mut self, unconfirmed: Option<(Timestamp, LogId)>) -> Option<(Timestamp, LogId)> {
        let (at, newest) = unconfirmed?;
        let position = self.position.as_ref()?.id();
        if newest.is_after(position) {
            return Some((at, newest));
        }
        self.liveness.confirmed(at);
        self.outbox.send(LogEvent::Confirmed { at, position }, position);
        None
    }

    /// What has been written since, waiting for it up to a heartbeat.
    async fn read(&mut self, connection: &Connection) -> Result<(), Fault> {
        let Some(position) = &self.position else {
            return Ok(());
        };
        let after = position.id().to_string();
        let block = HEARTBEAT.as_millis().to_string();
        let call = command(&[
            "XREAD", "BLOCK", &block, "COUNT", "256", "STREAMS", &self.log, &after,
        ]);
        let answers = ask(connection, vec![call.into()], HEARTBEAT + ANSWER).await?;
        let answer = answers.into_iter().next().ok_or_else(|| fault::shape("XREAD"))?;
        let entries = stream(answer)?;
        match self.admit(entries) {
            Ok(()) => Ok(()),
            Err(reason) => self.settle(connection, reason).await,
        }
    }

    /// Delivers entries up to the first that does not fit.
    fn admit(&mut self, entries: Vec<Entry>) -> Result<(), GapReason> {
        let mut notices = Vec::with_capacity(entries.len());
        let mut outcome = Ok(());
        for entry in entries {
            let fits = self
                .position
                .as_ref()
                .map_or(Ok(()), |position| position.admits(entry.0));
            let notice = Notice::parse(entry.0, &entry.1).ok_or(GapReason::Unknown);
            match fits.and(notice) {
                Ok(notice) => {
                    self.hear(&notice);
                    notices.push(notice);
                    self.position = Some(Position(entry));
                }
                Err(reason) => {
                    outcome = Err(reason);
                    break;
                }
            }
        }
        if let (false, Some(position)) = (notices.is_empty(), &self.position) {
            self.outbox.send(LogEvent::Notices(notices), position.id());
        }
        outcome
    }

    /// Goes on at the newest entry, of a log that begins if there is none.
    async fn settle(&mut self, connection: &Connection, reason: GapReason) -> Result<(), Fault> {
        self.open_log(connection).await?;
        let newest = self.ask_for_heartbeat(connection).await?.newest;
        let newest = newest.ok_or_else(|| fault::shape("a log that was just begun"))?;
        self.skip_to(Position(newest), reason);
        Ok(())
    }

    fn skip_to(&mut self, position: Position, reason: GapReason) {
        let id = position.id();
        *lock(&self.heard) = Heard {
            incarnation: Some(id.incarnation()),
            // A pattern removal may be among what was missed: whatever was loaded before is refused.
            pattern: Some(id),
        };
        self.position = Some(position);
        self.outbox.send(LogEvent::Gap { reason, position: id }, id);
    }

    fn hear(&self, notice: &Notice) {
        let mut heard = lock(&self.heard);
        heard.incarnation = Some(notice.id.incarnation());
        if matches!(notice.event, Event::Pattern(_)) {
            heard.pattern = Some(notice.id);
        }
    }
}

/// The way to the consumer. Never waits: what does not fit is a gap.
struct Outbox {
    events: mpsc::Sender<LogEvent>,
    overflown: bool,
}

impl Outbox {
    fn send(&mut self, event: LogEvent, position: LogId) {
        if self.overflown {
            let gap = LogEvent::Gap {
                reason: GapReason::Overflow,
                position,
            };
            // What this event says is contained in the gap, or comes again with the next heartbeat.
            self.overflown = self.events.try_send(gap).is_err();
            return;
        }
        let is_confirmation = matches!(event, LogEvent::Confirmed { .. });
        if self.events.try_send(event).is_err() && !is_confirmation {
            self.overflown = true;
        }
    }
}

/// When the master was last heard.
struct Liveness {
    clock: Arc<dyn Clock>,
    confirmed: AtomicU64,
    silent: AtomicBool,
}

impl Liveness {
    fn confirmed(&self, at: Timestamp) {
        self.confirmed.store(at.as_nanos(), Ordering::SeqCst);
        self.silent.store(false, Ordering::SeqCst);
    }

    fn last(&self) -> Timestamp {
        Timestamp::from_nanos(self.confirmed.load(Ordering::SeqCst))
    }

    /// When the last heartbeat was asked for, answered fully or not yet.
    fn asked(&self, unconfirmed: Option<&(Timestamp, LogId)>) -> Timestamp {
        unconfirmed.map_or_else(|| self.last(), |(asked, _)| *asked)
    }
}

/// Three heartbeats without confirmation: says so once, until the next one.
async fn announce_silence(liveness: &Liveness, events: &mpsc::Sender<LogEvent>) {
    loop {
        let quiet = liveness.clock.now().since(liveness.last());
        if quiet < UNHEARD {
            tokio::time::sleep(UNHEARD - quiet).await;
            continue;
        }
        if !liveness.silent.load(Ordering::SeqCst) && events.try_send(LogEvent::Unheard).is_ok() {
            liveness.silent.store(true, Ordering::SeqCst);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn ask(connection: &Connection, calls: Vec<Call>, within: Duration) -> Result<Vec<Answer>, Fault> {
    let batch = Batch::repeatable(calls);
    timeout(within, connection.send(&batch, false))
        .await
        .map_err(|_| fault::timeout("the log's connection does not answer"))?
}

fn is_master(answer: Answer) -> Result<bool, Fault> {
    match answer {
        Ok(Value::Array(items)) => match items.into_iter().next() {
            Some(role) => Ok(bytes("ROLE", role)? == b"master"),
            None => Err(fault::shape("ROLE")),
        },
        Ok(_) => Err(fault::shape("ROLE")),
        Err(refusal) => match Fault::from(refusal) {
            // A user who may not ask is believed to be connected to a master.
            fault if fault.kind() == FaultKind::NoPermission => Ok(true),
            fault => Err(fault),
        },
    }
}

/// `[[key, entries]]` in RESP2, `{key: entries}` in RESP3, nothing when the wait was in vain.
fn stream(answer: Answer) -> Result<Vec<Entry>, Fault> {
    let what = "XREAD";
    let value = match answer.map_err(Fault::from)? {
        Value::Nil => return Ok(Vec::new()),
        Value::Map(pairs) => pairs.into_iter().next().map(|(_, entries)| entries),
        Value::Array(streams) => match streams.into_iter().next() {
            Some(Value::Array(pair)) => pair.into_iter().nth(1),
            _ => None,
        },
        _ => None,
    };
    entries(Ok(value.ok_or_else(|| fault::shape(what))?))
}

/// `[[id, [field, value, ..]], ..]`
fn entries(answer: Answer) -> Result<Vec<Entry>, Fault> {
    let what = "a log entry";
    let items = Items::of(what, answer)?;
    items
        .map(|entry| {
            let mut entry = Items::of_value(what, entry)?;
            let id = log_id(what, &text(what, Items::next(&mut entry)?)?)?;
            let mut flat = Items::of_value(what, Items::next(&mut entry)?)?;
            let mut fields = Vec::with_capacity(flat.len() / 2);
            while flat.len() > 0 {
                fields.push((flat.bytes()?, flat.bytes()?));
            }
            Ok((id, fields))
        })
        .collect()
}

/// Events; each holds up to 256 notices.
const QUEUE: usize = 64;
const HEARTBEAT: Duration = Duration::from_secs(1);
const UNHEARD: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// For an answer that should come at once.
const ANSWER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(incarnation: u64, number: u64, nonce: &str) -> Entry {
        let fields = vec![(b"n".to_vec(), nonce.as_bytes().to_vec())];
        (LogId::new(incarnation, number), fields)
    }

    #[track_caller]
    fn check(newest: Option<&Entry>, here: Option<&Entry>, expected: Result<(), GapReason>) {
        let position = Position(entry(7, 10, "a"));
        assert_eq!(position.continues_in(newest, here), expected);
    }

    #[test]
    fn only_the_same_log_with_the_same_entry_goes_on() {
        let same = entry(7, 10, "a");
        let later = entry(7, 12, "b");
        check(Some(&same), Some(&same), Ok(()));
        check(Some(&later), Some(&same), Ok(()));
        check(None, None, Err(GapReason::NewLog));
        check(Some(&entry(8, 12, "b")), None, Err(GapReason::NewLog));
        check(Some(&entry(7, 9, "b")), None, Err(GapReason::Older));
        check(Some(&later), Some(&entry(7, 10, "z")), Err(GapReason::Older));
        check(Some(&entry(7, 99_999, "b")), None, Err(GapReason::Trimmed));
    }

    /// B12.4
    #[test]
    fn only_the_very_next_entry_fits() {
        let position = Position(entry(7, 10, "a"));
        assert_eq!(position.admits(LogId::new(7, 11)), Ok(()));
        assert_eq!(position.admits(LogId::new(7, 12)), Err(GapReason::Trimmed));
        assert_eq!(position.admits(LogId::new(8, 11)), Err(GapReason::NewLog));
    }

    #[test]
    fn a_full_queue_becomes_one_gap_when_there_is_room_again() {
        let (sender, mut events) = mpsc::channel(2);
        let mut outbox = Outbox {
            events: sender,
            overflown: false,
        };
        let id = |number| LogId::new(1, number);
        for number in 1..=5 {
            outbox.send(LogEvent::Notices(Vec::new()), id(number));
        }
        assert_eq!(events.try_recv(), Ok(LogEvent::Notices(Vec::new())));
        outbox.send(LogEvent::Notices(Vec::new()), id(6));
        outbox.send(LogEvent::Notices(Vec::new()), id(7));
        assert_eq!(events.try_recv(), Ok(LogEvent::Notices(Vec::new())));
        let gap = LogEvent::Gap {
            reason: GapReason::Overflow,
            position: id(6),
        };
        assert_eq!(events.try_recv(), Ok(gap));
    }
}
