//! Looking at one entry from outside, for operators: everything but the value, and nothing is counted or moved.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::cache::Cache;
use crate::entry::Meta;
use crate::epochs::{MarkName, Marks};
use crate::freshness::Freshness;
use crate::key::CacheKey;
use crate::outcome::MissReason;

/// What the tiers have under a key, the value apart.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// What the in-process tier has.
    pub memory: Option<Inspected>,
    /// What the shared tier has.
    pub shared: Option<Inspected>,
    /// Why the shared tier did not answer, in one word; `None` if it did, or if there is none.
    pub shared_error: Option<&'static str>,
}

/// What is known about an entry. Durations are written as seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Inspected {
    /// `fresh`, `stale`, `expired` or `invalidated`; in the shared tier also `tombstone`, what an invalidation leaves
    /// behind, and `unreadable`, what is not ours or of another version.
    pub state: &'static str,
    /// It says "there is no such value".
    pub negative: bool,
    /// Since when it is there.
    #[serde(rename = "age_seconds", serialize_with = "as_seconds")]
    pub age: Duration,
    /// How long it stays fresh by its TTL.
    #[serde(rename = "fresh_for_seconds", serialize_with = "as_seconds")]
    pub fresh_for: Duration,
    /// How long it can be read by its TTL, stale included.
    #[serde(rename = "kept_for_seconds", serialize_with = "as_seconds")]
    pub kept_for: Duration,
    /// How long its load took.
    #[serde(rename = "load_seconds", serialize_with = "as_seconds")]
    pub load: Duration,
    /// In process: its weight. Shared: its bytes as stored.
    pub weight: u64,
    /// Its tags.
    pub tags: Vec<String>,
}

impl Inspected {
    /// Something of which no more is known.
    pub(crate) fn bare(state: &'static str, weight: u64) -> Self {
        Self {
            state,
            negative: false,
            age: Duration::ZERO,
            fresh_for: Duration::ZERO,
            kept_for: Duration::ZERO,
            load: Duration::ZERO,
            weight,
            tags: Vec::new(),
        }
    }
}

impl Cache {
    /// What the tiers know about `key`, without its value: for operators. Nothing is counted, and the entry does not look
    /// used.
    pub async fn inspect(&self, key: &CacheKey) -> Inspection {
        let memory = self.inspect_memory(key);
        let (mut shared, mut shared_error) = (None, None);
        if let Some(far) = self.far().cloned() {
            self.start_upkeep();
            match self.inspect_far(&far, key).await {
                Ok(found) => shared = found,
                Err(fault) => shared_error = Some(fault.kind().as_str()),
            }
        }
        Inspection {
            memory,
            shared,
            shared_error,
        }
    }

    /// A handle to the namespace of this text ([`namespace_text`](Self::namespace_text)), if this cache has it already.
    /// Unlike [`namespace`](Self::namespace) it makes none: for names that come from outside.
    pub fn known_namespace(&self, text: &str) -> Option<Self> {
        self.namespace_called(text).map(|namespace| self.at(namespace))
    }

    /// What was stored most of late.
    pub fn traffic(&self) -> crate::stats::Traffic {
        self.inner.traffic.read()
    }

    fn inspect_memory(&self, key: &CacheKey) -> Option<Inspected> {
        let entry = self.inner.memory.peek(self.entry_ref(key.as_key()))?;
        let (meta, now): (&Meta, _) = (entry.meta(), self.inner.clock.now());
        Some(Inspected {
            state: match self.freshness(meta, now) {
                Ok(Freshness::Fresh) => "fresh",
                Ok(Freshness::Stale) => "stale",
                Ok(Freshness::Expired) | Err(MissReason::Expired) => "expired",
                Err(_) => "invalidated",
            },
            negative: meta.negative,
            age: meta.age(now),
            fresh_for: meta.soft_at.since(now),
            kept_for: meta.hard_at.since(now),
            load: meta.delta(),
            weight: meta.weight,
            tags: tags_of(&meta.marks),
        })
    }
}

pub(crate) fn tags_of(marks: &Marks) -> Vec<String> {
    let tags = marks.iter().filter_map(|mark| match mark.name() {
        MarkName::Tag(_, tag) => Some(tag.to_string()),
        MarkName::Namespace(_) | MarkName::Prefix(..) => None,
    });
    tags.collect()
}

fn as_seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
