//! What was invalidated when, in the order in which this node learned of it.
//!
//! Every mutation takes the next number of one sequence, its *epoch*. A load, a read of the shared tier or a `set`
//! notes the epoch at which it began (its *seen*). The rule behind everything else:
//!
//! > What began before an invalidation is never readable after it.
//!
//! It is enforced at two places, each where it costs least:
//!
//! * **Per key, when an entry is stored.** Mutating a key and storing under it exclude each other, and a store is
//!   refused if the key, or a pattern that may cover it, was mutated later than the store's *seen*. The record of
//!   mutated keys is bounded: forgotten keys raise a floor, and what is absent counts as mutated at the floor.
//! * **Per mark, when an entry is read.** A tag, a prefix and a namespace is a [`Mark`] that remembers its last
//!   invalidation; an entry keeps pointers to its marks and is valid while none moved since its *seen*. Invalidating
//!   is therefore one atomic store, however many entries carry the mark.

mod known;
mod marks;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::entry::{EntryId, Prehashed, Version};
use crate::later::Later;
use crate::sync::{Mutex, MutexGuard, lock};
use crate::time::Timestamp;

use marks::Names;

pub(crate) use marks::{Kind, Mark, MarkName, MarkView, Marks, Namespace, Standing, Strength, held_until};

/// The sequence, the record of mutated keys, and the registry of marks.
#[derive(Debug)]
pub(crate) struct Epochs {
    sequence: AtomicU64,
    /// The epoch of the last moved mark: entries checked since then need no new check.
    marks_moved: AtomicU64,
    /// Every store that began before this epoch is refused, whatever its key.
    floor: AtomicU64,
    stripes: Box<[Mutex<Stripe>]>,
    marks: Box<[Mutex<Names>]>,
    /// New marks count as invalidated at this epoch: marks that were forgotten may have been.
    marks_floor: AtomicU64,
    /// The time of a recent store or mutation, seconds behind at most: what was held off until then is not any more.
    recently: AtomicU64,
}

/// Why a store did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The key was mutated since the store's load began.
    Mutated,
    /// An invalidation holds stores off for a while.
    HeldOff,
}

/// The last mutations of the keys of one stripe.
#[derive(Debug, Default)]
struct Stripe {
    keys: HashMap<EntryId, Mutation, Prehashed>,
    /// What is not among the keys counts as mutated and held off like this.
    floor: Mutation,
    /// No key is held off beyond this.
    held_until: Timestamp,
    /// How many keys make it worth forgetting some.
    forget_at: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mutation {
    epoch: u64,
    /// The version that the mutation left: storing that very one is no way back.
    version: Option<Version>,
    held_until: Timestamp,
}

impl Epochs {
    pub(crate) fn new() -> Self {
        Self {
            sequence: AtomicU64::new(1),
            marks_moved: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            marks: (0..STRIPES).map(|_| Mutex::default()).collect(),
            marks_floor: AtomicU64::new(0),
            recently: AtomicU64::new(0),
        }
    }

    /// The epoch of now: what begins after this call has seen everything up to it.
    pub(crate) fn seen(&self) -> u64 {
        self.sequence.load(Ordering::SeqCst)
    }

    /// Keeps up with time, without contention: seconds do.
    fn note(&self, now: Timestamp) {
        if now > Timestamp::from_nanos(self.recently.load(Ordering::Relaxed)) + Duration::from_secs(1) {
            self.recently.store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    fn next(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Mutates a key: `act` runs with the key's new epoch while no store of it can happen.
    pub(crate) fn mutate<R>(
        &self,
        id: &EntryId,
        now: Timestamp,
        held_until: Timestamp,
        act: impl FnOnce(u64) -> R,
    ) -> R {
        self.mutate_as(id, None, now, held_until, act)
    }

    /// Mutates a key for the last time on behalf of a change that left `version` in the shared tier, whose echo
    /// then says nothing new.
    pub(crate) fn mutate_as<R>(
        &self,
        id: &EntryId,
        version: Option<Version>,
        now: Timestamp,
        held_until: Timestamp,
        act: impl FnOnce(u64) -> R,
    ) -> R {
        self.note(now);
        let mut stripe = self.stripe(id);
        let epoch = self.next();
        stripe.record(
            id,
            Mutation {
                epoch,
                version,
                held_until,
            },
            now,
        );
        act(epoch)
    }

    /// Notes a mutation that happened elsewhere and left `version` there, unless it is known; `act` runs while no store
    /// of the key can happen.
    pub(crate) fn heard(&self, id: &EntryId, now: Timestamp, version: Version, act: impl FnOnce()) {
        let mut stripe = self.stripe(id);
        if stripe.last(id).version == Some(version) {
            return;
        }
        let epoch = self.next();
        stripe.record(id, Mutation::of(epoch, Some(version)), now);
        act();
    }

    /// Ends a mutation of the shared tier that was sent after [`mutate`](Self::mutate) gave `sent`, or that began at that
    /// epoch: whether nothing but its own echo happened to the key since. `act` is told, and runs while no store of the
    /// key can happen.
    pub(crate) fn acknowledged<R>(
        &self,
        id: &EntryId,
        now: Timestamp,
        sent: u64,
        version: Version,
        act: impl FnOnce(bool, u64) -> R,
    ) -> R {
        let mut stripe = self.stripe(id);
        let last = stripe.last(id);
        let undisturbed = last.epoch <= sent || last.version == Some(version);
        let undisturbed = undisturbed && self.floor.load(Ordering::SeqCst) <= sent;
        let epoch = self.next();
        let version = if undisturbed { Some(version) } else { last.version };
        stripe.record(id, Mutation::of(epoch, version), now);
        act(undisturbed, epoch)
    }

    /// Mutates a key if nothing happened to it since `seen`.
    pub(crate) fn mutate_since<R>(
        &self,
        id: &EntryId,
        seen: u64,
        now: Timestamp,
        act: impl FnOnce(u64) -> R,
    ) -> Result<R, Refusal> {
        self.mutate_if(id, seen, now, || true, act)
    }

    /// Mutates a key by storing `version` if nothing happened to it since `seen` but the echo of this very mutation.
    pub(crate) fn mutate_to<R>(
        &self,
        id: &EntryId,
        seen: u64,
        version: Version,
        now: Timestamp,
        act: impl FnOnce(u64) -> R,
    ) -> Result<R, Refusal> {
        let mut stripe = self.stripe(id);
        permit(&self.floor, &stripe.last(id), seen, Some(version), now)?;
        let epoch = self.next();
        stripe.record(id, Mutation::of(epoch, Some(version)), now);
        Ok(act(epoch))
    }

    /// Mutates a key if nothing happened to it since `seen` and `holds` says so.
    pub(crate) fn mutate_if<R>(
        &self,
        id: &EntryId,
        seen: u64,
        now: Timestamp,
        holds: impl FnOnce() -> bool,
        act: impl FnOnce(u64) -> R,
    ) -> Result<R, Refusal> {
        let mut stripe = self.stripe(id);
        permit(&self.floor, &stripe.last(id), seen, None, now)?;
        if !holds() {
            return Err(Refusal::Mutated);
        }
        let epoch = self.next();
        stripe.record(id, Mutation::of(epoch, None), now);
        Ok(act(epoch))
    }

    /// Stores under a key if nothing happened to it since `seen` but, perhaps, the mutation that left this very
    /// `version`; `act` runs while no mutation of the key can happen.
    pub(crate) fn store<R>(
        &self,
        id: &EntryId,
        seen: u64,
        version: Option<Version>,
        now: Timestamp,
        act: impl FnOnce() -> R,
    ) -> Result<R, Refusal> {
        self.note(now);
        let stripe = self.stripe(id);
        // Mostly nothing at all was mutated meanwhile, and the key need not be looked for among the mutated ones.
        if now < stripe.held_until || !self.is_still(seen) {
            permit(&self.floor, &stripe.last(id), seen, version, now)?;
        }
        Ok(act())
    }

    /// Whether a store that began at `seen` may happen now.
    pub(crate) fn permits(
        &self,
        id: &EntryId,
        seen: u64,
        version: Option<Version>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.store(id, seen, version, now, || ())
    }

    /// Whether the key was, or may have been, mutated since `seen`, other than by what left this `version`.
    pub(crate) fn overtook(&self, id: &EntryId, seen: u64, version: Option<Version>) -> bool {
        if self.is_still(seen) {
            return false;
        }
        // Hold-offs are over at the end of time.
        let last = self.stripe(id).last(id);
        permit(&self.floor, &last, seen, version, Timestamp::MAX).is_err()
    }

    /// Whether nothing was mutated since `seen`: then no key and no mark was.
    fn is_still(&self, seen: u64) -> bool {
        self.seen() == seen
    }

    /// Whether the key was, or may have been, mutated since `seen`.
    pub(crate) fn mutated_since(&self, id: &EntryId, seen: u64) -> bool {
        self.floor.load(Ordering::SeqCst) > seen || self.stripe(id).last(id).epoch > seen
    }

    /// Refuses every store that began before now: for mutations that name keys by a pattern, and for missed ones.
    ///
    /// Stores that were permitted before have happened when this returns, so that the caller can find and undo them.
    pub(crate) fn raise_floor(&self) -> u64 {
        let floor = self.next();
        self.floor.fetch_max(floor, Ordering::SeqCst);
        self.stripes.iter().for_each(|stripe| drop(lock(stripe)));
        floor
    }

    fn stripe(&self, id: &EntryId) -> Locked<'_> {
        let later = Later::new();
        Locked {
            stripe: lock(&self.stripes[id.hash_code() as usize % STRIPES]),
            _later: later,
        }
    }
}

/// Whether a store that began at `seen` may happen after the last mutation of its key.
fn permit(
    floor: &AtomicU64,
    last: &Mutation,
    seen: u64,
    version: Option<Version>,
    now: Timestamp,
) -> Result<(), Refusal> {
    if now < last.held_until {
        return Err(Refusal::HeldOff);
    }
    let own = version.is_some() && last.version == version;
    if (last.epoch > seen && !own) || floor.load(Ordering::SeqCst) > seen {
        return Err(Refusal::Mutated);
    }
    Ok(())
}

/// A stripe that is locked. What leaves the stores meanwhile is dropped after it is unlocked, hence the order.
struct Locked<'a> {
    stripe: MutexGuard<'a, Stripe>,
    _later: Later,
}

impl Deref for Locked<'_> {
    type Target = Stripe;

    fn deref(&self) -> &Stripe {
        &self.stripe
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Stripe {
        &mut self.stripe
    }
}

impl Stripe {
    fn last(&self, id: &EntryId) -> Mutation {
        self.keys.get(id).copied().unwrap_or(self.floor)
    }

    fn record(&mut self, id: &EntryId, mutation: Mutation, now: Timestamp) {
        self.held_until = self.held_until.max(mutation.held_until);
        if let Some(last) = self.keys.get_mut(id) {
            *last = mutation.or_later(*last);
            return;
        }
        if self.keys.len() >= self.forget_at.max(KEYS_PER_STRIPE) {
            self.forget_some(now);
        }
        self.keys.insert(id.clone(), mutation.or_later(self.floor));
    }

    /// Forgets the older half, except what is still held off, or everything if too much is.
    fn forget_some(&mut self, now: Timestamp) {
        let mut epochs: Vec<u64> = self.keys.values().map(|last| last.epoch).collect();
        let middle = epochs.len() / 2;
        let (_, median, _) = epochs.select_nth_unstable(middle);
        let mut newest_forgotten = *median;
        self.keys
            .retain(|_, last| last.epoch > newest_forgotten || last.held_until > now);
        if self.keys.len() > HELD_PER_STRIPE {
            let all = self.keys.drain().map(|(_, last)| last);
            let all = all.fold(Mutation::default(), Mutation::or_later);
            self.floor = self.floor.or_later(all);
            newest_forgotten = all.epoch;
        }
        self.floor.epoch = self.floor.epoch.max(newest_forgotten);
        // Looked at again when it has doubled: what is held off cannot be forgotten, and is not to be gone through
        // with every mutation.
        self.forget_at = self.keys.len() * 2;
    }
}

impl Mutation {
    fn of(epoch: u64, version: Option<Version>) -> Self {
        Self {
            epoch,
            version,
            held_until: Timestamp::ZERO,
        }
    }

    /// Refuses what either refuses; the version is that of the later one.
    fn or_later(self, other: Self) -> Self {
        let version = if self.epoch >= other.epoch {
            self.version
        } else {
            other.version
        };
        Self {
            epoch: self.epoch.max(other.epoch),
            version,
            held_until: self.held_until.max(other.held_until),
        }
    }
}

const STRIPES: usize = 256;
/// With 256 stripes: the last 32,768 mutated keys at least are known exactly, which a load of a second outlives only
/// if more than that are mutated meanwhile.
const KEYS_PER_STRIPE: usize = 256;
/// With 256 stripes: about 131,000 hold-offs at once; beyond that, what shares a stripe with them is held off too.
const HELD_PER_STRIPE: usize = 512;
