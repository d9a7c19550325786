//! The first step of a call, and the companions that need no load.

use std::fmt;

use crate::__private::{Output, Site, Told};
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
    /// Whatever is stored.
    pub(super) forced: bool,
}

impl<O: Output<S>, S> fmt::Debug for Miss<O, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Miss")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl<O: Output<S>, S> Miss<O, S> {
    fn new(site: &'static Site, cache: &Cache, ops: Ops<O::Value>, key: Result<CacheKey, Error>) -> Self {
        Self {
            site,
            cache: cache.clone(),
            key,
            ops,
            forced: false,
        }
    }
}

/// How a companion comes to a load.
pub trait Way<O: Output<S>, S>: Send {
    /// The result and how it was come by, if there is to be no load.
    ///
    /// # Errors
    ///
    /// What is needed to load.
    fn look(
        self,
        site: &'static Site,
        cache: &Cache,
        ops: Ops<O::Value>,
        parts: impl FnOnce(&mut KeyBuf) -> Result<(), KeyError>,
    ) -> Result<Told<O>, Miss<O, S>>;
}

/// Loads if there is nothing in the in-process tier.
#[derive(Debug)]
pub struct Look;

/// Loads whatever is stored.
#[derive(Debug)]
pub struct Refresh;

impl<O: Output<S>, S> Way<O, S> for Look {
    fn look(
        self,
        site: &'static Site,
        cache: &Cache,
        ops: Ops<O::Value>,
        parts: impl FnOnce(&mut KeyBuf) -> Result<(), KeyError>,
    ) -> Result<Told<O>, Miss<O, S>> {
        let miss = Miss::new(site, cache, ops, key(site, parts));
        let found = miss.key.as_ref().ok().and_then(|key| {
            let loaded: Loaded<O::Value> = cache.hit(key.as_key())?;
            let output = O::join(Ok(Some((miss.ops.clone)(&loaded))))?;
            Some((output, loaded.outcome()))
        });
        found.ok_or(miss)
    }
}

impl<O: Output<S>, S> Way<O, S> for Refresh {
    fn look(
        self,
        site: &'static Site,
        cache: &Cache,
        ops: Ops<O::Value>,
        parts: impl FnOnce(&mut KeyBuf) -> Result<(), KeyError>,
    ) -> Result<Told<O>, Miss<O, S>> {
        let miss = Miss::new(site, cache, ops, key(site, parts));
        Err(Miss { forced: true, ..miss })
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
        return Err(Miss::new(site, cache, ops, Err(error)));
    }
    let loaded: Option<Loaded<O::Value>> = cache.hit(key.as_key());
    match loaded.and_then(|loaded| O::join(Ok(Some((ops.clone)(&loaded))))) {
        Some(output) => Ok(output),
        None => Err(Miss::new(site, cache, ops, Ok(key.finish()))),
    }
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
pub fn peek<T: Send + Sync + 'static>(
    cache: &Cache,
    Ops { wire, .. }: Ops<T>,
    key: Result<CacheKey, Error>,
) -> impl Future<Output = Result<Option<Loaded<T>>, Error>> + use<T> {
    let cache = cache.clone();
    async move {
        let key = key?;
        if let Some(hit) = cache.hit(key.as_key()) {
            return Ok(Some(hit));
        }
        Ok(cache.fresh_or_miss(key.as_key(), wire).await)
    }
}

/// Stores the value of a call.
///
/// # Errors
///
/// If the key or the options could not be made.
pub fn set<T: Send + Sync + 'static>(
    cache: &Cache,
    Ops { wire, .. }: Ops<T>,
    key: Result<CacheKey, Error>,
    value: Option<T>,
    options: Result<EntryOptions, Error>,
) -> impl Future<Output = Result<Stored, Error>> + use<T> {
    let cache = cache.clone();
    async move { cache.write(&key?, value, &options?, wire).await }
}

/// Removes what is stored for a call.
///
/// # Errors
///
/// If the key could not be made, or the cache says so.
pub fn invalidate(
    cache: &Cache,
    key: Result<CacheKey, Error>,
) -> impl Future<Output = Result<(), Error>> + use<> {
    let cache = cache.clone();
    async move { cache.remove(&key?).await }
}

/// Removes what is stored for all calls of a function.
///
/// # Errors
///
/// As the cache says.
pub fn invalidate_all(cache: &Cache, site: &'static Site) -> impl Future<Output = Result<(), Error>> + use<> {
    let cache = cache.clone();
    async move { cache.remove_whole_prefix(site.prefix()).await }
}

/// The result of a load.
pub async fn untold<O>(load: impl Future<Output = Told<O>>) -> O {
    load.await.0
}

/// The result of a load, with the story of how it was come by.
pub async fn told<O: Output<S>, S>(load: impl Future<Output = Told<O>>) -> O::Told {
    let (output, outcome) = load.await;
    output.tell(outcome)
}
