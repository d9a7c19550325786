//! Validation, freshening, and the client's own conditions (RFC 9111 §4.3, RFC 9110 §13).

use super::world::{World, settle};

const MODIFIED: &str = "last-modified: Fri, 02 Jan 2015 00:00:00 GMT";

/// H4.1, H4.2
#[tokio::test]
async fn a_stale_response_is_validated_with_both_validators_and_freshened() {
    let world = World::rfc9111();
    let fields = [
        "cache-control: max-age=10",
        "etag: \"a\"",
        MODIFIED,
        "vary: accept",
        "x: old",
        "y: old",
    ];
    world.says(200, &fields).get("/", &["accept: a"]).await;
    world.says(
        304,
        &[
            "cache-control: max-age=20",
            "x: new",
            "content-length: 7",
            "set-cookie: a=b",
        ],
    );
    let got = world
        .wait(11)
        .get("/", &["accept: a", "if-none-match: \"other\""])
        .await;
    assert_eq!((got.status, &*got.body), (200, "1"));
    let seen = world.last_seen();
    for (name, value) in [
        ("if-none-match", "\"a\""),
        ("if-modified-since", "Fri, 02 Jan 2015 00:00:00 GMT"),
        ("accept", "a"),
    ] {
        assert_eq!(seen[name], value);
    }
    for got in [got, world.wait(19).get("/", &["accept: a"]).await] {
        assert_eq!(got.field("x").as_deref(), Some("new"), "{got:?}");
        assert_eq!(got.field("y").as_deref(), Some("old"), "omitted fields stay");
        assert_ne!(got.field("content-length").as_deref(), Some("7"));
        assert_eq!(got.field("set-cookie").as_deref(), Some("a=b"));
    }
    assert_eq!(world.calls(), 2, "freshened for another 20 seconds");
    assert_eq!(world.wait(1).get("/", &["accept: a"]).await.status, 200);
    assert_eq!(world.calls(), 3);
}

/// H4.2
#[tokio::test]
async fn a_304_brings_no_cookie_into_a_safe_store() {
    let world = World::safe();
    world
        .says(200, &["cache-control: max-age=10", "etag: \"a\""])
        .get("/", &[])
        .await;
    world.says(304, &["cache-control: max-age=10", "set-cookie: session=1"]);
    world.wait(11).get("/", &[]).await;
    assert_eq!(world.get("/", &[]).await.field("set-cookie"), None);
}

/// H4.1
#[tokio::test]
async fn a_new_response_to_a_validation_replaces_the_old_one() {
    let world = World::rfc9111();
    world
        .says(200, &["cache-control: max-age=10", "etag: \"a\""])
        .get("/", &[])
        .await;
    world.says(200, &["cache-control: max-age=10", "etag: \"b\""]);
    assert_eq!(world.wait(11).get("/", &[]).await.body, "2");
    assert_eq!(world.get("/", &[]).await.field("etag").as_deref(), Some("\"b\""));
    assert_eq!(world.calls(), 2);
}

/// H4.1
#[tokio::test]
async fn a_304_about_something_else_is_not_believed() {
    let world = World::rfc9111();
    world
        .says(200, &["cache-control: max-age=10", "etag: \"a\""])
        .get("/", &[])
        .await;
    world.says(304, &["cache-control: max-age=10", "etag: \"b\""]);
    let got = world.wait(11).get("/", &[]).await;
    assert_eq!(world.calls(), 3, "asked again");
    assert!(
        !world.last_seen().contains_key("if-none-match"),
        "without conditions"
    );
    assert_eq!(
        got.status, 304,
        "the origin answers an unconditional request as it likes"
    );
}

/// H1.4
#[tokio::test]
async fn no_cache_is_validated_every_time() {
    let world = World::rfc9111();
    world
        .says(200, &["cache-control: no-cache", "etag: \"a\""])
        .get("/", &[])
        .await;
    world.says(304, &["cache-control: no-cache", "etag: \"a\""]);
    for calls in 2..5 {
        assert_eq!(world.get("/", &[]).await.body, "1");
        assert_eq!(world.calls(), calls);
    }
}

/// H3.4
#[tokio::test]
async fn a_fresh_response_answers_the_clients_conditions() {
    let world = World::rfc9111();
    world.says(
        200,
        &[
            "cache-control: max-age=60",
            "etag: \"a\"",
            MODIFIED,
            "content-type: text/plain",
        ],
    );
    world.get("/", &[]).await;
    for (condition, status) in [
        (&["if-none-match: \"a\""][..], 304),
        (&["if-none-match: W/\"a\""], 304),
        (&["if-none-match: \"b\", \"a\""], 304),
        (&["if-none-match: *"], 304),
        (&["if-none-match: \"b\""], 200),
        (
            &[
                "if-none-match: \"b\"",
                "if-modified-since: Fri, 02 Jan 2015 00:00:00 GMT",
            ],
            200,
        ),
        (&["if-modified-since: Fri, 02 Jan 2015 00:00:00 GMT"], 304),
        (&["if-modified-since: Fri, 02 Jan 2015 00:00:01 GMT"], 304),
        (&["if-modified-since: Thu, 01 Jan 2015 00:00:00 GMT"], 200),
        (&["if-modified-since: rubbish"], 200),
    ] {
        let got = world.get("/", condition).await;
        assert_eq!(got.status, status, "RFC 9110 13.1: {condition:?}");
        assert_eq!(got.body, if status == 304 { "" } else { "1" });
        assert_eq!(got.field("etag").as_deref(), Some("\"a\""));
        assert!(got.headers.contains_key("age"));
        assert_eq!(got.headers.contains_key("content-type"), status == 200);
    }
    assert_eq!(world.calls(), 1);
}

/// H3.4
#[tokio::test]
async fn a_condition_on_a_miss_is_evaluated_here() {
    let world = World::rfc9111();
    world.says(200, &["cache-control: max-age=60", "etag: \"a\""]);
    let got = world.get("/", &["if-none-match: \"a\""]).await;
    assert!(
        !world.last_seen().contains_key("if-none-match"),
        "what is stored must be whole"
    );
    assert_eq!((got.status, &*got.body), (304, ""));
    settle().await;
    assert_eq!(world.get("/", &[]).await.body, "1");
    assert_eq!(world.calls(), 1);
}

/// H3.4
#[tokio::test]
async fn conditions_for_the_origin_go_to_the_origin() {
    for condition in [
        "if-match: \"b\"",
        "if-unmodified-since: Thu, 01 Jan 2015 00:00:00 GMT",
    ] {
        let world = World::rfc9111();
        world
            .says(200, &["cache-control: max-age=60", "etag: \"a\""])
            .get("/", &[])
            .await;
        assert_eq!(world.says(412, &[]).get("/", &[condition]).await.status, 412);
        assert_eq!(world.get("/", &[]).await.body, "1");
    }
}

/// H3.3
#[tokio::test]
async fn request_directives_count() {
    let world = World::rfc9111();
    world
        .says(200, &["cache-control: max-age=60", "etag: \"a\""])
        .get("/", &[])
        .await;
    world.says(304, &["cache-control: max-age=60"]).wait(10);
    for (directive, asks) in [
        ("max-age=30", false),
        ("max-age=5", true),
        ("min-fresh=20", false),
        ("min-fresh=80", true),
        ("no-cache", true),
        ("unknown", false),
    ] {
        let calls = world.calls();
        world.get("/", &[&format!("cache-control: {directive}")]).await;
        assert_eq!(world.calls() > calls, asks, "{directive}");
        world.wait(10);
    }
    let calls = world.calls();
    world.get("/", &["pragma: no-cache"]).await;
    assert_eq!(world.calls(), calls + 1);
    world
        .wait(1)
        .get("/", &["pragma: no-cache", "cache-control: max-age=30"])
        .await;
    assert_eq!(world.calls(), calls + 1, "Pragma counts only alone");
    world.wait(70).get("/", &["cache-control: max-stale"]).await;
    assert_eq!(world.calls(), calls + 1);
}

/// H3.3
#[tokio::test]
async fn a_safe_cache_limits_validations_that_only_clients_want() {
    let world = World::safe();
    world
        .says(200, &["cache-control: max-age=60", "etag: \"a\""])
        .get("/", &[])
        .await;
    world.says(304, &["cache-control: max-age=60"]);
    for _ in 0..100 {
        world.get("/", &["cache-control: no-cache"]).await;
    }
    assert_eq!(world.calls(), 1);
    world.wait(6);
    for _ in 0..100 {
        world.get("/", &["cache-control: no-cache"]).await;
    }
    assert_eq!(world.calls(), 2, "once in an interval");
}

/// H3.5
#[tokio::test]
async fn head_is_answered_from_a_get_and_tells_about_it() {
    let world = World::rfc9111();
    world
        .says(
            200,
            &["cache-control: max-age=60", "etag: \"a\"", "content-length: 1"],
        )
        .get("/", &[])
        .await;
    let got = world.send("HEAD", "/", &[]).await;
    assert_eq!(
        (got.status, &*got.body, got.field("content-length").as_deref()),
        (200, "", Some("1"))
    );
    assert_eq!(world.calls(), 1);
    // A forwarded HEAD freshens the stored GET (9111 4.3.5) ..
    world
        .wait(61)
        .says(200, &["cache-control: max-age=60", "etag: \"a\"", "x: new"]);
    world.send("HEAD", "/", &[]).await;
    let got = world.get("/", &[]).await;
    assert_eq!(
        (&*got.body, got.field("x").as_deref()),
        ("1", Some("new")),
        "{got:?}"
    );
    // .. or makes it invalid, and never takes its place.
    world
        .wait(61)
        .says(200, &["cache-control: max-age=60", "etag: \"b\""]);
    world.send("HEAD", "/", &[]).await;
    let calls = world.calls();
    assert_ne!(world.get("/", &[]).await.body, "");
    assert_eq!(world.calls(), calls + 1);
}

/// H3.5
#[tokio::test]
async fn a_head_response_is_never_stored_as_a_get() {
    let world = World::rfc9111();
    world
        .says(200, &["cache-control: max-age=60"])
        .send("HEAD", "/", &[])
        .await;
    assert_eq!(world.get("/", &[]).await.body, "2");
}

/// H4.2 (RFC 9111 §4.3.4)
#[tokio::test]
async fn a_304_freshens_every_stored_response_that_has_its_strong_validator() {
    for (tag, both) in [("etag: \"x\"", true), ("etag: W/\"x\"", false)] {
        let world = World::rfc9111();
        let ask = ["accept: a", "accept-language: de"];
        world.says(200, &["cache-control: max-age=5", tag, "vary: accept"]);
        world.get("/", &ask).await;
        world
            .wait(10)
            .says(200, &["cache-control: max-age=5", tag, "vary: accept-language"]);
        world.get("/", &ask).await;
        world.wait(10).says(304, &["cache-control: max-age=100", tag]);
        let got = world.get("/", &ask).await;
        assert_eq!(
            (&*got.body, world.calls()),
            ("2", 3),
            "the later one is validated"
        );
        // Only the earlier one matches this request.
        let other = world.get("/", &["accept: a", "accept-language: fr"]).await;
        assert_eq!(world.calls(), if both { 3 } else { 4 }, "{tag}: {other:?}");
    }
}
