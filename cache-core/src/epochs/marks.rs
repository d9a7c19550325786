//! Marks: namespaces, prefixes and tags, and when each was last invalidated.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::quality::RandomState;

use crate::notice::LogId;
use crate::shared::{self, MarkVersions};
use crate::sync::{Arc, Mutex, MutexGuard, lock};
use crate::tag::{MAX_TAGS, TagError, TagSet, check as check_tag};
use crate::time::Timestamp;

use super::known::Known;
use super::{Epochs, STRIPES};

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
pub(super) struct Names {
    pub(super) marks: HashMap<NameKey, Arc<Mark>, RandomState>,
    scopes: HashMap<NameKey, Scope, RandomState>,
    /// How many marks make it worth forgetting some.
    forget_at: usize,
}

/// What a name is looked up by: a namespace's number, a kind, and the name itself.
type NameParts<'a> = (u32, Kind, &'a str);

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct NameKey(u32, Kind, Box<str>);

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

    pub(super) fn move_mark_to(&self, epoch: u64, mark: &Mark, strength: Strength, held_until: Timestamp) {
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

/// With 256 stripes: about 65,536 marks beyond those that entries hold.
pub(super) const NAMES_PER_STRIPE: usize = 256;
