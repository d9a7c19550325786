//! Methods: receivers, generic blocks, traits, and functions inside functions.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use cache_core::key::KeyPart;
use cache_core::{CacheKey, CacheValue, cached};

use super::{Db, Refused, User, ada, check, for_each_tier, here, ran};

#[cached(skip(self), cache = here())]
impl Db {
    #[cached(prefix = "m01")]
    async fn by_reference(&self, id: u64) -> u64 {
        ran("by_reference");
        self.0 + id
    }

    #[cached(prefix = "m02")]
    async fn by_arc(self: Arc<Self>, id: u64) -> u64 {
        ran("by_arc");
        self.0 + id
    }

    #[cached(prefix = "m03", key = "{self.0}:{id}")]
    async fn with_a_field_in_the_key(&self, id: u64) -> u64 {
        ran("with_a_field_in_the_key");
        self.0 + id
    }

    #[cached(prefix = "m04")]
    pub(crate) async fn associated(id: u64) -> Result<u64, Refused> {
        ran("associated");
        Ok(Self::helper(id))
    }

    #[cached(prefix = "m05", detach(self), eager = 0.9)]
    async fn detached(&self, id: u64) -> u64 {
        ran("method_detached");
        self.0 + id
    }

    #[cached(prefix = "m06", companions = false)]
    async fn alone(&self, (a, b): (u64, u64), name: &str) -> Option<u64> {
        ran("alone");
        if name.is_empty() {
            return None;
        }
        Some(self.0 + a + b)
    }

    #[cached(prefix = "m07")]
    async fn generic<T: KeyPart + Display + Send>(&self, id: T) -> String {
        ran("generic_method");
        format!("{}{id}", self.0)
    }

    fn helper(id: u64) -> u64 {
        id
    }
}

impl Clone for Db {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

struct Repo<T> {
    values: Vec<T>,
}

#[cached(skip(self), cache = here())]
impl<T: CacheValue + Clone> Repo<T> {
    #[cached(prefix = "m08")]
    async fn first(&self, id: u64) -> Option<T> {
        ran("first");
        self.values.get(id as usize).cloned()
    }
}

struct View<'a>(&'a str);

#[cached(skip(self), cache = here())]
impl View<'_> {
    #[cached(prefix = "m09")]
    async fn of_a_borrowing_type(&self) -> String {
        ran("of_a_borrowing_type");
        self.0.to_owned()
    }
}

trait Users {
    fn user(&self, id: u64) -> impl Future<Output = Result<User, Refused>> + Send;
}

#[cached(skip(self), cache = here())]
impl Users for Db {
    #[cached(prefix = "m10")]
    async fn user(&self, id: u64) -> Result<User, Refused> {
        ran("of_a_trait");
        Ok(User {
            id,
            name: self.0.to_string(),
        })
    }
}

#[async_trait]
trait Prices: Send + Sync {
    async fn price(&self, symbol: &str) -> Result<u64, Refused>;
    async fn rate(self: Arc<Self>, pair: String) -> Option<u64>;
    async fn plain(&self) -> u64;
}

#[cached(skip(self), cache = here())]
#[async_trait]
impl Prices for Db {
    #[cached(prefix = "m11")]
    async fn price(&self, symbol: &str) -> Result<u64, Refused> {
        ran("of_an_async_trait");
        Ok(self.0 + symbol.len() as u64)
    }

    #[cached(prefix = "m12", eager = 0.9)]
    async fn rate(self: Arc<Self>, pair: String) -> Option<u64> {
        ran("of_an_async_trait_by_arc");
        Some(self.0 + pair.len() as u64)
    }

    async fn plain(&self) -> u64 {
        self.0
    }
}

#[tokio::test]
async fn methods_of_every_shape_run_once() {
    let db = Arc::new(Db(1));
    let repo = Repo { values: vec![ada()] };
    let text = String::from("text");
    let view = View(&text);
    for_each_tier(async || {
        check!(
            "by_reference",
            db.by_reference(7).await,
            db.by_reference_key(7),
            "m01:7"
        );
        check!("by_arc", db.clone().by_arc(7).await, db.by_arc_key(7), "m02:7");
        check!(
            "with_a_field_in_the_key",
            db.with_a_field_in_the_key(7).await,
            db.with_a_field_in_the_key_key(7),
            "m03:1:7"
        );
        check!(
            "associated",
            Db::associated(7).await,
            Db::associated_key(7),
            "m04:7"
        );
        check!(
            "method_detached",
            db.detached(7).await,
            db.detached_key(7),
            "m05:7"
        );
        check!(
            "alone",
            db.alone((1, 2), "a").await,
            CacheKey::parse("m06:(1,2):a"),
            "m06:(1,2):a"
        );
        check!(
            "generic_method",
            db.generic(7_u8).await,
            db.generic_key(7_u8),
            "m07:u8:7"
        );
        check!(
            "first",
            repo.first(0).await,
            repo.first_key(0),
            "m08:it.cached_fn.shapes.User:0"
        );
        check!(
            "of_a_borrowing_type",
            view.of_a_borrowing_type().await,
            view.of_a_borrowing_type_key(),
            "m09"
        );
        let prices: Arc<dyn Prices> = db.clone();
        check!(
            "of_an_async_trait",
            prices.price("GOOG").await,
            db.price_key("GOOG"),
            "m11:GOOG"
        );
        check!(
            "of_an_async_trait_by_arc",
            prices.clone().rate("EURUSD".into()).await,
            db.rate_key("EURUSD".into()),
            "m12:EURUSD"
        );
        assert_eq!(prices.plain().await, 1);
        check!("of_a_trait", db.user(7).await, db.user_key(7), "m10:7");
    })
    .await;
}

#[tokio::test]
async fn a_function_inside_another_is_cached_without_companions() {
    #[cached(cache = here(), prefix = "f01", companions = false)]
    async fn inner(id: u64) -> u64 {
        ran("inner");
        id
    }
    for_each_tier(async || {
        check!("inner", inner(7).await, CacheKey::parse("f01:7"), "f01:7");
    })
    .await;
}
