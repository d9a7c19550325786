//! A view of a cache for one type of value under one prefix.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;

use crate::cache::{Cache, CacheValue, Invalidation, LoadContext, Plan, Wire, Work, load};
use crate::error::{Error, LoadError};
use crate::key::{CacheKey, KeyBuf, KeyParts, Prefix};
use crate::loaded::{Loaded, Lookup, Stored};
use crate::options::EntryOptions;

/// Values of one type under one prefix of a [`Cache`], named by the rest of their keys.
///
/// A hit allocates nothing: the key is built on the stack.
///
/// ```
/// use cache_core::{Cache, EntryOptions, Typed, time::minutes};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = Cache::builder("shop").build()?;
/// let prices: Typed<u64> = cache.typed("price")?.options(EntryOptions::ttl(minutes(1)));
/// prices.set(("GOOG", "eur"), 17_250).await?;
/// assert_eq!(prices.get(("GOOG", "eur")).await.as_deref(), Some(&17_250));
/// # Ok(()) }
/// ```
pub struct Typed<T> {
    cache: Cache,
    prefix: Prefix,
    options: EntryOptions,
    values: PhantomData<fn() -> T>,
}

impl Cache {
    /// The values of type `T` under `prefix`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for a text that cannot be a prefix.
    pub fn typed<T: CacheValue>(&self, prefix: &str) -> Result<Typed<T>, Error> {
        let prefix = Prefix::new(prefix)?;
        Ok(Typed {
            cache: self.clone(),
            prefix,
            options: EntryOptions::new(),
            values: PhantomData,
        })
    }
}

impl<T: CacheValue> Typed<T> {
    /// The options of every store and load through this view; what they leave open comes from the cache.
    #[must_use]
    pub fn options(mut self, options: EntryOptions) -> Self {
        self.options = options;
        self
    }

    /// The key of these parts.
    pub fn key(&self, parts: impl KeyParts) -> CacheKey {
        self.prefix.key(parts)
    }

    /// See [`Cache::get`].
    pub async fn get(&self, parts: impl KeyParts) -> Option<Loaded<T>> {
        match self.hit_or_key(&parts) {
            Ok(hit) => Some(hit),
            Err(key) => self.cache.fresh_or_miss(key.as_key(), Wire::serde()).await,
        }
    }

    /// See [`Cache::lookup`].
    pub async fn lookup(&self, parts: impl KeyParts) -> Lookup<T> {
        self.cache.lookup(&self.key(parts)).await
    }

    /// See [`Cache::get_or_load`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn get_or_load<E, F, Fut>(
        &self,
        parts: impl KeyParts,
        loader: F,
    ) -> Result<Loaded<T>, LoadError<E>>
    where
        E: Send + Sync + 'static,
        F: FnOnce(LoadContext<T>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let key = match self.hit_or_key(&parts) {
            Ok(hit) => return Ok(hit),
            Err(key) => key,
        };
        let work = Work::Owned(load::certain(loader));
        self.cache
            .read_through(&key, self.options.clone(), Plan::read(Wire::serde()), work)
            .await?
            .certain()
    }

    /// See [`Cache::set`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn set(&self, parts: impl KeyParts, value: T) -> Result<Stored, Error> {
        self.cache
            .write(&self.key(parts), Some(value), &self.options, Wire::serde())
            .await
    }

    /// See [`Cache::remove`].
    pub fn remove(&self, parts: impl KeyParts) -> Invalidation<'_> {
        self.cache.remove(&self.key(parts))
    }

    /// Invalidates every value of this view; see [`Cache::remove_prefix`].
    pub fn clear(&self) -> Invalidation<'_> {
        self.cache.remove_whole_prefix(&self.prefix)
    }

    /// The value if it is a hit, otherwise the key to go on with.
    #[inline(always)]
    fn hit_or_key(&self, parts: &impl KeyParts) -> Result<Loaded<T>, CacheKey> {
        let mut key = KeyBuf::EMPTY;
        key.begin(self.prefix.as_str());
        parts.append_to(&mut key);
        self.cache.hit(key.as_key()).ok_or_else(|| key.finish())
    }
}

impl<T> Clone for Typed<T> {
    fn clone(&self) -> Self {
        Self {
            cache: self.cache.clone(),
            prefix: self.prefix.clone(),
            options: self.options.clone(),
            values: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Typed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed")
            .field("cache", &self.cache)
            .field("prefix", &self.prefix.as_str())
            .finish_non_exhaustive()
    }
}
