//! What stands under a key, and explicit changes of it.

use std::time::Duration;

use super::State;
use super::log::Announced;
use crate::notice::{Event, Op};
use crate::shared::{
    Change, Condition, Ending, Fault, FaultKind, Found, HEADER_BYTES, KIND_AT, MAGIC, MAX_KEYS_PER_NOTICE,
    Mutation, MutationAnswer, Payload, StoredValue, TOMBSTONE, VERSION_AT, Verdict, Version,
};
use crate::time::Timestamp;

/// Bytes under a key; without an end they are not ours.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) bytes: Vec<u8>,
    pub(super) ends: Option<Timestamp>,
}

/// What a change finds.
pub(super) struct Stands {
    pub(super) found: Found,
    /// For how much longer nothing may be stored.
    pub(super) held: Duration,
    /// The version that a load compares with: that of an expiry too.
    pub(super) version: Option<Version>,
}

impl State {
    pub(super) fn found(&self, key: &str) -> Found {
        let Some(slot) = self.entries.get(key) else {
            return Found::Absent;
        };
        let (Some(version), Some(ends)) = (version_of(&slot.bytes), slot.ends) else {
            return Found::Foreign;
        };
        if slot.bytes[KIND_AT] == TOMBSTONE {
            return Found::Tombstone(version);
        }
        Found::Value(StoredValue {
            version,
            bytes: slot.bytes.clone(),
            remaining: self.left(ends),
        })
    }

    pub(super) fn stands(&self, key: &str) -> Stands {
        let found = self.found(key);
        let guard = self.guards.get(key).map(|(version, _)| *version);
        let held = match (&found, self.entries.get(key)) {
            (Found::Tombstone(_), Some(Slot { bytes, ends })) => {
                let left = ends.map_or(Duration::ZERO, |ends| self.left(ends));
                left.saturating_sub(quiet_below(bytes))
            }
            _ => Duration::ZERO,
        };
        Stands {
            version: found.seen().or(guard),
            held,
            found,
        }
    }

    /// `false` for lack of memory.
    pub(super) fn put(&mut self, key: &str, payload: Payload) -> bool {
        if self.full {
            return false;
        }
        let ends = Some(self.now + payload.physical);
        let bytes = payload.bytes;
        self.entries.insert(key.to_owned(), Slot { bytes, ends });
        self.errors.remove(key);
        self.guards.remove(key);
        true
    }

    pub(in crate::testing) fn put_raw(&mut self, key: &str, bytes: Vec<u8>, life: Option<Duration>) {
        let ends = life.map(|life| self.now + life);
        self.entries.insert(key.to_owned(), Slot { bytes, ends });
    }

    /// As `DEL`: nothing is left, not even a version.
    pub(in crate::testing) fn delete_raw(&mut self, key: &str) {
        self.entries.remove(key);
    }

    pub(in crate::testing) fn delete_lock(&mut self, key: &str) {
        self.locks.remove(key);
    }

    pub(in crate::testing) fn is_locked(&self, key: &str) -> bool {
        self.locks.contains_key(key)
    }

    pub(in crate::testing) fn keys(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    pub(super) fn mutate(
        &mut self,
        by: &Announced<'_>,
        op: Op,
        mutations: Vec<Mutation<'_>>,
    ) -> Result<MutationAnswer, Fault> {
        if mutations.len() > MAX_KEYS_PER_NOTICE {
            let context = format!("{} changes in one call", mutations.len());
            return Err(Fault::new(FaultKind::Invalid, context));
        }
        for mutation in &mutations {
            check_key(mutation.key)?;
            check_bytes(mutation)?;
        }
        let (mut verdicts, mut announced) = (Vec::with_capacity(mutations.len()), Vec::new());
        for mutation in mutations {
            let changed = (mutation.key.to_owned(), mutation.version);
            let verdict = self.change(mutation);
            if verdict == Verdict::Applied {
                announced.push(changed);
            }
            verdicts.push(verdict);
        }
        let notice = (!announced.is_empty()).then(|| self.announce(by, Event::Keys(op, announced)));
        Ok(MutationAnswer { notice, verdicts })
    }

    fn change(&mut self, mutation: Mutation<'_>) -> Verdict {
        let Mutation { key, version, change } = mutation;
        let stands = self.stands(key);
        match change {
            Change::Remove { tombstone } => {
                self.clear(key);
                let life = tombstone
                    .physical
                    .max(quiet_below(&tombstone.bytes) + stands.held);
                self.put_raw(key, tombstone.bytes, Some(life));
                Verdict::Applied
            }
            Change::Expire { window } => {
                self.expire_key(key, version, window);
                Verdict::Applied
            }
            Change::Set { .. } if stands.version == Some(version) => Verdict::Applied,
            Change::Set { .. } if !stands.held.is_zero() => Verdict::HeldOff(stands.held),
            Change::Set {
                condition: Condition::Seen(seen),
                ..
            } if seen != stands.version => Verdict::Superseded(stands.version),
            Change::Set { payload, .. } => {
                if !self.put(key, payload) {
                    return Verdict::OutOfMemory;
                }
                self.wake(key, &Ending::Done);
                Verdict::Applied
            }
        }
    }

    fn expire_key(&mut self, key: &str, version: Version, window: Duration) {
        let found = self.found(key);
        let slot = self.entries.get(key).cloned();
        self.clear(key);
        let mut life = Duration::ZERO;
        if let (Found::Value(_) | Found::Tombstone(_), Some(Slot { mut bytes, ends })) = (&found, slot) {
            life = ends.map_or(Duration::ZERO, |ends| self.left(ends));
            if matches!(found, Found::Value(_)) {
                life = life.min(quiet_below(&bytes));
            }
            bytes[VERSION_AT].copy_from_slice(version.as_bytes());
            if !life.is_zero() {
                self.put_raw(key, bytes, Some(life));
            }
        }
        if life < window {
            self.guards.insert(key.to_owned(), (version, self.now + window));
        }
    }

    /// Everything under the key goes, and who waits for its load is told.
    fn clear(&mut self, key: &str) {
        self.entries.remove(key);
        self.errors.remove(key);
        self.guards.remove(key);
        if self.locks.remove(key).is_some() {
            self.wake(key, &Ending::Released);
        }
    }

    pub(super) fn discard(&mut self, entries: &[(String, Version)]) -> u64 {
        let mut gone = 0;
        for (key, version) in entries {
            if matches!(self.found(key), Found::Value(value) if value.version == *version) {
                self.entries.remove(key);
                gone += 1;
            }
        }
        gone
    }
}

/// An entry key is not empty and has no braces.
pub(super) fn check_key(key: &str) -> Result<(), Fault> {
    if key.is_empty() || key.contains(['{', '}']) {
        let context = "an entry key is not empty and has no braces";
        return Err(Fault::new(FaultKind::Invalid, context));
    }
    Ok(())
}

fn check_bytes(mutation: &Mutation<'_>) -> Result<(), Fault> {
    let (bytes, tombstone) = match &mutation.change {
        Change::Set { payload, .. } => (&payload.bytes, false),
        Change::Remove { tombstone } => (&tombstone.bytes, true),
        Change::Expire { .. } => return Ok(()),
    };
    if version_of(bytes) == Some(mutation.version) && (bytes[KIND_AT] == TOMBSTONE) == tombstone {
        return Ok(());
    }
    let context = "the bytes do not begin with the header of this change";
    Err(Fault::new(FaultKind::Invalid, context))
}

/// The version in a header, if there is one.
pub(super) fn version_of(bytes: &[u8]) -> Option<Version> {
    if bytes.len() < HEADER_BYTES || !bytes.starts_with(&MAGIC) {
        return None;
    }
    Version::from_slice(&bytes[VERSION_AT])
}

/// While more than this is left to live, a value is fresh and a tombstone refuses stores.
fn quiet_below(bytes: &[u8]) -> Duration {
    let millis = bytes[KIND_AT + 2..HEADER_BYTES]
        .try_into()
        .map(u64::from_le_bytes);
    Duration::from_millis(millis.unwrap_or_default())
}
