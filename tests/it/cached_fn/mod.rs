//! `#[cached]`, as its users see it.

use std::sync::Arc;
mod batch;
mod failures;
mod memory_cache;
mod nodes;
mod options;
mod policies;
mod shapes;
mod writes;

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use cache_core::{Cache, Error, cached};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Quote {
    symbol: String,
    price: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Refused;

mod free {
    use super::*;

    pub(super) static CALLS: AtomicUsize = AtomicUsize::new(0);

    #[cached(ttl = "5m", prefix = "quote")]
    pub(super) async fn quote(symbol: String) -> Quote {
        CALLS.fetch_add(1, SeqCst);
        Quote { symbol, price: 7 }
    }
}

#[tokio::test]
async fn a_second_call_is_a_hit() {
    let first = free::quote("GOOG".into()).await;
    let second = free::quote("GOOG".into()).await;
    assert_eq!(first, second);
    assert_eq!(free::CALLS.load(SeqCst), 1);
    assert_eq!(free::quote::key("GOOG".into()).unwrap().text(), "quote:GOOG");
    free::quote::invalidate("GOOG".into()).await.unwrap();
    free::quote("GOOG".into()).await;
    assert_eq!(free::CALLS.load(SeqCst), 2);
    free::quote::uncached("GOOG".into()).await;
    assert_eq!(free::CALLS.load(SeqCst), 3);
}

struct Db(Cache, AtomicUsize);

#[cached(skip(self), cache = self.0)]
impl Db {
    #[cached(ttl = 30, tags = ["user:{id}"])]
    async fn user(&self, id: u64, lang: &str) -> Result<Option<String>, Refused> {
        self.1.fetch_add(1, SeqCst);
        if id == 0 {
            return Err(Refused);
        }
        Ok((id < 10).then(|| format!("{lang}{id}")))
    }
}

#[tokio::test]
async fn a_method_borrows_and_caches_what_is_missing_too() {
    let db = Db(Cache::builder("m").build().unwrap(), AtomicUsize::new(0));
    assert_eq!(db.user(1, "de").await, Ok(Some("de1".into())));
    assert_eq!(db.user(1, "de").await, Ok(Some("de1".into())));
    assert_eq!(db.user(11, "de").await, Ok(None));
    assert_eq!(db.user(11, "de").await, Ok(None));
    assert_eq!(db.1.load(SeqCst), 2);
    assert_eq!(db.user(0, "de").await, Err(Refused));
    assert_eq!(db.user(0, "de").await, Err(Refused));
    assert_eq!(db.1.load(SeqCst), 4);
    assert_eq!(db.user_key(1, "de").unwrap().text(), "it/cached_fn/Db/user:1:de");
    db.0.invalidate_tag("user:1").await.unwrap();
    db.user(1, "de").await.unwrap();
    assert_eq!(db.1.load(SeqCst), 5);
    let _: Result<(), Error> = Ok(());
    let _ = Arc::new(());
}
