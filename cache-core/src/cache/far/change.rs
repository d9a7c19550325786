//! Changing: what this node stores, removes and invalidates in the shared tier.
//!
//! Every change has the same shape. The local epoch has moved before the server is asked, so that nothing that began
//! before can be stored here; the server changes and announces in one step; then the epoch moves again, so that
//! nothing that was read in between can be stored here either. What the server did not acknowledge goes to
//! [`recovery`](super::recovery).

use std::time::Duration;

use crate::cache::far::{Budget, Far, entry_version, envelope_marks, port_version};
use crate::cache::{Cache, Wire};
use crate::codec::envelope::{Content, Contents, Envelope, Expected, Lifetimes, Parsed};
use crate::entry::{AnyEntry, EntryId, typed};
use crate::epochs::{Mark, Strength};
use crate::notice::{LogId, Op};
use crate::shared::{
    self, Change, Condition, Fault, MarkVersions, Mutation, MutationAnswer, Payload, Verdict, Version,
};

impl Cache {
    /// An entry's bytes for the shared tier; `None` if it cannot be written, or is not worth it.
    pub(crate) fn payload<T: Send + Sync + 'static>(
        &self,
        far: &Far,
        id: &EntryId,
        entry: &AnyEntry,
        wire: Wire<T>,
        versions: &[MarkVersions],
    ) -> Option<Payload> {
        let meta = entry.meta();
        let coding = wire.coding?;
        let mut payload = Vec::new();
        let contents = if meta.negative {
            Contents::Negative
        } else {
            let entry = typed::<T>(entry.clone())?;
            if let Err(error) = (coding.encode)(&entry.value, far.codec, &mut payload) {
                tracing::warn!(cache = self.name(), %error, "a value could not be encoded, and stays on this node");
                return None;
            }
            Contents::Value {
                codec: far.codec,
                payload: &payload,
            }
        };
        let now = self.inner.clock.now();
        let lifetimes = Lifetimes::new(
            meta.soft_at.since(now),
            meta.hard_at.since(now),
            far.settings.lease_window,
        );
        let marks = envelope_marks(&meta.marks, versions);
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

    /// Stores by `set` or `update`.
    pub(crate) async fn set_far<T: Send + Sync + 'static>(
        &self,
        far: &Far,
        op: Op,
        id: &EntryId,
        entry: &AnyEntry,
        wire: Wire<T>,
        condition: Condition,
    ) -> Result<Option<Verdict>, Fault> {
        let budget = self.far_budget(far);
        let versions = self
            .mark_versions(far, &entry.meta().marks, false, &budget)
            .await?;
        let Some(payload) = self.payload(far, id, entry, wire, &versions) else {
            return Ok(None);
        };
        let version = port_version(entry.meta().version);
        let change = Change::Set { payload, condition };
        let answer = self.mutate_far(far, op, id, version, change, &budget).await?;
        Ok(answer.verdicts.into_iter().next())
    }

    pub(crate) async fn remove_far(&self, far: &Far, id: &EntryId, hold: Duration) -> Result<(), Fault> {
        let budget = self.far_budget(far);
        let physical = far.settings.lease_window.max(hold);
        let change = Change::Remove { physical, hold };
        self.mutate_far(far, Op::Remove, id, Version::random(), change, &budget)
            .await
            .map(drop)
    }

    /// Makes what is stored stale: its life is cut so that none of the soft one is left.
    pub(crate) async fn expire_far(&self, far: &Far, id: &EntryId) -> Result<(), Fault> {
        let budget = self.far_budget(far);
        let key = self.far_key(id.key());
        let read = far.port.read(&key, budget.left(&*self.inner.clock)?).await?;
        let version = Version::random();
        let stale = match &read.found {
            shared::Found::Value(value) => self.stale_copy(far, &key, value, version),
            _ => None,
        };
        let change = Change::Expire {
            seen: read.found.seen(),
            stale,
            physical: far.settings.lease_window,
        };
        self.mutate_far(far, Op::Expire, id, version, change, &budget)
            .await
            .map(drop)
    }

    /// The same value with nothing left of its soft life; `None` if it is none that can be read, or has no other.
    fn stale_copy(
        &self,
        far: &Far,
        key: &str,
        value: &shared::StoredValue,
        version: Version,
    ) -> Option<Payload> {
        let expected = Expected {
            key: key.as_bytes(),
            schema: far.settings.schema,
            pttl: value.remaining,
        };
        let Ok(Parsed::Found(frame)) = Envelope::parse(&value.bytes, &expected, &far.framing) else {
            return None;
        };
        let Content::Value(payload) = frame.content else {
            return None;
        };
        if frame.hard_remaining <= frame.soft_remaining {
            return None;
        }
        let bytes = payload.bytes().ok()?;
        let lifetimes = Lifetimes::new(Duration::ZERO, frame.hard_remaining, far.settings.lease_window);
        let marks: Vec<_> = frame.marks.collect();
        let envelope = Envelope {
            version: entry_version(version),
            schema: far.settings.schema,
            lifetimes,
            delta: frame.delta,
            marks: &marks,
            contents: Contents::Value {
                codec: payload.codec,
                payload: &bytes,
            },
        };
        let bytes = envelope.encode(key.as_bytes(), &far.framing).ok()?;
        Some(Payload {
            bytes,
            physical: Duration::from_millis(lifetimes.px()),
        })
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

    /// Tombstones every key that matches a glob, page by page, after announcing it.
    pub(crate) async fn remove_pattern_far(&self, far: &Far, glob: &str) -> Result<(), Fault> {
        let within = far.settings.budget;
        far.port.begin_pattern(glob, within).await?;
        let mut cursor = None;
        loop {
            let page = far
                .port
                .scan(
                    shared::ScanRequest {
                        glob,
                        cursor,
                        count: SCAN_COUNT,
                    },
                    within,
                )
                .await?;
            for keys in page.keys.chunks(shared::MAX_KEYS_PER_NOTICE) {
                let physical = far.settings.lease_window;
                let remove = |key| Mutation {
                    key,
                    version: Version::random(),
                    change: Change::Remove {
                        physical,
                        hold: Duration::ZERO,
                    },
                };
                let mutations = keys.iter().map(|key| remove(key.as_str())).collect();
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
}

const SCAN_COUNT: u32 = 500;
const SCAN_PAUSE: Duration = Duration::from_millis(1);
