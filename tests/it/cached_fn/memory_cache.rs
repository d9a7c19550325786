//! `cache = ..` that names a `MemoryCache`: values without serde.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, LazyLock};

use cache_core::{Cache, MemoryCache, OutcomeKind, cache_evict, cached};

/// Cannot be serialised, and is not even `Debug`.
#[derive(Clone)]
struct Rule(Arc<dyn Fn(u64) -> bool + Send + Sync>);

#[derive(Clone, Debug, PartialEq)]
struct Refused;

fn rule(least: u64) -> Rule {
    Rule(Arc::new(move |value| value >= least))
}

static RULES: LazyLock<MemoryCache<Rule>> =
    LazyLock::new(|| MemoryCache::new(100).expect("a hundred entries are allowed"));
static COMPILED: AtomicUsize = AtomicUsize::new(0);

#[cached(cache = RULES, prefix = "rule", ttl = "1h", tags = ["least:{least}"])]
async fn compile(least: u64) -> Result<Option<Rule>, Refused> {
    COMPILED.fetch_add(1, SeqCst);
    match least {
        0 => Err(Refused),
        1 => Ok(None),
        _ => Ok(Some(rule(least))),
    }
}

#[cache_evict(tags = ["least:{least}"], cache = RULES)]
async fn change(least: u64) {}

#[tokio::test]
async fn values_without_serde_are_cached_and_have_companions() {
    let first = compile(7).await.unwrap().unwrap();
    let second = compile(7).await.unwrap().unwrap();
    assert!(Arc::ptr_eq(&first.0, &second.0), "the very same value");
    assert!((first.0)(7) && !(second.0)(6));
    assert!(compile(1).await.unwrap().is_none());
    assert!(compile(1).await.unwrap().is_none());
    assert_eq!(COMPILED.load(SeqCst), 2);

    assert!(compile::peek(7).await.unwrap().is_some());
    let (_, outcome) = compile::outcome(7).await.unwrap_or_else(|_| panic!("a hit"));
    assert_eq!(outcome.kind, OutcomeKind::Fresh);
    change(7).await;
    assert!(compile::peek(7).await.unwrap().is_none());
    assert!(compile::set(7, Some(rule(9))).await.unwrap().is_stored());
    assert!(!(compile(7).await.unwrap().unwrap().0)(8), "what was set");
    compile::invalidate(7).await.unwrap();
    assert!((compile(7).await.unwrap().unwrap().0)(8), "loaded anew");
    assert!((compile::refresh(7).await.unwrap().unwrap().0)(8));
    assert_eq!(COMPILED.load(SeqCst), 4);
    compile::invalidate_all().await.unwrap();
    assert!(compile::peek(7).await.unwrap().is_none());
    assert!(matches!(compile(0).await, Err(Refused)));
}

struct Rules {
    cache: MemoryCache<Rule>,
    runs: AtomicUsize,
}

#[cached(cache = self.cache, skip(self))]
impl Rules {
    #[cached(prefix = "rule-of")]
    async fn of(&self, least: u64) -> Rule {
        self.runs.fetch_add(1, SeqCst);
        rule(least)
    }
}

#[cached(cache = cache, skip(cache), prefix = "loan")]
async fn shared<T: Clone + Default + Send + Sync + 'static>(cache: &MemoryCache<T>, _id: u64) -> T {
    T::default()
}

#[cached(batch, cache = cache, skip(cache, runs), prefix = "rules")]
async fn all(cache: MemoryCache<Rule>, runs: Arc<AtomicUsize>, ids: Vec<u64>) -> HashMap<u64, Rule> {
    runs.fetch_add(ids.len(), SeqCst);
    ids.into_iter().map(|id| (id, rule(id))).collect()
}

#[tokio::test]
async fn a_field_or_an_argument_can_be_the_memory_cache() {
    let rules = Rules {
        cache: MemoryCache::new(10).unwrap(),
        runs: AtomicUsize::new(0),
    };
    let (first, second) = (rules.of(3).await, rules.of(3).await);
    assert!(Arc::ptr_eq(&first.0, &second.0));
    assert_eq!(rules.runs.load(SeqCst), 1);
    rules.of_invalidate(3).await.unwrap();
    assert!(rules.of_peek(3).await.unwrap().is_none());

    let values = MemoryCache::<Arc<str>>::new(10).unwrap();
    let (first, second) = (shared(&values, 1).await, shared(&values, 1).await);
    assert!(Arc::ptr_eq(&first, &second));
}

#[tokio::test]
async fn a_batch_of_values_without_serde_loads_the_missing_ones() {
    let (cache, runs) = (MemoryCache::new(10).unwrap(), Arc::new(AtomicUsize::new(0)));
    let found = all(cache.clone(), runs.clone(), vec![1, 2]).await;
    assert_eq!(found.len(), 2);
    let found = all(cache.clone(), runs.clone(), vec![2, 3]).await;
    assert!((found[&3].0)(3) && !(found[&3].0)(2));
    assert_eq!(runs.load(SeqCst), 3);
    assert!(all::peek(cache, 2).await.unwrap().is_some());
}

#[cached(cache = cache, skip(cache), prefix = "through-pointers")]
async fn through_pointers(cache: &Arc<Cache>, id: u64) -> u64 {
    id
}

#[tokio::test]
async fn a_cache_is_found_behind_pointers() {
    let cache = Arc::new(Cache::builder("pointers").build().unwrap());
    through_pointers(&cache, 7).await;
    assert_eq!(cache.stats().entries, 1);
}
