//! Attacks on keys, on private data, and on the cache itself: the victim's request never gets what an attacker shaped.

use axum::body::Body;
use cache_tower::policy::HttpCachePolicy;
use cache_tower::{CacheConfig, CachePolicy, KeyPolicy};
use http::{Request, Response};

use super::world::{World, header_map, request, settle};

const FRESH: &str = "cache-control: max-age=60";

/// An origin that repeats target and fields in its body and calls it fresh.
fn reflecting(config: CacheConfig) -> World {
    World::of(config, |request: Request<Body>| {
        let text = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
        let mut response = Response::new(Body::from(text));
        *response.headers_mut() = header_map([FRESH]);
        std::future::ready(response)
    })
}

fn configs() -> [CacheConfig; 2] {
    [
        CacheConfig::default(),
        CacheConfig::new(HttpCachePolicy::rfc9111()),
    ]
}

#[tokio::test]
async fn fields_that_shape_answers_outside_the_key_poison_nothing() {
    let fields = [
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-scheme",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-server",
        "x-forwarded-path",
        "x-forwarded-uri",
        "x-original-url",
        "x-rewrite-url",
        "x-original-host",
        "x-host",
        "forwarded",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
    ];
    for config in configs() {
        for field in fields {
            let world = reflecting(config.clone());
            let attack = world.get("/", &[&format!("{field}: evil")]).await;
            assert!(
                attack.body.contains("evil"),
                "{field} must reach the handler for this to be a test"
            );
            assert!(!world.get("/", &[]).await.body.contains("evil"), "{field}");
        }
    }
}

#[tokio::test]
async fn different_spellings_of_a_target_are_different_keys() {
    let paths = [
        "/a",
        "/A",
        "/a/",
        "//a",
        "/./a",
        "/b/../a",
        "/%61",
        "/a%2f",
        "/a%00",
        "/a%0a",
        "/a;x",
        "/a.css",
        "/a/.css",
        "/a?",
        "/a?x=1",
        "/a?x=1&x=2",
        "/a?x=2&x=1",
        "/a?x=1;y=2",
        "/a?x=%31",
        "/a?x=+",
        "/a?x=%20",
        "/a?x",
        "/a?=x",
        "/a?x=1%26y=2",
        "/a?x=1&y=2",
        "/a?y=2&x=1",
        "/a\\b",
    ];
    for config in configs() {
        let world = reflecting(config);
        for path in paths {
            let uri = path.parse::<http::Uri>();
            let Ok(uri) = uri else { continue };
            let first = world.get(path, &[]).await;
            assert!(
                !first.headers.contains_key("age"),
                "{path} shares a key with another"
            );
            assert!(first.body.contains(&format!(" {uri} ")), "{path}");
        }
        for path in paths {
            if path.parse::<http::Uri>().is_ok() {
                assert!(
                    world.get(path, &[]).await.headers.contains_key("age"),
                    "{path} is stored"
                );
            }
        }
    }
}

#[tokio::test]
async fn authorities_are_told_apart_unless_they_are_the_same() {
    let world = reflecting(CacheConfig::default());
    world.get("/", &["host: h"]).await;
    for (host, same) in [
        ("H", true),
        ("h:80", true),
        ("h:", false),
        ("h.", false),
        ("h:81", false),
        ("h:443", false),
        ("h2", false),
        ("user@h", false),
        ("h/x", false),
        ("h, h", false),
        ("[::1]", false),
        ("xn--h", false),
    ] {
        let got = world.get("/", &[&format!("host: {host}")]).await;
        assert_eq!(got.headers.contains_key("age"), same, "{host}: {got:?}");
    }
    for (uri, host, passes) in [
        ("http://h/", "h", false),
        ("http://h/", "other", true),
        ("https://h/", "h", false),
    ] {
        let got = world.get(uri, &[&format!("host: {host}")]).await;
        let bypassed = got.outcome.kind == cache_tower::OutcomeKind::Bypass;
        assert_eq!(bypassed, passes, "{uri} with {host}");
    }
}

#[tokio::test]
async fn content_of_a_get_reaches_neither_store_nor_others() {
    let world = reflecting(CacheConfig::default());
    for body in ["evil", ""] {
        let mut request = request("GET", "/", &[]);
        *request.body_mut() = Body::from(body);
        let response = tower::ServiceExt::oneshot(world.service.clone(), request)
            .await
            .unwrap();
        assert_eq!(
            world.cache.stats().entries,
            u64::from(body.is_empty()),
            "{body:?}"
        );
        drop(response);
    }
    let parameter = World::safe();
    parameter.says(200, &[FRESH]).get("/?_method=DELETE", &[]).await;
    parameter.get("/?_method=DELETE", &[]).await;
    assert_eq!(parameter.calls(), 2);
}

#[tokio::test]
async fn clients_have_no_controls() {
    let world = World::safe();
    world.says(200, &[FRESH]).get("/", &[]).await;
    for field in [
        "x-cache-bypass: 1",
        "x-invalidate-cache: 1",
        "x-purge: 1",
        "cache-control: no-cache",
    ] {
        world.get("/", &[field]).await;
    }
    assert_eq!(world.calls(), 1);
    world.says(405, &[]).send("PURGE", "/", &[]).await;
    assert!(
        world.get("/", &[]).await.headers.contains_key("age"),
        "a refused PURGE purges nothing"
    );
}

#[tokio::test]
async fn strange_vary_fields_are_refused_without_harm() {
    let long_name = format!("vary: {}", "x".repeat(5_000));
    let many = format!(
        "vary: {}",
        (0..500).map(|n| format!("f{n}")).collect::<Vec<_>>().join(",")
    );
    for (vary, request) in [
        (&*long_name, "a: b"),
        (&*many, "a: b"),
        ("vary: a b", "a: b"),
        ("vary: \"a\"", "a: b"),
        ("vary: ,,*", "a: b"),
        ("vary: big", &*format!("big: {}", "v".repeat(100_000))),
    ] {
        let world = World::rfc9111();
        world.says(200, &[FRESH, vary]);
        world.get("/", &[request]).await;
        world.get("/", &[request]).await;
        let short = &vary[..vary.len().min(20)];
        assert_eq!(world.calls(), 2, "{short}");
        assert_eq!(world.cache.stats().entries, 0, "{short}");
    }
}

#[tokio::test]
async fn tags_and_keys_inject_nothing_into_fields() {
    let config = CacheConfig {
        tag_fields: vec![http::HeaderName::from_static("surrogate-key")],
        status_shows_key: true,
        ..CacheConfig::default()
    };
    let world = World::with(config);
    world.says(200, &[FRESH, "surrogate-key: a\u{e9} , \t ,,b"]);
    for _ in 0..2 {
        let got = world.get("/\"%0d%0ax:y\"?\\", &[]).await;
        let status = got.field("cache-status").unwrap();
        assert!(!status.contains('\n') && !status.contains('\r'), "{status}");
    }
    assert_eq!(world.calls(), 1);
    world.cache.invalidate_tag("b").await.unwrap();
    world.get("/\"%0d%0ax:y\"?\\", &[]).await;
    assert_eq!(world.calls(), 2);
}

#[tokio::test]
async fn a_part_is_never_the_whole() {
    for (status, fields) in [
        (206, &[FRESH][..]),
        (206, &[FRESH, "content-range: bytes 0-0/9"]),
        (206, &[FRESH, "content-range: bytes 9-0/9", "etag: \"a\""]),
        (
            206,
            &[
                FRESH,
                "etag: \"a\"",
                "content-type: multipart/byteranges; boundary=x",
            ],
        ),
    ] {
        let world = World::rfc9111();
        world.says(status, fields).get("/", &["range: bytes=0-0"]).await;
        world.says(200, &[FRESH]);
        assert_eq!(world.get("/", &[]).await.body, "2", "{fields:?}");
    }
    let world = World::rfc9111();
    world
        .says(200, &[FRESH, "content-range: bytes 0-0/9"])
        .get("/", &[])
        .await;
    // The field means nothing on a 200 (RFC 9110 §14.4): it is passed on, and what is stored is the whole.
    let whole = world.get("/", &[]).await;
    assert_eq!((whole.status, &*whole.body), (200, "1"));
    let part = world.get("/", &["range: bytes=0-0"]).await;
    assert_eq!(
        (part.status, part.field("content-range").as_deref()),
        (206, Some("bytes 0-0/1"))
    );
}

#[tokio::test]
async fn without_its_tenant_a_request_passes_by() {
    let tenant = |request: &cache_tower::RequestHead<'_>| {
        Some(request.headers.get("x-tenant")?.to_str().ok()?.to_owned())
    };
    let config = CacheConfig {
        key: KeyPolicy::default().part(tenant),
        ..CacheConfig::default()
    };
    let world = reflecting(config);
    for _ in 0..2 {
        for tenant in ["a", "b"] {
            let got = world.get("/", &[&format!("x-tenant: {tenant}")]).await;
            assert!(
                got.body.contains(&format!("\"x-tenant\": \"{tenant}\"")),
                "{got:?}"
            );
        }
        assert_eq!(world.get("/", &[]).await.outcome.detail, Some("key-part-missing"));
    }
    assert_eq!(world.cache.stats().entries, 2);
}

#[tokio::test]
async fn ages_and_dates_that_lie_extend_nothing() {
    for lie in [
        "age: 99999999999999999999",
        "age: 2147483648",
        "date: Fri, 01 Jan 2999 00:00:00 GMT",
        "expires: Fri, 01 Jan 2999 00:00:00 GMT",
        "age: -5",
        "age: 1;2",
        "date: rubbish",
    ] {
        let world = World::rfc9111();
        world.says(200, &[FRESH, lie]).get("/", &[]).await;
        world.wait(61).get("/", &[]).await;
        assert_eq!(world.calls(), 2, "{lie}");
    }
}

#[tokio::test]
async fn a_flood_of_targets_leaves_nothing_in_flight_and_stays_within_its_bound() {
    let world = World::safe();
    world.says(200, &[FRESH]);
    for n in 0..2_000 {
        world.get(&format!("/{n}"), &[]).await;
    }
    assert_eq!(world.layer.requests_in_flight(), 0);
    let long = format!("/{}", "x".repeat(60_000));
    let got = world.get(&long, &[]).await;
    assert_eq!(got.outcome.detail, Some("target"), "too long to be a key");
    let fits = format!("/{}", "x".repeat(7_000));
    for _ in 0..2 {
        world.get(&fits, &[]).await;
    }
    assert_eq!(world.calls(), 2_002);
}

#[tokio::test]
async fn clients_that_connect_and_leave_cost_one_load() {
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let (counted, waits) = (calls.clone(), gate.clone());
    let world = World::of(CacheConfig::default(), move |_| {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let waits = waits.clone();
        async move {
            waits.acquire().await.unwrap().forget();
            let mut response = Response::new(Body::from("x"));
            response
                .extensions_mut()
                .insert(CachePolicy::new().ttl(std::time::Duration::from_secs(9)));
            response
        }
    });
    for _ in 0..200 {
        let own = world.clone();
        let client = tokio::spawn(async move { own.get("/", &[]).await });
        settle().await;
        client.abort();
    }
    assert_eq!(calls.load(std::sync::atomic::Ordering::SeqCst), 1);
    gate.add_permits(1);
    settle().await;
    assert!(world.get("/", &[]).await.headers.contains_key("age"));
    assert_eq!(world.layer.requests_in_flight(), 0);
}
