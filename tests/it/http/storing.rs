//! What is stored (RFC 9111 §3) and what never is.

use cache_tower::policy::HttpCachePolicy;
use cache_tower::{CacheConfig, CachePolicy};
use std::time::Duration;

use axum::body::Body;
use http::Response;

use super::world::World;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Profile {
    Safe,
    Rfc9111,
}
use Profile::{Rfc9111, Safe};

/// Two requests of the same kind: is the second answered from the store?
#[track_caller]
fn check(section: &str, profile: Profile, request: &[&str], status: u16, response: &[&str], stored: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = match profile {
            Safe => World::safe(),
            Rfc9111 => World::rfc9111(),
        };
        world.says(status, response);
        world.get("/", request).await;
        let second = world.get("/", request).await;
        let context = format!("{section}: {profile:?} {request:?} -> {status} {response:?}: {second:?}");
        assert_eq!(world.calls() == 1, stored, "{context}");
        assert_eq!(second.headers.contains_key("age"), stored, "{context}");
        assert_eq!(second.status, status, "{context}");
    });
}

fn both(section: &str, request: &[&str], status: u16, response: &[&str], stored: bool) {
    check(section, Safe, request, status, response, stored);
    check(section, Rfc9111, request, status, response, stored);
}

const FRESH: &str = "cache-control: max-age=60";

/// H1.1, H1.3, H2.3
#[test]
fn explicit_freshness_is_needed() {
    both("9111 4.2.1", &[], 200, &[FRESH], true);
    both("9111 4.2.1", &[], 200, &["cache-control: s-maxage=60"], true);
    both(
        "9111 4.2.1",
        &[],
        200,
        &["expires: Fri, 01 Jan 2100 00:00:00 GMT"],
        true,
    );
    both(
        "9111 4.2.1",
        &[],
        200,
        &["expires: Fri, 01 Jan 1999 00:00:00 GMT"],
        false,
    );
    both("9111 4.2.1", &[], 200, &["expires: 0"], false);
    both(
        "9111 4.2.1",
        &[],
        200,
        &["cache-control: max-age=60, s-maxage=0"],
        false,
    );
    both("9111 4.2.1", &[], 200, &["cache-control: max-age=0"], false);
    both("9111 3", &[], 200, &[], false);
    check(
        "9111 4.2.2",
        Safe,
        &[],
        200,
        &["last-modified: Fri, 01 Jan 2010 00:00:00 GMT"],
        false,
    );
    check(
        "9111 4.2.2",
        Rfc9111,
        &[],
        200,
        &["last-modified: Fri, 01 Jan 2010 00:00:00 GMT"],
        true,
    );
}

/// H1.3, H1.4, H1.6, H1.7, H1.8
#[test]
fn what_the_response_forbids_is_not_stored() {
    for directive in [
        "no-store",
        "private",
        "no-cache",
        "private, public",
        "max-age=abc",
        "max-age=-1",
    ] {
        both(
            "9111 5.2.2",
            &[],
            200,
            &[FRESH, &format!("cache-control: {directive}")],
            false,
        );
    }
    both("9111 4.1", &[], 200, &[FRESH, "vary: *"], false);
    both("9111 4.1", &[], 200, &[FRESH, "vary: accept, *"], false);
    both(
        "no end",
        &[],
        200,
        &[FRESH, "content-type: text/event-stream"],
        false,
    );
    check(
        "set-cookie",
        Safe,
        &[],
        200,
        &["cache-control: public, max-age=60", "set-cookie: a=b"],
        false,
    );
    check("set-cookie", Rfc9111, &[], 200, &[FRESH, "set-cookie: a=b"], true);
}

/// H1.5
#[test]
fn what_the_request_forbids_is_not_stored() {
    both("9111 5.2.1.5", &["cache-control: no-store"], 200, &[FRESH], false);
    both("9111 3.5", &["authorization: a"], 200, &[FRESH], false);
    both(
        "9111 3.5",
        &["authorization: a"],
        200,
        &["cache-control: public, max-age=60"],
        true,
    );
    both(
        "9111 3.5",
        &["authorization: a"],
        200,
        &["cache-control: s-maxage=60"],
        true,
    );
    check("cookie", Safe, &["cookie: a=b"], 200, &[FRESH], false);
    check(
        "cookie",
        Safe,
        &["cookie: a=b"],
        200,
        &["cache-control: public, max-age=60"],
        true,
    );
    check("cookie", Rfc9111, &["cookie: a=b"], 200, &[FRESH], true);
}

/// H1.2
#[test]
fn statuses_follow_the_profile() {
    for status in [200, 203, 204, 301, 404, 410] {
        both("9111 3", &[], status, &[FRESH], true);
    }
    for status in [400, 401, 403, 407, 418, 499, 500, 503, 599] {
        check("9111 3", Safe, &[], status, &[FRESH], false);
    }
    for status in [299, 400, 403, 499, 500, 503, 599] {
        check("9111 3", Rfc9111, &[], status, &[FRESH], true);
    }
}

/// H3.1
#[test]
fn requests_without_a_trustworthy_target_pass_by() {
    for fields in [
        &["host: a b"][..],
        &["host: h", "host: g"],
        &["host: h", "x-forwarded-host: evil"],
        &["host: h", "x-original-url: /admin"],
        &["host: h", "x-http-method-override: POST"],
        &["host: h", "content-length: 3"],
        &["host: h", "upgrade: websocket", "connection: upgrade"],
    ] {
        both("bypass", fields, 200, &[FRESH], false);
    }
}

/// H1.5
#[tokio::test]
async fn credentials_are_served_from_the_store_only_by_permission() {
    for (response, served) in [(FRESH, false), ("cache-control: public, max-age=60", true)] {
        for credential in ["authorization: a", "cookie: a=b"] {
            let world = World::safe();
            world.says(200, &[response]);
            world.get("/", &[]).await;
            let got = world.get("/", &[credential]).await;
            assert_eq!(got.body == "1", served, "{response} {credential}: {got:?}");
        }
    }
}

/// H3.1
#[tokio::test]
async fn methods_and_hosts_never_share() {
    let world = World::rfc9111();
    world.says(200, &[FRESH]);
    world.get("/", &[]).await;
    for (method, path, fields) in [
        ("OPTIONS", "/", &[][..]),
        ("PROPFIND", "/", &[]),
        ("GET", "/?", &[]),
        ("GET", "//", &[]),
        ("GET", "/%2f", &[]),
        ("GET", "/", &["host: other"]),
        ("GET", "/", &["host: h:8080"]),
        ("GET", "https://h/", &[]),
    ] {
        let calls = world.calls();
        world.send(method, path, fields).await;
        assert_eq!(world.calls(), calls + 1, "{method} {path} {fields:?}");
    }
    assert_eq!(
        world.get("/", &["host: H:80"]).await.body,
        "1",
        "the same authority in another spelling"
    );
}

/// H1.4
#[tokio::test]
async fn a_response_that_became_private_evicts_and_no_store_does_not() {
    for (says, body) in [("cache-control: private", "3"), ("cache-control: no-store", "1")] {
        let world = World::rfc9111();
        world
            .says(200, &["cache-control: max-age=60", "etag: \"a\""])
            .get("/", &[])
            .await;
        world
            .says(200, &[says])
            .get("/", &["cache-control: no-cache"])
            .await;
        assert_eq!(world.get("/", &[]).await.body, body, "{says}");
    }
}

/// H1.1, H7.2
#[tokio::test]
async fn a_handler_decides_about_its_own_response() {
    let world = World::of(CacheConfig::default(), |request| async move {
        let mut response = Response::new(Body::from(request.uri().to_string()));
        let policy = match request.uri().path() {
            "/ttl" => CachePolicy::new().ttl(Duration::from_secs(10)).tag("quotes"),
            "/bypass" => CachePolicy::new().ttl(Duration::from_secs(10)).bypass(),
            "/bad-tag" => CachePolicy::new().ttl(Duration::from_secs(10)).tag(""),
            "/vary" => CachePolicy::new()
                .ttl(Duration::from_secs(10))
                .vary(http::header::USER_AGENT),
            _ => CachePolicy::new(),
        };
        if request.uri().path() == "/private" {
            response
                .headers_mut()
                .insert("cache-control", "private".parse().unwrap());
        }
        response.extensions_mut().insert(policy);
        response
    });
    let is_hit =
        async |path: &str, fields: &[&str]| world.get(path, fields).await.headers.contains_key("age");
    for (path, stored) in [
        ("/ttl", true),
        ("/bypass", false),
        ("/bad-tag", false),
        ("/private", false),
        ("/", false),
    ] {
        world.get(path, &[]).await;
        assert_eq!(is_hit(path, &[]).await, stored, "{path}");
    }
    world.get("/vary", &["user-agent: a"]).await;
    assert!(!is_hit("/vary", &["user-agent: b"]).await);
    assert!(is_hit("/vary", &["user-agent: a"]).await);
    world.cache.invalidate_tag("quotes").await.unwrap();
    assert!(!is_hit("/ttl", &[]).await, "handlers' tags are the cache's tags");
    world.wait(10);
    assert!(!is_hit("/ttl", &[]).await, "the handler's lifetime ends");
}

/// H4.4
#[tokio::test]
async fn tag_fields_are_tags_and_not_for_clients() {
    let config = CacheConfig {
        tag_fields: vec![http::HeaderName::from_static("surrogate-key")],
        ..CacheConfig::new(HttpCachePolicy::rfc9111())
    };
    let world = World::with(config);
    world.says(200, &[FRESH, "surrogate-key: a b"]);
    assert_eq!(world.get("/", &[]).await.field("surrogate-key"), None);
    assert_eq!(world.get("/", &[]).await.field("surrogate-key"), None);
    assert_eq!(world.calls(), 1);
    world.cache.invalidate_tag("b").await.unwrap();
    world.get("/", &[]).await;
    assert_eq!(world.calls(), 2);
}

/// H4.6
#[tokio::test]
async fn http_and_functions_share_one_tag_space() {
    let world = World::rfc9111();
    world.says(200, &[FRESH]).get("/a/b", &[]).await;
    let purge = cache_tower::Purge::new(world.cache.clone());
    for (calls, purged) in [
        (1, "http://h/a/bc"),
        (1, "http://h/b"),
        (2, "http://h/a"),
        (3, "http://h/a/b"),
        (4, "http://h"),
    ] {
        purge.prefix(purged).await.unwrap();
        world.get("/a/b", &[]).await;
        assert_eq!(world.calls(), calls, "{purged}");
    }
    purge.uri("http://h/a/b").await.unwrap();
    world.get("/a/b", &[]).await;
    assert_eq!(world.calls(), 5);
    world.cache.clear().await.unwrap();
    world.get("/a/b", &[]).await;
    assert_eq!(world.calls(), 6);
}
