//! [`Shared`]: the one port to the shared tier, with the contract that every adapter keeps.
//!
//! A user of the cache needs nothing of this: `CacheBuilder::redis` is all there is to Redis. The port is public so that
//! tests can stand between a cache and its tier, as the module `testing` does, or speak to a server without a cache. It
//! may be implemented elsewhere for the same purpose; methods are added to it in minor releases.
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

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;

use crate::notice::{LogId, Op};
use crate::sync::Arc;
use crate::time::Clock;

mod fault;
mod header;
mod health;
mod leases;
mod locks;
mod log;
mod marks;
mod scan;
mod values;

pub use fault::{Fault, FaultKind};
pub use header::{HEADER_BYTES, KIND_AT, MAGIC, TOMBSTONE, Token, VERSION_AT, Version};
pub use health::{EndpointHealth, ServerFacts};
pub use leases::{
    CommitAnswer, CommitRequest, Ending, Fence, Lease, LeaseAnswer, LeaseRequest, Refuse, Wakeups,
};
pub use locks::{AcquireRequest, Acquisition, LockKind};
pub use log::{GapReason, LogEvent, LogReader};
pub use marks::{Mark, MarkVersions, Strength};
pub use scan::{ScanCursor, ScanPage, ScanRequest};
pub use values::{
    Change, Condition, Found, MAX_KEYS_PER_NOTICE, Mutation, MutationAnswer, Payload, Reading, StoredValue,
    Verdict,
};

/// What every method of the port returns.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// Where a cache gets its shared tier from: `Redis`, or a store for tests.
pub trait SharedTier: fmt::Debug + Send + Sync + 'static {
    /// Opens the tier for the cache named `root`, whose `clock` instants in answers are read from. Waits for nothing.
    fn open(&self, root: &str, clock: Arc<dyn Clock>) -> Arc<dyn Shared>;

    /// How long one operation may take. Default: 250 ms.
    fn budget(&self) -> Duration {
        Duration::from_millis(250)
    }
}

/// The shared tier.
///
/// All keys are full texts, `namespace:prefix:part..`, without braces. Methods that take several keys answer in their
/// order, and split them so that no step on the server spans what it cannot.
pub trait Shared: Send + Sync + fmt::Debug + 'static {
    // ── values ───────────────────────────────────────────────────────────────────────────────────

    /// What stands under a key, with a lower bound of its remaining life. Retried once on a broken connection.
    fn read<'a>(&'a self, key: &'a str, within: Duration) -> Reply<'a, Reading>;

    /// [`read`](Self::read) of many keys: one round trip per server. On a fault of one server all fail.
    fn read_many<'a>(&'a self, keys: &'a [&'a str], within: Duration) -> Reply<'a, Vec<Reading>>;

    // ── leases ───────────────────────────────────────────────────────────────────────────────────

    /// On a miss: the value if there is one that the caller does not refuse, else a recorded error, else the lease,
    /// else who holds it. One step on the server.
    ///
    /// Asking again with the token that already holds the lock gives the same lease, so an unclear answer may be
    /// repeated. The caller gives back what it may have been given unheard.
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

    // ── changes ──────────────────────────────────────────────────────────────────────────────────

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

    // ── marks ────────────────────────────────────────────────────────────────────────────────────

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

    // ── patterns ─────────────────────────────────────────────────────────────────────────────────

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

    // ── locks and claims ─────────────────────────────────────────────────────────────────────────

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

    // ── the log ──────────────────────────────────────────────────────────────────────────────────

    /// Whether a node that crashes can have changed a key without its notice: where the two are not one step. Then
    /// copies are to be compared with the original now and then.
    fn may_lose_notices(&self) -> bool {
        false
    }

    /// Starts reading the log, in a task that ends with the returned value. Never waits for the server.
    fn follow_log(&self) -> LogReader;

    /// The newest notice of the log, which begins if there is none: whatever was announced before the question was sent
    /// is that one or an earlier one.
    fn log_end(&self, within: Duration) -> Reply<'_, LogId>;

    // ── operation ────────────────────────────────────────────────────────────────────────────────

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
