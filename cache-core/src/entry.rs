//! One cached value with what is known about it.

use std::any::Any;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use crate::epochs::{Epochs, Marks, Standing};
use crate::key::{CacheKey, KeyRef};
use crate::sync::Arc;
use crate::time::{COARSE_LAG, Timestamp};

/// Which entry: a namespace of one cache, and a key in it.
#[derive(Clone, Debug)]
pub(crate) struct EntryId {
    namespace: u32,
    key: CacheKey,
}

/// An [`EntryId`] for looking up, which owns nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryRef<'a> {
    pub(crate) namespace: u32,
    pub(crate) key: KeyRef<'a>,
}

impl EntryId {
    pub(crate) fn new(namespace: u32, key: CacheKey) -> Self {
        Self { namespace, key }
    }

    pub(crate) fn key(&self) -> &CacheKey {
        &self.key
    }

    pub(crate) fn namespace(&self) -> u32 {
        self.namespace
    }

    pub(crate) fn as_ref(&self) -> EntryRef<'_> {
        EntryRef {
            namespace: self.namespace,
            key: self.key.as_key(),
        }
    }

    pub(crate) fn hash_code(&self) -> u64 {
        self.as_ref().hash_code()
    }
}

impl EntryRef<'_> {
    /// The key's own hash, moved apart per namespace by an odd constant.
    pub(crate) fn hash_code(self) -> u64 {
        self.key.hash_code() ^ u64::from(self.namespace).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl PartialEq for EntryId {
    fn eq(&self, other: &Self) -> bool {
        self.namespace == other.namespace && self.key == other.key
    }
}

impl Eq for EntryId {}

impl Hash for EntryId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash_code());
    }
}

impl Hash for EntryRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash_code());
    }
}

impl quick_cache::Equivalent<EntryId> for EntryRef<'_> {
    fn equivalent(&self, id: &EntryId) -> bool {
        self.namespace == id.namespace && self.key == id.key
    }
}

/// Passes on the hash that keys carry: it was computed once, with a seed that is random per process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Prehashed;

impl BuildHasher for Prehashed {
    type Hasher = PassOn;

    fn build_hasher(&self) -> PassOn {
        PassOn(0)
    }
}

/// The hasher of [`Prehashed`].
#[derive(Debug)]
pub(crate) struct PassOn(u64);

impl Hasher for PassOn {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    /// Not used by entry ids; spread, in case something else is hashed.
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }
}

/// A value and its [`Meta`], in one allocation.
///
/// In this order, so that a hit finds the reference count and what it asks of the metadata side by side.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Entry<T> {
    pub(crate) meta: Meta,
    pub(crate) value: T,
}

/// The value of an entry that says "there is no such value".
#[derive(Debug)]
pub(crate) struct Negative;

/// An entry whose value's type is not known here.
pub(crate) type AnyEntry = Arc<dyn Stored>;

/// What can be asked of an entry without knowing its value's type.
pub(crate) trait Stored: Any + Send + Sync {
    fn meta(&self) -> &Meta;
}

impl<T: Send + Sync + 'static> Stored for Entry<T> {
    fn meta(&self) -> &Meta {
        &self.meta
    }
}

/// The entry as one of `T`, if that is what it is.
pub(crate) fn typed<T: Send + Sync + 'static>(entry: AnyEntry) -> Option<Arc<Entry<T>>> {
    let any: Arc<dyn Any + Send + Sync> = entry;
    any.downcast().ok()
}

/// A number that no other entry has.
pub(crate) type Version = u128;

/// What is known about an entry. Times are of the cache's clock.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Meta {
    /// Until here, by the coarse clock, a hit has nothing to ask but whether marks moved: the entry is a value, fresh,
    /// not due for a refresh, and was not made stale. In nanoseconds; zero for "ask everything".
    surely_fresh_until: AtomicU64,
    /// The last epoch of moved marks at which the marks were found valid.
    checked: AtomicU64,
    pub(crate) loaded_at: Timestamp,
    /// When the shared tier was last known to have it.
    pub(crate) confirmed_at: Timestamp,
    pub(crate) version: Version,
    /// Fresh until here.
    pub(crate) soft_at: Timestamp,
    /// Gone from here on.
    pub(crate) hard_at: Timestamp,
    /// From here on, a hit may start a refresh.
    pub(crate) eager_from: Timestamp,
    // These four share a word: memory holds many entries.
    pub(crate) negative: bool,
    /// Made stale by `expire`.
    expired: AtomicBool,
    refresh_failures: AtomicU16,
    delta_micros: u32,
    /// Weight towards the bound of the in-process tier.
    pub(crate) weight: u64,
    /// The epoch at which its load began.
    pub(crate) seen: u64,
    pub(crate) marks: Marks,
    /// The last mutation of its key that it outlived: its load's, or that of an `expire` that made it stale.
    key_seen: AtomicU64,
    /// Served stale without another load until then: a load failed.
    throttled_until: AtomicU64,
    /// The epoch at which that load began.
    throttled_at: AtomicU64,
    /// No refresh starts before this: one runs, or one failed.
    refresh_from: AtomicU64,
}

/// The plain part of [`Meta`], as it is decided when a value is stored.
#[derive(Clone, Debug)]
pub(crate) struct Birth {
    /// `None` for a new value.
    pub(crate) version: Option<Version>,
    /// When the shared tier was last known to have it; when it was made, without one.
    pub(crate) confirmed_at: Timestamp,
    pub(crate) loaded_at: Timestamp,
    pub(crate) soft_at: Timestamp,
    pub(crate) hard_at: Timestamp,
    pub(crate) eager_from: Timestamp,
    pub(crate) delta: Duration,
    pub(crate) negative: bool,
    pub(crate) weight: u64,
    pub(crate) seen: u64,
    pub(crate) marks: Marks,
}

impl Meta {
    pub(crate) fn new(birth: Birth) -> Self {
        let Birth {
            version,
            confirmed_at,
            loaded_at,
            soft_at,
            hard_at,
            eager_from,
            delta,
            negative,
            weight,
            seen,
            marks,
        } = birth;
        let surely_fresh_until = if negative {
            Timestamp::ZERO
        } else {
            soft_at.before(COARSE_LAG).min(eager_from)
        };
        Self {
            surely_fresh_until: AtomicU64::new(surely_fresh_until.as_nanos()),
            checked: AtomicU64::new(seen),
            loaded_at,
            confirmed_at,
            version: version.unwrap_or_else(rand::random),
            soft_at,
            hard_at,
            eager_from,
            negative,
            expired: AtomicBool::new(false),
            refresh_failures: AtomicU16::new(0),
            delta_micros: u32::try_from(delta.as_micros()).unwrap_or(u32::MAX),
            weight,
            seen,
            marks,
            key_seen: AtomicU64::new(seen),
            throttled_until: AtomicU64::new(0),
            throttled_at: AtomicU64::new(0),
            refresh_from: AtomicU64::new(0),
        }
    }

    /// Whether a hit at this coarse time need not look closer, marks apart.
    #[inline]
    pub(crate) fn is_surely_fresh(&self, coarse: Timestamp) -> bool {
        coarse.as_nanos() < self.surely_fresh_until.load(Ordering::Relaxed)
    }

    /// What invalidations say about the entry: of its marks, and of itself.
    pub(crate) fn standing(&self, epochs: &Epochs) -> Standing {
        match self.marks_standing(epochs) {
            Standing::Valid if self.expired.load(Ordering::Relaxed) => Standing::Stale,
            standing => standing,
        }
    }

    /// What the entry's marks say. Mostly one comparison: marks are looked at again only after some mark moved.
    #[inline]
    pub(crate) fn marks_standing(&self, epochs: &Epochs) -> Standing {
        let moved = epochs.marks_moved();
        if self.checked.load(Ordering::Relaxed) >= moved {
            Standing::Valid
        } else {
            self.look_at_marks(moved)
        }
    }

    #[cold]
    fn look_at_marks(&self, moved: u64) -> Standing {
        let standing = self.marks.standing(self.seen);
        if standing == Standing::Valid {
            self.checked.fetch_max(moved, Ordering::Relaxed);
        }
        standing
    }

    pub(crate) fn key_seen(&self) -> u64 {
        self.key_seen.load(Ordering::SeqCst)
    }

    /// Notes the mutation that put the entry in its place.
    pub(crate) fn stored_at_epoch(&self, epoch: u64) {
        self.key_seen.fetch_max(epoch, Ordering::SeqCst);
    }

    /// Makes the entry stale by a mutation of its key with this epoch.
    pub(crate) fn expire(&self, epoch: u64) {
        self.key_seen.fetch_max(epoch, Ordering::SeqCst);
        self.surely_fresh_until.store(0, Ordering::SeqCst);
        self.expired.store(true, Ordering::SeqCst);
        self.throttled_until.store(0, Ordering::SeqCst);
    }

    /// Notes that a load that began at the epoch `seen` has failed.
    pub(crate) fn throttle(&self, until: Timestamp, seen: u64) {
        self.throttled_at.store(seen, Ordering::Relaxed);
        self.throttled_until.store(until.as_nanos(), Ordering::Release);
    }

    /// Whether a load failed a moment ago, and nothing was invalidated since it began.
    pub(crate) fn is_throttled(&self, now: Timestamp) -> bool {
        now.as_nanos() < self.throttled_until.load(Ordering::Acquire)
            && self.marks.standing(self.throttled_at.load(Ordering::Relaxed)) == Standing::Valid
    }

    /// Takes the right to refresh until `until`; one caller gets it.
    pub(crate) fn claim_refresh(&self, now: Timestamp, until: Timestamp) -> bool {
        let from = self.refresh_from.load(Ordering::Relaxed);
        from <= now.as_nanos()
            && self
                .refresh_from
                .compare_exchange(from, until.as_nanos(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Gives the right to refresh back, for `from` on.
    pub(crate) fn allow_refresh(&self, from: Timestamp) {
        self.refresh_from.store(from.as_nanos(), Ordering::Relaxed);
    }

    /// Counts a failed refresh; how many there were in a row.
    pub(crate) fn refresh_failed(&self) -> u32 {
        let more = |failures: u16| Some(failures.saturating_add(1));
        let before = self
            .refresh_failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        u32::from(before.unwrap_or_default()) + 1
    }

    /// How many refreshes failed in a row.
    pub(crate) fn refresh_failures(&self) -> u32 {
        u32::from(self.refresh_failures.load(Ordering::Relaxed))
    }

    /// How long the load took, smoothed over loads; to the microsecond, and at most 71 minutes.
    pub(crate) fn delta(&self) -> Duration {
        Duration::from_micros(u64::from(self.delta_micros))
    }

    #[inline]
    pub(crate) fn age(&self, now: Timestamp) -> Duration {
        now.since(self.loaded_at)
    }
}
