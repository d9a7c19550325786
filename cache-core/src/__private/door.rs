//! What `cache = ..` names: a [`Cache`] or a [`MemoryCache`], or what leads to one.

use std::ops::Deref;

use crate::__private::Ops;
use crate::cache::{Cache, CacheValue, MemoryCache, Wire};

/// Something that leads to a cache.
#[diagnostic::on_unimplemented(
    message = "`cache = ..` names a `Cache` or a `MemoryCache`, and `{Self}` is neither",
    label = "expected a cache, or what dereferences to one: a reference, an `Arc`, a `LazyLock`"
)]
pub trait Door {
    /// The cache.
    fn cache(&self) -> &Cache;
}

/// Something that leads to a cache of values of type `T`.
#[diagnostic::on_unimplemented(
    message = "the `{Self}` that `cache = ..` names cannot hold `{T}`",
    label = "not a value of that cache",
    note = "a `Cache` holds what is `Serialize + DeserializeOwned + Send + Sync + 'static`: derive serde's traits",
    note = "a `MemoryCache<T>` holds values of type `T`, without serde",
    note = "`cache = ..` is one of the two, or dereferences to one: a reference, an `Arc`, a `LazyLock`"
)]
pub trait Holds<T>: Door {
    /// What the cache has to know about its values.
    fn ops(&self, clone: fn(&T) -> T) -> Ops<T>;
}

impl Door for Cache {
    #[inline]
    fn cache(&self) -> &Cache {
        self
    }
}

impl<T> Door for MemoryCache<T> {
    #[inline]
    fn cache(&self) -> &Cache {
        self.as_cache()
    }
}

#[diagnostic::do_not_recommend]
impl<D: Deref> Door for D
where
    D::Target: Door,
{
    #[inline]
    fn cache(&self) -> &Cache {
        (**self).cache()
    }
}

#[diagnostic::do_not_recommend]
impl<T: CacheValue> Holds<T> for Cache {
    #[inline]
    fn ops(&self, clone: fn(&T) -> T) -> Ops<T> {
        let wire = Wire::serde();
        Ops { clone, wire }
    }
}

#[diagnostic::do_not_recommend]
impl<T> Holds<T> for MemoryCache<T> {
    #[inline]
    fn ops(&self, clone: fn(&T) -> T) -> Ops<T> {
        let wire = self.wire();
        Ops { clone, wire }
    }
}

#[diagnostic::do_not_recommend]
impl<T, D: Deref> Holds<T> for D
where
    D::Target: Holds<T>,
{
    #[inline]
    fn ops(&self, clone: fn(&T) -> T) -> Ops<T> {
        (**self).ops(clone)
    }
}

/// The cache behind a door.
#[inline]
pub fn cache_of<D: Door + ?Sized>(door: &D) -> &Cache {
    door.cache()
}

/// The cache behind a door, and what it has to know about values of type `T`. In one step, so that a mistake is told
/// once.
#[inline]
pub fn open<T: Clone, D: Holds<T> + ?Sized>(door: &D) -> (&Cache, Ops<T>) {
    (door.cache(), door.ops(T::clone))
}
