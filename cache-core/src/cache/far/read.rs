//! Reading: from the bytes of the shared tier to an entry of the in-process one.

use std::time::Duration;

use crate::cache::far::compare::{Compared, compare, is_as_known};
use crate::cache::far::{Budget, Far, Inquiry, Views, entry_version};
use crate::cache::inspect::{Inspected, tags_of};
use crate::cache::{Cache, Wire};
use crate::codec::envelope::{Content, Envelope, Expected, Found as Frame, MarkKind, Parsed, Reject};
use crate::entry::{AnyEntry, Birth, Entry, EntryId, Meta, Negative, Version};
use crate::epochs::{Marks, Standing};
use crate::freshness::{eager_from, jittered};
use crate::key::CacheKey;
use crate::measure::Unreadable;
use crate::options::Policy;
use crate::shared::{self, Fault, Found, Reading, StoredValue};
use crate::stats::Count;
use crate::sync::Arc;
use crate::time::Timestamp;

/// What the shared tier has under a key, for this node.
pub(crate) enum FarEntry<T> {
    /// Good; a negative one if the caller takes those.
    Fresh(AnyEntry),
    /// May stand in for a failing load; its version.
    Stale(Arc<Entry<T>>, Version),
    /// An explicit invalidation stands there, or what one has hidden; its version.
    Gone(Version),
    /// Something that is no answer; its version, if it is ours.
    Unusable(Option<Version>),
    /// A later build's value that is fresh: no answer here, and not to be overwritten; its version.
    Newer(Version),
    /// The key changed, as this node knows, after the question was sent: what came back may be from before.
    Overtaken,
    Absent,
}

/// What decides how a value that was read is kept here.
#[derive(Debug)]
pub(crate) struct ReadAs<T> {
    pub(crate) wire: Wire<T>,
    pub(crate) policy: Policy,
}

impl<T> Clone for ReadAs<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ReadAs<T> {}

/// When a question was sent: the instant, and the epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) at: Timestamp,
    pub(crate) seen: u64,
}

impl Cache {
    /// The present, for a question that is about to be sent.
    pub(crate) fn asking(&self) -> Asked {
        Asked {
            seen: self.inner.epochs.seen(),
            at: self.inner.clock.now(),
        }
    }

    /// Reads many keys in one round trip per server, and judges what is there. In the same breath it asks for those of
    /// `marks` that are not known.
    pub(crate) async fn read_far_many<T: Send + Sync + 'static>(
        &self,
        inquiry: &mut Inquiry<'_>,
        ids: &[EntryId],
        marks: &[&Marks],
        read_as: ReadAs<T>,
    ) -> Result<Vec<FarEntry<T>>, Fault> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<String> = ids.iter().map(|id| self.far_key(id.key())).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let asked = self.asking();
        let Inquiry { far, budget, views } = inquiry;
        let within = budget.left_at(asked.at)?;
        let marks = marks.iter().flat_map(|marks| marks.iter());
        let (viewed, readings) = tokio::join!(
            self.view_marks(far, marks, views, budget),
            far.port.read_many(&keys, within)
        );
        viewed?;
        let readings = readings?;
        let opened: Vec<_> = ids
            .iter()
            .zip(&keys)
            .zip(&readings)
            .map(|((id, key), reading)| self.open_reading(far, id, key, reading, asked))
            .collect();
        // All marks that the values carry are asked for together.
        let within = opened.iter().flatten().flat_map(|opened| opened.marks.iter());
        self.view_marks(far, within, views, budget).await?;
        let mut entries = Vec::with_capacity(ids.len());
        for (id, opened) in ids.iter().zip(opened) {
            entries.push(match opened {
                Ok(opened) => self.judge_opened(inquiry, id, opened, read_as).await?,
                Err(closed) => closed,
            });
        }
        Ok(entries)
    }

    /// Those of the values that an invalidation has hidden, with their versions.
    pub(crate) async fn dead_far(
        &self,
        far: &Far,
        ids: &[EntryId],
    ) -> Result<Vec<(String, shared::Version)>, Fault> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut inquiry = self.inquiry(far);
        let keys: Vec<String> = ids.iter().map(|id| self.far_key_of(id)).collect();
        let texts: Vec<&str> = keys.iter().map(String::as_str).collect();
        let asked = self.asking();
        let within = inquiry.budget.left(&*self.inner.clock)?;
        let readings = far.port.read_many(&texts, within).await?;
        let mut dead = Vec::new();
        for ((id, key), reading) in ids.iter().zip(&keys).zip(readings) {
            let Found::Value(value) = reading.found else {
                continue;
            };
            let Ok(frame) = parse(far, key, &value) else {
                continue;
            };
            // Until then a load may be under way that began before it, and must find it.
            if frame.age < far.settings.lease_window {
                continue;
            }
            let cache = self.within_namespace_of(id);
            let Some(marks) = cache.marks_of_frame(id, &frame) else {
                continue;
            };
            let standing = cache.far_standing(&mut inquiry, id, &frame, &marks, asked);
            if standing.await? == Compared::Gone {
                dead.push((key.clone(), value.version));
            }
        }
        Ok(dead)
    }

    /// How long what stands under the key stays fresh. `None` if nothing fresh does.
    pub(crate) async fn remaining_far(&self, far: &Far, key: &CacheKey) -> Result<Option<Duration>, Fault> {
        let (id, text, mut inquiry) = (self.id(key), self.far_key(key), self.inquiry(far));
        let asked = self.asking();
        let within = inquiry.budget.left(&*self.inner.clock)?;
        let reading = far.port.read(&text, within).await?;
        let Found::Value(value) = reading.found else {
            return Ok(None);
        };
        let Ok(frame) = parse(far, &text, &value) else {
            return Ok(None);
        };
        let Some(marks) = self.marks_of_frame(&id, &frame) else {
            return Ok(None);
        };
        let standing = self.far_standing(&mut inquiry, &id, &frame, &marks, asked);
        let good = standing.await? == Compared::Good;
        Ok((good && !frame.soft_remaining.is_zero()).then_some(frame.soft_remaining))
    }

    /// What stands under the key, without decoding the value.
    pub(crate) async fn inspect_far(&self, far: &Far, key: &CacheKey) -> Result<Option<Inspected>, Fault> {
        let (id, text, mut inquiry) = (self.id(key), self.far_key(key), self.inquiry(far));
        let asked = self.asking();
        let within = inquiry.budget.left(&*self.inner.clock)?;
        let reading = far.port.read(&text, within).await?;
        let value = match reading.found {
            Found::Absent => return Ok(None),
            Found::Tombstone(_) => return Ok(Some(Inspected::bare("tombstone", 0))),
            Found::Foreign => return Ok(Some(Inspected::bare("unreadable", 0))),
            Found::Value(value) => value,
        };
        let size = value.bytes.len() as u64;
        let frame = parse(far, &text, &value).ok();
        let read = frame.and_then(|frame| Some((self.marks_of_frame(&id, &frame)?, frame)));
        let Some((marks, frame)) = read else {
            return Ok(Some(Inspected::bare("unreadable", size)));
        };
        let standing = self
            .far_standing(&mut inquiry, &id, &frame, &marks, asked)
            .await?;
        Ok(Some(Inspected {
            state: match standing {
                Compared::Gone | Compared::Doubted | Compared::Overtaken => "invalidated",
                _ if frame.hard_remaining.is_zero() => "expired",
                Compared::Good if !frame.soft_remaining.is_zero() => "fresh",
                Compared::Good | Compared::Aged => "stale",
            },
            negative: matches!(frame.content, Content::Negative),
            age: frame.age,
            fresh_for: frame.soft_remaining,
            kept_for: frame.hard_remaining,
            load: frame.delta,
            weight: size,
            tags: tags_of(&marks),
        }))
    }

    /// Reads a key and judges what is there; asks in the same breath for those of `marks` that are not known.
    pub(crate) async fn read_far<T: Send + Sync + 'static>(
        &self,
        inquiry: &mut Inquiry<'_>,
        id: &EntryId,
        marks: Option<&Marks>,
        read_as: ReadAs<T>,
    ) -> Result<FarEntry<T>, Fault> {
        let key = self.far_key(id.key());
        let asked = self.asking();
        let Inquiry { far, budget, views } = inquiry;
        let within = budget.left_at(asked.at)?;
        let marks = marks.into_iter().flat_map(Marks::iter);
        let (viewed, reading) = tokio::join!(
            self.view_marks(far, marks, views, budget),
            far.port.read(&key, within)
        );
        viewed?;
        let reading = reading?;
        match self.open_reading(far, id, &key, &reading, asked) {
            Ok(opened) => self.judge_opened(inquiry, id, opened, read_as).await,
            Err(closed) => Ok(closed),
        }
    }

    fn open_reading<'v, T>(
        &self,
        far: &Far,
        id: &EntryId,
        key: &str,
        reading: &'v Reading,
        asked: Asked,
    ) -> Result<Opened<'v>, FarEntry<T>> {
        match &reading.found {
            Found::Absent => Err(FarEntry::Absent),
            Found::Foreign => {
                self.unreadable(far, Unreadable::Foreign);
                Err(FarEntry::Unusable(None))
            }
            Found::Tombstone(version) => Err(FarEntry::Gone(entry_version(*version))),
            Found::Value(value) => {
                let asked = Asked {
                    at: reading.sent,
                    ..asked
                };
                self.open(far, id, key, value, asked)
            }
        }
    }

    /// Judges a value of the shared tier: decoded, its marks compared, its times counted from the question.
    pub(crate) async fn judge_far<T: Send + Sync + 'static>(
        &self,
        inquiry: &mut Inquiry<'_>,
        id: &EntryId,
        value: &StoredValue,
        asked: Asked,
        read_as: ReadAs<T>,
    ) -> Result<FarEntry<T>, Fault> {
        match self.open(inquiry.far, id, &self.far_key(id.key()), value, asked) {
            Ok(opened) => self.judge_opened(inquiry, id, opened, read_as).await,
            Err(closed) => Ok(closed),
        }
    }

    /// Reads the envelope of a value; or what it is instead of an answer.
    fn open<'v, T>(
        &self,
        far: &Far,
        id: &EntryId,
        key: &str,
        value: &'v StoredValue,
        asked: Asked,
    ) -> Result<Opened<'v>, FarEntry<T>> {
        let unusable = || FarEntry::Unusable(Some(entry_version(value.version)));
        let frame = match parse(far, key, value) {
            Ok(frame) => frame,
            Err(reject) => {
                self.unreadable(far, reject.unreadable());
                tracing::debug!(
                    cache = self.name(),
                    reject = reject.as_str(),
                    "a stored value was refused"
                );
                return Err(match reject {
                    Reject::NewerSchema { fresh_for } | Reject::NewerFormat { fresh_for }
                        if !fresh_for.is_zero() =>
                    {
                        FarEntry::Newer(entry_version(value.version))
                    }
                    _ => unusable(),
                });
            }
        };
        if frame.hard_remaining.is_zero() {
            return Err(unusable());
        }
        let marks = self.marks_of_frame(id, &frame).ok_or_else(unusable)?;
        Ok(Opened {
            frame,
            marks,
            asked,
            version: value.version,
        })
    }

    async fn judge_opened<T: Send + Sync + 'static>(
        &self,
        inquiry: &mut Inquiry<'_>,
        id: &EntryId,
        opened: Opened<'_>,
        read_as: ReadAs<T>,
    ) -> Result<FarEntry<T>, Fault> {
        let Opened {
            frame,
            marks,
            asked,
            version,
        } = opened;
        let unusable = FarEntry::Unusable(Some(entry_version(version)));
        let standing = self.far_standing(inquiry, id, &frame, &marks, asked).await?;
        let version = frame.version;
        let fresh = match standing {
            Compared::Good => !frame.soft_remaining.is_zero(),
            Compared::Aged => false,
            Compared::Gone => return Ok(FarEntry::Gone(version)),
            Compared::Doubted => return Ok(unusable),
            Compared::Overtaken => return Ok(FarEntry::Overtaken),
        };
        Ok(
            match self.entry_of_frame(id, &frame, marks, asked, fresh, read_as) {
                Some(Decoded::Value(entry)) if fresh => FarEntry::Fresh(entry),
                Some(Decoded::Value(entry)) => FarEntry::Stale(entry, version),
                Some(Decoded::Negative(entry)) if fresh => FarEntry::Fresh(entry),
                Some(Decoded::Negative(_)) | None => unusable,
            },
        )
    }

    /// The kind of failure that a load elsewhere recorded, if it still counts.
    pub(crate) async fn judge_record(
        &self,
        inquiry: &mut Inquiry<'_>,
        id: &EntryId,
        (bytes, remaining): (&[u8], Duration),
        asked: Asked,
    ) -> Result<Option<String>, Fault> {
        let key = self.far_key(id.key());
        let expected = Expected {
            key: key.as_bytes(),
            schema: inquiry.far.settings.schema,
            pttl: remaining,
        };
        let Ok(Parsed::Found(frame)) = Envelope::parse(bytes, &expected, &inquiry.far.framing) else {
            return Ok(None);
        };
        let (Content::Failure(kind), Some(marks)) = (frame.content, self.marks_of_frame(id, &frame)) else {
            return Ok(None);
        };
        let standing = self.far_standing(inquiry, id, &frame, &marks, asked);
        Ok((standing.await? == Compared::Good).then(|| kind.to_owned()))
    }

    /// The marks of what was read, as this node knows them.
    fn marks_of_frame(&self, id: &EntryId, frame: &Frame<'_>) -> Option<Marks> {
        let tags = frame.marks.raw().filter(|mark| mark.kind == MarkKind::Tag);
        // Checked when the frame was read.
        let tags = tags.filter_map(|mark| std::str::from_utf8(mark.name).ok());
        self.inner
            .epochs
            .marks_named(&self.namespace, id.key().prefix(), tags)
            .ok()
    }

    /// Compares the versions that the value's load saw with those of now. On a difference this node asks once more,
    /// unless it asked after the value was written: its own view may be the older one.
    ///
    /// What this node itself invalidated and the server has not acknowledged, and what it learned while the question
    /// was under way, decides before anything that the server says.
    async fn far_standing(
        &self,
        inquiry: &mut Inquiry<'_>,
        id: &EntryId,
        frame: &Frame<'_>,
        marks: &Marks,
        asked: Asked,
    ) -> Result<Compared, Fault> {
        let Inquiry { far, budget, views } = inquiry;
        // Nearly always all is as this node knows it, and nothing needs to be asked or remembered.
        let compared = if is_as_known(frame, marks, far.believable()) {
            Compared::Good
        } else {
            let written = asked.at.before(frame.age);
            Box::pin(self.compare_views(far, frame, marks, views, budget, written)).await?
        };
        if far.recovery.doubts(id, marks) {
            return Ok(Compared::Doubted);
        }
        let overtaken = self.inner.epochs.overtook(id, asked.seen, Some(frame.version))
            || marks.standing(asked.seen) == Standing::Invalid;
        Ok(if overtaken && compared != Compared::Gone {
            Compared::Overtaken
        } else {
            compared
        })
    }

    async fn compare_views(
        &self,
        far: &Far,
        frame: &Frame<'_>,
        marks: &Marks,
        views: &mut Views,
        budget: &Budget,
        written: Timestamp,
    ) -> Result<Compared, Fault> {
        self.view_marks(far, marks.iter(), views, budget).await?;
        let (mut compared, differing) = compare(frame, marks, views);
        if self
            .view_marks_anew(far, differing, written, views, budget)
            .await?
        {
            (compared, _) = compare(frame, marks, views);
        }
        Ok(compared)
    }

    fn entry_of_frame<T: Send + Sync + 'static>(
        &self,
        id: &EntryId,
        frame: &Frame<'_>,
        marks: Marks,
        asked: Asked,
        fresh: bool,
        read_as: ReadAs<T>,
    ) -> Option<Decoded<T>> {
        let ReadAs { wire, policy } = read_as;
        let Asked { at: sent, seen } = asked;
        let value = match &frame.content {
            Content::Value(payload) => Some(self.decode(wire, payload)?),
            Content::Negative => None,
            Content::Failure(_) => return None,
        };
        // Each node spreads the ends of its copies by itself, and never beyond the original's. "No such value" ends when
        // it says.
        let soft = match (fresh, &value) {
            (true, Some(_)) => jittered(frame.soft_remaining, policy.jitter, rand::random()),
            (true, None) => frame.soft_remaining,
            (false, _) => Duration::ZERO,
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
            eager_from: match value {
                Some(_) => eager_from(policy.eager, loaded_at, soft_at, frame.delta),
                None => Timestamp::MAX,
            },
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

    fn unreadable(&self, far: &Far, what: Unreadable) {
        self.inner.tally.count(Count::DecodeError);
        far.tally.unreadable.count(what as usize);
    }

    fn decode<T>(&self, wire: Wire<T>, payload: &crate::codec::envelope::Payload<'_>) -> Option<T> {
        let decoded = match payload.bytes() {
            Ok(bytes) => (wire.coding?.decode)(&bytes, payload.codec)
                .map_err(|error| (error.as_str(), Unreadable::Value)),
            Err(reject) => Err((reject.as_str(), reject.unreadable())),
        };
        decoded
            .inspect_err(|(reason, what)| {
                if let Some(far) = self.far() {
                    self.unreadable(far, *what);
                }
                tracing::debug!(cache = self.name(), reason, "a stored value could not be decoded");
            })
            .ok()
    }
}

/// A value whose envelope was read.
struct Opened<'v> {
    frame: Frame<'v>,
    marks: Marks,
    asked: Asked,
    version: shared::Version,
}

/// A value that was read.
enum Decoded<T> {
    Value(Arc<Entry<T>>),
    Negative(Arc<Entry<Negative>>),
}

/// What stands under a key, if it is a value that can be read here.
fn parse<'a>(far: &Far, key: &str, value: &'a StoredValue) -> Result<Frame<'a>, Reject> {
    let expected = Expected {
        key: key.as_bytes(),
        schema: far.settings.schema,
        pttl: value.remaining,
    };
    match Envelope::parse(&value.bytes, &expected, &far.framing)? {
        Parsed::Found(frame) => Ok(frame),
        // The port tells tombstones from values by the same byte.
        Parsed::Tombstone(_) => Err(Reject::Malformed),
    }
}

impl<T> FarEntry<T> {
    /// The version under which something unusable stands, to be refused by a lease.
    pub(crate) fn version(&self) -> Option<Version> {
        match self {
            Self::Fresh(entry) => Some(entry.meta().version),
            Self::Stale(_, version) | Self::Gone(version) | Self::Newer(version) => Some(*version),
            Self::Unusable(version) => *version,
            Self::Overtaken | Self::Absent => None,
        }
    }
}
