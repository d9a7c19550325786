//! Reading: from the bytes of the shared tier to an entry of the in-process one.

use std::time::Duration;

use crate::cache::far::{Budget, Far, entry_version};
use crate::cache::{Cache, Wire};
use crate::codec::envelope::{Content, Envelope, Expected, Found as Frame, MarkKind, Parsed, fingerprint};
use crate::entry::{AnyEntry, Birth, Entry, EntryId, Meta, Negative, Version};
use crate::epochs::Marks;
use crate::freshness::{eager_from, jittered};
use crate::key::CacheKey;
use crate::options::Policy;
use crate::shared::{Fault, Found, MarkVersions, Reading, StoredValue};
use crate::stats::Count;
use crate::sync::Arc;
use crate::tag::TagSet;
use crate::time::Timestamp;

/// What the shared tier has under a key, for this node.
pub(crate) enum FarEntry<T> {
    /// Good; a negative one if the caller takes those.
    Fresh(AnyEntry),
    /// May stand in for a failing load; its version.
    Stale(Arc<Entry<T>>, Version),
    /// Something that is no answer; its version, if it is ours.
    Unusable(Option<Version>),
    Absent,
}

/// What decides how a value that was read is kept here.
#[derive(Debug)]
pub(crate) struct ReadAs<T> {
    pub(crate) wire: Wire<T>,
    pub(crate) policy: Policy,
    /// The epoch at which the question was sent.
    pub(crate) seen: u64,
}

impl<T> Clone for ReadAs<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ReadAs<T> {}

impl Cache {
    /// Reads many keys in one round trip per server, and judges what is there.
    pub(crate) async fn read_far_many<T: Send + Sync + 'static>(
        &self,
        far: &Far,
        ids: &[EntryId],
        read_as: ReadAs<T>,
        budget: &Budget,
    ) -> Result<Vec<FarEntry<T>>, Fault> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<String> = ids.iter().map(|id| self.far_key(id.key())).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let readings = far
            .ask(far.port.read_many(&keys, budget.left(&*self.inner.clock)?))
            .await?;
        let mut entries = Vec::with_capacity(ids.len());
        for (id, reading) in ids.iter().zip(readings) {
            entries.push(self.judge_reading(far, id, reading, read_as, budget).await?);
        }
        Ok(entries)
    }

    /// How long what stands under the key stays fresh.
    pub(crate) async fn remaining_far(&self, far: &Far, key: &CacheKey) -> Option<Duration> {
        let (id, text, budget) = (self.id(key), self.far_key(key), self.far_budget(far));
        let within = budget.left(&*self.inner.clock).ok()?;
        let Ok(Reading {
            found: Found::Value(value),
            ..
        }) = far.ask(far.port.read(&text, within)).await
        else {
            return None;
        };
        let expected = Expected {
            key: text.as_bytes(),
            schema: far.settings.schema,
            pttl: value.remaining,
        };
        let Ok(Parsed::Found(frame)) = Envelope::parse(&value.bytes, &expected, &far.framing) else {
            return None;
        };
        let marks = self.marks_of_frame(&id, &frame)?;
        let good = self.far_standing(far, &frame, &marks, &budget).await == Ok(Compared::Good);
        (good && !frame.soft_remaining.is_zero()).then_some(frame.soft_remaining)
    }

    /// Reads a key and judges what is there.
    pub(crate) async fn read_far<T: Send + Sync + 'static>(
        &self,
        far: &Far,
        id: &EntryId,
        read_as: ReadAs<T>,
        budget: &Budget,
    ) -> Result<FarEntry<T>, Fault> {
        let key = self.far_key(id.key());
        let within = budget.left(&*self.inner.clock)?;
        let reading = far.ask(far.port.read(&key, within)).await?;
        self.judge_reading(far, id, reading, read_as, budget).await
    }

    async fn judge_reading<T: Send + Sync + 'static>(
        &self,
        far: &Far,
        id: &EntryId,
        reading: Reading,
        read_as: ReadAs<T>,
        budget: &Budget,
    ) -> Result<FarEntry<T>, Fault> {
        let Reading { found, sent } = reading;
        match found {
            Found::Absent => Ok(FarEntry::Absent),
            Found::Foreign => {
                self.inner.tally.count(Count::DecodeError);
                Ok(FarEntry::Unusable(None))
            }
            Found::Tombstone(version) => Ok(FarEntry::Unusable(Some(entry_version(version)))),
            Found::Value(value) => self.judge_far(far, id, &value, sent, read_as, budget).await,
        }
    }

    /// Judges a value of the shared tier: decoded, its marks compared, its times counted from `sent`.
    pub(crate) async fn judge_far<T: Send + Sync + 'static>(
        &self,
        far: &Far,
        id: &EntryId,
        value: &StoredValue,
        sent: Timestamp,
        read_as: ReadAs<T>,
        budget: &Budget,
    ) -> Result<FarEntry<T>, Fault> {
        let unusable = FarEntry::Unusable(Some(entry_version(value.version)));
        let key = self.far_key(id.key());
        let expected = Expected {
            key: key.as_bytes(),
            schema: far.settings.schema,
            pttl: value.remaining,
        };
        let frame = match Envelope::parse(&value.bytes, &expected, &far.framing) {
            Ok(Parsed::Found(frame)) => frame,
            Ok(Parsed::Tombstone(_)) => return Ok(unusable),
            Err(reject) => {
                self.inner.tally.count(Count::DecodeError);
                tracing::debug!(
                    cache = self.name(),
                    reject = reject.as_str(),
                    "a stored value was refused"
                );
                return Ok(unusable);
            }
        };
        if frame.hard_remaining.is_zero() {
            return Ok(unusable);
        }
        let Some(marks) = self.marks_of_frame(id, &frame) else {
            return Ok(unusable);
        };
        if far.recovery.doubts(id, &marks) {
            return Ok(unusable);
        }
        let standing = self.far_standing(far, &frame, &marks, budget).await?;
        if standing == Compared::Gone {
            return Ok(unusable);
        }
        let fresh = standing == Compared::Good && !frame.soft_remaining.is_zero();
        let version = frame.version;
        Ok(
            match self.entry_of_frame(id, &frame, marks, sent, fresh, read_as) {
                Some(Decoded::Value(entry)) if fresh => FarEntry::Fresh(entry),
                Some(Decoded::Value(entry)) => FarEntry::Stale(entry, version),
                Some(Decoded::Negative(entry)) if fresh => FarEntry::Fresh(entry),
                Some(Decoded::Negative(_)) | None => unusable,
            },
        )
    }

    /// The marks of what was read, as this node knows them.
    fn marks_of_frame(&self, id: &EntryId, frame: &Frame<'_>) -> Option<Marks> {
        let tags = frame
            .marks
            .clone()
            .filter(|mark| mark.kind == MarkKind::Tag)
            .map(|mark| mark.name);
        Some(self.marks_of(id.key(), &TagSet::new(tags).ok()?))
    }

    /// Compares the versions that the value's load saw with those of now. On a difference this node asks once more:
    /// its own view may be the old one.
    async fn far_standing(
        &self,
        far: &Far,
        frame: &Frame<'_>,
        marks: &Marks,
        budget: &Budget,
    ) -> Result<Compared, Fault> {
        let known = self.mark_versions(far, marks, false, budget).await?;
        match compare(frame, marks, &known) {
            Compared::Good => Ok(Compared::Good),
            Compared::Aged | Compared::Gone => {
                let asked = self.mark_versions(far, marks, true, budget).await?;
                Ok(compare(frame, marks, &asked))
            }
        }
    }

    fn entry_of_frame<T: Send + Sync + 'static>(
        &self,
        id: &EntryId,
        frame: &Frame<'_>,
        marks: Marks,
        sent: Timestamp,
        fresh: bool,
        read_as: ReadAs<T>,
    ) -> Option<Decoded<T>> {
        let ReadAs { wire, policy, seen } = read_as;
        let value = match &frame.content {
            Content::Value(payload) => Some(self.decode(wire, payload)?),
            Content::Negative => None,
            Content::Failure(_) => return None,
        };
        // Each node spreads the ends of its copies by itself, and never beyond the original's.
        let soft = if fresh {
            jittered(frame.soft_remaining, policy.jitter, rand::random())
        } else {
            Duration::ZERO
        };
        let soft_at = sent + soft;
        let loaded_at = sent.before(frame.age);
        let size = value
            .as_ref()
            .filter(|_| self.inner.memory.weighs_values())
            .map_or(0, |value| (wire.weigh)(value));
        let meta = Meta::new(Birth {
            version: Some(frame.version),
            loaded_at,
            soft_at,
            hard_at: sent + frame.hard_remaining,
            eager_from: eager_from(policy.eager, loaded_at, soft_at, frame.delta),
            delta: frame.delta,
            negative: value.is_none(),
            weight: self.inner.memory.weight(id.key().text().len(), size),
            seen,
            confirmed_at: sent,
            marks,
        });
        Some(match value {
            Some(value) => Decoded::Value(Arc::new(Entry { meta, value })),
            None => Decoded::Negative(Arc::new(Entry {
                meta,
                value: Negative,
            })),
        })
    }

    fn decode<T>(&self, wire: Wire<T>, payload: &crate::codec::envelope::Payload<'_>) -> Option<T> {
        let decoded = match payload.bytes() {
            Ok(bytes) => (wire.coding?.decode)(&bytes, payload.codec).map_err(|error| error.as_str()),
            Err(reject) => Err(reject.as_str()),
        };
        decoded
            .inspect_err(|reason| {
                self.inner.tally.count(Count::DecodeError);
                tracing::debug!(cache = self.name(), reason, "a stored value could not be decoded");
            })
            .ok()
    }
}

/// A value that was read.
enum Decoded<T> {
    Value(Arc<Entry<T>>),
    Negative(Arc<Entry<Negative>>),
}

/// What an entry's marks say about it, compared with those of the shared tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    Good,
    /// Softly invalidated.
    Aged,
    Gone,
}

fn compare(frame: &Frame<'_>, marks: &Marks, versions: &[MarkVersions]) -> Compared {
    let mut result = Compared::Good;
    for (mark, versions) in marks.iter().zip(versions) {
        let (kind, name) = super::envelope_name(mark.name());
        let Some(stored) = frame
            .marks
            .clone()
            .find(|stored| stored.kind == kind && stored.name == name)
        else {
            // It was written without a mark that it should carry: nothing could invalidate it.
            return Compared::Gone;
        };
        if stored.hard != fingerprint(versions.hard.as_bytes()) {
            return Compared::Gone;
        }
        if stored.soft != fingerprint(versions.soft.as_bytes()) {
            result = Compared::Aged;
        }
    }
    result
}

impl<T> FarEntry<T> {
    /// The version under which something unusable stands, to be refused by a lease.
    pub(crate) fn version(&self) -> Option<Version> {
        match self {
            Self::Fresh(entry) => Some(entry.meta().version),
            Self::Stale(_, version) => Some(*version),
            Self::Unusable(version) => *version,
            Self::Absent => None,
        }
    }
}
