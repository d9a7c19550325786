//! [`RecordingObserver`]: what calls came to, in order.

use std::fmt;

use crate::key::CacheKey;
use crate::observe::{End, Event, Observer};
use crate::outcome::Outcome;
use crate::sync::{Arc, Mutex, lock};

/// Records every call of a cache that ends. Clones share one record.
///
/// ```
/// use cache_core::testing::RecordingObserver;
/// use cache_core::{Cache, CacheKey, OutcomeKind, time::minutes};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let observer = RecordingObserver::new();
/// let cache = Cache::builder("shop").observer(observer.clone()).build()?;
/// let key = CacheKey::build("price", 7)?;
/// for _ in 0..2 {
///     cache.get_or_load(&key, minutes(1), |_| async { Ok::<_, std::io::Error>(100) }).await?;
/// }
/// assert_eq!(observer.kinds(), [OutcomeKind::Loaded, OutcomeKind::Fresh]);
/// assert_eq!(observer.calls()[0].key, key);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct RecordingObserver {
    calls: Arc<Mutex<Vec<RecordedCall>>>,
}

/// A call that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedCall {
    /// The namespace of the handle through which it came.
    pub namespace: String,
    /// Its key.
    pub key: CacheKey,
    /// What it came to.
    pub end: End,
}

impl RecordingObserver {
    /// Nothing is recorded yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was recorded so far, in the order in which the calls ended.
    pub fn calls(&self) -> Vec<RecordedCall> {
        lock(&self.calls).clone()
    }

    /// How the calls with this key ended.
    pub fn of(&self, key: &CacheKey) -> Vec<End> {
        let calls = lock(&self.calls);
        calls
            .iter()
            .filter(|call| call.key == *key)
            .map(|call| call.end)
            .collect()
    }

    /// The outcomes of the calls that got an answer.
    pub fn outcomes(&self) -> Vec<Outcome> {
        lock(&self.calls)
            .iter()
            .filter_map(|call| call.end.outcome())
            .collect()
    }

    /// The kinds of those outcomes.
    pub fn kinds(&self) -> Vec<crate::OutcomeKind> {
        self.outcomes().into_iter().map(|outcome| outcome.kind).collect()
    }

    /// What was recorded so far; the record is empty then.
    pub fn take(&self) -> Vec<RecordedCall> {
        std::mem::take(&mut *lock(&self.calls))
    }
}

impl Observer for RecordingObserver {
    fn ended(&self, event: &Event<'_>) {
        lock(&self.calls).push(RecordedCall {
            namespace: event.namespace.to_owned(),
            key: event.key.to_key(),
            end: event.end,
        });
    }
}

impl fmt::Display for RecordedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {}", self.namespace, self.key.text(), self.end)
    }
}
