//! `#[cached(batch)]`: one load for the missing ids, an entry for each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use cache_core::{Cache, cached};

#[derive(Clone, Debug, PartialEq)]
struct Refused;

/// Which ids were asked for, load by load.
#[derive(Clone)]
struct Db {
    cache: Cache,
    asked: Arc<Mutex<Vec<Vec<u64>>>>,
}

impl Db {
    fn new() -> Self {
        Self {
            cache: Cache::builder("batch").build().unwrap(),
            asked: Arc::default(),
        }
    }

    fn ask(&self, mut ids: Vec<u64>) -> HashMap<u64, String> {
        ids.sort_unstable();
        self.asked.lock().unwrap().push(ids.clone());
        ids.into_iter()
            .filter(|id| *id < 100)
            .map(|id| (id, format!("user {id}")))
            .collect()
    }

    fn asked(&self) -> Vec<Vec<u64>> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

#[cached(batch, cache = db.cache, skip(db), prefix = "b-user", ttl = "5m", negative_ttl = "5s", tags = ["users"])]
async fn users(db: Db, ids: Vec<u64>) -> Result<HashMap<u64, String>, Refused> {
    if ids.contains(&13) {
        return Err(Refused);
    }
    Ok(db.ask(ids))
}

#[cached(cache = db.cache, skip(db), prefix = "b-user")]
async fn user(db: Db, id: u64) -> Option<String> {
    db.ask(vec![id]).remove(&id)
}

#[cached(batch = ids, cache = db.cache, skip(db), detach(db, lang))]
async fn translated(db: &Db, lang: &str, ids: &[u64]) -> HashMap<u64, String> {
    db.ask(ids.to_vec())
        .into_iter()
        .map(|(id, name)| (id, format!("{lang} {name}")))
        .collect()
}

#[cached(skip(self), cache = self.cache)]
impl Db {
    #[cached(batch, detach(self), prefix = "b-method")]
    async fn named(&self, ids: Vec<u64>) -> HashMap<u64, String> {
        self.ask(ids)
    }
}

#[tokio::test]
async fn only_the_missing_ids_are_loaded_and_each_has_an_entry() {
    let db = Db::new();
    let found = users(db.clone(), vec![1, 2, 200]).await.unwrap();
    assert_eq!(
        found,
        HashMap::from([(1, "user 1".to_owned()), (2, "user 2".to_owned())])
    );
    assert_eq!(users(db.clone(), vec![2, 3, 200, 1]).await.unwrap().len(), 3);
    assert_eq!(
        db.asked(),
        [vec![1, 2, 200], vec![3]],
        "what does not exist is known too"
    );
    assert_eq!(users::key(2).unwrap().text(), "b-user:2");
    users::invalidate(db.clone(), 2).await.unwrap();
    users(db.clone(), vec![1, 2]).await.unwrap();
    assert_eq!(db.asked(), [vec![2]]);
    db.cache.invalidate_tag("users").await.unwrap();
    assert!(users::peek(db.clone(), 1).await.unwrap().is_none());
}

#[tokio::test]
async fn a_function_for_one_id_shares_the_entries() {
    let db = Db::new();
    users(db.clone(), vec![1, 2]).await.unwrap();
    assert_eq!(user(db.clone(), 2).await.as_deref(), Some("user 2"));
    user(db.clone(), 3).await;
    users(db.clone(), vec![3, 1]).await.unwrap();
    assert_eq!(db.asked(), [vec![1, 2], vec![3]]);
}

#[tokio::test]
async fn a_failure_of_the_load_is_the_functions_own() {
    let db = Db::new();
    assert_eq!(users(db.clone(), vec![1, 13]).await, Err(Refused));
    assert_eq!(users(db.clone(), vec![1]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn slices_methods_and_further_parts_of_the_key_work_alike() {
    let db = Db::new();
    assert_eq!(translated(&db, "de", &[1]).await[&1], "de user 1");
    assert_eq!(translated(&db, "de", &[1, 2]).await[&2], "de user 2");
    assert_eq!(translated(&db, "fr", &[1]).await[&1], "fr user 1");
    assert_eq!(db.asked(), [vec![1], vec![2], vec![1]]);
    db.named(vec![4, 5]).await;
    db.named(vec![5, 6]).await;
    assert_eq!(db.asked(), [vec![4, 5], vec![6]]);
    assert_eq!(db.named_key(4).unwrap().text(), "b-method:4");
}
