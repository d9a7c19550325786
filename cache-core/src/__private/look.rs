//! The first step of a call, and the companions that need no load.

use std::fmt;

use crate::__private::{BoxFuture, Output, Site, Told};
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

/// How a load is come to.
pub trait Way<O: Output<S>, S>: Send {
    /// What is needed to load, which `make` would make.
    fn miss(self, make: impl FnOnce() -> Miss<O, S>) -> Miss<O, S>;

    /// Whether it is known already that the cache is to be used.
    fn is_decided(&self) -> bool {
        false
    }
}

/// Loads if nothing is stored.
#[derive(Debug)]
pub struct Look;

/// Loads whatever is stored.
#[derive(Debug)]
pub struct Refresh;

/// Of one who has looked.
impl<O: Output<S>, S> Way<O, S> for Miss<O, S> {
    fn miss(self, _: impl FnOnce() -> Self) -> Self {
        self
    }

    fn is_decided(&self) -> bool {
        true
    }
}

impl<O: Output<S>, S> Way<O, S> for Look {
    fn miss(self, make: impl FnOnce() -> Miss<O, S>) -> Miss<O, S> {
        make()
    }
}

impl<O: Output<S>, S> Way<O, S> for Refresh {
    fn miss(self, make: impl FnOnce() -> Miss<O, S>) -> Miss<O, S> {
        let forced = true;
        Miss { forced, ..make() }
    }
}

/// What is needed to load, for one who has not looked.
pub fn miss<O: Output<S>, S>(
    site: &'static Site,
    cache: &Cache,
    ops: Ops<O::Value>,
    parts: impl FnOnce(&mut KeyBuf) -> Result<(), KeyError>,
) -> Miss<O, S> {
    Miss::new(site, cache, ops, key(site, parts))
}

/// The result, if the in-process tier has a fresh one; no allocation, no task, no lock beyond a shard's.
///
/// `prefix` is that of the site. Given as a literal it is copied in one or two instructions.
///
/// # Errors
///
/// What is needed to go on, if it does not.
#[inline]
pub fn look<O: Output<S>, S>(
    prefix: &'static str,
    site: &'static Site,
    cache: &Cache,
    ops: Ops<O::Value>,
    parts: impl FnOnce(&mut KeyBuf) -> Result<(), KeyError>,
) -> Result<O, Miss<O, S>> {
    let mut key = KeyBuf::EMPTY;
    key.begin(prefix);
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
) -> BoxFuture<'static, Result<Option<Loaded<T>>, Error>> {
    let cache = cache.clone();
    Box::pin(async move {
        let key = key?;
        if let Some(hit) = cache.hit(key.as_key()) {
            return Ok(Some(hit));
        }
        Ok(cache.fresh_or_miss(key.as_key(), wire).await)
    })
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
) -> BoxFuture<'static, Result<Stored, Error>> {
    let cache = cache.clone();
    Box::pin(async move { cache.write(&key?, value, &options?, wire).await })
}

/// Removes what is stored for a call.
///
/// # Errors
///
/// If the key could not be made, or the cache says so.
pub fn invalidate(cache: &Cache, key: Result<CacheKey, Error>) -> BoxFuture<'static, Result<(), Error>> {
    let cache = cache.clone();
    Box::pin(async move { cache.remove(&key?).await })
}

/// Removes what is stored for all calls of a function.
///
/// # Errors
///
/// As the cache says.
pub fn invalidate_all(cache: &Cache, site: &'static Site) -> BoxFuture<'static, Result<(), Error>> {
    let cache = cache.clone();
    Box::pin(async move { cache.remove_whole_prefix(site.prefix()).await })
}

/// The result of a load.
pub async fn untold<O>(load: impl Future<Output = Told<O>>) -> O {
    load.await.0
}

/// The same behind a pointer.
pub fn untold_boxed<O: Send + 'static>(load: BoxFuture<'static, Told<O>>) -> BoxFuture<'static, O> {
    Box::pin(untold(load))
}

/// The result of a load, with the story of how it was come by.
pub async fn told<O: Output<S>, S>(load: impl Future<Output = Told<O>>) -> O::Told {
    let (output, outcome) = load.await;
    output.tell(outcome)
}

/// The same behind a pointer.
pub fn told_boxed<O: Output<S> + 'static, S: 'static>(
    load: BoxFuture<'static, Told<O>>,
) -> BoxFuture<'static, O::Told> {
    Box::pin(told::<O, S>(load))
}
