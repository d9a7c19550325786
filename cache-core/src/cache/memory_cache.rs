//! [`MemoryCache`]: the same engine for values that cannot, or need not, leave the process.

use std::fmt;
use std::future::Future;

use crate::cache::{Cache, CacheBuilder, Invalidation, LoadContext, Plan, Wire, Work, load};
use crate::error::{Error, LoadError};
use crate::key::CacheKey;
use crate::loaded::{Loaded, Lookup, Stored};
use crate::options::EntryOptions;
use crate::stats::Stats;

/// A cache of one type in memory: compiled expressions, clients, anything `Send + Sync`. No serde, one tier, and
/// otherwise what [`Cache`] is: single flight, stale fallback, tags, and the rest.
///
/// ```
/// use cache_core::{CacheKey, EntryOptions, MemoryCache, time::hours};
///
/// struct Compiled(String); // no serde
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let rules = MemoryCache::<Compiled>::new(1_000)?;
/// let key = CacheKey::build("rule", 7)?;
/// let rule = rules.get_or_load(&key, EntryOptions::ttl(hours(1)), |_| async {
///     Ok::<_, std::io::Error>(Compiled("a > b".into()))
/// }).await?;
/// assert_eq!(rule.0, "a > b");
/// # Ok(()) }
/// ```
pub struct MemoryCache<T> {
    cache: Cache,
    wire: Wire<T>,
}

/// Settings of a [`MemoryCache`] beyond its number of entries.
pub struct MemoryCacheBuilder<T> {
    settings: CacheBuilder,
    weigh: fn(&T) -> usize,
}

impl<T: Send + Sync + 'static> MemoryCache<T> {
    /// A cache of at most `entries` values, with the toolkit's defaults.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for zero entries.
    pub fn new(entries: u64) -> Result<Self, Error> {
        Self::builder(Cache::builder("memory").memory_entries(entries)).build()
    }

    /// Starts from any settings of a [`Cache`].
    pub fn builder(settings: CacheBuilder) -> MemoryCacheBuilder<T> {
        MemoryCacheBuilder {
            settings,
            weigh: |_| size_of::<T>(),
        }
    }

    /// See [`Cache::get_or_load`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn get_or_load<E, F, Fut>(
        &self,
        key: &CacheKey,
        options: impl Into<EntryOptions> + Send,
        loader: F,
    ) -> Result<Loaded<T>, LoadError<E>>
    where
        E: Send + Sync + 'static,
        F: FnOnce(LoadContext<T>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        if let Some(hit) = self.cache.hit(key.as_key()) {
            return Ok(hit);
        }
        let work = Work::Owned(load::certain(loader));
        self.cache
            .read_through(key, options.into(), Plan::read(self.wire), work)
            .await?
            .certain()
    }

    /// See [`Cache::get`].
    pub async fn get(&self, key: &CacheKey) -> Option<Loaded<T>> {
        if let Some(hit) = self.cache.hit(key.as_key()) {
            return Some(hit);
        }
        self.cache.fresh_or_miss(key.as_key(), self.wire).await
    }

    /// See [`Cache::lookup`].
    pub async fn lookup(&self, key: &CacheKey) -> Lookup<T> {
        self.cache.look_anywhere(key.as_key(), self.wire).await
    }

    /// See [`Cache::set`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn set(
        &self,
        key: &CacheKey,
        value: T,
        options: impl Into<EntryOptions> + Send,
    ) -> Result<Stored, Error> {
        self.cache
            .write(key, Some(value), &options.into(), self.wire)
            .await
    }

    /// See [`Cache::remove`].
    pub fn remove(&self, key: &CacheKey) -> Invalidation<'_> {
        self.cache.remove(key)
    }

    /// See [`Cache::invalidate_tag`].
    pub fn invalidate_tag(&self, tag: impl AsRef<str>) -> Invalidation<'_> {
        self.cache.invalidate_tag(tag)
    }

    /// See [`Cache::clear`].
    pub fn clear(&self) -> Invalidation<'_> {
        self.cache.clear()
    }

    /// See [`Cache::stats`].
    pub fn stats(&self) -> Stats {
        self.cache.stats()
    }
}

impl<T> MemoryCache<T> {
    pub(crate) fn as_cache(&self) -> &Cache {
        &self.cache
    }

    pub(crate) fn wire(&self) -> Wire<T> {
        self.wire
    }
}

impl<T: Send + Sync + 'static> MemoryCacheBuilder<T> {
    /// How many bytes a value takes; with [`CacheBuilder::memory_bytes`].
    ///
    /// Default: its size on the stack.
    #[must_use]
    pub fn weigher(mut self, weigh: fn(&T) -> usize) -> Self {
        self.weigh = weigh;
        self
    }

    /// Builds the cache.
    ///
    /// # Errors
    ///
    /// As for [`CacheBuilder::build`].
    pub fn build(self) -> Result<MemoryCache<T>, Error> {
        Ok(MemoryCache {
            cache: self.settings.build()?,
            wire: Wire::local(self.weigh),
        })
    }
}

impl<T> Clone for MemoryCache<T> {
    fn clone(&self) -> Self {
        Self {
            cache: self.cache.clone(),
            wire: self.wire,
        }
    }
}

impl<T> fmt::Debug for MemoryCache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryCache").field(&self.cache).finish()
    }
}

impl<T> fmt::Debug for MemoryCacheBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryCacheBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
