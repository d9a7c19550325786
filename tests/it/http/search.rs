//! H4.5: `No-Vary-Search` (draft-ietf-httpbis-no-vary-search), behind an option.

use cache_tower::policy::HttpCachePolicy;
use cache_tower::{CacheConfig, OutcomeKind};

use super::world::World;

fn world(is_on: bool) -> World {
    let mut policy = HttpCachePolicy::rfc9111();
    policy.no_vary_search = is_on;
    World::with(CacheConfig::new(policy))
}

/// Whether a response to `/p?{stored}` with this rule answers `/p?{asked}`.
#[track_caller]
fn check(rule: &str, stored: &str, asked: &str, expected: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = world(true);
        let field = format!("no-vary-search: {rule}");
        world.says(200, &["cache-control: max-age=60", &field]);
        world.get(&format!("/p?{stored}"), &[]).await;
        let got = world.get(&format!("/p?{asked}"), &[]).await;
        assert_eq!(
            got.outcome.kind == OutcomeKind::Hit,
            expected,
            "{rule}: {stored} for {asked}"
        );
        assert_eq!(world.calls(), if expected { 1 } else { 2 });
    });
}

/// H4.5
#[test]
fn queries_that_a_response_calls_the_same_are_the_same() {
    check("key-order", "a=1&b=2", "b=2&a=1", true);
    check("key-order", "a=1&b=2", "b=2&a=2", false);
    check("key-order", "a=1&a=2", "a=2&a=1", false);
    check("params=(\"x\")", "a=1&x=1", "a=1&x=2", true);
    check("params=(\"x\")", "a=1&x=1", "a=1", true);
    check("params=(\"x\")", "a=1&x=1", "a=2&x=1", false);
    check("params=(\"x\")", "a=1&b=2&x=1", "b=2&a=1", false);
    check("params", "a=1", "", true);
    check("params", "a=1", "b=2", true);
    check("params, except=(\"id\")", "id=1&x=1", "id=1&y=9", true);
    check("params, except=(\"id\")", "id=1&x=1", "id=2&x=1", false);
    check("key-order, params=(\"x\")", "a=1&b=2&x=1", "x=9&b=2&a=1", true);
    check("params=x", "a=1&x=1", "a=1&x=2", false);
    check("rubbish((", "a=1&x=1", "a=1&x=2", false);
}

/// H4.5
#[tokio::test]
async fn a_response_that_no_longer_says_so_answers_only_its_own_query() {
    for now in [None, Some("no-vary-search: params=(\"y\")")] {
        let world = world(true);
        world.says(
            200,
            &["cache-control: max-age=60", "no-vary-search: params=(\"x\")"],
        );
        world.get("/p?x=1", &[]).await;
        assert_eq!(world.get("/p?x=2", &[]).await.outcome.kind, OutcomeKind::Hit);
        // The URI is still noted under the rule that it had, its response has another one or none.
        let fields: Vec<&str> = ["cache-control: max-age=60"].into_iter().chain(now).collect();
        world.says(200, &fields);
        world.get("/p?x=1", &["cache-control: no-cache"]).await;
        assert_eq!(world.get("/p?x=1", &[]).await.outcome.kind, OutcomeKind::Hit);
        assert_eq!(
            world.get("/p?x=2", &[]).await.outcome.kind,
            OutcomeKind::Miss,
            "{now:?}"
        );
    }
}

/// H4.5
#[tokio::test]
async fn it_counts_for_one_path_and_variant_and_only_while_fresh() {
    let world = world(true);
    world.says(
        200,
        &[
            "cache-control: max-age=60",
            "no-vary-search: params",
            "vary: accept",
        ],
    );
    world.get("/p?a=1", &["accept: a"]).await;
    assert_eq!(
        world.get("/p?b=1", &["accept: a"]).await.outcome.kind,
        OutcomeKind::Hit
    );
    for (path, accept) in [
        ("/q?b=1", "accept: a"),
        ("/p?b=1", "accept: b"),
        ("/p/?b=1", "accept: a"),
    ] {
        assert_ne!(
            world.get(path, &[accept]).await.outcome.kind,
            OutcomeKind::Hit,
            "{path} {accept}"
        );
    }
    // Stale, it would have to be validated, and that is about its own URI.
    let calls = world.calls();
    let got = world.wait(61).get("/p?c=1", &["accept: a"]).await;
    assert_eq!((got.outcome.kind, world.calls()), (OutcomeKind::Miss, calls + 1));
    assert!(!world.last_seen().contains_key("if-none-match"));
    // The newest rule of a path counts beside those before.
    world.says(200, &["cache-control: max-age=60", "no-vary-search: key-order"]);
    world.get("/p?d=1&e=2", &[]).await;
    assert_eq!(world.get("/p?e=2&d=1", &[]).await.outcome.kind, OutcomeKind::Hit);
}

/// H4.5
#[tokio::test]
async fn what_was_invalidated_answers_no_other_query() {
    let world = world(true);
    world.says(200, &["cache-control: max-age=60", "no-vary-search: params"]);
    world.get("/p?a=1", &[]).await;
    world.send("POST", "/p?a=1", &[]).await;
    assert_eq!(world.get("/p?b=1", &[]).await.outcome.kind, OutcomeKind::Miss);
}

/// H4.5
#[tokio::test]
async fn without_the_option_every_difference_counts() {
    let world = world(false);
    world.says(200, &["cache-control: max-age=60", "no-vary-search: params"]);
    world.get("/p?a=1", &[]).await;
    assert_eq!(world.get("/p?b=1", &[]).await.outcome.kind, OutcomeKind::Miss);
    assert_eq!(world.cache.stats().entries, 2, "and nothing more is kept");
}
