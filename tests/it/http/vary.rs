//! Variants (RFC 9111 §4.1).

use cache_tower::CacheConfig;
use cache_tower::policy::HttpCachePolicy;

use super::world::World;

const VARIES: &[&str] = &["cache-control: max-age=60", "vary: accept"];

/// H3.2
#[tokio::test]
async fn each_combination_of_nominated_fields_has_its_own_response() {
    let world = World::rfc9111();
    world.says(200, VARIES);
    for (fields, body) in [
        (&["accept: a"][..], "1"),
        (&["accept: b"], "2"),
        (&[], "3"),
        (&["accept:"], "4"),
        (&["accept: a"], "1"),
        (&["accept:  b "], "2"),
        (&[], "3"),
        (&["accept:"], "4"),
        (&["accept: a", "foo: bar"], "1"),
        (&["accept: a", "accept: b"], "5"),
        (&["accept: a, b"], "5"),
    ] {
        assert_eq!(world.get("/", fields).await.body, body, "{fields:?}");
    }
}

/// H3.2
#[tokio::test]
async fn responses_that_vary_by_different_fields_live_beside_each_other() {
    let world = World::rfc9111();
    world.says(200, VARIES).get("/", &["accept: a"]).await;
    world.says(200, &["cache-control: max-age=60", "vary: foo"]);
    assert_eq!(world.wait(1).get("/", &["accept: b", "foo: 1"]).await.body, "2");
    assert_eq!(world.get("/", &["accept: a"]).await.body, "1");
    assert_eq!(world.get("/", &["accept: c", "foo: 1"]).await.body, "2");
    assert_eq!(
        world.get("/", &["accept: a", "foo: 1"]).await.body,
        "2",
        "of several, the newest"
    );
}

/// H3.2
#[tokio::test]
async fn a_response_without_vary_gives_way_to_one_with_it() {
    for first in ["plain", "varied"] {
        let world = World::rfc9111();
        let plain: &[&str] = &["cache-control: max-age=60"];
        world.says(200, if first == "plain" { plain } else { VARIES });
        world.get("/", &["accept: a"]).await;
        world.says(200, if first == "plain" { VARIES } else { plain });
        world
            .wait(1)
            .get("/", &["accept: a", "cache-control: no-cache"])
            .await;
        let varied = if first == "plain" { "2" } else { "1" };
        assert_eq!(world.get("/", &["accept: a"]).await.body, varied, "{first} first");
        let plain = if first == "plain" { "1" } else { "2" };
        assert_eq!(world.get("/", &["accept: b"]).await.body, plain, "{first} first");
        assert_eq!(world.calls(), 2);
    }
}

/// H3.2
#[tokio::test]
async fn variants_of_one_uri_are_bounded() {
    let mut policy = HttpCachePolicy::rfc9111();
    policy.variants_limit = 4;
    let world = World::with(CacheConfig::new(policy));
    world.says(200, &["cache-control: max-age=60", "vary: user-agent"]);
    for n in 0..200 {
        world.get("/", &[&format!("user-agent: {n}")]).await;
    }
    // Four variants and their index.
    assert_eq!(world.cache.stats().entries, 5);
    let calls = world.calls();
    for n in 196..200 {
        world.get("/", &[&format!("user-agent: {n}")]).await;
    }
    assert_eq!(world.calls(), calls, "the last ones are still there");
}

/// H4.6
#[tokio::test]
async fn purging_a_uri_purges_all_its_variants() {
    let world = World::rfc9111();
    world.says(200, VARIES);
    for accept in ["accept: a", "accept: b"] {
        world.get("/", &[accept]).await;
    }
    cache_tower::Purge::new(world.cache.clone())
        .uri("http://h/")
        .await
        .unwrap();
    for (accept, body) in [("accept: a", "3"), ("accept: b", "4")] {
        assert_eq!(world.get("/", &[accept]).await.body, body);
    }
}

/// H3.2
#[tokio::test]
async fn variants_in_use_outlive_those_that_are_not() {
    let mut policy = HttpCachePolicy::rfc9111();
    policy.variants_limit = 4;
    let world = World::with(CacheConfig::new(policy));
    world.says(200, &["cache-control: max-age=600", "vary: user-agent"]);
    world.get("/", &["user-agent: popular"]).await;
    for n in 0..20 {
        world.wait(1).get("/", &[&format!("user-agent: {n}")]).await;
        let popular = world.wait(1).get("/", &["user-agent: popular"]).await;
        assert_eq!(popular.body, "1", "after {n} others");
    }
}
