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

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::quality::RandomState;

use crate::entry::{EntryId, Prehashed, Version};
use crate::known::Known;
use crate::later::Later;
use crate::notice::LogId;
use crate::shared::{self, MarkVersions};
use crate::sync::{Arc, Mutex, MutexGuard, lock};
use crate::tag::{MAX_TAGS, TagError, TagSet, check as check_tag};
use crate::time::Timestamp;

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

/// A named part of a cache: keys, tags and prefixes of different namespaces never meet.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) id: u32,
    pub(crate) text: Arc<str>,
    pub(crate) own: Arc<Mark>,
    /// The marks of this namespace and of those around it: clearing an outer one clears this too.
    pub(crate) marks: Vec<Arc<Mark>>,
}

impl Namespace {
    pub(crate) fn within(outer: Option<&Self>, id: u32, text: &str) -> Self {
        let text: Arc<str> = text.into();
        let own = Arc::new(Mark::new(MarkName::Namespace(text.clone())));
        let mut marks = outer.map_or_else(Vec::new, |outer| outer.marks.clone());
        marks.push(own.clone());
        Self { id, text, own, marks }
    }
}

/// A tag, a prefix or a namespace, and when it was last invalidated.
#[derive(Debug)]
pub(crate) struct Mark {
    name: MarkName,
    /// What the shared tier says of the mark.
    known: Known,
    hard: AtomicU64,
    soft: AtomicU64,
    /// The last of both, and the one before it.
    moved: AtomicU64,
    moved_before: AtomicU64,
    /// Stores under this mark are refused until then, in nanoseconds of the cache's clock.
    held_until: AtomicU64,
    /// The notice of this node's own last invalidation.
    own: Mutex<Option<LogId>>,
}

/// What the shared tier said of a mark.
#[derive(Clone, Debug)]
pub(crate) struct MarkView {
    pub(crate) versions: MarkVersions,
    /// The fingerprints of the versions, as entries carry them.
    pub(crate) hard: u64,
    pub(crate) soft: u64,
    /// When it was asked.
    pub(crate) asked: Timestamp,
}

/// What a mark stands for, with the namespace that it is in.
#[derive(Debug)]
pub(crate) enum MarkName {
    Namespace(Arc<str>),
    Prefix(Arc<str>, Box<str>),
    Tag(Arc<str>, Box<str>),
}

impl MarkName {
    /// As the shared tier calls it.
    pub(crate) fn shared(&self) -> shared::Mark<'_> {
        match self {
            Self::Namespace(namespace) => shared::Mark::Namespace(namespace),
            Self::Prefix(namespace, prefix) => shared::Mark::Prefix(namespace, prefix),
            Self::Tag(namespace, tag) => shared::Mark::Tag(namespace, tag),
        }
    }
}

impl Mark {
    fn new(name: MarkName) -> Self {
        Self {
            name,
            known: Known::default(),
            hard: AtomicU64::new(0),
            soft: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            moved_before: AtomicU64::new(0),
            held_until: AtomicU64::new(0),
            own: Mutex::default(),
        }
    }

    /// Notes the notice of an invalidation by this node, before the mark moves for it the last time.
    pub(crate) fn acknowledged(&self, notice: LogId) {
        *lock(&self.own) = Some(notice);
    }

    /// Whether the mark moved for this notice already.
    pub(crate) fn has_moved_for(&self, notice: LogId) -> bool {
        *lock(&self.own) == Some(notice)
    }

    pub(crate) fn name(&self) -> &MarkName {
        &self.name
    }

    /// What the shared tier said of the mark, unless it may have changed: since then it moved, or `since` has passed.
    pub(crate) fn known(&self, since: u64) -> Option<Arc<MarkView>> {
        let (view, seen) = self.known.last()?;
        self.is_current(seen, since).then_some(view)
    }

    /// Whether these are the fingerprints of what [`known`](Self::known) would give, decided without a lock. A no may
    /// mean that it is just changing.
    pub(crate) fn is_known_as(&self, hard: u64, soft: u64, since: u64) -> bool {
        self.known.glimpse().is_some_and(|known| {
            (known.hard, known.soft) == (hard, soft) && self.is_current(known.seen, since)
        })
    }

    fn is_current(&self, seen: u64, since: u64) -> bool {
        seen >= since && !self.was_moved_since(seen)
    }

    /// Remembers an answer to a question that was sent at `seen`, and the hold-off that it speaks of.
    pub(crate) fn remember(&self, view: Arc<MarkView>, seen: u64) {
        let held_until = view.asked + view.versions.hold;
        if !view.versions.hold.is_zero() {
            self.held_until.fetch_max(held_until.as_nanos(), Ordering::SeqCst);
        }
        self.known.remember(view, seen);
    }

    /// Whether anything was hard-invalidated under this mark after `seen`.
    pub(crate) fn was_moved_hard_since(&self, seen: u64) -> bool {
        self.hard.load(Ordering::SeqCst) > seen
    }

    /// Whether anything was invalidated under this mark after `seen`, softly or not.
    pub(crate) fn was_moved_since(&self, seen: u64) -> bool {
        self.moved.load(Ordering::SeqCst) > seen
    }

    /// Whether anything was invalidated under this mark after `seen` and not after `joined`. Of many later ones two are
    /// remembered; beyond them the answer is yes.
    fn was_moved_between(&self, seen: u64, joined: u64) -> bool {
        let last = self.moved.load(Ordering::SeqCst);
        last > seen && (last <= joined || self.moved_before.load(Ordering::SeqCst) > seen)
    }

    /// Notes an invalidation that took its number before.
    fn move_to(&self, epoch: u64, strength: Strength) {
        // In this order: whoever sees the later one finds the earlier one.
        let before = self.moved.load(Ordering::SeqCst);
        self.moved_before.fetch_max(before, Ordering::SeqCst);
        match strength {
            Strength::Hard => self.hard.fetch_max(epoch, Ordering::SeqCst),
            Strength::Soft => self.soft.fetch_max(epoch, Ordering::SeqCst),
        };
        self.moved.fetch_max(epoch, Ordering::SeqCst);
    }
}

/// How thoroughly to invalidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strength {
    /// The old values are gone.
    Hard,
    /// The old values are stale: they may still stand in for a failing load.
    Soft,
}

/// What an entry's marks say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Valid,
    Stale,
    Invalid,
}

/// The marks that one entry carries: its namespaces, its prefix, its tags.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    scope: Scope,
    tags: Box<[Arc<Mark>]>,
}

/// Adds tags that are not there yet; whether all of them fit in `limit`.
fn add(known: &mut Vec<Arc<Mark>>, tags: impl IntoIterator<Item = Arc<Mark>>, limit: usize) -> bool {
    for tag in tags {
        if known.iter().any(|known| Arc::ptr_eq(known, &tag)) {
            continue;
        }
        if known.len() >= limit {
            return false;
        }
        known.push(tag);
    }
    true
}

/// The marks that every entry of one prefix carries.
pub(crate) type Scope = Arc<[Arc<Mark>]>;

/// Marks by name: a scope is found by namespace and prefix, a tag by namespace and tag.
#[derive(Debug, Default)]
struct Names {
    marks: HashMap<NameKey, Arc<Mark>, RandomState>,
    scopes: HashMap<NameKey, Scope, RandomState>,
    /// How many marks make it worth forgetting some.
    forget_at: usize,
}

/// What a name is looked up by: a namespace's number, a kind, and the name itself.
type NameParts<'a> = (u32, Kind, &'a str);

#[derive(Debug, PartialEq, Eq, Hash)]
struct NameKey(u32, Kind, Box<str>);

impl NameKey {
    fn of((namespace, kind, name): NameParts<'_>) -> Self {
        Self(namespace, kind, name.into())
    }
}

/// Lets a [`NameKey`] be found without one being made: every read of the shared tier looks up its marks.
trait Named {
    fn parts(&self) -> NameParts<'_>;
}

impl Named for NameKey {
    fn parts(&self) -> NameParts<'_> {
        (self.0, self.1, &self.2)
    }
}

impl Named for NameParts<'_> {
    fn parts(&self) -> NameParts<'_> {
        *self
    }
}

impl<'a> Borrow<dyn Named + 'a> for NameKey {
    fn borrow(&self) -> &(dyn Named + 'a) {
        self
    }
}

impl Hash for dyn Named + '_ {
    /// As a [`NameKey`] has it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialEq for dyn Named + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn Named + '_ {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Tag,
    Prefix,
}

impl Marks {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Mark>> {
        self.scope.iter().chain(&self.tags)
    }

    /// Adds tags that became known later; whether all of them fit in `limit`.
    pub(crate) fn extend(&mut self, tags: impl IntoIterator<Item = Arc<Mark>>, limit: usize) -> bool {
        let mut known_tags = std::mem::take(&mut self.tags).into_vec();
        let fit = add(&mut known_tags, tags, limit);
        self.tags = known_tags.into_boxed_slice();
        fit
    }

    /// What became of something that began at `seen`.
    pub(crate) fn standing(&self, seen: u64) -> Standing {
        let mut standing = Standing::Valid;
        for mark in self.iter() {
            if mark.hard.load(Ordering::SeqCst) > seen {
                return Standing::Invalid;
            }
            if mark.soft.load(Ordering::SeqCst) > seen {
                standing = Standing::Stale;
            }
        }
        standing
    }

    /// Whether anything was invalidated under a mark after `seen` and not after `joined`.
    pub(crate) fn moved_between(&self, seen: u64, joined: u64) -> bool {
        self.iter().any(|mark| mark.was_moved_between(seen, joined))
    }

    pub(crate) fn held_off(&self, now: Timestamp) -> bool {
        self.iter()
            .any(|mark| now.as_nanos() < mark.held_until.load(Ordering::SeqCst))
    }
}

impl Epochs {
    /// The epoch of the last moved mark.
    #[inline]
    pub(crate) fn marks_moved(&self) -> u64 {
        self.marks_moved.load(Ordering::Acquire)
    }

    /// Invalidates everything that carries `mark` and began before now.
    pub(crate) fn move_mark(&self, mark: &Mark, strength: Strength, held_until: Timestamp) {
        self.move_mark_to(self.next(), mark, strength, held_until);
    }

    fn move_mark_to(&self, epoch: u64, mark: &Mark, strength: Strength, held_until: Timestamp) {
        mark.held_until.fetch_max(held_until.as_nanos(), Ordering::SeqCst);
        mark.move_to(epoch, strength);
        // A number taken after the mark moved: with `epoch` itself, an invalidation that was overtaken by a later one
        // would move nothing, and a reader who had checked in between would never look again.
        self.marks_moved.fetch_max(self.next(), Ordering::SeqCst);
    }

    /// The mark of this name, made if need be.
    pub(crate) fn mark(&self, namespace: &Namespace, kind: Kind, name: &str) -> Arc<Mark> {
        let (parts, text) = ((namespace.id, kind, name), &namespace.text);
        let mut names = self.names(namespace.id, name);
        if let Some(mark) = names.marks.get(&parts as &dyn Named) {
            return mark.clone();
        }
        if names.marks.len() >= names.forget_at.max(NAMES_PER_STRIPE) {
            self.forget_unused(&mut names);
            // Looked at again when they have doubled: what is in use is not to be gone through for every new one.
            names.forget_at = names.marks.len() * 2;
        }
        let mark = Arc::new(Mark::new(match kind {
            Kind::Tag => MarkName::Tag(text.clone(), name.into()),
            Kind::Prefix => MarkName::Prefix(text.clone(), name.into()),
        }));
        mark.move_to(self.marks_floor.load(Ordering::SeqCst), Strength::Hard);
        names.marks.insert(NameKey::of(parts), mark.clone());
        mark
    }

    pub(crate) fn tag_marks(&self, namespace: &Namespace, tags: &TagSet) -> Vec<Arc<Mark>> {
        tags.iter()
            .map(|tag| self.mark(namespace, Kind::Tag, tag.as_str()))
            .collect()
    }

    /// The marks of an entry: of its namespaces, its prefix and its tags.
    pub(crate) fn marks(&self, namespace: &Namespace, prefix: &str, tags: &TagSet) -> Marks {
        Marks {
            scope: self.scope(namespace, prefix),
            tags: self.tag_marks(namespace, tags).into(),
        }
    }

    /// The marks of an entry whose tags are known by name, as an entry in the shared tier carries them.
    ///
    /// # Errors
    ///
    /// As for [`TagSet::new`].
    pub(crate) fn marks_named<'t>(
        &self,
        namespace: &Namespace,
        prefix: &str,
        tags: impl Iterator<Item = &'t str>,
    ) -> Result<Marks, TagError> {
        let mut known = Vec::new();
        for tag in tags {
            check_tag(tag)?;
            if !add(&mut known, [self.mark(namespace, Kind::Tag, tag)], MAX_TAGS) {
                return Err(TagError::TooMany);
            }
        }
        Ok(Marks {
            scope: self.scope(namespace, prefix),
            tags: known.into(),
        })
    }

    fn scope(&self, namespace: &Namespace, prefix: &str) -> Scope {
        let parts = (namespace.id, Kind::Prefix, prefix);
        if let Some(scope) = self.names(namespace.id, prefix).scopes.get(&parts as &dyn Named) {
            return scope.clone();
        }
        let mark = self.mark(namespace, Kind::Prefix, prefix);
        let scope: Scope = namespace.marks.iter().cloned().chain([mark]).collect();
        let mut names = self.names(namespace.id, prefix);
        names.scopes.entry(NameKey::of(parts)).or_insert(scope).clone()
    }

    /// Forgets marks that no entry and no load holds and that hold nothing off, and remembers the latest of their
    /// invalidations for all of them.
    fn forget_unused(&self, names: &mut Names) {
        names.scopes.retain(|_, scope| Arc::strong_count(scope) > 1);
        let (mut floor, recently) = (0, self.recently.load(Ordering::Relaxed));
        names.marks.retain(|_, mark| {
            let used = Arc::strong_count(mark) > 1 || mark.held_until.load(Ordering::SeqCst) > recently;
            if !used {
                floor = floor
                    .max(mark.hard.load(Ordering::SeqCst))
                    .max(mark.soft.load(Ordering::SeqCst));
            }
            used
        });
        self.marks_floor.fetch_max(floor, Ordering::SeqCst);
    }

    fn names(&self, namespace: u32, name: &str) -> MutexGuard<'_, Names> {
        let hash = name.bytes().fold(u64::from(namespace), |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        lock(&self.marks[(hash ^ (hash >> 32)) as usize % STRIPES])
    }
}

/// The end of a hold-off that starts now; none for a zero one.
pub(crate) fn held_until(now: Timestamp, hold: Duration) -> Timestamp {
    if hold.is_zero() {
        Timestamp::ZERO
    } else {
        now + hold
    }
}

const STRIPES: usize = 256;
/// With 256 stripes: the last 32,768 mutated keys at least are known exactly, which a load of a second outlives only
/// if more than that are mutated meanwhile.
const KEYS_PER_STRIPE: usize = 256;
/// With 256 stripes: about 131,000 hold-offs at once; beyond that, what shares a stripe with them is held off too.
const HELD_PER_STRIPE: usize = 512;
/// With 256 stripes: about 65,536 marks beyond those that entries hold.
const NAMES_PER_STRIPE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Birth, Meta};
    use crate::key::CacheKey;

    const NOW: Timestamp = Timestamp::from_nanos(1_000);

    fn root() -> Namespace {
        Namespace::within(None, 0, "c")
    }

    fn id(n: u64) -> EntryId {
        EntryId::new(0, CacheKey::build("k", n).unwrap())
    }

    #[test]
    fn a_store_that_began_before_a_mutation_is_refused() {
        let epochs = Epochs::new();
        let seen = epochs.seen();
        assert_eq!(epochs.store(&id(1), seen, None, NOW, || ()), Ok(()));
        epochs.mutate(&id(1), NOW, Timestamp::ZERO, |_| ());
        assert_eq!(
            epochs.store(&id(1), seen, None, NOW, || ()),
            Err(Refusal::Mutated)
        );
        assert_eq!(epochs.store(&id(1), epochs.seen(), None, NOW, || ()), Ok(()));
    }

    #[test]
    fn forgetting_mutations_refuses_more_and_never_less() {
        let epochs = Epochs::new();
        let seen = epochs.seen();
        epochs.mutate(&id(0), NOW, Timestamp::ZERO, |_| ());
        for n in 1..200_000 {
            epochs.mutate(&id(n), NOW, Timestamp::ZERO, |_| ());
        }
        assert_eq!(
            epochs.store(&id(0), seen, None, NOW, || ()),
            Err(Refusal::Mutated)
        );
        let records: usize = epochs.stripes.iter().map(|stripe| lock(stripe).keys.len()).sum();
        assert!(records <= STRIPES * KEYS_PER_STRIPE, "{records} records are kept");
    }

    #[test]
    fn a_hold_off_refuses_stores_until_its_end() {
        let epochs = Epochs::new();
        epochs.mutate(&id(1), NOW, held_until(NOW, Duration::from_nanos(500)), |_| ());
        let seen = epochs.seen();
        assert_eq!(
            epochs.store(&id(1), seen, None, Timestamp::from_nanos(1_499), || ()),
            Err(Refusal::HeldOff)
        );
        assert_eq!(
            epochs.store(&id(1), seen, None, Timestamp::from_nanos(1_500), || ()),
            Ok(())
        );
    }

    #[test]
    fn asking_whether_a_key_changed_ends_no_hold_off() {
        let (epochs, now) = (Epochs::new(), Timestamp::from_nanos(1));
        epochs.note(now);
        let seen = epochs.seen();
        epochs.mutate(&id(1), now, Timestamp::ZERO, |_| ());
        assert!(epochs.overtook(&id(1), seen, None));
        assert!(!epochs.overtook(&id(2), epochs.seen(), None));
        // Marks that hold stores off are kept until the time that was noted last.
        assert!(epochs.recently.load(Ordering::SeqCst) < 10_000_000_000);
    }

    #[test]
    fn hold_offs_beyond_any_number_hold_and_ended_ones_are_forgotten() {
        let epochs = Epochs::new();
        let (seen, end) = (epochs.seen(), held_until(NOW, Duration::from_nanos(500)));
        let many = (STRIPES * HELD_PER_STRIPE) as u64 * 3 / 2;
        for n in 0..many {
            epochs.mutate(&id(n), NOW, end, |_| ());
        }
        for n in (0..many).step_by(101) {
            let before_end = Timestamp::from_nanos(1_499);
            assert_eq!(
                epochs.store(&id(n), u64::MAX, None, before_end, || ()),
                Err(Refusal::HeldOff)
            );
            assert_eq!(
                epochs.store(&id(n), seen, None, end, || ()),
                Err(Refusal::Mutated),
                "{n}"
            );
            assert_eq!(
                epochs.store(&id(n), epochs.seen(), None, end, || ()),
                Ok(()),
                "{n}"
            );
        }
        for n in many..many + (STRIPES * HELD_PER_STRIPE) as u64 {
            epochs.mutate(&id(n), end, Timestamp::ZERO, |_| ());
        }
        let records: usize = epochs.stripes.iter().map(|stripe| lock(stripe).keys.len()).sum();
        assert!(
            records <= 2 * STRIPES * HELD_PER_STRIPE,
            "{records} records are kept"
        );
    }

    #[test]
    fn an_invalidation_that_is_overtaken_by_a_later_one_is_seen_by_who_looked_in_between() {
        let epochs = Epochs::new();
        let [a, b] = ["a", "b"].map(|tag| epochs.mark(&root(), Kind::Tag, tag));
        let entry = Meta::new(Birth {
            version: None,
            confirmed_at: NOW,
            loaded_at: NOW,
            soft_at: Timestamp::MAX,
            hard_at: Timestamp::MAX,
            eager_from: Timestamp::MAX,
            delta: Duration::ZERO,
            negative: false,
            weight: 1,
            seen: epochs.seen(),
            marks: epochs.marks(&root(), "user", &TagSet::new(["a"]).unwrap()),
        });
        let overtaken = epochs.next();
        epochs.move_mark(&b, Strength::Hard, Timestamp::ZERO);
        assert_eq!(entry.standing(&epochs), Standing::Valid);
        epochs.move_mark_to(overtaken, &a, Strength::Hard, Timestamp::ZERO);
        assert_eq!(entry.standing(&epochs), Standing::Invalid);
    }

    #[test]
    fn a_moved_mark_ends_what_began_before_and_nothing_else() {
        let epochs = Epochs::new();
        let tags = TagSet::new(["a", "b"]).unwrap();
        let before = epochs.seen();
        let marks = epochs.marks(&root(), "user", &tags);
        assert_eq!(marks.standing(before), Standing::Valid);
        epochs.move_mark(
            &epochs.mark(&root(), Kind::Tag, "other"),
            Strength::Hard,
            Timestamp::ZERO,
        );
        assert_eq!(marks.standing(before), Standing::Valid);
        epochs.move_mark(
            &epochs.mark(&root(), Kind::Tag, "b"),
            Strength::Soft,
            Timestamp::ZERO,
        );
        assert_eq!(marks.standing(before), Standing::Stale);
        epochs.move_mark(
            &epochs.mark(&root(), Kind::Prefix, "user"),
            Strength::Hard,
            Timestamp::ZERO,
        );
        assert_eq!(marks.standing(before), Standing::Invalid);
        assert_eq!(marks.standing(epochs.seen()), Standing::Valid);
    }

    #[test]
    fn a_forgotten_mark_counts_as_invalidated_and_the_registry_stays_bounded() {
        let epochs = Epochs::new();
        let seen = epochs.seen();
        epochs.move_mark(
            &epochs.mark(&root(), Kind::Tag, "gone"),
            Strength::Hard,
            Timestamp::ZERO,
        );
        for n in 0..400_000 {
            epochs.mark(&root(), Kind::Tag, &format!("tag-{n}"));
        }
        let marks = epochs.marks(&root(), "p", &TagSet::new(["gone"]).unwrap());
        assert_eq!(marks.standing(seen), Standing::Invalid);
        let count: usize = epochs.marks.iter().map(|names| lock(names).marks.len()).sum();
        assert!(count <= STRIPES * NAMES_PER_STRIPE, "{count} marks are kept");
    }
}
