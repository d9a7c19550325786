//! What a loader is told, and what it may say about its load.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use crate::entry::{AnyEntry, Entry};
use crate::error::Error;
use crate::key::CacheKey;
use crate::sync::{Arc, Mutex, lock};
use crate::tag::Tag;

/// Handed to every loader: what is being loaded, and how the result is to be kept.
///
/// What is said here holds for this load alone. Clones speak of the same load.
///
/// ```
/// # use cache_core::{Cache, CacheKey, EntryOptions, LoadError, time::{minutes, seconds}};
/// # async fn example(cache: &Cache, key: &CacheKey) -> Result<(), LoadError<std::io::Error>> {
/// let quote = cache.get_or_load(key, minutes(5), |load| async move {
///     let (quote, market_is_open) = (1.07_f64, true); // asks the exchange
///     if market_is_open {
///         load.set_ttl(seconds(10));
///     }
///     Ok::<_, std::io::Error>(quote)
/// }).await?;
/// # Ok(()) }
/// ```
pub struct LoadContext<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    key: CacheKey,
    stale: Option<Arc<Entry<T>>>,
    said: Mutex<Said<T>>,
}

/// What a loader said about its load.
pub(crate) struct Said<T> {
    pub(crate) ttl: Option<Duration>,
    pub(crate) negative_ttl: Option<Duration>,
    pub(crate) tags: Vec<Tag>,
    pub(crate) do_not_store: bool,
    pub(crate) no_stale: bool,
    pub(crate) failed: Option<String>,
    pub(crate) fallback: Option<Fallback<T>>,
}

/// A value to answer with if there is no better one.
pub(crate) enum Fallback<T> {
    Value(T),
    /// As some waiter got it already.
    Entry(AnyEntry),
}

impl<T> Fallback<T> {
    pub(crate) fn shaped(self, shape: impl FnOnce(T) -> AnyEntry) -> AnyEntry {
        match self {
            Self::Value(value) => shape(value),
            Self::Entry(entry) => entry,
        }
    }
}

impl<T> LoadContext<T> {
    pub(crate) fn new(key: CacheKey, stale: Option<Arc<Entry<T>>>) -> Self {
        Self {
            shared: Arc::new(Shared {
                key,
                stale,
                said: Mutex::new(Said::default()),
            }),
        }
    }

    /// The key that is being loaded.
    pub fn key(&self) -> &CacheKey {
        &self.shared.key
    }

    /// The value that was there before, if it is still usable: for conditional requests to the origin.
    pub fn stale(&self) -> Option<&T> {
        self.shared.stale.as_ref().map(|entry| &entry.value)
    }

    /// Keeps the value fresh for `ttl` instead of the options' TTL. Zero does not store it, more than
    /// [`MAX_TTL`](crate::options::MAX_TTL) is cut.
    pub fn set_ttl(&self, ttl: Duration) {
        self.say(|said| said.ttl = Some(ttl));
    }

    /// Keeps "no such value" for `ttl` instead of the options' negative TTL.
    pub fn set_negative_ttl(&self, ttl: Duration) {
        self.say(|said| said.negative_ttl = Some(ttl));
    }

    /// Adds a tag that only the load could know. An invalidation of it that came after the load began wins.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for text that cannot be a tag; the value is then not stored, since it
    /// could not be invalidated as asked.
    pub fn tag(&self, tag: impl AsRef<str>) -> Result<(), Error> {
        match Tag::new(tag.as_ref()) {
            Ok(tag) => {
                self.say(|said| said.tags.push(tag));
                Ok(())
            }
            Err(error) => {
                self.do_not_store();
                Err(Error::from(error))
            }
        }
    }

    /// Gives the value to those who wait, and stores nothing.
    pub fn do_not_store(&self) {
        self.say(|said| said.do_not_store = true);
    }

    /// If this load fails, no stale value may stand in: for failures that are answers, such as "forbidden".
    pub fn forbid_stale(&self) {
        self.say(|said| said.no_stale = true);
    }

    /// Counts the load as failed although it returns a value: a stale value is preferred to it, and it is not stored.
    pub fn fail(&self, reason: impl Into<String>) {
        self.say(|said| said.failed = Some(reason.into()));
    }

    /// Answers with `value`, not stored, if this load fails or times out and no stale value can stand in.
    pub fn fall_back_to(&self, value: T) {
        self.say(|said| said.fallback = Some(Fallback::Value(value)));
    }

    pub(crate) fn take(&self) -> Said<T> {
        std::mem::take(&mut *lock(&self.shared.said))
    }

    fn say(&self, say: impl FnOnce(&mut Said<T>)) {
        say(&mut lock(&self.shared.said));
    }
}

/// The load that runs for a flight, for waiters who leave before it ends.
#[derive(Clone, Default)]
pub(crate) struct Running(Arc<Mutex<Option<Arc<dyn Any + Send + Sync>>>>);

impl Running {
    pub(crate) fn begin<T: Send + Sync + 'static>(&self, load: &LoadContext<T>) {
        *lock(&self.0) = Some(load.shared.clone());
    }

    /// Whether the loader was called.
    pub(crate) fn has_begun(&self) -> bool {
        lock(&self.0).is_some()
    }

    /// What the load wants to be answered so far, if it fails; one entry for all who ask.
    pub(crate) fn fallback<T: Send + Sync + 'static>(
        &self,
        shape: impl FnOnce(T) -> AnyEntry,
    ) -> Option<AnyEntry> {
        let shared: Arc<Shared<T>> = lock(&self.0).clone()?.downcast().ok()?;
        let mut said = lock(&shared.said);
        let entry = said.fallback.take()?.shaped(shape);
        said.fallback = Some(Fallback::Entry(entry.clone()));
        Some(entry)
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running")
    }
}

impl<T> Default for Said<T> {
    fn default() -> Self {
        Self {
            ttl: None,
            negative_ttl: None,
            tags: Vec::new(),
            do_not_store: false,
            no_stale: false,
            failed: None,
            fallback: None,
        }
    }
}

impl<T> Clone for LoadContext<T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T> fmt::Debug for LoadContext<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadContext")
            .field("key", &self.shared.key)
            .finish_non_exhaustive()
    }
}
