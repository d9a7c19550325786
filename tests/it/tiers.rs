//! The in-process tier: hits, TTLs, jitter, negative entries, bounds, namespaces, and what a loader may say.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_core::options::MAX_TTL;
use cache_core::tag::TagSet;
use cache_core::time::{hours, minutes, seconds};
use cache_core::{Cache, EntryOptions, Loaded, Lookup, MemoryCache, MissReason, OutcomeKind, Stored, Tier};

use crate::engine::{Answer, Broken, Origin, block_on, cache, cache_with, key, ms, second_then_stale};

async fn value(cache: &Cache, n: u32) -> Option<u32> {
    cache.get::<u32>(&key(n)).await.map(Loaded::into_inner)
}

/// B1.1
#[tokio::test]
async fn a_fresh_hit_gives_the_very_value_that_was_loaded_and_loads_nothing() {
    let (cache, _) = cache();
    let origin = Origin::open();
    let first = cache
        .get_or_load(&key(1), minutes(1), origin.gives(Ok(7_u32)))
        .await
        .unwrap();
    assert_eq!(first.outcome().kind, OutcomeKind::Loaded);
    assert_eq!(first.outcome().reason, Some(MissReason::Absent));
    let second = cache
        .get_or_load(&key(1), minutes(1), origin.gives(Ok(8_u32)))
        .await
        .unwrap();
    assert!(Loaded::ptr_eq(&first, &second));
    assert_eq!(
        (second.outcome().kind, second.outcome().tier),
        (OutcomeKind::Fresh, Some(Tier::Memory))
    );
    assert_eq!(origin.loads(), 1);
}

/// B0.5, B1.10, B2.2
#[tokio::test]
async fn a_ttl_holds_to_the_millisecond_and_get_never_shows_what_is_stale() {
    let (cache, clock) = cache();
    let options = EntryOptions::ttl(ms(250)).stale_for(ms(500));
    assert!(cache.set(&key(1), 7_u32, options).await.unwrap().is_stored());
    assert_eq!(cache.remaining_ttl(&key(1)).await, Some(ms(250)));
    clock.advance(ms(249));
    assert_eq!(value(&cache, 1).await, Some(7));
    clock.advance(ms(1));
    assert_eq!(value(&cache, 1).await, None);
    assert!(!cache.contains(&key(1)).await);
    let Lookup::Hit(stale) = cache.lookup::<u32>(&key(1)).await else {
        panic!("the stale value is there until its end")
    };
    assert!(stale.outcome().is_stale());
    clock.advance(ms(499));
    assert!(matches!(cache.lookup::<u32>(&key(1)).await, Lookup::Hit(_)));
    clock.advance(ms(1));
    assert!(matches!(
        cache.lookup::<u32>(&key(1)).await,
        Lookup::Miss(MissReason::Expired)
    ));
}

/// B2.1
#[tokio::test]
async fn a_call_whose_ttl_is_above_its_hard_ttl_is_refused_and_loads_nothing() {
    let (cache, _) = cache();
    let origin = Origin::open();
    let options = EntryOptions::ttl(minutes(2)).hard_ttl(minutes(1));
    let refused = cache
        .get_or_load(&key(1), options.clone(), origin.gives(Ok(7_u32)))
        .await;
    assert!(refused.unwrap_err().cache().unwrap().is_invalid());
    assert!(
        cache
            .set(&key(1), 7_u32, options.clone())
            .await
            .unwrap_err()
            .is_invalid()
    );
    let many = cache
        .set_many([(key(1), 7_u32), (key(2), 8)], options.clone())
        .await;
    assert!(many.unwrap_err().is_invalid());
    assert!(
        cache
            .update(&key(1), options, |_| 7_u32)
            .await
            .unwrap_err()
            .is_invalid()
    );
    assert_eq!((origin.loads(), cache.stats().entries), (0, 0));
}

/// B2.2: a computed zero is "do not store", and takes away what is older.
#[tokio::test]
async fn a_computed_ttl_of_zero_stores_nothing() {
    let (cache, _) = cache();
    let origin = Origin::open();
    for _ in 0..2 {
        let loaded = cache
            .get_or_load(&key(1), Duration::ZERO, origin.gives(Ok(7_u32)))
            .await
            .unwrap();
        assert_eq!(loaded, 7);
    }
    assert_eq!(origin.loads(), 2);
    assert!(cache.set(&key(1), 1_u32, minutes(1)).await.unwrap().is_stored());
    assert_eq!(
        cache.set(&key(1), 2_u32, Duration::ZERO).await.unwrap(),
        Stored::ZeroTtl
    );
    assert_eq!(value(&cache, 1).await, None);
}

/// B2.2
#[tokio::test]
async fn absurd_ttls_are_cut_counted_and_panic_nowhere() {
    let (cache, clock) = cache();
    for ttl in [Duration::MAX, Duration::from_secs(u64::MAX), MAX_TTL + ms(1)] {
        assert!(cache.set(&key(1), 7_u32, ttl).await.unwrap().is_stored());
        assert_eq!(cache.remaining_ttl(&key(1)).await, Some(MAX_TTL));
    }
    assert_eq!(cache.stats().counters.ttls_clamped, 3);
    let absurd = EntryOptions::ttl(Duration::from_nanos(1))
        .stale_for(Duration::MAX)
        .negative_ttl(Duration::MAX)
        .error_ttl(Duration::MAX)
        .soft_timeout(Duration::MAX)
        .hard_timeout(Duration::MAX)
        .throttle(Duration::MAX);
    for n in 2..5 {
        let failing = cache
            .get_or_load(&key(n), absurd.clone(), |_| async {
                Err::<u32, _>(Broken("always"))
            })
            .await;
        assert!(failing.is_err());
        let loaded = cache
            .get_or_load_optional(&key(n + 10), absurd.clone(), move |_| async move {
                Answer::Ok(Some(n))
            })
            .await;
        assert_eq!(loaded.unwrap().unwrap(), n);
        clock.advance(Duration::from_secs(3600));
    }
}

/// B2.2
#[tokio::test]
async fn a_loader_decides_on_the_ttl_and_the_stale_window_keeps_its_length() {
    let (cache, clock) = cache();
    cache
        .get_or_load(
            &key(1),
            EntryOptions::ttl(minutes(5)).stale_for(seconds(10)),
            |load| async move {
                load.set_ttl(seconds(1));
                Answer::Ok(7_u32)
            },
        )
        .await
        .unwrap();
    clock.advance(ms(999));
    assert_eq!(value(&cache, 1).await, Some(7));
    clock.advance(ms(1));
    assert_eq!(value(&cache, 1).await, None);
    clock.advance(ms(9_999));
    assert!(matches!(cache.lookup::<u32>(&key(1)).await, Lookup::Hit(_)));
    clock.advance(ms(1));
    assert!(matches!(cache.lookup::<u32>(&key(1)).await, Lookup::Miss(_)));
}

/// B1.12
#[tokio::test]
async fn a_loader_that_says_so_gives_its_value_and_stores_nothing() {
    let one = key(1);
    let (cache, _) = cache();
    let give = |n| {
        cache.get_or_load(&one, minutes(1), move |load| async move {
            load.do_not_store();
            Answer::Ok(n)
        })
    };
    assert_eq!(give(1_u32).await.unwrap(), 1);
    assert_eq!(give(2).await.unwrap(), 2);
    assert_eq!(value(&cache, 1).await, None);
}

/// B6.1, B6.3
#[tokio::test]
async fn keys_written_together_expire_apart_and_never_late() {
    let (cache, _) = cache();
    let options = EntryOptions::ttl(seconds(100)).jitter(0.2);
    let mut left = Vec::new();
    for n in 0..1_000_u32 {
        assert!(cache.set(&key(n), n, options.clone()).await.unwrap().is_stored());
        left.push(cache.remaining_ttl(&key(n)).await.unwrap());
    }
    let (first, last) = (*left.iter().min().unwrap(), *left.iter().max().unwrap());
    assert!(
        first >= seconds(80) && last <= seconds(100),
        "{first:?} to {last:?}"
    );
    assert!(last - first >= seconds(18), "spread over {:?}", last - first);
}

/// B6.2: only the soft TTL of values is spread out.
#[tokio::test]
async fn jitter_moves_neither_the_hard_end_nor_negative_entries() {
    let (cache, clock) = cache();
    let options = EntryOptions::ttl(seconds(10)).hard_ttl(seconds(20)).jitter(0.9);
    for n in 0..50_u32 {
        assert!(cache.set(&key(n), n, options.clone()).await.unwrap().is_stored());
        let missing = cache
            .get_or_load_optional(
                &key(1_000 + n),
                options.clone().negative_ttl(seconds(20)),
                |_| async { Answer::<Option<u32>>::Ok(None) },
            )
            .await;
        assert!(missing.unwrap().is_none());
    }
    clock.advance(ms(19_999));
    for n in 0..50 {
        assert!(
            matches!(cache.lookup::<u32>(&key(n)).await, Lookup::Hit(_)),
            "{n}"
        );
        assert!(matches!(
            cache.lookup::<u32>(&key(1_000 + n)).await,
            Lookup::Negative(_)
        ));
    }
    clock.advance(ms(1));
    for n in 0..50 {
        assert!(matches!(cache.lookup::<u32>(&key(n)).await, Lookup::Miss(_)));
        assert!(matches!(
            cache.lookup::<u32>(&key(1_000 + n)).await,
            Lookup::Miss(_)
        ));
    }
}

/// B7.1
#[tokio::test]
async fn that_there_is_no_such_value_is_known_for_a_while_and_loads_nothing() {
    let one = key(1);
    let (cache, clock) = cache();
    let origin = Origin::open();
    let ask = || cache.get_or_load_optional(&one, minutes(5), origin.gives(Ok(None::<u32>)));
    assert!(ask().await.unwrap().is_none());
    assert!(ask().await.unwrap().is_none());
    assert_eq!(origin.loads(), 1);
    assert_eq!(cache.stats().counters.memory_hits_negative, 1);
    clock.advance(ms(29_999));
    assert!(matches!(cache.lookup::<u32>(&one).await, Lookup::Negative(age) if age == ms(29_999)));
    clock.advance(ms(1));
    assert!(ask().await.unwrap().is_none());
    assert_eq!(origin.loads(), 2, "the default is at most 30 seconds");
}

/// B7.1: the default is the TTL if that is shorter, and a loader may say otherwise.
#[tokio::test]
async fn a_negative_entry_lives_as_long_as_options_and_loader_say() {
    let one = key(1);
    let (cache, clock) = cache();
    let missing = |options: EntryOptions, say: Option<Duration>| {
        cache.get_or_load_optional(&one, options, move |load| async move {
            if let Some(ttl) = say {
                load.set_negative_ttl(ttl);
            }
            Answer::<Option<u32>>::Ok(None)
        })
    };
    for (options, say, lives) in [
        (EntryOptions::ttl(seconds(3)), None, seconds(3)),
        (
            EntryOptions::ttl(seconds(3)).negative_ttl(seconds(9)),
            None,
            seconds(9),
        ),
        (EntryOptions::ttl(seconds(3)), Some(seconds(7)), seconds(7)),
    ] {
        assert!(missing(options, say).await.unwrap().is_none());
        assert_eq!(cache.remaining_ttl(&one).await, Some(lives));
        clock.advance(lives);
        assert_eq!(cache.remaining_ttl(&one).await, None);
    }
    let kept = missing(EntryOptions::ttl(seconds(3)).negative_ttl(Duration::ZERO), None).await;
    assert!(kept.unwrap().is_none());
    assert!(!cache.contains(&one).await, "zero keeps it not at all");
}

/// B7.3
#[tokio::test]
async fn set_and_every_invalidation_remove_a_negative_entry() {
    let (cache, _) = cache();
    let tags = TagSet::new(["t"]).unwrap();
    for how in [
        "set",
        "remove",
        "tag",
        "tag_soft",
        "prefix",
        "clear",
        "clear_soft",
        "expire",
    ] {
        let missing = cache
            .get_or_load_optional(
                &key(1),
                EntryOptions::ttl(minutes(1)).tags(tags.clone()),
                |_| async { Answer::<Option<u32>>::Ok(None) },
            )
            .await;
        assert!(missing.unwrap().is_none());
        assert!(matches!(cache.lookup::<u32>(&key(1)).await, Lookup::Negative(_)));
        match how {
            "set" => assert!(cache.set(&key(1), 1_u32, minutes(1)).await.unwrap().is_stored()),
            "remove" => cache.remove(&key(1)).await.unwrap(),
            "tag" => cache.invalidate_tag("t").await.unwrap(),
            "tag_soft" => cache.invalidate_tag_soft("t").await.unwrap(),
            "prefix" => cache.remove_prefix("item").await.unwrap(),
            "clear" => cache.clear().await.unwrap(),
            "clear_soft" => cache.clear_soft().await.unwrap(),
            _ => cache.expire(&key(1)).await.unwrap(),
        }
        assert!(
            !matches!(cache.lookup::<u32>(&key(1)).await, Lookup::Negative(_)),
            "after {how}"
        );
        cache.remove(&key(1)).await.unwrap();
    }
}

/// B7.5
#[tokio::test]
async fn a_negative_entry_is_never_served_stale() {
    let (cache, clock) = cache();
    let options = second_then_stale().negative_ttl(seconds(1));
    let missing = cache
        .get_or_load_optional(&key(1), options.clone(), |_| async {
            Answer::<Option<u32>>::Ok(None)
        })
        .await;
    assert!(missing.unwrap().is_none());
    clock.advance(seconds(1));
    let failed = cache
        .get_or_load_optional(&key(1), options, |_| async {
            Err::<Option<u32>, _>(Broken("down"))
        })
        .await;
    assert!(failed.is_err());
}

/// B7.2: off by default.
#[tokio::test]
async fn an_error_is_not_cached_unless_asked_for() {
    let one = key(1);
    let (cache, clock) = cache();
    let origin = Origin::open();
    let ask =
        |options: EntryOptions| cache.get_or_load(&one, options, origin.gives(Err::<u32, _>(Broken("down"))));
    for _ in 0..3 {
        assert_eq!(
            ask(EntryOptions::ttl(minutes(1))).await.unwrap_err().loader(),
            Some(&Broken("down"))
        );
    }
    assert_eq!(origin.loads(), 3);
    let recorded = EntryOptions::ttl(minutes(1)).error_ttl(seconds(2));
    for _ in 0..3 {
        assert_eq!(
            ask(recorded.clone()).await.unwrap_err().loader(),
            Some(&Broken("down"))
        );
    }
    assert_eq!(origin.loads(), 4);
    clock.advance(seconds(2));
    assert!(ask(recorded).await.is_err());
    assert_eq!(origin.loads(), 5);
}

/// B7.2, B7.3
#[tokio::test]
async fn set_and_every_invalidation_remove_a_recorded_error() {
    let one = key(1);
    let (cache, _) = cache();
    let tags = TagSet::new(["t"]).unwrap();
    let options = EntryOptions::ttl(minutes(1)).error_ttl(minutes(1)).tags(tags);
    for how in [
        "set", "set_zero", "update", "remove", "tag", "prefix", "pattern", "clear", "expire",
    ] {
        let origin = Origin::open();
        let ask = || cache.get_or_load(&one, options.clone(), origin.gives(Err::<u32, _>(Broken("down"))));
        assert!(ask().await.is_err());
        assert!(ask().await.is_err());
        assert_eq!(origin.loads(), 1, "before {how}");
        match how {
            "set" => assert!(cache.set(&one, 1_u32, ms(1)).await.unwrap().is_stored()),
            "set_zero" => assert!(!cache.set(&one, 1_u32, ms(0)).await.unwrap().is_stored()),
            "update" => assert_eq!(cache.update(&one, ms(1), |_| 1_u32).await.unwrap(), 1),
            "remove" => cache.remove(&one).await.unwrap(),
            "tag" => cache.invalidate_tag("t").await.unwrap(),
            "prefix" => cache.remove_prefix("item").await.unwrap(),
            "pattern" => {
                let pattern = cache_core::KeyPattern::new("item").unwrap().any();
                cache.remove_matching(pattern).await.unwrap();
            }
            "clear" => cache.clear().await.unwrap(),
            _ => cache.expire(&one).await.unwrap(),
        }
        let (cache_again, options) = (cache.clone(), options.clone());
        if !cache.contains(&one).await {
            let again = cache_again.get_or_load(&one, options, origin.gives(Err::<u32, _>(Broken("down"))));
            assert!(again.await.is_err());
            assert_eq!(origin.loads(), 2, "after {how}");
        }
        cache.remove(&one).await.unwrap();
    }
}

/// B7.2: of another type of value, a recorded fallback means nothing.
#[tokio::test]
async fn a_recorded_error_answers_only_calls_of_its_own_types() {
    let (cache, _) = cache();
    let options = EntryOptions::ttl(minutes(1)).error_ttl(minutes(1));
    let first = cache
        .get_or_load(&key(1), options.clone(), |load| async move {
            load.fall_back_to(1_u32);
            Err::<u32, _>(Broken("down"))
        })
        .await;
    assert_eq!(first.unwrap(), 1);
    let other = cache
        .get_or_load(&key(1), options, |_| async { Answer::Ok("text".to_owned()) })
        .await;
    assert_eq!(other.unwrap().as_str(), "text");
}

/// B7.4
#[tokio::test]
async fn a_scan_of_missing_ids_does_not_evict_the_working_set() {
    let (cache, _) = cache_with(|builder| builder.memory_entries(2_000));
    for n in 0..500_u32 {
        assert!(cache.set(&key(n), n, hours(1)).await.unwrap().is_stored());
    }
    for round in 0..100_u32 {
        for n in 0..500_u32 {
            let _ = value(&cache, n).await;
        }
        for n in 0..200_u32 {
            let missing = cache
                .get_or_load_optional(&key(("scan", round, n)), hours(1), |_| async {
                    Answer::<Option<u32>>::Ok(None)
                })
                .await;
            assert!(missing.unwrap().is_none());
        }
    }
    let mut kept = 0;
    for n in 0..500 {
        kept += usize::from(value(&cache, n).await.is_some());
    }
    assert!(kept >= 475, "{kept} of 500 keys in use survived a scan of 20,000");
    assert!(cache.stats().entries <= 2_600);
}

/// What is alive of a flood, in bytes.
struct Payload {
    bytes: Vec<u8>,
    alive: Arc<AtomicUsize>,
}

impl Payload {
    fn new(size: usize, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(size, Ordering::Relaxed);
        Self {
            bytes: vec![0; size],
            alive: alive.clone(),
        }
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        self.alive.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// B2.5
#[tokio::test]
async fn a_bound_in_bytes_holds_under_a_flood_of_unique_keys() {
    const BOUND: u64 = 4 << 20;
    let (strings, _) = cache_with(|builder| builder.memory_bytes(BOUND));
    let bytes = MemoryCache::<Payload>::builder(Cache::builder("bytes").memory_bytes(BOUND))
        .weigher(|payload| payload.bytes.len())
        .build()
        .unwrap();
    let alive = Arc::new(AtomicUsize::new(0));
    let mut peak = 0;
    for n in 0..20_000_u32 {
        let size = 100 + (n as usize * 37) % 3_000;
        assert!(
            strings
                .set(&key(n), "x".repeat(size), hours(1))
                .await
                .unwrap()
                .is_stored()
        );
        assert!(
            bytes
                .set(&key(n), Payload::new(size, &alive), hours(1))
                .await
                .unwrap()
                .is_stored()
        );
        peak = peak.max(alive.load(Ordering::Relaxed) as u64);
        assert!(
            strings.stats().weight <= BOUND,
            "{} bytes",
            strings.stats().weight
        );
    }
    assert!(peak as f64 <= BOUND as f64 * 1.3, "{peak} bytes were alive");
    assert!(peak as f64 >= BOUND as f64 * 0.5, "only {peak} bytes were used");
    assert!(strings.stats().entries > 1_000);
}

#[tokio::test]
async fn a_value_larger_than_the_tier_is_given_to_its_caller_and_not_kept() {
    let (cache, _) = cache_with(|builder| builder.memory_bytes(1 << 20));
    let huge = "x".repeat(2 << 20);
    let loaded = cache
        .get_or_load(&key(1), minutes(1), {
            let huge = huge.clone();
            move |_| async move { Answer::Ok(huge) }
        })
        .await
        .unwrap();
    assert_eq!(loaded.len(), 2 << 20);
    assert!(cache.get::<String>(&key(1)).await.is_none());
    assert!(
        cache
            .set(&key(1), "small".to_owned(), minutes(1))
            .await
            .unwrap()
            .is_stored()
    );
    let stored = cache.set(&key(1), huge, minutes(1)).await.unwrap();
    assert!(!stored.is_stored(), "{stored:?}");
    assert!(
        cache.get::<String>(&key(1)).await.is_none(),
        "what it would have replaced is older"
    );
    assert!(cache.stats().weight < 1 << 20);
}

/// B2.5
#[tokio::test]
async fn a_bound_in_entries_holds_alone_and_together_with_bytes() {
    for settings in [(Some(1_000), None), (Some(1_000), Some(64 << 20))] {
        let (cache, _) = cache_with(|builder| {
            let builder = settings.0.map(|n| builder.memory_entries(n)).unwrap();
            settings.1.map_or_else(
                || Cache::builder("entries").memory_entries(1_000),
                |bytes| builder.memory_bytes(bytes),
            )
        });
        for n in 0..10_000_u32 {
            assert!(cache.set(&key(n), n, hours(1)).await.unwrap().is_stored());
        }
        let entries = cache.stats().entries;
        assert!((500..=1_000).contains(&entries), "{entries} entries");
    }
}

#[tokio::test]
async fn replacing_a_value_is_no_eviction() {
    let (cache, _) = cache();
    for n in 0..10_u32 {
        assert!(cache.set(&key(1), n, minutes(1)).await.unwrap().is_stored());
    }
    assert_eq!(cache.stats().evictions, 0);
    let (small, _) = cache_with(|builder| builder.memory_entries(100));
    for n in 0..1_000_u32 {
        assert!(small.set(&key(n), n, minutes(1)).await.unwrap().is_stored());
    }
    let stats = small.stats();
    assert_eq!(stats.evictions, 1_000 - stats.entries);
}

#[tokio::test]
async fn a_value_of_another_type_is_a_miss_and_is_replaced() {
    let (cache, _) = cache();
    assert!(cache.set(&key(1), 7_u32, minutes(1)).await.unwrap().is_stored());
    assert!(cache.get::<String>(&key(1)).await.is_none());
    let loaded = cache
        .get_or_load(&key(1), minutes(1), |_| async { Answer::Ok("seven".to_owned()) })
        .await
        .unwrap();
    assert_eq!(loaded.outcome().reason, Some(MissReason::OtherType));
    assert_eq!(cache.get::<String>(&key(1)).await.unwrap().as_str(), "seven");
}

/// B11.1
#[tokio::test]
async fn namespaces_share_nothing_and_an_outer_clear_includes_the_inner_ones() {
    let (root, _) = cache();
    let (a, b) = (root.namespace("a").unwrap(), root.namespace("b").unwrap());
    let inner = a.namespace("inner").unwrap();
    let all = [&root, &a, &b, &inner];
    let tagged = EntryOptions::ttl(minutes(1)).tags(TagSet::new(["t"]).unwrap());
    let fill = async || {
        for (n, cache) in all.iter().enumerate() {
            assert!(
                cache
                    .set(&key(1), n as u32, tagged.clone())
                    .await
                    .unwrap()
                    .is_stored()
            );
        }
    };
    let read = async || {
        let mut values = Vec::new();
        for cache in all {
            values.push(value(cache, 1).await);
        }
        values
    };
    fill().await;
    assert_eq!(read().await, [Some(0), Some(1), Some(2), Some(3)]);
    a.invalidate_tag("t").await.unwrap();
    assert_eq!(
        read().await,
        [Some(0), None, Some(2), Some(3)],
        "a tag is of its namespace"
    );
    fill().await;
    b.remove_prefix("item").await.unwrap();
    assert_eq!(read().await, [Some(0), Some(1), None, Some(3)], "so is a prefix");
    fill().await;
    inner.remove(&key(1)).await.unwrap();
    assert_eq!(read().await, [Some(0), Some(1), Some(2), None], "and a key");
    fill().await;
    a.clear().await.unwrap();
    assert_eq!(
        read().await,
        [Some(0), None, Some(2), None],
        "what is inside is cleared too"
    );
    fill().await;
    let pattern = cache_core::KeyPattern::new("item").unwrap().any();
    a.remove_matching(pattern).await.unwrap();
    assert_eq!(read().await, [Some(0), None, Some(2), Some(3)]);
    fill().await;
    root.clear_soft().await.unwrap();
    assert_eq!(read().await, [None, None, None, None]);
    assert_eq!(root.namespace("a").unwrap().namespace_text(), a.namespace_text());
}

#[tokio::test]
async fn views_and_values_without_serde_go_through_the_same_engine() {
    let one = key(1);
    let (cache, clock) = cache();
    let prices = cache
        .typed::<u32>("price")
        .unwrap()
        .options(EntryOptions::ttl(seconds(1)));
    assert!(prices.set(("GOOG", "eur"), 5).await.unwrap().is_stored());
    assert_eq!(prices.get(("GOOG", "eur")).await.unwrap(), 5);
    let loaded = prices
        .get_or_load(("MSFT", "eur"), |_| async { Answer::Ok(6) })
        .await
        .unwrap();
    assert_eq!(loaded, 6);
    prices.clear().await.unwrap();
    assert!(prices.get(("MSFT", "eur")).await.is_none());
    clock.advance(seconds(1));
    assert!(matches!(prices.lookup(("GOOG", "eur")).await, Lookup::Miss(_)));

    struct NoSerde(u8);
    let rules = MemoryCache::<NoSerde>::new(10).unwrap();
    let load = || rules.get_or_load(&one, minutes(1), |_| async { Answer::Ok(NoSerde(3)) });
    assert_eq!(load().await.unwrap().0, 3);
    assert_eq!(load().await.unwrap().outcome().kind, OutcomeKind::Fresh);
    rules.remove(&one).await.unwrap();
    assert!(rules.get(&one).await.is_none());
}

/// B1.12: a value whose weight cannot be told is given to its caller.
#[tokio::test]
async fn a_weigher_that_panics_fails_no_call() {
    let one = key(1);
    let cache = MemoryCache::<u32>::builder(Cache::builder("panics").memory_bytes(1 << 20))
        .weigher(|n| if *n == 7 { panic!("cannot weigh") } else { 4 })
        .build()
        .unwrap();
    let origin = Origin::open();
    let load = |n: u32| cache.get_or_load(&one, minutes(1), origin.gives(Ok(n)));
    assert_eq!(load(7).await.unwrap(), 7);
    assert_eq!(origin.loads(), 1);
    assert!(!cache.set(&one, 7, minutes(1)).await.unwrap().is_stored());
    assert_eq!(load(8).await.unwrap(), 8);
    assert_eq!(*cache.get(&one).await.unwrap(), 8);
}

/// A value's own code runs under no lock of the cache: it may use the cache.
#[test]
fn a_value_may_use_the_cache_while_it_is_dropped() {
    struct Guest(MemoryCache<Guest>, u32);
    impl Drop for Guest {
        fn drop(&mut self) {
            let others = async {
                let _ = self.0.get(&key(self.1)).await;
                let _ = self.0.remove(&key(self.1)).await;
            };
            block_on(others);
        }
    }
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let cache = MemoryCache::<Guest>::new(100).unwrap();
        block_on(async {
            for n in 0..1_000 {
                let guest = Guest(cache.clone(), n);
                let _ = cache.set(&key(n), guest, minutes(1)).await.unwrap();
            }
            let _ = cache
                .set(&key(1_000), Guest(cache.clone(), 1_000), minutes(1))
                .await;
            let _ = cache
                .set(&key(1_000), Guest(cache.clone(), 1_000), minutes(1))
                .await;
            cache.remove(&key(1_000)).await.unwrap();
            cache.clear().await.unwrap();
        });
        done.send(()).unwrap();
    });
    finished
        .recv_timeout(seconds(20))
        .expect("a value that was dropped under a lock waits for itself");
}
