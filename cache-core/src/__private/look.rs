//! The first step of a call, and the companions that need no load.

use std::fmt;

use crate::__private::{Output, Site};
use crate::cache::{Cache, CacheValue, Wire};
use crate::error::Error;
use crate::key::{CacheKey, KeyBuf, KeyError};
use crate::loaded::{Loaded, Stored};
use crate::options::EntryOptions;

/// What has to be known about a value's type. Made in one place, so that a type that does not fit is told once.
pub struct Ops<T> {
    pub(super) clone: fn(&T) -> T,
    pub(super) wire: Wire<T>,
}

impl<T> fmt::Debug for Ops<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ops")
    }
}

/// What has to be known about `T`.
#[inline]
pub fn ops<T: CacheValue + Clone>() -> Ops<T> {
    Ops {
        clone: T::clone,
        wire: Wire::serde(),
    }
}

/// A call that the in-process tier could not answer at once.
pub struct Miss<O: Output<S>, S> {
    pub(super) site: &'static Site,
    pub(super) cache: Cache,
    /// A key that could not be made: the call then runs without the cache.
    pub(super) key: Result<CacheKey, Error>,
    pub(super) ops: Ops<O::Value>,
}

impl<O: Output<S>, S> fmt::Debug for Miss<O, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Miss")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl<O: Output<S>, S> Miss<O, S> {
    /// A call that does not look at all.
    pub fn unseen(
        site: &'static Site,
        cache: &Cache,
        ops: Ops<O::Value>,
        key: Result<CacheKey, Error>,
    ) -> Self {
        Self {
            site,
            cache: cache.clone(),
            key,
            ops,
        }
    }
}

/// The result, if the in-process tier has a fresh one; no allocation, no task, no lock beyond a shard's.
///
/// # Errors
///
/// What is needed to go on, if it does not.
#[inline]
pub fn look<O: Output<S>, S>(
    site: &'static Site,
    cache: &Cache,
    ops: Ops<O::Value>,
    parts: impl FnOnce(&mut KeyBuf) -> Result<(), KeyError>,
) -> Result<O, Miss<O, S>> {
    let mut key = KeyBuf::EMPTY;
    key.begin(site.prefix());
    if let Err(error) = site.check().and_then(|()| Ok(parts(&mut key)?)) {
        return Err(Miss::unseen(site, cache, ops, Err(error)));
    }
    let loaded: Option<Loaded<O::Value>> = cache.hit(key.as_key());
    match loaded.and_then(|loaded| O::join(Ok(Some((ops.clone)(&loaded))))) {
        Some(output) => Ok(output),
        None => Err(Miss::unseen(site, cache, ops, Ok(key.finish()))),
    }
}

/// Like `look`, and tells how the result was come by.
///
/// # Errors
///
/// As `look`.
pub fn look_told<O: Output<S>, S>(
    site: &'static Site,
    cache: &Cache,
    ops: Ops<O::Value>,
    parts: impl FnOnce(&mut KeyBuf) -> Result<(), KeyError>,
) -> Result<O::Told, Miss<O, S>> {
    let key = match key(site, parts) {
        Ok(key) => key,
        Err(error) => return Err(Miss::unseen(site, cache, ops, Err(error))),
    };
    let loaded: Option<Loaded<O::Value>> = cache.hit(key.as_key());
    let told = loaded.and_then(|loaded| {
        let output = O::join(Ok(Some((ops.clone)(&loaded))))?;
        Some(output.tell(loaded.outcome()))
    });
    told.ok_or_else(|| Miss::unseen(site, cache, ops, Ok(key)))
}

/// The key of a call.
///
/// # Errors
///
/// If an argument cannot be serialised, or another function has such keys.
pub fn key(
    site: &'static Site,
    parts: impl FnOnce(&mut KeyBuf) -> Result<(), KeyError>,
) -> Result<CacheKey, Error> {
    site.check()?;
    let mut key = KeyBuf::new(site.prefix());
    parts(&mut key)?;
    Ok(key.finish())
}

/// What is stored for a call, if it is fresh.
///
/// # Errors
///
/// If the key could not be made.
pub async fn peek<T: Send + Sync + 'static>(
    cache: &Cache,
    ops: Ops<T>,
    key: Result<CacheKey, Error>,
) -> Result<Option<Loaded<T>>, Error> {
    let key = key?;
    if let Some(hit) = cache.hit(key.as_key()) {
        return Ok(Some(hit));
    }
    Ok(cache.fresh_or_miss(key.as_key(), ops.wire).await)
}

/// Stores the value of a call.
///
/// # Errors
///
/// If the key or the options could not be made.
pub async fn set<T: Send + Sync + 'static>(
    cache: &Cache,
    ops: Ops<T>,
    key: Result<CacheKey, Error>,
    value: Option<T>,
    options: Result<EntryOptions, Error>,
) -> Result<Stored, Error> {
    cache.write(&key?, value, &options?, ops.wire).await
}

/// Removes what is stored for a call.
///
/// # Errors
///
/// If the key could not be made, or the cache says so.
pub async fn invalidate(cache: &Cache, key: Result<CacheKey, Error>) -> Result<(), Error> {
    cache.remove(&key?).await
}

/// Removes what is stored for all calls of a function.
///
/// # Errors
///
/// As the cache says.
pub async fn invalidate_all(cache: &Cache, site: &'static Site) -> Result<(), Error> {
    cache.remove_whole_prefix(site.prefix()).await
}
