//! What began before an invalidation is never readable after it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cache_core::tag::TagSet;
use cache_core::testing::ManualClock;
use cache_core::time::{hours, minutes, seconds};
use cache_core::{Cache, CacheKey, Eager, EntryOptions, KeyPattern, LoadContext, Loaded, Stored};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::RwLock;
use tokio::task::JoinSet;

use crate::engine::{Answer, Broken, Load, Origin, block_on, cache, cache_with, key, ms, others_run, settle};

/// Every way to make the value of `key(1)` invalid, tagged as `tagged` says.
const WAYS: [&str; 8] = [
    "remove", "tag", "prefix", "pattern", "multi", "clear", "set", "update",
];

fn tagged() -> EntryOptions {
    EntryOptions::ttl(minutes(1)).tags(TagSet::new(["t"]).unwrap())
}

fn everything() -> KeyPattern {
    KeyPattern::new("item").unwrap().any()
}

/// What is readable afterwards.
async fn invalidate(cache: &Cache, how: &str) -> Option<u32> {
    match how {
        "remove" => cache.remove(&key(1)).await.unwrap(),
        "tag" => cache.invalidate_tag("t").await.unwrap(),
        "prefix" => cache.remove_prefix("item").await.unwrap(),
        "pattern" => cache.remove_matching(everything()).await.unwrap(),
        "multi" => cache.remove_prefix("item:1").await.unwrap(),
        "clear" => cache.clear().await.unwrap(),
        "set" => {
            assert!(cache.set(&key(1), 99_u32, tagged()).await.unwrap().is_stored());
            return Some(99);
        }
        "update" => {
            assert_eq!(cache.update(&key(1), tagged(), |_| 99_u32).await.unwrap(), 99);
            return Some(99);
        }
        other => unreachable!("{other}"),
    }
    None
}

async fn value(cache: &Cache) -> Option<u32> {
    cache.get::<u32>(&key(1)).await.map(Loaded::into_inner)
}

fn load(cache: &Cache, origin: &Origin, n: u32) -> tokio::task::JoinHandle<u32> {
    let (cache, load) = (cache.clone(), origin.gives(Ok(n)));
    tokio::spawn(async move {
        cache
            .get_or_load(&key(1), tagged(), load)
            .await
            .unwrap()
            .into_inner()
    })
}

/// B10.1, B11.1, B9.3
#[tokio::test]
async fn every_invalidation_hides_its_values_at_once_and_no_others() {
    for how in WAYS {
        let (cache, _) = cache();
        let other = CacheKey::build("other", 1).unwrap();
        assert!(cache.set(&key(1), 1_u32, tagged()).await.unwrap().is_stored());
        let untagged = EntryOptions::ttl(minutes(1)).tags(TagSet::new(["u"]).unwrap());
        assert!(cache.set(&other, 2_u32, untagged).await.unwrap().is_stored());
        let expected = invalidate(&cache, how).await;
        assert_eq!(value(&cache).await, expected, "after {how}");
        let kept = cache.get::<u32>(&other).await.is_some();
        assert_eq!(kept, how != "clear", "after {how}");
        assert!(cache.set(&key(1), 3_u32, tagged()).await.unwrap().is_stored());
        assert_eq!(value(&cache).await, Some(3), "{how} is over");
    }
}

/// B9.2, B9.3, B9.4, B9.5, B10.8, B11.2
#[tokio::test]
async fn a_load_that_began_before_is_given_to_those_who_joined_and_not_stored_nor_joined_after() {
    for how in WAYS {
        let (cache, _) = cache();
        let (early, late) = (Origin::closed(), Origin::closed());
        let first = load(&cache, &early, 1);
        early.begun(1).await;
        let joined = load(&cache, &early, 1);
        others_run().await;
        let expected = invalidate(&cache, how).await;
        if expected.is_none() {
            let second = load(&cache, &late, 2);
            late.begun(1).await;
            early.release();
            assert_eq!(first.await.unwrap(), 1, "{how}");
            assert_eq!(joined.await.unwrap(), 1, "{how}");
            assert_eq!(value(&cache).await, None, "after {how}");
            late.release();
            assert_eq!(second.await.unwrap(), 2, "{how}");
            assert_eq!(value(&cache).await, Some(2), "after {how}");
        } else {
            early.release();
            assert_eq!((first.await.unwrap(), joined.await.unwrap()), (1, 1), "{how}");
            assert_eq!(value(&cache).await, expected, "after {how}");
        }
        assert_eq!((cache.loads_in_flight(), early.loads()), (0, 1));
    }
}

/// B9.3: however short the life of what was set.
#[tokio::test]
async fn a_set_that_has_expired_still_refuses_loads_that_began_before_it() {
    let (cache, clock) = cache();
    let origin = Origin::closed();
    let call = load(&cache, &origin, 1);
    origin.begun(1).await;
    assert!(cache.set(&key(1), 2_u32, ms(1)).await.unwrap().is_stored());
    clock.advance(seconds(5));
    origin.release();
    assert_eq!(call.await.unwrap(), 1);
    assert_eq!(value(&cache).await, None);
}

/// B9.8: the record of mutations is bounded, and forgetting never lets a store through.
#[tokio::test]
async fn a_load_that_began_before_is_refused_however_much_was_mutated_since() {
    let (cache, _) = cache();
    let origin = Origin::closed();
    let call = load(&cache, &origin, 1);
    origin.begun(1).await;
    cache.remove(&key(1)).await.unwrap();
    for n in 0..200_000_u32 {
        cache.remove(&key(("other", n))).await.unwrap();
    }
    origin.release();
    assert_eq!(call.await.unwrap(), 1);
    assert_eq!(value(&cache).await, None);
}

/// B9.8: so is the registry of tags.
#[tokio::test]
async fn a_load_is_refused_by_an_invalidation_of_a_tag_that_was_forgotten_since() {
    let (cache, _) = cache();
    let origin = Origin::closed();
    let call = {
        let (cache, origin) = (cache.clone(), origin.clone());
        tokio::spawn(async move {
            let load = |load: LoadContext<u32>| async move {
                let answer = origin.answer(Ok(1_u32)).await;
                load.tag("found-out").unwrap();
                answer
            };
            cache.get_or_load(&key(1), minutes(1), load).await.unwrap()
        })
    };
    origin.begun(1).await;
    cache.invalidate_tag("found-out").await.unwrap();
    for n in 0..150_000_u32 {
        cache.invalidate_tag(format!("other-{n}")).await.unwrap();
    }
    origin.release();
    assert_eq!(call.await.unwrap(), 1);
    assert_eq!(value(&cache).await, None);
}

fn discovers<T: Send + Sync + 'static>(
    origin: &Origin,
    answer: T,
) -> impl FnOnce(LoadContext<T>) -> Load<T> + Send + 'static {
    let origin = origin.clone();
    move |load| {
        Box::pin(async move {
            let answer = origin.answer(Ok(answer)).await;
            load.tag("found-out").unwrap();
            answer
        })
    }
}

/// B10.5
#[tokio::test]
async fn a_tag_that_a_load_discovers_counts_from_the_start_of_the_load() {
    let (cache, _) = cache();
    for (when, stored) in [("before", true), ("during", false), ("never", true)] {
        if when == "before" {
            cache.invalidate_tag("found-out").await.unwrap();
        }
        let origin = Origin::closed();
        let call = {
            let (cache, load) = (cache.clone(), discovers(&origin, 1_u32));
            tokio::spawn(async move { cache.get_or_load(&key(1), minutes(1), load).await.unwrap() })
        };
        origin.begun(1).await;
        if when == "during" {
            cache.invalidate_tag("found-out").await.unwrap();
        }
        origin.release();
        assert_eq!(call.await.unwrap(), 1);
        assert_eq!(value(&cache).await.is_some(), stored, "invalidated {when}");
        cache.invalidate_tag("found-out").await.unwrap();
        assert_eq!(value(&cache).await, None);
    }
}

/// B9.4: whoever came after the invalidation of a tag that the result turns out to carry asks again.
#[tokio::test]
async fn who_joined_after_an_invalidation_of_a_tag_discovered_later_does_not_get_the_older_result() {
    for again in [false, true] {
        for soft in [false, true] {
            let (cache, _) = cache();
            let (early, late) = (Origin::closed(), Origin::open());
            let invalidate = async || {
                if soft {
                    cache.invalidate_tag_soft("found-out").await.unwrap();
                } else {
                    cache.invalidate_tag("found-out").await.unwrap();
                }
            };
            let call = |origin: &Origin, n: u32| {
                let (cache, load) = (cache.clone(), discovers(origin, n));
                tokio::spawn(async move { cache.get_or_load(&key(1), minutes(1), load).await.unwrap() })
            };
            let first = call(&early, 1);
            early.begun(1).await;
            let joined_before = call(&late, 2);
            others_run().await;
            invalidate().await;
            let joined_after = call(&late, 3);
            others_run().await;
            if again {
                invalidate().await;
            }
            early.release();
            assert_eq!(first.await.unwrap(), 1);
            let after = joined_after.await.unwrap();
            assert_ne!(*after, 1, "again {again}, soft {soft}");
            let before = joined_before.await.unwrap();
            assert!(again || *before == 1);
            assert_eq!(value(&cache).await, Some(*after));
            assert_eq!(late.loads(), 1, "and all who do share the next load");
        }
    }
}

/// B9.9
#[tokio::test]
async fn a_hold_off_refuses_every_store_until_its_end_and_gives_loads_to_their_callers() {
    for how in ["key", "tag", "prefix", "clear"] {
        let (cache, clock) = cache();
        assert!(cache.set(&key(1), 1_u32, tagged()).await.unwrap().is_stored());
        let invalidation = match how {
            "key" => cache.remove(&key(1)),
            "tag" => cache.invalidate_tag("t"),
            "prefix" => cache.remove_prefix("item"),
            _ => cache.clear(),
        };
        invalidation.hold(seconds(5)).await.unwrap();
        // Another one without a hold does not end the first.
        let _ = invalidate(&cache, if how == "key" { "remove" } else { "tag" }).await;
        for left in [ms(4_999), ms(1)] {
            let origin = Origin::open();
            assert_eq!(load(&cache, &origin, 2).await.unwrap(), 2, "{how}");
            assert_eq!(value(&cache).await, None, "{how}");
            assert_eq!(
                cache.set(&key(1), 3_u32, tagged()).await.unwrap(),
                Stored::HeldOff,
                "{how}"
            );
            let refreshed = cache.refresh(&key(1), tagged(), origin.gives(Ok(4_u32))).await;
            assert_eq!(refreshed.unwrap(), 4);
            assert!(cache.update(&key(1), tagged(), |_| 5_u32).await.is_err());
            assert_eq!(value(&cache).await, None, "{how}");
            clock.advance(left);
        }
        assert_eq!(
            cache.set(&key(1), 3_u32, tagged()).await.unwrap(),
            Stored::Yes,
            "{how}"
        );
        assert_eq!(value(&cache).await, Some(3), "{how}");
    }
    let (cache, _) = cache();
    let refused = cache.remove_matching(everything()).hold(seconds(1)).await;
    assert!(refused.unwrap_err().is_invalid());
}

/// B9.9, B9.8
#[tokio::test]
async fn a_hold_off_of_a_tag_outlives_any_number_of_other_tags() {
    let (cache, clock) = cache();
    cache.invalidate_tag("t").hold(seconds(5)).await.unwrap();
    for n in 0..150_000_u32 {
        cache.invalidate_tag(format!("other-{n}")).await.unwrap();
    }
    assert_eq!(
        cache.set(&key(1), 1_u32, tagged()).await.unwrap(),
        Stored::HeldOff
    );
    clock.advance(seconds(5));
    assert_eq!(cache.set(&key(1), 1_u32, tagged()).await.unwrap(), Stored::Yes);
}

/// B9.9, B9.8: holds are remembered, or what was forgotten is held.
#[tokio::test]
async fn any_number_of_hold_offs_holds_and_lets_no_older_load_through() {
    let (cache, clock) = cache();
    let origin = Origin::closed();
    let call = load(&cache, &origin, 1);
    origin.begun(1).await;
    for n in 0..200_000_u32 {
        cache.remove(&key(("held", n))).hold(seconds(60)).await.unwrap();
        if n == 150_000 {
            cache.remove(&key(1)).hold(ms(1)).await.unwrap();
        }
    }
    clock.advance(seconds(2));
    for n in (0..200_000_u32).step_by(997) {
        let stored = cache.set(&key(("held", n)), n, minutes(1)).await.unwrap();
        assert_eq!(stored, Stored::HeldOff, "{n}");
    }
    clock.advance(seconds(60));
    origin.release();
    assert_eq!(call.await.unwrap(), 1);
    assert_eq!(
        value(&cache).await,
        None,
        "its load began before the invalidation"
    );
    assert_eq!(
        cache.set(&key(("held", 1)), 1_u32, minutes(1)).await.unwrap(),
        Stored::Yes
    );
}

/// B10.9
#[tokio::test]
async fn a_load_with_more_tags_than_an_entry_can_carry_is_given_to_its_caller_and_not_stored() {
    let (cache, _) = cache();
    let many = |from: usize, to: usize| (from..to).map(|n| format!("tag-{n}")).collect::<Vec<_>>();
    for (declared, found, stored) in [
        (0, 64, true),
        (0, 65, false),
        (64, 0, true),
        (64, 64, true),
        (60, 65, false),
    ] {
        let options = EntryOptions::ttl(minutes(1)).tags(TagSet::new(many(0, declared)).unwrap());
        let before = cache.stats().counters.stores_refused;
        let got = cache
            .get_or_load(&key(1), options, move |load| async move {
                for tag in many(0, found) {
                    load.tag(tag).unwrap();
                }
                Answer::Ok(1_u32)
            })
            .await;
        assert_eq!(got.unwrap(), 1);
        assert_eq!(
            value(&cache).await.is_some(),
            stored,
            "{declared} declared, {found} found"
        );
        assert_eq!(cache.stats().counters.stores_refused - before, u64::from(!stored));
        cache.remove(&key(1)).await.unwrap();
    }
    let bad = cache
        .get_or_load(&key(1), minutes(1), |load| async move {
            assert!(load.tag("").unwrap_err().is_invalid());
            assert!(load.tag("x".repeat(257)).unwrap_err().is_invalid());
            Answer::Ok(1_u32)
        })
        .await;
    assert_eq!(bad.unwrap(), 1);
    assert_eq!(
        value(&cache).await,
        None,
        "what cannot be invalidated as asked is not stored"
    );
    assert!(cache.invalidate_tag("").await.unwrap_err().is_invalid());
}

/// B10.10: soft forms make stale what is there, and loads that began before are not stored as fresh.
#[tokio::test]
async fn a_load_that_began_before_a_soft_invalidation_is_not_fresh_after_it() {
    for how in ["expire", "tag", "clear"] {
        let (cache, _) = cache();
        let origin = Origin::closed();
        let call = load(&cache, &origin, 1);
        origin.begun(1).await;
        match how {
            "expire" => cache.expire(&key(1)).await.unwrap(),
            "tag" => cache.invalidate_tag_soft("t").await.unwrap(),
            _ => cache.clear_soft().await.unwrap(),
        }
        let later = Origin::open();
        assert_eq!(
            load(&cache, &later, 2).await.unwrap(),
            2,
            "{how}: nobody joins the older load"
        );
        origin.release();
        assert_eq!(call.await.unwrap(), 1);
        assert_eq!(value(&cache).await, Some(2), "after {how}");
    }
}

#[tokio::test]
async fn prefixes_are_whole_and_escaped_like_keys() {
    let (cache, _) = cache();
    let keys = ["user", "users", "user.a", "user/ä", "user b"]
        .map(|prefix| (prefix, CacheKey::build(prefix, 1).unwrap()));
    for (prefix, _) in &keys {
        for (_, key) in &keys {
            assert!(cache.set(key, 1_u32, minutes(1)).await.unwrap().is_stored());
        }
        cache.remove_prefix(prefix).await.unwrap();
        for (other, key) in &keys {
            assert_eq!(
                cache.contains(key).await,
                prefix != other,
                "{other} after {prefix}"
            );
        }
    }
}

#[tokio::test]
async fn purging_gives_back_what_can_never_be_read_again_and_nothing_else() {
    let (cache, clock) = cache();
    for n in 0..10_u32 {
        let options = if n < 4 {
            tagged()
        } else {
            EntryOptions::ttl(minutes(1))
        };
        let options = if n < 7 {
            options
        } else {
            options.stale_for(hours(1))
        };
        assert!(cache.set(&key(n), n, options).await.unwrap().is_stored());
    }
    assert_eq!(cache.purge().await, 0);
    cache.invalidate_tag("t").await.unwrap();
    assert_eq!(cache.purge().await, 4);
    clock.advance(minutes(1));
    assert_eq!(cache.purge().await, 3, "stale ones may still stand in");
    assert_eq!(cache.stats().entries, 3);
}

/// B10.7: on threads, tag against tag.
#[test]
fn of_concurrent_invalidations_of_different_tags_none_is_lost() {
    let (cache, _) = cache();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = block_on(cache.get::<u32>(&key(0)));
                let _ = block_on(cache.get::<u32>(&key(1)));
            }
        });
        let invalidators: Vec<_> = (0..2_u32)
            .map(|n| {
                let cache = &cache;
                scope.spawn(move || {
                    let tag = format!("t{n}");
                    let options = EntryOptions::ttl(minutes(1)).tags(TagSet::new([&tag]).unwrap());
                    for round in 0..20_000_u32 {
                        block_on(async {
                            assert!(
                                cache
                                    .set(&key(n), round, options.clone())
                                    .await
                                    .unwrap()
                                    .is_stored()
                            );
                            cache.invalidate_tag(&tag).await.unwrap();
                            assert!(
                                cache.get::<u32>(&key(n)).await.is_none(),
                                "{tag} in round {round}"
                            );
                        });
                    }
                })
            })
            .collect();
        for invalidator in invalidators {
            invalidator.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// B9.2, B11.3: on threads, a store that is under way when a walk over the tier begins does not escape it.
#[test]
fn no_store_escapes_an_invalidation_that_runs_beside_it() {
    for how in ["pattern", "clear", "prefix", "remove", "tag"] {
        let (cache, _) = cache();
        let (truth, stop) = (AtomicU64::new(1), AtomicBool::new(false));
        let (truth, stop) = (&truth, &stop);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let load = |_| async { Answer::Ok(truth.load(Ordering::SeqCst)) };
                        let _ = block_on(cache.get_or_load_borrowed(&key(1), tagged(), load));
                    }
                });
            }
            for _ in 0..20_000 {
                let written = truth.fetch_add(1, Ordering::SeqCst) + 1;
                let read = block_on(async {
                    let _ = invalidate(&cache, how).await;
                    cache.get::<u64>(&key(1)).await.map(Loaded::into_inner)
                });
                if let Some(read) = read
                    && read < written
                {
                    stop.store(true, Ordering::Relaxed);
                    panic!("{read} is readable after {how} of everything before {written}");
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}

const KEYS: u32 = 5;

/// A database, and what readers may still see of its past.
struct World {
    cache: Cache,
    clock: ManualClock,
    rows: Vec<Row>,
    /// Writers that tell the cache a value exclude each other and those who invalidate: their order is theirs to keep.
    writing: RwLock<()>,
}

#[derive(Default)]
struct Row {
    version: AtomicU64,
    /// No value below this is readable, stale ones included.
    hard: AtomicU64,
    /// No value below this is fresh.
    soft: AtomicU64,
}

impl World {
    fn new() -> Self {
        let (cache, clock) = cache_with(|builder| builder.lock_wait(seconds(1)));
        Self {
            cache,
            clock,
            rows: (0..KEYS).map(|_| Row::default()).collect(),
            writing: RwLock::default(),
        }
    }

    fn row(&self, n: u32) -> &Row {
        &self.rows[n as usize]
    }

    fn options(&self, rng: &mut SmallRng) -> EntryOptions {
        let ttls = [ms(5), ms(50), seconds(1), minutes(1)];
        let options = EntryOptions::ttl(ttls[rng.random_range(0..ttls.len())])
            .stale_for(seconds(rng.random_range(0..2)))
            .throttle(ms(rng.random_range(0..20)))
            .eager(if rng.random_bool(0.5) {
                Eager::After(0.3)
            } else {
                Eager::Off
            })
            .tags(TagSet::new(["all"]).unwrap());
        if rng.random_bool(0.3) {
            options.soft_timeout(Duration::ZERO)
        } else {
            options
        }
    }

    /// The loader: reads the row at once, and takes its time to return.
    fn load(
        self: &Arc<Self>,
        n: u32,
        rng: &mut SmallRng,
    ) -> impl FnOnce(LoadContext<(u32, u64)>) -> Load<(u32, u64)> + Send + 'static {
        let (world, steps) = (self.clone(), rng.random_range(0..6));
        let (fails, discovers) = (rng.random_bool(0.1), rng.random_bool(0.5));
        move |load| {
            Box::pin(async move {
                let read = world.row(n).version.load(Ordering::SeqCst);
                for _ in 0..steps {
                    tokio::task::yield_now().await;
                }
                if discovers {
                    load.tag("found-out").unwrap();
                }
                // Everything under the discovered tag carries it, or it could not be invalidated by it.
                if fails || !discovers && n % 2 == 1 {
                    return Err(Broken("down"));
                }
                Ok((n, read))
            })
        }
    }

    async fn read(self: &Arc<Self>, n: u32, rng: &mut SmallRng) {
        let row = self.row(n);
        let (hard, soft) = (row.hard.load(Ordering::SeqCst), row.soft.load(Ordering::SeqCst));
        let (key, options) = (key(n), self.options(rng));
        let got = match rng.random_range(0..6) {
            0 => self.cache.get::<(u32, u64)>(&key).await,
            1 => self.cache.lookup::<(u32, u64)>(&key).await.value(),
            2 => self
                .cache
                .get_or_load_borrowed(&key, options, self.load(n, rng))
                .await
                .ok(),
            3 => self.cache.refresh(&key, options, self.load(n, rng)).await.ok(),
            4 => self.read_many(n, options, rng).await,
            _ => self
                .cache
                .get_or_load(&key, options, self.load(n, rng))
                .await
                .ok(),
        };
        let Some(got) = got else { return };
        assert_eq!(got.0, n, "another key's value");
        let outcome = got.outcome();
        let floor = if outcome.is_stale() { hard } else { soft };
        assert!(
            got.1 >= floor,
            "{} of {n} was read ({outcome}) when {floor} was due",
            got.1
        );
    }

    async fn read_many(
        self: &Arc<Self>,
        n: u32,
        options: EntryOptions,
        rng: &mut SmallRng,
    ) -> Option<Loaded<(u32, u64)>> {
        let (world, steps) = (self.clone(), rng.random_range(0..4));
        // What discovers its tags is not loaded in batches, which discover none.
        let even: Vec<CacheKey> = (0..KEYS).filter(|n| n % 2 == 0).map(key).collect();
        let load = move |keys: Vec<CacheKey>| {
            let world = world.clone();
            async move {
                let read = |n: u32| (n, world.row(n).version.load(Ordering::SeqCst));
                let numbers = (0..KEYS).filter(|n| keys.contains(&key(*n)));
                let values: HashMap<_, _> = numbers.map(|n| (key(n), read(n))).collect();
                for _ in 0..steps {
                    tokio::task::yield_now().await;
                }
                Answer::Ok(values)
            }
        };
        let got = self.cache.get_or_load_many(&even, options, load).await.ok()?;
        got.into_iter().flatten().find(|loaded| loaded.0 == n)
    }

    async fn write(&self, n: u32, rng: &mut SmallRng) {
        let numbers = |all: bool| if all { 0..KEYS } else { n..n + 1 };
        let how = rng.random_range(0..11);
        if how < 2 {
            let _alone = self.writing.write().await;
            let version = self.row(n).version.fetch_add(1, Ordering::SeqCst) + 1;
            let options = self.options(rng).tags(TagSet::new(["all", "found-out"]).unwrap());
            if how == 0 {
                let _ = self.cache.set(&key(n), (n, version), options).await.unwrap();
            } else {
                self.cache
                    .update(&key(n), options, |_| (n, version))
                    .await
                    .unwrap();
            }
            self.raise(n..n + 1, &[version], true);
            return;
        }
        let _together = self.writing.read().await;
        let odd = how == 9 || how == 10;
        let numbers = if odd { 0..KEYS } else { numbers(how > 3) };
        let versions: Vec<_> = numbers
            .clone()
            .map(|n| self.row(n).version.fetch_add(1, Ordering::SeqCst) + 1)
            .collect();
        let cache = &self.cache;
        match how {
            2 => cache.remove(&key(n)).await,
            3 => cache.expire(&key(n)).await,
            4 => cache.invalidate_tag("all").await,
            5 => cache.invalidate_tag_soft("all").await,
            6 => cache.clear().await,
            7 => cache.remove_prefix("item").await,
            8 => cache.remove_matching(everything()).await,
            9 => cache.invalidate_tag("found-out").await,
            _ => cache.invalidate_tag_soft("found-out").await,
        }
        .unwrap();
        let hard = !matches!(how, 3 | 5 | 10);
        if odd {
            // Only odd rows are sure to carry the tag that loads discover.
            for (n, version) in numbers.zip(versions).filter(|(n, _)| n % 2 == 1) {
                self.raise(n..n + 1, &[version], hard);
            }
        } else {
            self.raise(numbers, &versions, hard);
        }
    }

    fn raise(&self, numbers: std::ops::Range<u32>, versions: &[u64], hard: bool) {
        for (n, version) in numbers.zip(versions) {
            self.row(n).soft.fetch_max(*version, Ordering::SeqCst);
            if hard {
                self.row(n).hard.fetch_max(*version, Ordering::SeqCst);
            }
        }
    }
}

async fn wander(world: Arc<World>, seed: u64, steps: u32) {
    let mut rng = SmallRng::seed_from_u64(seed);
    for _ in 0..steps {
        let n = rng.random_range(0..KEYS);
        match rng.random_range(0..10) {
            0..2 => world.write(n, &mut rng).await,
            2 => world.clock.advance(ms(rng.random_range(0..40))),
            3 => tokio::task::yield_now().await,
            _ => world.read(n, &mut rng).await,
        }
    }
}

/// B9.2 and the rest of it, with everything at once; on one thread a seed is one interleaving.
#[test]
fn whatever_happens_in_whatever_order_nothing_from_before_an_invalidation_is_read_after_it() {
    for seed in 0..80 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let done = runtime.block_on(async {
            let world = Arc::new(World::new());
            let mut tasks = JoinSet::new();
            for task in 0..8 {
                tasks.spawn(wander(world.clone(), seed * 100 + task, 100));
            }
            while let Some(done) = tasks.join_next().await {
                done?;
            }
            settle(&world.cache).await;
            assert_eq!(world.cache.stats().waiters, 0);
            Ok::<_, tokio::task::JoinError>(())
        });
        assert!(done.is_ok(), "with seed {seed}");
    }
}

#[test]
fn nor_on_many_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = Arc::new(World::new());
        let mut tasks = JoinSet::new();
        for task in 0..16 {
            tasks.spawn(wander(world.clone(), 1_000_000 + task, 1_500));
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        support::wait_until(seconds(10), "all flights have landed", async || {
            world.cache.loads_in_flight() == 0 && world.cache.stats().waiters == 0
        })
        .await;
    });
}
