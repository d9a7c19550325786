//! Names, attributes and scopes that a careless expansion would trip over.

use std::borrow::Cow;
use std::fmt::Display;
use std::future::Future;
use std::ops::Deref;

use cache_core::key::KeyPart;
use cache_core::{Cache, cached};

use super::{check, for_each_tier, here, ran};

/// Everything that generated code might name means something else here.
mod shadowed {
    #[allow(non_camel_case_types, dead_code)]
    mod cache_core {}
    mod core {}
    mod std {}
    #[allow(dead_code)]
    struct Result;
    #[allow(dead_code)]
    struct Option;
    #[allow(dead_code)]
    struct String;
    #[allow(dead_code)]
    struct Box;
    #[allow(dead_code)]
    struct Vec;
    #[allow(dead_code)]
    trait Clone {}
    #[allow(dead_code)]
    trait From {}
    #[allow(non_snake_case, dead_code)]
    fn Ok() {}
    #[allow(non_snake_case, dead_code)]
    fn Err() {}
    #[allow(non_snake_case, dead_code)]
    fn Some() {}
    #[allow(non_upper_case_globals, dead_code)]
    const None: u8 = 0;

    #[::cache_core::cached(cache = super::here(), prefix = "x01", tags = ["a:{id}"], store_if = |v| *v > 0, stale = "1h",
        eager = 0.8)]
    pub(super) async fn plain(id: u64) -> u64 {
        super::ran("shadowed_plain");
        id
    }

    #[::cache_core::cached(cache = super::here(), prefix = "x02", hard_timeout = "5s", if = id > 0)]
    pub(super) async fn fallible(id: u64) -> ::core::result::Result<u64, ::cache_core::Error> {
        super::ran("shadowed_fallible");
        ::core::result::Result::Ok(id)
    }

    #[::cache_core::cached(batch, cache = super::here(), prefix = "x03")]
    pub(super) async fn batch(ids: ::std::vec::Vec<u64>) -> ::std::collections::HashMap<u64, u64> {
        super::ran("shadowed_batch");
        ids.into_iter().map(|id| (id, id)).collect()
    }

    #[::cache_core::cache_put(plain(id))]
    pub(super) async fn put(id: u64) -> u64 {
        id + 1
    }

    #[::cache_core::cache_evict(plain(id), tags = ["a:{id}"], cache = super::here())]
    pub(super) async fn evict(id: u64) -> u64 {
        id
    }
}

#[cached(cache = here(), prefix = "x04")]
async fn r#type(r#fn: u64, r#match: &str) -> u64 {
    ran("raw_names");
    r#fn + r#match.len() as u64
}

#[cached(cache = here(), key = "x05:{r#fn}:{r#match}", tags = ["x:{r#fn}"])]
async fn r#loop(r#fn: u64, r#match: &str) -> u64 {
    ran("raw_names_in_templates");
    r#fn + r#match.len() as u64
}

#[cached(cache = here(), prefix = "x06")]
async fn größe(länge: u64, 名前: &str) -> u64 {
    ran("unicode_names");
    länge + 名前.len() as u64
}

#[cached(cache = here())]
async fn prix_à_payer(quantité: u64) -> u64 {
    ran("unicode_path");
    quantité
}

/// A companion's name.
#[cached(cache = here(), prefix = "x07")]
async fn key(set: u64) -> u64 {
    ran("names_of_companions");
    set
}

#[cached(cache = cache, prefix = "x08", skip(cache, load), tags = ["x:{key}"])]
async fn names_of_ours(cache: &Cache, key: u64, load: u64, miss: u64, output: u64, result: u64) -> u64 {
    ran("names_of_ours");
    key + load + miss + output + result
}

#[tracing::instrument(skip(name))]
#[cached(cache = here(), prefix = "x09")]
async fn instrumented_above(id: u64, name: &str) -> u64 {
    ran("instrumented_above");
    id + name.len() as u64
}

#[cached(cache = here(), prefix = "x10")]
#[tracing::instrument(skip_all, fields(id), err)]
async fn instrumented_below(id: u64, name: &str) -> Result<u64, std::fmt::Error> {
    ran("instrumented_below");
    Ok(id + name.len() as u64)
}

#[allow(clippy::too_many_arguments, unused_variables, unused_mut)]
#[cached(cache = here(), prefix = "x11")]
async fn many_arguments(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, mut h: u8) -> u8 {
    ran("many_arguments");
    a
}

#[cached(cache = here(), prefix = "x12")]
#[must_use]
#[inline]
#[doc(alias = "other")]
#[expect(clippy::let_and_return, reason = "it is expected of the body, which moves")]
async fn expectations(id: u64) -> u64 {
    ran("expectations");
    let same = id;
    same
}

#[cached(cache = here(), prefix = "x13")]
async fn wildcards(_: u64, &(a, b): &(u64, u64), [c, d]: [u8; 2], _unused: u8) -> u64 {
    ran("wildcards");
    a + b + u64::from(c + d)
}

#[cached(cache = here(), prefix = "x14", skip(items))]
async fn bounded_lifetimes<'a, 'b: 'a, T, const N: usize>(items: &'a [T; N], name: &'b str) -> usize
where
    T: Send + Sync + Display + 'a,
{
    ran("bounded_lifetimes");
    items.len() + name.len()
}

#[cached(cache = here(), prefix = "x15", skip(other))]
async fn bounds_between_types<K, V>(id: K, other: V) -> u64
where
    K: KeyPart + Copy + Into<u64> + PartialEq<V> + Send,
    V: Send,
{
    ran("bounds_between_types");
    id.into() + u64::from(id == other)
}

trait Named {
    type Id: KeyPart + Into<u64> + Send;
}

struct Desk;

impl Named for Desk {
    type Id = u32;
}

#[cached(cache = here(), prefix = "x16")]
async fn associated_types<T: Named>(id: <T as Named>::Id) -> u64 {
    ran("associated_types");
    id.into()
}

#[cached(cache = here(), prefix = "x17", skip(f))]
async fn higher_ranked<F>(f: F, id: u64) -> u64
where
    F: for<'x> Fn(&'x u64) -> &'x u64 + Send,
{
    ran("higher_ranked");
    *f(&id)
}

#[cached(cache = here(), prefix = "x18", skip(f))]
async fn trait_objects(f: &(dyn Fn(u64) -> u64 + Send + Sync), id: u64) -> u64 {
    ran("trait_objects");
    f(id)
}

#[cached(cache = here(), prefix = "x19", skip(T))]
async fn skipped_type<T: Display + Default + Send + 'static>(id: u64) -> String {
    ran("skipped_type");
    format!("{}{id}", T::default())
}

#[cached(cache = cache, prefix = "x20", skip(cache))]
async fn cache_behind_a_generic<C>(cache: C, id: u64) -> u64
where
    C: Deref<Target = Cache> + Send,
{
    ran("cache_behind_a_generic");
    id
}

#[cached(cache = here(), prefix = "x21")]
async fn cow_result(id: u64) -> Cow<'static, str> {
    ran("cow_result");
    id.to_string().into()
}

mod deep {
    #[cache_core::cached(cache = super::here(), prefix = "x22")]
    pub(in crate::cached_fn::shapes) async fn visible_in_a_path(id: u64) -> u64 {
        super::ran("visible_in_a_path");
        id
    }

    pub(super) struct Private(pub(super) u64);

    #[cache_core::cached(cache = super::here(), prefix = "x23", skip(db))]
    pub(super) async fn private_types(db: &Private, id: u64) -> u64 {
        super::ran("private_types");
        db.0 + id
    }
}

macro_rules! made {
    ($name:ident, $prefix:expr, $ty:ty, $ttl:expr, $share:expr) => {
        #[cached(cache = here(), prefix = $prefix, ttl = $ttl, eager = $share)]
        async fn $name(id: $ty) -> $ty {
            ran(stringify!($name));
            id
        }
    };
}

made!(made_by_a_macro, "x24", u64, "5m", 0.9);

#[cached(cache = here(), prefix = "x24-type")]
async fn type_(id: u64) -> u64 {
    ran("type_");
    id
}

trait Source {
    fn name(&self) -> String;

    /// A default, which is not cached; its replacement is.
    fn load(&self, id: u64) -> impl Future<Output = u64> + Send
    where
        Self: Sized + Sync,
    {
        async move { self.name().len() as u64 + id }
    }
}

struct Plain;

impl Source for Plain {
    fn name(&self) -> String {
        "plain".to_owned()
    }
}

struct Caching<S>(S);

#[cached(skip(self), cache = here())]
impl<S: Source + Send + Sync> Source for Caching<S> {
    fn name(&self) -> String {
        self.0.name()
    }

    #[cached(prefix = "x25")]
    async fn load(&self, id: u64) -> u64
    where
        Self: Sized + Sync,
    {
        ran("replaced_default");
        self.0.load(id).await
    }
}

#[tokio::test]
async fn names_that_mean_something_else_are_not_in_the_way() {
    for_each_tier(async || {
        check!(
            "shadowed_plain",
            shadowed::plain(7).await,
            shadowed::plain::key(7),
            "x01:7"
        );
        check!(
            "shadowed_fallible",
            shadowed::fallible(7).await.unwrap(),
            shadowed::fallible::key(7),
            "x02:7"
        );
        check!(
            "shadowed_batch",
            shadowed::batch(vec![7]).await,
            shadowed::batch::key(7),
            "x03:7"
        );
        assert_eq!(shadowed::put(7).await, 8);
        assert_eq!(shadowed::plain(7).await, 8);
        shadowed::evict(7).await;
        assert_eq!(shadowed::plain(7).await, 7);
        check!("raw_names", r#type(7, "a").await, r#type::key(7, "a"), "x04:7:a");
        check!(
            "raw_names_in_templates",
            r#loop(7, "a").await,
            r#loop::key(7, "a"),
            "x05:7:a"
        );
        check!(
            "unicode_names",
            größe(7, "名").await,
            größe::key(7, "名"),
            "x06:7:名"
        );
        check!(
            "unicode_path",
            prix_à_payer(7).await,
            prix_à_payer::key(7),
            "it/cached_fn/shapes/hostile/prix_à_payer:7"
        );
        check!("names_of_companions", key(7).await, key::key(7), "x07:7");
        check!(
            "names_of_ours",
            names_of_ours(&here(), 1, 2, 3, 4, 5).await,
            names_of_ours::key(1, 3, 4, 5),
            "x08:1:3:4:5"
        );
        check!("type_", type_(7).await, type_::key(7), "x24-type:7");
        check!(
            "made_by_a_macro",
            made_by_a_macro(7).await,
            made_by_a_macro::key(7),
            "x24:7"
        );
    })
    .await;
}

#[tokio::test]
async fn attributes_and_scopes_stay_as_they_are() {
    for_each_tier(async || {
        check!(
            "instrumented_above",
            instrumented_above(7, "a").await,
            instrumented_above::key(7, "a"),
            "x09:7:a"
        );
        check!(
            "instrumented_below",
            instrumented_below(7, "a").await.unwrap(),
            instrumented_below::key(7, "a"),
            "x10:7:a"
        );
        check!(
            "many_arguments",
            many_arguments(1, 2, 3, 4, 5, 6, 7, 8).await,
            many_arguments::key(1, 2, 3, 4, 5, 6, 7, 8),
            "x11:1:2:3:4:5:6:7:8"
        );
        check!(
            "expectations",
            expectations(7).await,
            expectations::key(7),
            "x12:7"
        );
        check!(
            "wildcards",
            wildcards(1, &(2, 3), [4, 5], 6).await,
            wildcards::key(1, &(2, 3), [4, 5], 6),
            "x13:1:(2,3):(4,5):6"
        );
        check!(
            "visible_in_a_path",
            deep::visible_in_a_path(7).await,
            deep::visible_in_a_path::key(7),
            "x22:7"
        );
        check!(
            "private_types",
            deep::private_types(&deep::Private(1), 7).await,
            deep::private_types::key(7),
            "x23:7"
        );
    })
    .await;
}

#[tokio::test]
async fn bounds_of_every_kind_are_kept_where_they_are_needed() {
    for_each_tier(async || {
        check!(
            "bounded_lifetimes",
            bounded_lifetimes(&[1, 2], "a").await,
            bounded_lifetimes::key("a"),
            "x14:a"
        );
        check!(
            "bounds_between_types",
            bounds_between_types(7_u32, 7_u32).await,
            bounds_between_types::key(7_u32),
            "x15:u32:7"
        );
        check!(
            "associated_types",
            associated_types::<Desk>(7).await,
            associated_types::key::<Desk>(7),
            "x16:it.cached_fn.shapes.hostile.Desk:7"
        );
        check!(
            "higher_ranked",
            higher_ranked(|id| id, 7).await,
            higher_ranked::key(7),
            "x17:7"
        );
        check!(
            "trait_objects",
            trait_objects(&|id| id, 7).await,
            trait_objects::key(7),
            "x18:7"
        );
        check!(
            "skipped_type",
            skipped_type::<u8>(7).await,
            skipped_type::key(7),
            "x19:7"
        );
        check!(
            "cache_behind_a_generic",
            cache_behind_a_generic(&here(), 7).await,
            cache_behind_a_generic::key(7),
            "x20:7"
        );
        check!("cow_result", cow_result(7).await, cow_result::key(7), "x21:7");
        check!(
            "replaced_default",
            Caching(Plain).load(7).await,
            Caching(Plain).load_key(7),
            "x25:it.cached_fn.shapes.hostile.Plain:7"
        );
    })
    .await;
}
