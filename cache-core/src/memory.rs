//! The in-process tier: a bounded map of entries, and nothing more.
//!
//! Time, tags and versions live in the entries and are judged by the engine; this only bounds and evicts. A lookup
//! takes a shard's read lock, hashes nothing (keys carry their hash) and allocates nothing.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache as Store;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use crate::entry::{AnyEntry, EntryId, EntryRef, Prehashed};
use crate::error::Error;
use crate::key::{CacheKey, KeyRef};
use crate::later::{Later, drop_later};
use crate::sync::Arc;

/// The in-process tier.
pub(crate) struct Memory {
    store: Store<StoredKey, AnyEntry, ByMeta, Prehashed, CountEvictions>,
    bound: Bound,
    evicted: Arc<AtomicU64>,
}

/// How much the tier may hold. With both limits, the one that is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) bytes: Option<u64>,
    pub(crate) entries: Option<u64>,
}

impl Memory {
    pub(crate) fn new(bound: Bound) -> Result<Self, Error> {
        let evicted = Arc::new(AtomicU64::new(0));
        let capacity = bound.capacity();
        let items = bound
            .entries
            .unwrap_or(capacity / TYPICAL_WEIGHT)
            .clamp(16, 1 << 24);
        let options = OptionsBuilder::new()
            .weight_capacity(capacity)
            .estimated_items_capacity(usize::try_from(items).unwrap_or(usize::MAX))
            .build()
            .map_err(|error| Error::invalid(format!("the bound of the in-process tier: {error:?}")))?;
        let store = Store::with_options(options, ByMeta, Prehashed, CountEvictions(evicted.clone()));
        Ok(Self {
            store,
            bound,
            evicted,
        })
    }

    /// What an entry weighs whose key and value take so many bytes.
    pub(crate) fn weight(&self, key: usize, value: usize) -> u64 {
        self.bound.weight(key, value)
    }

    /// Whether weights depend on how large values are.
    pub(crate) fn weighs_values(&self) -> bool {
        self.bound.bytes.is_some()
    }

    pub(crate) fn get(&self, id: EntryRef<'_>) -> Option<AnyEntry> {
        self.store.get(&id)
    }

    /// Looks without making the entry look used.
    pub(crate) fn peek(&self, id: EntryRef<'_>) -> Option<AnyEntry> {
        self.store.peek(&id)
    }

    /// Whether the entry is kept: one that is too heavy for the tier is not, and neither is what stood in its place.
    pub(crate) fn insert(&self, id: &EntryId, entry: AnyEntry) -> bool {
        let _later = Later::new();
        if entry.meta().weight > self.store.shard_capacity() {
            self.evicted.fetch_add(1, Ordering::Relaxed);
            self.remove(id.as_ref());
            return false;
        }
        let mut insertion = Insertion {
            hash: Some(id.hash_code()),
        };
        self.store
            .insert_with_lifecycle(StoredKey::new(id), entry, &mut insertion);
        true
    }

    pub(crate) fn remove(&self, id: EntryRef<'_>) {
        if let Some((_, entry)) = self.store.remove(&id) {
            drop_later(entry);
        }
    }

    /// Removes `entry` unless another one took its place; whether it did.
    pub(crate) fn remove_same(&self, id: EntryRef<'_>, entry: &AnyEntry) -> bool {
        let version = entry.meta().version;
        let removed = self
            .store
            .remove_if(&id, |current| current.meta().version == version);
        match removed {
            Some((_, entry)) => {
                drop_later(entry);
                true
            }
            None => false,
        }
    }

    pub(crate) fn retain(&self, keep: impl Fn(EntryRef<'_>, &AnyEntry) -> bool) {
        let _later = Later::new();
        self.store.retain(|key, entry| {
            let keep = keep(key.as_ref(), entry);
            if !keep {
                // One more hold on it, so that it outlives the shard's lock.
                drop_later(entry.clone());
            }
            keep
        });
    }

    /// Looks at every entry, with its shard locked.
    pub(crate) fn for_each(&self, look: impl Fn(&AnyEntry)) {
        self.store.retain(|_, entry| {
            look(entry);
            true
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.store.len()
    }

    pub(crate) fn total_weight(&self) -> u64 {
        self.store.weight()
    }

    /// The bound of the weight.
    pub(crate) fn capacity(&self) -> u64 {
        self.store.capacity()
    }

    /// Whether another entry fits without pushing one out; with some room to spare, since it is divided into shards.
    pub(crate) fn has_room(&self) -> bool {
        self.store.weight() < self.store.capacity() / 10 * 9
    }

    pub(crate) fn evictions(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }
}

impl Bound {
    fn capacity(self) -> u64 {
        self.bytes.or(self.entries).unwrap_or(u64::MAX)
    }

    fn weight(self, key: usize, value: usize) -> u64 {
        let Some(bytes) = self.bytes else { return 1 };
        // With both limits, an entry weighs at least its share of the bytes: then the count holds as well.
        let share = self.entries.map_or(0, |entries| bytes.div_ceil(entries.max(1)));
        (key as u64)
            .saturating_add(value as u64)
            .saturating_add(ENTRY_OVERHEAD)
            .max(share)
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory")
            .field("bound", &self.bound)
            .field("entries", &self.len())
            .finish_non_exhaustive()
    }
}

/// Which entry, in a form that the map can compare without leaving its own memory.
#[derive(Debug)]
struct StoredKey {
    namespace: u32,
    /// The key's own, without the namespace.
    hash: u64,
    text: StoredText,
}

/// A key's text. A short one stands in the map itself: a pointer to it would be one more cache miss for every hit.
#[derive(Debug)]
enum StoredText {
    Short { length: u8, bytes: [u8; SHORT_TEXT] },
    Long(CacheKey),
}

/// Enough for a prefix and a UUID.
const SHORT_TEXT: usize = 46;

impl StoredKey {
    fn new(id: &EntryId) -> Self {
        let text = id.key().text().as_bytes();
        let mut bytes = [0; SHORT_TEXT];
        let text = match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(room), Ok(length)) => {
                room.copy_from_slice(text);
                StoredText::Short { length, bytes }
            }
            _ => StoredText::Long(id.key().clone()),
        };
        Self {
            namespace: id.namespace(),
            hash: id.key().hash_code(),
            text,
        }
    }

    #[inline]
    fn as_ref(&self) -> EntryRef<'_> {
        let text = match &self.text {
            StoredText::Short { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            StoredText::Long(key) => key.text().as_bytes(),
        };
        EntryRef {
            namespace: self.namespace,
            key: KeyRef::hashed(self.hash, text),
        }
    }
}

impl PartialEq for StoredKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for StoredKey {}

impl Hash for StoredKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_ref().hash(state);
    }
}

impl quick_cache::Equivalent<StoredKey> for EntryRef<'_> {
    #[inline]
    fn equivalent(&self, stored: &StoredKey) -> bool {
        *self == stored.as_ref()
    }
}

/// What an entry costs beyond its key's text and its encoded value: metadata, two allocations, the map's slot.
const ENTRY_OVERHEAD: u64 = 450;

/// Only sizes the first tables; being wrong costs a few reallocations.
const TYPICAL_WEIGHT: u64 = 1_024;

#[derive(Clone, Debug)]
struct ByMeta;

impl Weighter<StoredKey, AnyEntry> for ByMeta {
    fn weight(&self, _: &StoredKey, entry: &AnyEntry) -> u64 {
        entry.meta().weight
    }
}

#[derive(Clone, Debug)]
struct CountEvictions(Arc<AtomicU64>);

/// The insertion that may evict others.
#[derive(Debug, Default)]
pub(crate) struct Insertion {
    hash: Option<u64>,
}

impl Lifecycle<StoredKey, AnyEntry> for CountEvictions {
    type RequestState = Insertion;

    /// Called with the shard locked, and also for what is replaced by an insertion under the same id.
    fn on_evict(&self, insertion: &mut Insertion, key: StoredKey, entry: AnyEntry) {
        if insertion.hash != Some(key.as_ref().hash_code()) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        drop_later(entry);
    }
}
