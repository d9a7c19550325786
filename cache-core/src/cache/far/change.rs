//! Changing: what this node stores, removes and invalidates in the shared tier.
//!
//! Every change has the same shape. The local epoch has moved before the server is asked, so that nothing that began
//! before can be stored here; the server changes and announces in one step; then the epoch moves again, so that
//! nothing that was read in between can be stored here either. What the server did not acknowledge goes to
//! [`recovery`](super::recovery).

use std::time::Duration;

use crate::cache::far::{Budget, Far, entry_version, envelope_marks, port_version};
use crate::cache::{Cache, Wire};
use crate::codec::envelope::{Contents, Envelope, Lifetimes, encode_tombstone};
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
        let (version, change) = removal(far, hold);
        self.mutate_far(far, Op::Remove, id, version, change, &budget)
            .await
            .map(drop)
    }

    /// Makes what is stored stale.
    pub(crate) async fn expire_far(&self, far: &Far, id: &EntryId) -> Result<(), Fault> {
        let budget = self.far_budget(far);
        let change = Change::Expire {
            window: far.settings.lease_window,
        };
        self.mutate_far(far, Op::Expire, id, Version::random(), change, &budget)
            .await
            .map(drop)
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
        far.ask(
            far.port
                .mutate(op, vec![mutation], budget.left(&*self.inner.clock)?),
        )
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
        far.ask(far.port.move_marks(
            &marks,
            strength,
            hold,
            far.marks_ttl(),
            budget.left(&*self.inner.clock)?,
        ))
        .await
    }

    /// Tombstones every key that matches a glob, page by page, after announcing it.
    pub(crate) async fn remove_pattern_far(&self, far: &Far, glob: &str) -> Result<(), Fault> {
        let within = far.settings.budget;
        far.ask(far.port.begin_pattern(glob, within)).await?;
        let mut cursor = None;
        loop {
            let page = far
                .ask(far.port.scan(
                    shared::ScanRequest {
                        glob,
                        cursor,
                        count: SCAN_COUNT,
                    },
                    within,
                ))
                .await?;
            for keys in page.keys.chunks(shared::MAX_KEYS_PER_NOTICE) {
                let remove = |key| {
                    let (version, change) = removal(far, Duration::ZERO);
                    Mutation { key, version, change }
                };
                let mutations = keys.iter().map(|key| remove(key.as_str())).collect();
                far.ask(far.port.mutate(Op::Remove, mutations, within)).await?;
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
