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
    /// What the cache asks of its values.
    type Kind;

    /// The cache.
    fn cache(&self) -> &Cache;
    /// What it asks of its values.
    fn kind(&self) -> Self::Kind;
}

impl Door for Cache {
    type Kind = Encoded;

    #[inline]
    fn cache(&self) -> &Cache {
        self
    }

    #[inline]
    fn kind(&self) -> Encoded {
        Encoded
    }
}

impl<T> Door for MemoryCache<T> {
    type Kind = Kept<T>;

    #[inline]
    fn cache(&self) -> &Cache {
        self.as_cache()
    }

    #[inline]
    fn kind(&self) -> Kept<T> {
        Kept(self.wire())
    }
}

#[diagnostic::do_not_recommend]
impl<D: Deref> Door for D
where
    D::Target: Door,
{
    type Kind = <D::Target as Door>::Kind;

    #[inline]
    fn cache(&self) -> &Cache {
        (**self).cache()
    }

    #[inline]
    fn kind(&self) -> Self::Kind {
        (**self).kind()
    }
}

/// Values may leave the process.
#[derive(Debug)]
pub struct Encoded;

/// Values of type `T` stay in the process.
#[derive(Debug)]
pub struct Kept<T>(Wire<T>);

/// A kind of cache that values of type `T` fit into.
#[diagnostic::on_unimplemented(
    message = "the cache that `cache = ..` names cannot hold `{T}`",
    note = "a `Cache` holds what is `Serialize + DeserializeOwned + Send + Sync + 'static`: derive serde's traits",
    note = "a `MemoryCache<T>` holds values of type `T`, without serde"
)]
pub trait Holds<T> {
    /// How a value is weighed and written.
    #[doc(hidden)]
    fn ops(self, clone: fn(&T) -> T) -> Ops<T>;
}

#[diagnostic::do_not_recommend]
impl<T: CacheValue> Holds<T> for Encoded {
    #[inline]
    fn ops(self, clone: fn(&T) -> T) -> Ops<T> {
        let wire = Wire::serde();
        Ops { clone, wire }
    }
}

#[diagnostic::do_not_recommend]
impl<T> Holds<T> for Kept<T> {
    #[inline]
    fn ops(self, clone: fn(&T) -> T) -> Ops<T> {
        Ops { clone, wire: self.0 }
    }
}

/// The cache behind a door.
#[inline]
pub fn cache_of<D: Door + ?Sized>(door: &D) -> &Cache {
    door.cache()
}

/// The kind of the cache behind a door.
#[inline]
pub fn kind_of<D: Door + ?Sized>(door: &D) -> D::Kind {
    door.kind()
}

/// What has to be known about `T` for a cache of this kind.
#[inline]
pub fn ops_in<T: Clone, K: Holds<T>>(kind: K) -> Ops<T> {
    kind.ops(T::clone)
}
