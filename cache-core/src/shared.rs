//! [`Shared`]: the one port to the shared tier, with the contract that every adapter keeps.
//!
//! Value, lock, recorded error and notice change together in one step on the server, so they are one port. It knows
//! nothing of types, codecs or options: what is stored is bytes, of which only the first [`HEADER_BYTES`] mean something
//! here. They are the same in every format:
//!
//! | offset | length | |
//! |---|---|---|
//! | 0 | 4 | [`MAGIC`]: ours, or it counts as absent |
//! | 4 | 16 | [`Version`]: who wrote it, compared for equality only; outside of every checksum, because scripts replace it |
//! | 20 | 1 | what it is: [`TOMBSTONE`], or else a value |
//! | 21 | 1 | its format |
//! | 22 | 8 | little endian, milliseconds: while more than this is left to live, a value is fresh and a tombstone refuses stores |
//!
//! # Rules
//!
//! * **One budget per call.** Every method takes `within`: queueing, connecting, redirects, the reload of a script and
//!   a permitted retry all happen inside it. When it is over the answer is [`FaultKind::Timeout`].
//! * **Compare and set.** One key holds a value *or a tombstone*. A load remembers what it saw, a version or absence,
//!   and [`Shared::commit`] writes only if the same stands now. That is safe because values and tombstones outlive the
//!   longest load: the caller passes a `physical` lifetime of at least the longest load and ten seconds.
//! * **No clock is compared with another machine's.** Lifetimes are remaining durations as of [`Reading::sent`]; the
//!   start of a load is the server's own time, checked by the server.
//! * **What was sent may have happened.** [`Fault::maybe_applied`] says so. Everything here may be repeated with the
//!   same token or version without harm, except an unconditional [`Change::Set`], which would undo a later one.
//! * **Foreign data is absence.** A key of another type, or bytes without [`MAGIC`], is [`Found::Foreign`] to readers,
//!   absent to every comparison, and is overwritten by the next writer. So is a key without a time to live.
//! * **The breaker is inside**, one per server: while it is open the answer is [`FaultKind::BreakerOpen`], at once.
//! * **Dropping a future** gives up the answer, not the effect.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::notice::{LogId, Notice, Op};
use crate::time::Timestamp;

/// What every method of the port returns.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// The first bytes of everything of ours, whatever its format. No UTF-8 text begins with them.
pub const MAGIC: [u8; 4] = *b"\xf5cce";

/// Where the version stands.
pub const VERSION_AT: Range<usize> = 4..20;

/// Where it says what it is.
pub const KIND_AT: usize = 20;

/// What a tombstone says there.
pub const TOMBSTONE: u8 = b't';

/// What every format begins with.
pub const HEADER_BYTES: usize = 30;

/// Where the bytes behind a key came from: unique per write, compared for equality only.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version([u8; 16]);

/// Who holds a lock: unique per acquisition, never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token([u8; 16]);

impl From<u128> for Version {
    fn from(number: u128) -> Self {
        Self(number.to_be_bytes())
    }
}

impl From<Version> for u128 {
    fn from(version: Version) -> Self {
        Self::from_be_bytes(version.0)
    }
}

macro_rules! random_bytes {
    ($name:ident) => {
        impl $name {
            /// 128 random bits.
            pub fn random() -> Self {
                Self(rand::random())
            }

            /// These bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// These bytes, if there are sixteen of them.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

random_bytes!(Version);
random_bytes!(Token);

/// The shared tier.
///
/// All keys are full texts, `namespace:prefix:part..`, without braces. Methods that take several keys answer in their
/// order, and split them so that no step on the server spans what it cannot.
pub trait Shared: Send + Sync + fmt::Debug + 'static {
    /// What stands under a key, with a lower bound of its remaining life. Retried once on a broken connection.
    fn read<'a>(&'a self, key: &'a str, within: Duration) -> Reply<'a, Reading>;

    /// [`read`](Self::read) of many keys: one round trip per server. On a fault of one server all fail.
    fn read_many<'a>(&'a self, keys: &'a [&'a str], within: Duration) -> Reply<'a, Vec<Reading>>;

    /// On a miss: the value if there is one that the caller does not refuse, else a recorded error, else the lease,
    /// else who holds it. One step on the server.
    ///
    /// Asking again with the token that already holds the lock gives the same lease, so an unclear answer may be
    /// repeated. After an unclear answer that is not repeated, the adapter gives a late lock back by itself.
    fn lease<'a>(&'a self, request: LeaseRequest<'a>, within: Duration) -> Reply<'a, LeaseAnswer>;

    /// [`lease`](Self::lease) of many keys, one round trip per server.
    fn lease_many<'a>(
        &'a self,
        requests: Vec<LeaseRequest<'a>>,
        within: Duration,
    ) -> Reply<'a, Vec<LeaseAnswer>>;

    /// Moves the end of a lock that the token still holds to `ttl` from now; `false` if it is lost. Never takes a lock.
    fn renew<'a>(&'a self, key: &'a str, token: Token, ttl: Duration, within: Duration) -> Reply<'a, bool>;

    /// Ends a load: stores by compare-and-set, gives the lock back if the token still holds it, wakes the waiters, all
    /// in one step. A refusal to store is an answer, not a fault, and releases too.
    fn commit<'a>(&'a self, request: CommitRequest<'a>, within: Duration) -> Reply<'a, CommitAnswer>;

    /// [`commit`](Self::commit) of many keys, one round trip per server.
    fn commit_many<'a>(
        &'a self,
        requests: Vec<CommitRequest<'a>>,
        within: Duration,
    ) -> Reply<'a, Vec<CommitAnswer>>;

    /// Hears how loads of `key` end, from the return of this call on. Subscribe first, then look at value and lock
    /// again, then wait: in this order no end is missed.
    ///
    /// Messages may be lost (that costs the caller its polling interval); where the server cannot publish, this is a
    /// fault and polling is all there is.
    fn subscribe<'a>(&'a self, key: &'a str, within: Duration) -> Reply<'a, Wakeups>;

    /// Explicit changes of keys. On one server (standalone, Sentinel) all changes of a call and their notice are one
    /// step; on a cluster each key is one step and the notice follows, and the call succeeds only if both did.
    ///
    /// At most [`MAX_KEYS_PER_NOTICE`] changes in a call: more are [`FaultKind::Invalid`].
    fn mutate<'a>(
        &'a self,
        op: Op,
        mutations: Vec<Mutation<'a>>,
        within: Duration,
    ) -> Reply<'a, MutationAnswer>;

    /// The versions of marks, made if they do not exist, with a life of at least `ttl` from now.
    fn marks<'a>(
        &'a self,
        marks: &'a [Mark<'a>],
        ttl: Duration,
        within: Duration,
    ) -> Reply<'a, Vec<MarkVersions>>;

    /// Invalidates everything under these marks, and announces it, in one step: their hard or soft versions become the
    /// id of this notice. Nothing stored under them for `hold`.
    fn move_marks<'a>(
        &'a self,
        marks: &'a [Mark<'a>],
        strength: Strength,
        hold: Duration,
        ttl: Duration,
        within: Duration,
    ) -> Reply<'a, LogId>;

    /// Announces that keys matching a glob are about to be removed, and refuses the stores of all loads that began
    /// before (on a cluster: of those whose node has heard it). The removal itself is [`scan`](Self::scan) and
    /// [`mutate`](Self::mutate), page by page.
    fn begin_pattern<'a>(&'a self, glob: &'a str, within: Duration) -> Reply<'a, LogId>;

    /// A page of the keys that match a glob. Every key that exists during the whole scan is in one of its pages, some
    /// are in several.
    fn scan<'a>(&'a self, request: ScanRequest<'a>, within: Duration) -> Reply<'a, ScanPage>;

    /// Deletes keys that still have these versions, without a tombstone and without a notice: for entries that no
    /// reader would accept. Returns how many went.
    fn discard<'a>(&'a self, entries: &'a [(String, Version)], within: Duration) -> Reply<'a, u64>;

    /// Takes a named lock or claim if nobody has it. An unclear answer is inquired about before this returns, within
    /// the same budget again.
    fn acquire<'a>(&'a self, request: AcquireRequest<'a>, within: Duration) -> Reply<'a, Acquisition>;

    /// Moves the end of a lock or claim that the token still holds; `false` if it is lost.
    fn extend<'a>(
        &'a self,
        kind: LockKind,
        name: &'a str,
        token: Token,
        ttl: Duration,
        within: Duration,
    ) -> Reply<'a, bool>;

    /// Gives a lock or claim back that the token still holds; `false` if it did not, and then nothing happened.
    fn give_back<'a>(
        &'a self,
        kind: LockKind,
        name: &'a str,
        token: Token,
        within: Duration,
    ) -> Reply<'a, bool>;

    /// Starts reading the log, in a task that ends with the returned value. Never waits for the server.
    fn follow_log(&self) -> LogReader;

    /// The newest notice of the log, which begins if there is none: whatever was announced before the question was sent
    /// is that one or an earlier one.
    fn log_end(&self, within: Duration) -> Reply<'_, LogId>;

    /// What the server says about itself.
    fn inspect(&self, within: Duration) -> Reply<'_, ServerFacts>;

    /// What is known about the connections right now, without asking anybody.
    fn health(&self) -> Vec<EndpointHealth>;

    /// How often a server's breaker has closed so far. A change is the moment to deliver what could not be delivered,
    /// and to look again at what was kept meanwhile.
    fn recoveries(&self) -> watch::Receiver<u64>;

    /// For operators: opens the breakers until they are closed again, or closes them at once.
    fn force_breaker(&self, open: bool);

    /// Ends all tasks and connections. Later calls fail with [`FaultKind::Closed`].
    fn close(&self);
}

/// More keys than this do not fit into one notice.
pub const MAX_KEYS_PER_NOTICE: usize = 100;

// ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/// What a read found, and when the question was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What stands under the key.
    pub found: Found,
    /// The instant that remaining lifetimes count from, on the adapter's clock.
    pub sent: Timestamp,
}

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// An invalidation, with its version.
    Tombstone(Version),
    /// Something that is not ours: another type, other bytes, or no time to live. Absent to every comparison.
    Foreign,
    /// A value of ours; the envelope decides whether it can be read.
    Value(StoredValue),
}

impl Found {
    /// What a load that found this remembers for its commit.
    pub fn seen(&self) -> Option<Version> {
        match self {
            Self::Absent | Self::Foreign => None,
            Self::Tombstone(version) => Some(*version),
            Self::Value(value) => Some(value.version),
        }
    }
}

/// A value as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredValue {
    /// Its version, from its header.
    pub version: Version,
    /// All of it, header included.
    pub bytes: Vec<u8>,
    /// At most what was left of its physical life when the question was sent.
    pub remaining: Duration,
}

impl fmt::Debug for StoredValue {
    /// Never prints what a user stored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredValue")
            .field("version", &self.version)
            .field("bytes", &self.bytes.len())
            .field("remaining", &self.remaining)
            .finish()
    }
}

// ── loading ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Asks for a value or the right to load it.
#[derive(Clone, Copy, Debug)]
pub struct LeaseRequest<'a> {
    /// Which key.
    pub key: &'a str,
    /// Which value would be no answer.
    pub refuse: Refuse,
    /// The holder's name if the lock is given; fresh for every acquisition.
    pub token: Token,
    /// How long the lock lasts unless renewed. Zero: load without it, and do not wait for who has it.
    pub ttl: Duration,
    /// Whether a recorded error is an answer.
    pub consult_errors: bool,
    /// Take the lock from this holder, if it is still the one.
    pub take_over: Option<Token>,
}

/// Which values a caller does not want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuse {
    /// None: whatever is there will do.
    Nothing,
    /// The one that was just read and found wanting.
    Version(Version),
    /// All: whatever is there, load anew.
    Any,
}

/// The answer to a [`LeaseRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// There is a value that was not refused.
    Value(StoredValue),
    /// A load failed a moment ago: what it recorded, and for how much longer that holds.
    Recorded(Vec<u8>, Duration),
    /// Load: the lock is the caller's.
    Lease(Lease),
    /// Somebody else loads.
    Held {
        /// Who.
        holder: Token,
        /// When its lock ends unless renewed.
        remaining: Duration,
    },
}

/// The right to load a key, and what its commit is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Under which the lock is held.
    pub token: Token,
    /// The version that stands under the key now, be it only that of an expiry; `None` for absence.
    pub seen: Option<Version>,
    /// The server's time when the lease was given, in microseconds.
    pub started: u64,
    /// What a commit must find unchanged besides the key.
    pub fence: Fence,
}

/// The identity of the log and the last pattern removal, as one opaque text: a commit is refused when it has changed,
/// because then a tombstone may have been lost, or may not have been written for this key. On a cluster it is what this
/// node has heard, and compares with nothing before the log was heard for the first time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fence(pub(crate) Vec<u8>);

impl Fence {
    /// Compares with nothing: for a load that has no lease.
    pub const NONE: Self = Self(Vec::new());
}

/// The end of a load.
#[derive(Clone, Debug)]
pub struct CommitRequest<'a> {
    /// Which key.
    pub key: &'a str,
    /// The lock's token, if the load holds one. Without one, a lock of somebody else refuses the store.
    pub token: Option<Token>,
    /// What stood under the key before the load.
    pub seen: Option<Version>,
    /// [`Lease::started`]; without it the server does not check the load's duration.
    pub started: Option<u64>,
    /// The longest load that may store.
    pub max_load: Duration,
    /// [`Lease::fence`].
    pub fence: &'a Fence,
    /// What to store; `None` only releases.
    pub store: Option<Payload>,
    /// A failure to record for others, and for how long.
    pub record: Option<(Vec<u8>, Duration)>,
    /// What waiters are told. After a refused store they are told [`Ending::Released`].
    pub ending: Ending,
}

/// Bytes to store.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    /// The value or tombstone; begins with the header that the module describes.
    pub bytes: Vec<u8>,
    /// Its whole life on the server, at least the longest load and ten seconds.
    pub physical: Duration,
}

impl fmt::Debug for Payload {
    /// Never prints what a user stored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("bytes", &self.bytes.len())
            .field("physical", &self.physical)
            .finish()
    }
}

/// How a load ended, as waiters hear it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The value is there.
    Done,
    /// The loader failed, with this kind of error (at most 64 bytes are sent).
    Failed(String),
    /// The lock is free and nothing was stored.
    Released,
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitAnswer {
    /// Whether the value stands, or why not.
    pub verdict: Verdict,
    /// With [`Verdict::Superseded`]: what stands there instead, if it is a value.
    pub current: Option<StoredValue>,
    /// Whether the lock was still held by the token and is now free.
    pub released: bool,
}

/// What the server decided about a change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stands.
    Applied,
    /// There was nothing to store.
    Nothing,
    /// Another version stands there, or none where one was seen; the version that stands.
    Superseded(Option<Version>),
    /// Another token holds the lock.
    OtherHolder,
    /// The load took longer than it may.
    TooLate,
    /// The log began anew, or a pattern removal began, since the lease.
    FenceMoved,
    /// An invalidation with a hold-off, for so much longer.
    HeldOff(Duration),
    /// The server has no memory for it; the lock was released all the same.
    OutOfMemory,
}

impl Verdict {
    /// The verdict in one word, as in logs and metric labels.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Nothing => "nothing",
            Self::Superseded(_) => "superseded",
            Self::OtherHolder => "other_holder",
            Self::TooLate => "too_late",
            Self::FenceMoved => "fence_moved",
            Self::HeldOff(_) => "held_off",
            Self::OutOfMemory => "out_of_memory",
        }
    }
}

/// How loads of one key end, from now on. Dropping it ends the subscription.
#[must_use = "dropping it ends the subscription"]
pub struct Wakeups {
    pub(crate) endings: mpsc::Receiver<Ending>,
    pub(crate) _subscription: Box<dyn Any + Send + Sync>,
}

impl Wakeups {
    /// The next end of a load; `None` when the subscription was lost, and polling remains.
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Ending> {
        self.endings.recv().await
    }
}

impl fmt::Debug for Wakeups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakeups").finish_non_exhaustive()
    }
}

// ── changing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/// An explicit change of a key.
#[derive(Clone, Debug)]
pub struct Mutation<'a> {
    /// Which key.
    pub key: &'a str,
    /// The version that stands there afterwards; for a set, the one in its bytes.
    pub version: Version,
    /// What to do.
    pub change: Change,
}

/// What happens to a key.
#[derive(Clone, Debug)]
pub enum Change {
    /// The value is this. Refused while an invalidation's hold-off lasts. A recorded error goes.
    Set {
        /// What to store.
        payload: Payload,
        /// Under which condition.
        condition: Condition,
    },
    /// The value, the lock and a recorded error go; the tombstone stays. It refuses stores as its header says, and for
    /// what is left of the hold of one that stood there.
    Remove {
        /// The tombstone, with this mutation's version in it; lives at least for the longest load and ten seconds.
        tombstone: Payload,
    },
    /// What stands there gets the new version, and a value no more life than makes it stale, as its header says. The
    /// lock and a recorded error go. Where nothing stands, or nothing will before `window` is over, the version alone
    /// is remembered for that long: so a load that runs now stores nothing, here as after any other mutation.
    Expire {
        /// The longest load and ten seconds.
        window: Duration,
    },
}

/// When a set applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Whatever stands there.
    Always,
    /// Only over this version, or over absence.
    Seen(Option<Version>),
}

/// What became of a call of [`Shared::mutate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MutationAnswer {
    /// The id of the notice; `None` if nothing was applied, hence nothing announced.
    pub notice: Option<LogId>,
    /// One verdict per change.
    pub verdicts: Vec<Verdict>,
}

// ── marks ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// A name under which entries are invalidated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark<'a> {
    /// Everything of a namespace.
    Namespace(&'a str),
    /// Everything under a prefix of a namespace.
    Prefix(&'a str, &'a str),
    /// Everything with a tag in a namespace.
    Tag(&'a str, &'a str),
}

impl fmt::Display for Mark<'_> {
    /// As it stands in keys and notices: `n:namespace`, `p:namespace:prefix`, `t:namespace:tag`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(namespace) => write!(f, "n:{namespace}"),
            Self::Prefix(namespace, prefix) => write!(f, "p:{namespace}:{prefix}"),
            Self::Tag(namespace, tag) => write!(f, "t:{namespace}:{tag}"),
        }
    }
}

impl<'a> Mark<'a> {
    /// Reads what [`Display`](fmt::Display) writes. A namespace has no colon, so the first one ends it.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "n" => Some(Self::Namespace(rest)),
            "p" => rest
                .split_once(':')
                .map(|(namespace, prefix)| Self::Prefix(namespace, prefix)),
            "t" => rest
                .split_once(':')
                .map(|(namespace, tag)| Self::Tag(namespace, tag)),
            _ => None,
        }
    }
}

/// How thoroughly to invalidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// The old values are gone.
    Hard,
    /// The old values are stale.
    Soft,
}

/// The versions of one mark: `c:` and random text when created by use, else the id of the notice that moved it.
/// Compared for equality.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkVersions {
    /// Another one than the entry's: the entry is gone.
    pub hard: String,
    /// Another one than the entry's: the entry is stale.
    pub soft: String,
    /// For how much longer nothing may be stored under the mark.
    pub hold: Duration,
}

impl MarkVersions {
    /// The notice that last invalidated hard; `None` if the version was merely created by use.
    pub fn hard_moved_at(&self) -> Option<LogId> {
        self.hard.parse().ok()
    }
}

// ── the log ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/// The log as it arrives. Dropping it ends the reading.
#[must_use = "dropping it ends the reading"]
pub struct LogReader {
    pub(crate) events: mpsc::Receiver<LogEvent>,
    pub(crate) _task: Box<dyn Any + Send + Sync>,
}

impl LogReader {
    /// The next event; `None` after [`Shared::close`].
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<LogEvent> {
        self.events.recv().await
    }

    /// The next event if one has arrived.
    pub fn try_next(&mut self) -> Option<LogEvent> {
        self.events.try_recv().ok()
    }
}

impl fmt::Debug for LogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReader").finish_non_exhaustive()
    }
}

/// What the reader of the log has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// Mutations by any node, this one included, in the order of the log and without a hole since the last event.
    Notices(Vec<Notice>),
    /// The master confirmed: everything announced before `at` has been delivered before this event.
    Confirmed {
        /// When the question was sent, on the adapter's clock.
        at: Timestamp,
        /// The newest id, delivered already.
        position: LogId,
    },
    /// Notices were missed, or may have been; reading goes on behind `position`. Also the first event after the log was
    /// reached for the first time. The position was fixed before this event, so: move the epoch, then forget.
    Gap {
        /// Why.
        reason: GapReason,
        /// What is delivered next comes after this.
        position: LogId,
    },
    /// Three heartbeats in a row failed. Said once until the next [`Confirmed`](Self::Confirmed).
    Unheard,
}

/// Why notices may have been missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The reader has just begun.
    Started,
    /// The log has another identity: flushed, or another database.
    NewLog,
    /// Ids are missing: the log was trimmed beyond what was read.
    Trimmed,
    /// The log ends before what was read, or says something else there: a failover to an older copy, a restored dump.
    Older,
    /// A notice that this version of the toolkit does not understand.
    Unknown,
    /// The consumer was slower than the queue is long.
    Overflow,
}

impl GapReason {
    /// The reason in one word, as in logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::NewLog => "new_log",
            Self::Trimmed => "trimmed",
            Self::Older => "older",
            Self::Unknown => "unknown_notice",
            Self::Overflow => "overflow",
        }
    }
}

// ── scanning ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Asks for a page of keys.
#[derive(Clone, Copy, Debug)]
pub struct ScanRequest<'a> {
    /// A Redis glob; text from users in it must be escaped.
    pub glob: &'a str,
    /// Where the last page ended; `None` for the first page.
    pub cursor: Option<ScanCursor>,
    /// About how many keys the server looks at.
    pub count: u32,
}

/// Where a scan stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanCursor {
    pub(crate) server: usize,
    pub(crate) position: u64,
}

/// A page of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPage {
    /// Entry keys only: locks, errors, marks and the log are left out.
    pub keys: Vec<String>,
    /// Where to go on; `None` at the end.
    pub next: Option<ScanCursor>,
}

// ── locks and claims ─────────────────────────────────────────────────────────────────────────────────────────────────

/// What is taken; locks and claims of one name do not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockKind {
    /// Ownership for a while.
    Lock,
    /// The right to do something once.
    Claim,
}

/// Asks for a lock or claim.
#[derive(Clone, Copy, Debug)]
pub struct AcquireRequest<'a> {
    /// Which of the two.
    pub kind: LockKind,
    /// Which one, as a full key text.
    pub name: &'a str,
    /// The holder's name; fresh for every acquisition.
    pub token: Token,
    /// How long it lasts unless extended.
    pub ttl: Duration,
}

/// The answer to an [`AcquireRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquisition {
    /// It is the caller's. The number is larger for every later holder: at least the server's time in microseconds.
    Acquired {
        /// For resources that refuse holders of the past.
        fencing: u64,
    },
    /// Somebody else has it.
    Held {
        /// For at most this long unless extended.
        remaining: Duration,
    },
}

// ── health ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/// What the server says about itself, for a health report. What it does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// Such as `7.0.15`; for Valkey the version of Redis that it is compatible with.
    pub version: Option<String>,
    /// Such as `noeviction`; any other may drop a tombstone or a mark inside one load's window.
    pub eviction_policy: Option<String>,
    /// In bytes.
    pub used_memory: Option<u64>,
    /// In bytes; 0 is no limit.
    pub max_memory: Option<u64>,
    /// Commands that the toolkit uses and this user may not.
    pub missing_commands: Vec<String>,
}

/// One server, as seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointHealth {
    /// Host and port, or path. Never credentials.
    pub endpoint: String,
    /// Whether a connection stands.
    pub connected: bool,
    /// Connections made since the start.
    pub connects: u64,
    /// Operations under way.
    pub in_flight: usize,
    /// Why there is no connection, or why the last one ended.
    pub last_fault: Option<Fault>,
    /// The breaker: `closed`, `open`, `half_open` or `forced_open`.
    pub breaker: &'static str,
}

// ── faults ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Why the shared tier gave no answer.
#[derive(Clone, PartialEq, Eq)]
pub struct Fault {
    kind: FaultKind,
    context: String,
    maybe_applied: bool,
}

/// The closed list of reasons behind a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// No connection could be made: refused, unreachable, unknown host.
    Connect,
    /// The connection broke under the operation.
    Disconnected,
    /// The budget is over.
    Timeout,
    /// Connected, but the greeting was not answered in time or with nonsense.
    Handshake,
    /// User or password refused, or withdrawn.
    Auth,
    /// Certificates: wrong, expired, for somebody else, missing; or the server speaks no TLS.
    Tls,
    /// The server is loading its data.
    Loading,
    /// The server is a replica.
    ReadOnly,
    /// The server is a replica without its master.
    MasterDown,
    /// The server refuses writes for lack of memory.
    OutOfMemory,
    /// The server refuses writes because it cannot save.
    Misconfigured,
    /// The server runs somebody's script.
    Busy,
    /// Bytes that are not the protocol, or an answer of a wrong shape.
    Protocol,
    /// The server has too many clients.
    MaxClients,
    /// The user may not do that.
    NoPermission,
    /// A key has another type.
    WrongType,
    /// The cluster does not serve this slot now.
    ClusterDown,
    /// Redirected more often than permitted.
    Redirects,
    /// No sentinel names a master that says so itself.
    NoMaster,
    /// As many operations as permitted are under way; refused at once.
    Overload,
    /// The breaker is open; refused at once.
    BreakerOpen,
    /// The request itself cannot be carried out: a fault of the caller.
    Invalid,
    /// Any other error of the server.
    Server,
    /// The tier was closed.
    Closed,
}

impl FaultKind {
    /// The kind in one word, as in logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Disconnected => "disconnected",
            Self::Timeout => "timeout",
            Self::Handshake => "handshake",
            Self::Auth => "auth",
            Self::Tls => "tls",
            Self::Loading => "loading",
            Self::ReadOnly => "readonly",
            Self::MasterDown => "masterdown",
            Self::OutOfMemory => "oom",
            Self::Misconfigured => "misconf",
            Self::Busy => "busy",
            Self::Protocol => "protocol",
            Self::MaxClients => "maxclients",
            Self::NoPermission => "noperm",
            Self::WrongType => "wrongtype",
            Self::ClusterDown => "clusterdown",
            Self::Redirects => "redirects",
            Self::NoMaster => "no_master",
            Self::Overload => "overload",
            Self::BreakerOpen => "breaker_open",
            Self::Invalid => "invalid",
            Self::Server => "server",
            Self::Closed => "closed",
        }
    }

    /// Whether it says that the tier is in trouble. What one key or one caller did, and what the breaker or the bound
    /// on operations refused, says nothing about the server.
    pub fn counts_for_breaker(self) -> bool {
        match self {
            Self::Connect
            | Self::Disconnected
            | Self::Timeout
            | Self::Handshake
            | Self::Auth
            | Self::Tls
            | Self::Loading
            | Self::ReadOnly
            | Self::MasterDown
            | Self::OutOfMemory
            | Self::Misconfigured
            | Self::Busy
            | Self::Protocol
            | Self::MaxClients
            | Self::ClusterDown
            | Self::NoMaster => true,
            Self::NoPermission
            | Self::WrongType
            | Self::Redirects
            | Self::Overload
            | Self::BreakerOpen
            | Self::Invalid
            | Self::Server
            | Self::Closed => false,
        }
    }
}

impl Fault {
    /// A fault before anything was sent, or one that the server answered with.
    pub fn new(kind: FaultKind, context: impl Into<String>) -> Self {
        Self {
            kind,
            context: context.into(),
            maybe_applied: false,
        }
    }

    /// The same, but what was asked may have happened.
    #[must_use]
    pub fn after_sending(mut self) -> Self {
        self.maybe_applied = true;
        self
    }

    /// Which of the known reasons it is.
    pub fn kind(&self) -> FaultKind {
        self.kind
    }

    /// Whether what was asked may have happened although no answer came.
    pub fn maybe_applied(&self) -> bool {
        self.maybe_applied
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.context)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("kind", &self.kind)
            .field("context", &self.context)
            .field("maybe_applied", &self.maybe_applied)
            .finish()
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_as_they_are_written() {
        for mark in [
            Mark::Namespace("market/eu"),
            Mark::Prefix("market", "quote/daily"),
            Mark::Tag("market", "user:7 {x}"),
        ] {
            assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
        }
        assert_eq!(Mark::parse("x:market"), None);
        assert_eq!(Mark::parse("t:market"), None);
    }

    #[test]
    fn stored_bytes_are_not_printed() {
        let value = StoredValue {
            version: Version::from_bytes([7; 16]),
            bytes: b"secret".to_vec(),
            remaining: Duration::from_secs(1),
        };
        assert!(!format!("{value:?}").contains("115"), "{value:?}");
    }

    #[test]
    fn a_version_moved_by_a_notice_names_it_and_a_created_one_does_not() {
        let versions = |hard: &str| MarkVersions {
            hard: hard.to_owned(),
            soft: "c:1".to_owned(),
            hold: Duration::ZERO,
        };
        assert_eq!(versions("7-3").hard_moved_at(), Some(LogId::new(7, 3)));
        assert_eq!(versions("c:9").hard_moved_at(), None);
    }
}
