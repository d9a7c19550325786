//! `#[cache_put]` and `#[cache_evict]`.

use std::sync::Mutex;

use cache_core::{Cache, cache_evict, cache_put, cached};

#[derive(Clone, Debug, PartialEq)]
struct Refused;

/// A table of names, and how often it was read.
struct Names {
    cache: Cache,
    rows: Mutex<Vec<String>>,
    reads: Mutex<usize>,
}

impl Names {
    fn new() -> Self {
        Self {
            cache: Cache::builder("names").build().unwrap(),
            rows: Mutex::new(vec!["Ada".to_owned(), "Bob".to_owned()]),
            reads: Mutex::new(0),
        }
    }

    fn reads(&self) -> usize {
        *self.reads.lock().unwrap()
    }
}

#[cached(skip(self), cache = self.cache)]
impl Names {
    #[cached(prefix = "w-name", tags = ["name:{id}"])]
    async fn name(&self, id: usize) -> Option<String> {
        *self.reads.lock().unwrap() += 1;
        self.rows.lock().unwrap().get(id).cloned()
    }

    #[cached(prefix = "w-count", tags = ["names"])]
    async fn count(&self) -> Result<usize, Refused> {
        *self.reads.lock().unwrap() += 1;
        Ok(self.rows.lock().unwrap().len())
    }

    #[cache_put(self.name(id), value = |name| Some(name.clone()))]
    async fn rename(&self, id: usize, name: &str) -> Result<String, Refused> {
        let mut rows = self.rows.lock().unwrap();
        let row = rows.get_mut(id).ok_or(Refused)?;
        name.clone_into(row);
        Ok(name.to_owned())
    }

    #[cache_evict(self.name(id), self.count(), cache = self.cache)]
    async fn remove(&mut self, id: usize) -> Result<(), Refused> {
        if id >= self.rows.lock().unwrap().len() {
            return Err(Refused);
        }
        self.rows.get_mut().unwrap().remove(id);
        Ok(())
    }

    #[cache_evict(tags = ["names", "name:{result}"], cache = self.cache)]
    async fn add(&self, name: String) -> usize {
        let mut rows = self.rows.lock().unwrap();
        rows.push(name);
        rows.len() - 1
    }

    #[cache_evict(all(self.name), always)]
    async fn fails(&self) -> Result<(), Refused> {
        Err(Refused)
    }

    #[cache_evict(all(self.name))]
    async fn fails_without_a_trace(&self) -> Result<(), Refused> {
        Err(Refused)
    }

    #[cache_evict(self.name(id), before)]
    async fn looks_after_evicting(&self, id: usize) -> bool {
        self.name_peek(id).await.unwrap().is_none()
    }
}

#[tokio::test]
async fn a_put_stores_what_the_function_returned() {
    let names = Names::new();
    assert_eq!(names.name(0).await.as_deref(), Some("Ada"));
    names.rename(0, "Eve").await.unwrap();
    assert_eq!(names.name(0).await.as_deref(), Some("Eve"));
    assert_eq!(names.reads(), 1);
    assert_eq!(names.rename(9, "Eve").await, Err(Refused));
    assert_eq!(names.name(9).await, None, "nothing is stored for a failure");
}

#[tokio::test]
async fn an_evict_makes_readers_read_again_and_only_after_success() {
    let mut names = Names::new();
    assert_eq!(
        (names.name(1).await.as_deref(), names.count().await),
        (Some("Bob"), Ok(2))
    );
    assert_eq!(names.remove(7).await, Err(Refused));
    names.name(1).await;
    assert_eq!(names.reads(), 2);
    names.remove(1).await.unwrap();
    assert_eq!((names.name(1).await, names.count().await), (None, Ok(1)));
    assert_eq!(names.reads(), 4);
    assert_eq!(names.add("Cyd".to_owned()).await, 1);
    assert_eq!(
        (names.name(1).await.as_deref(), names.count().await),
        (Some("Cyd"), Ok(2))
    );
}

#[tokio::test]
async fn an_evict_can_come_before_and_after_a_failure_too() {
    let names = Names::new();
    names.name(0).await;
    assert!(names.fails_without_a_trace().await.is_err());
    names.name(0).await;
    assert_eq!(names.reads(), 1);
    assert!(names.fails().await.is_err());
    names.name(0).await;
    assert_eq!(names.reads(), 2);
    assert!(names.looks_after_evicting(0).await);
}

mod free {
    use super::*;

    #[cached(prefix = "w-free")]
    pub(super) async fn length(text: String) -> usize {
        text.len()
    }

    #[cache_put(length(text.clone()))]
    pub(super) async fn pretend(text: String, length: usize) -> usize {
        drop(text);
        length
    }

    #[cache_evict(length(text.clone()))]
    pub(super) async fn forget(text: String) -> Option<String> {
        Some(text)
    }

    #[cache_evict(all(self::length))]
    pub(super) async fn forget_all() {}
}

#[tokio::test]
async fn free_functions_are_named_like_calls() {
    use free::{forget, forget_all, length, pretend};
    assert_eq!(length("abc".into()).await, 3);
    pretend("abc".into(), 9).await;
    assert_eq!(length("abc".into()).await, 9);
    forget("abc".into()).await;
    assert_eq!(length("abc".into()).await, 3);
    pretend("abc".into(), 9).await;
    forget_all().await;
    assert_eq!(length("abc".into()).await, 3);
}
