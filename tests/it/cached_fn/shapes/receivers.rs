//! Receivers beyond `&self`, lifetimes of receivers, and traits with parameters.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use cache_core::cached;
use cache_core::key::KeyPart;

use super::{Refused, check, for_each_tier, here, ran};

struct Shop;

#[cached(cache = here(), skip(self))]
impl Shop {
    #[cached(prefix = "r01")]
    async fn borrowed_arc(self: &Arc<Self>, id: u64) -> u64 {
        ran("borrowed_arc");
        id
    }

    #[cached(prefix = "r02")]
    async fn pinned(self: Pin<&Self>, id: u64) -> u64 {
        ran("pinned");
        id
    }

    #[cached(prefix = "r03")]
    async fn named_lifetime<'a>(&'a self, name: &'a str, other: &str) -> String {
        ran("receiver_named_lifetime");
        format!("{name}{other}")
    }

    #[allow(clippy::manual_async_fn, reason = "it is this form that is tried")]
    #[cached(prefix = "r04")]
    fn future_with_a_lifetime<'a>(&'a self, name: &'a str) -> impl Future<Output = String> + Send + 'a {
        async move {
            ran("future_with_a_lifetime");
            name.to_owned()
        }
    }
}

#[async_trait]
trait Repository<K>: Send + Sync {
    async fn find(&self, id: K) -> Result<Option<String>, Refused>;

    async fn count<'a, F>(&'a self, filter: &'a F) -> u64
    where
        F: KeyPart + Sync;
}

#[cached(cache = here(), skip(self))]
#[async_trait]
impl Repository<u64> for Shop {
    #[cached(prefix = "r05")]
    async fn find(&self, id: u64) -> Result<Option<String>, Refused> {
        ran("repository_find");
        Ok(Some(id.to_string()))
    }

    #[cached(prefix = "r06", skip(F))]
    async fn count<'a, F>(&'a self, filter: &'a F) -> u64
    where
        F: KeyPart + Sync,
    {
        let _ = filter;
        ran("repository_count");
        3
    }
}

#[tokio::test]
async fn receivers_and_traits_of_every_kind_are_taken() {
    let shop = Arc::new(Shop);
    for_each_tier(async || {
        check!(
            "borrowed_arc",
            shop.borrowed_arc(7).await,
            shop.borrowed_arc_key(7),
            "r01:7"
        );
        check!(
            "pinned",
            Pin::new(&*shop).pinned(7).await,
            shop.pinned_key(7),
            "r02:7"
        );
        check!(
            "receiver_named_lifetime",
            shop.named_lifetime("a", "b").await,
            shop.named_lifetime_key("a", "b"),
            "r03:a:b"
        );
        check!(
            "future_with_a_lifetime",
            shop.future_with_a_lifetime("a").await,
            shop.future_with_a_lifetime_key("a"),
            "r04:a"
        );
        check!("repository_find", shop.find(7).await, shop.find_key(7), "r05:7");
        check!(
            "repository_count",
            shop.count(&"open").await,
            shop.count_key(&"open"),
            "r06:open"
        );
        assert_eq!(Pin::new(&*shop).pinned_refresh(7).await, 7);
        assert_eq!(shop.named_lifetime_refresh("a", "b").await, "ab");
        assert!(shop.find_outcome(7).await.is_ok_and(|(found, _)| found.is_some()));
    })
    .await;
}
