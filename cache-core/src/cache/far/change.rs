//! Changing: what this node stores, removes and invalidates in the shared tier.
//!
//! Every change has the same shape. The local epoch has moved before the server is asked, so that nothing that began
//! before can be stored here; the server changes and announces in one step; then the epoch moves again, so that
//! nothing that was read in between can be stored here either. What the server did not acknowledge goes to
//! [`recovery`](super::recovery).

use std::time::Duration;

use crate::cache::far::{Budget, Far, Views, entry_of, entry_version, port_version};
use crate::cache::{Cache, KeyPattern, Wire};
use crate::codec::envelope::{Contents, Envelope, Lifetimes, encode_tombstone};
use crate::entry::{self, AnyEntry, EntryId, typed};
use crate::epochs::{Mark, Strength};
use crate::notice::{LogId, Op};
use crate::shared::{self, Change, Condition, Fault, Mutation, MutationAnswer, Payload, Verdict, Version};

impl Cache {
    /// An entry's bytes for the shared tier; `None` if it cannot be written, or is not worth it.
    pub(crate) fn payload<T: Send + Sync + 'static>(
        &self,
        far: &Far,
        id: &EntryId,
        entry: &AnyEntry,
        wire: Wire<T>,
        views: &Views,
    ) -> Option<Payload> {
        let meta = entry.meta();
        let coding = wire.coding?;
        let codec = wire.codec.unwrap_or(far.codec);
        let mut payload = Vec::new();
        let contents = if meta.negative {
            Contents::Negative
        } else {
            let entry = typed::<T>(entry.clone())?;
            if let Err(error) = (coding.encode)(&entry.value, codec, &mut payload) {
                tracing::warn!(cache = self.name(), %error, "a value could not be encoded, and stays on this node");
                return None;
            }
            Contents::Value {
                codec,
                payload: &payload,
            }
        };
        let now = self.inner.clock.now();
        let lifetimes = Lifetimes::new(
            meta.soft_at.since(now),
            meta.hard_at.since(now),
            far.settings.lease_window,
        );
        let marks = views.for_envelope(&meta.marks)?;
        let envelope = Envelope {
            version: meta.version,
            schema: far.settings.schema,
            lifetimes,
            delta: meta.delta,
            marks: &marks,
            contents,
        };
        match envelope.encode(self.far_key(id.key()).as_bytes(), &far.framing) {
            Ok(bytes) => Some(Payload {
                bytes,
                physical: Duration::from_millis(lifetimes.px()),
            }),
            Err(error) => {
                tracing::warn!(cache = self.name(), %error, "a value is too large for the shared tier");
                None
            }
        }
    }

    /// Stores by `set` or `update`; `None` if the value cannot be written.
    pub(crate) async fn set_far<T: Send + Sync + 'static>(
        &self,
        far: &Far,
        op: Op,
        id: &EntryId,
        entry: &AnyEntry,
        wire: Wire<T>,
        condition: Condition,
    ) -> Result<Option<Verdict>, Fault> {
        let set = Setting {
            id: id.clone(),
            entry: entry.clone(),
        };
        let verdicts = self
            .set_far_many(far, op, std::slice::from_ref(&set), wire, condition)
            .await?;
        Ok(verdicts.into_iter().next().flatten())
    }

    /// Stores values, with one notice for all; at most [`MAX_KEYS_PER_NOTICE`](shared::MAX_KEYS_PER_NOTICE).
    pub(crate) async fn set_far_many<T: Send + Sync + 'static>(
        &self,
        far: &Far,
        op: Op,
        settings: &[Setting],
        wire: Wire<T>,
        condition: Condition,
    ) -> Result<Vec<Option<Verdict>>, Fault> {
        let mut inquiry = self.inquiry(far);
        let marks = settings.iter().flat_map(|set| set.entry.meta().marks.iter());
        self.view_marks(far, marks, &mut inquiry.views, &inquiry.budget)
            .await?;
        let now = self.inner.clock.now();
        // A hold-off of a mark that only the shared tier knew of.
        if settings.iter().all(|set| set.entry.meta().marks.held_off(now)) {
            return Ok(vec![Some(Verdict::HeldOff(Duration::ZERO)); settings.len()]);
        }
        let keys: Vec<String> = settings.iter().map(|set| self.far_key(set.id.key())).collect();
        let mut written = Vec::with_capacity(settings.len());
        let mut mutations = Vec::with_capacity(settings.len());
        for (set, key) in settings.iter().zip(&keys) {
            let payload = self.payload(far, &set.id, &set.entry, wire, &inquiry.views);
            written.push(payload.is_some());
            mutations.extend(payload.map(|payload| Mutation {
                key,
                version: port_version(set.entry.meta().version),
                change: Change::Set { payload, condition },
            }));
        }
        let within = inquiry.budget.left(&*self.inner.clock)?;
        let mut verdicts = match mutations.is_empty() {
            true => Vec::new(),
            false => far.port.mutate(op, mutations, within).await?.verdicts,
        }
        .into_iter();
        Ok(written
            .into_iter()
            .map(|was_written| was_written.then(|| verdicts.next()).flatten())
            .collect())
    }

    /// Tombstones a key; the version that stands there then.
    pub(crate) async fn remove_far(
        &self,
        far: &Far,
        id: &EntryId,
        hold: Duration,
    ) -> Result<entry::Version, Fault> {
        let budget = self.far_budget(far);
        let (version, change) = removal(far, hold);
        self.mutate_far(far, Op::Remove, id, version, change, &budget)
            .await
            .map(|_| entry_version(version))
    }

    /// Makes what is stored stale; the version that stands there then.
    pub(crate) async fn expire_far(&self, far: &Far, id: &EntryId) -> Result<entry::Version, Fault> {
        let budget = self.far_budget(far);
        let change = Change::Expire {
            window: far.settings.lease_window,
        };
        let version = Version::random();
        self.mutate_far(far, Op::Expire, id, version, change, &budget)
            .await
            .map(|_| entry_version(version))
    }

    pub(super) async fn mutate_far(
        &self,
        far: &Far,
        op: Op,
        id: &EntryId,
        version: Version,
        change: Change,
        budget: &Budget,
    ) -> Result<MutationAnswer, Fault> {
        let key = self.far_key(id.key());
        let mutation = Mutation {
            key: &key,
            version,
            change,
        };
        far.port
            .mutate(op, vec![mutation], budget.left(&*self.inner.clock)?)
            .await
    }

    /// Invalidates everything under a mark, for all nodes.
    pub(crate) async fn move_far(
        &self,
        far: &Far,
        mark: &Mark,
        strength: Strength,
        hold: Duration,
    ) -> Result<LogId, Fault> {
        let strength = match strength {
            Strength::Hard => shared::Strength::Hard,
            Strength::Soft => shared::Strength::Soft,
        };
        let budget = self.far_budget(far);
        let marks = [mark.name().shared()];
        far.port
            .move_marks(
                &marks,
                strength,
                hold,
                far.marks_ttl(),
                budget.left(&*self.inner.clock)?,
            )
            .await
    }

    /// Tombstones every key that matches a pattern, page by page, after announcing it.
    pub(crate) async fn remove_pattern_far(&self, far: &Far, pattern: &KeyPattern) -> Result<(), Fault> {
        let within = far.settings.budget;
        let glob = pattern.glob(&self.namespace.text);
        far.port.begin_pattern(&glob, within).await?;
        let mut cursor = None;
        loop {
            let page = far
                .port
                .scan(
                    shared::ScanRequest {
                        glob: &glob,
                        cursor,
                        count: SCAN_COUNT,
                    },
                    within,
                )
                .await?;
            // A glob knows no parts, and finds more than the pattern names.
            let matching: Vec<&str> = page
                .keys
                .iter()
                .map(String::as_str)
                .filter(|key| {
                    entry_of(self, key)
                        .is_some_and(|id| id.namespace() == self.namespace.id && pattern.matches(id.key()))
                })
                .collect();
            for keys in matching.chunks(shared::MAX_KEYS_PER_NOTICE) {
                let remove = |key| {
                    let (version, change) = removal(far, Duration::ZERO);
                    Mutation { key, version, change }
                };
                let mutations = keys.iter().map(|key| remove(*key)).collect();
                far.port.mutate(Op::Remove, mutations, within).await?;
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
            // A pause between pages: a removal may take its time, and the server has others to serve.
            tokio::time::sleep(SCAN_PAUSE).await;
        }
    }

    /// Deletes the values of this namespace, and of those inside it, that no reader would accept any more; how many.
    pub(crate) async fn purge_far(&self, far: &Far) -> Result<usize, Fault> {
        let text = &self.namespace.text;
        let mut purged = 0;
        for glob in [format!("{text}:*"), format!("{text}/*")] {
            let mut cursor = None;
            loop {
                let request = shared::ScanRequest {
                    glob: &glob,
                    cursor,
                    count: PURGE_COUNT,
                };
                let page = far.port.scan(request, far.settings.budget).await?;
                purged += self.discard_dead(far, &page.keys).await?;
                match page.next {
                    Some(next) => cursor = Some(next),
                    None => break,
                }
                tokio::time::sleep(SCAN_PAUSE).await;
            }
        }
        Ok(purged)
    }

    async fn discard_dead(&self, far: &Far, keys: &[String]) -> Result<usize, Fault> {
        let ids: Vec<EntryId> = keys.iter().filter_map(|key| entry_of(self, key)).collect();
        let dead = self.dead_far(far, &ids).await?;
        if dead.is_empty() {
            return Ok(0);
        }
        let gone = far.port.discard(&dead, far.settings.budget).await?;
        Ok(usize::try_from(gone).unwrap_or(usize::MAX))
    }
}

/// A value that is about to be stored.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) id: EntryId,
    pub(crate) entry: AnyEntry,
}

/// A tombstone, and the version that stands in it.
fn removal(far: &Far, hold: Duration) -> (Version, Change) {
    let version = Version::random();
    let (bytes, physical) = encode_tombstone(entry_version(version), hold, far.settings.lease_window);
    let physical = Duration::from_millis(physical);
    (
        version,
        Change::Remove {
            tombstone: Payload { bytes, physical },
        },
    )
}

const SCAN_COUNT: u32 = 500;
const SCAN_PAUSE: Duration = Duration::from_millis(1);
/// Values are read to be judged, so fewer of them at a time.
const PURGE_COUNT: u32 = 100;
