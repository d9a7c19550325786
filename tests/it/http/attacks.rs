//! Attacks on keys, on private data, and on the cache itself: the victim's request never gets what an attacker shaped.

use axum::body::Body;
use cache_tower::policy::query::QueryRules;
use cache_tower::policy::{FieldSet, HttpCachePolicy};
use cache_tower::{CacheConfig, CachePolicy, KeyPolicy};
use http::{Request, Response};

use support::Stopwatch;

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

/// H3.1
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
    let known: Vec<String> = FieldSet::known_untrusted()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(known.len() >= 30, "{}", known.len());
    let fields: Vec<&str> = fields
        .into_iter()
        .chain(known.iter().map(String::as_str))
        .collect();
    for config in configs() {
        for field in &fields {
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

/// H3.1
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

/// H3.1
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

/// H3.1
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

/// H1.7
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

/// H4.4, H6.1
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

/// H1.9, H3.6
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

/// H2.1, H2.2
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

/// H5.3
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

/// H3.1
#[tokio::test]
async fn a_parameter_that_no_key_knows_reaches_no_handler() {
    let config = CacheConfig {
        key: KeyPolicy::default().query(QueryRules {
            ignored: vec![String::from("utm_*")],
            sorted: false,
        }),
        ..CacheConfig::default()
    };
    let world = reflecting(config);
    let attack = world.get("/p?utm_source=evil&a=1", &[]).await;
    assert!(!attack.body.contains("evil"), "{}", attack.body);
    let victim = world.get("/p?a=1", &[]).await;
    assert!(
        victim.headers.contains_key("age") && victim.body.contains("/p?a=1"),
        "{victim:?}"
    );
}

#[tokio::test]
async fn fields_can_be_told_to_select_without_vary() {
    let mut policy = HttpCachePolicy::safe();
    policy.vary_always = vec!["accept-version".parse().unwrap(), "origin".parse().unwrap()];
    let world = reflecting(CacheConfig::new(policy));
    for field in [
        "accept-version: 1",
        "accept-version: 2",
        "origin: http://a",
        "origin: http://b",
    ] {
        let (_, value) = field.split_once(": ").unwrap();
        for _ in 0..2 {
            assert!(world.get("/", &[field]).await.body.contains(value), "{field}");
        }
    }
    assert!(
        world
            .get("/", &["origin: http://b"])
            .await
            .headers
            .contains_key("age")
    );
}

#[tokio::test]
async fn a_redirect_shaped_by_a_client_reaches_no_other() {
    for config in configs() {
        let world = World::of(config, |request: Request<Body>| {
            let shaped = ["x-forwarded-host", "x-host", "forwarded", "host"]
                .iter()
                .find_map(|name| request.headers().get(*name))
                .unwrap()
                .clone();
            let mut response = Response::new(Body::empty());
            *response.status_mut() = http::StatusCode::MOVED_PERMANENTLY;
            *response.headers_mut() = header_map([FRESH]);
            response.headers_mut().insert("location", shaped);
            std::future::ready(response)
        });
        for field in [
            "x-forwarded-host: evil",
            "x-host: evil",
            "forwarded: host=evil",
            "host: evil",
        ] {
            world.get("/", &[field]).await;
            let victim = world.get("/", &[]).await;
            assert_eq!(victim.field("location").as_deref(), Some("h"), "{field}");
        }
    }
    // Without a word about freshness no redirect is kept.
    let world = World::rfc9111();
    world.says(301, &["location: /x"]);
    for calls in 1..=2 {
        world.get("/", &[]).await;
        assert_eq!(world.calls(), calls);
    }
}

/// H1.1
#[tokio::test]
async fn a_path_that_looks_static_makes_nothing_public() {
    for config in configs() {
        let world = World::with(config);
        for (fields, paths) in [
            (
                &[][..],
                ["/me/x.css", "/me;x.js", "/me%0ax.png", "/me/..%2fstatic/x"],
            ),
            (
                &["cache-control: private, max-age=60"],
                ["/a.css", "/static/a.js", "/a.ico", "/robots.txt"],
            ),
        ] {
            world.says(200, fields);
            for path in paths {
                let first = world.get(path, &["cookie: session=1"]).await.body;
                assert_ne!(world.get(path, &[]).await.body, first, "{path}");
            }
        }
        assert_eq!(world.cache.stats().entries, 0);
    }
}

/// H1.2
#[tokio::test]
async fn an_error_that_an_attacker_provokes_is_nobody_elses() {
    for config in configs() {
        let world = World::of(config, |request: Request<Body>| {
            let longest = request
                .headers()
                .values()
                .map(http::HeaderValue::len)
                .max()
                .unwrap();
            let odd = request.headers().contains_key("x-meta");
            let mut response = Response::new(Body::from("answer"));
            if longest > 8_000 || odd {
                *response.status_mut() = http::StatusCode::BAD_REQUEST;
            } else {
                *response.headers_mut() = header_map([FRESH]);
            }
            std::future::ready(response)
        });
        for field in [
            format!("x-long: {}", "x".repeat(9_000)),
            String::from("x-meta: \t"),
        ] {
            let path = format!("/{}", field.len());
            assert_eq!(world.get(&path, &[&field]).await.status, 400);
            assert_eq!(world.get(&path, &[]).await.status, 200);
            assert_eq!(
                world.get(&path, &[]).await.outcome.kind,
                cache_tower::OutcomeKind::Hit
            );
        }
    }
    // An application's error pages are not kept even when they say that they are fresh.
    for status in [400, 401, 403, 405, 413, 414, 431, 500, 503] {
        let world = World::safe();
        world.says(status, &[FRESH]).get("/", &[]).await;
        assert_eq!(
            world.says(200, &[FRESH]).get("/", &[]).await.status,
            200,
            "{status}"
        );
    }
}

/// H1.8
#[tokio::test]
async fn what_is_no_document_passes_by() {
    for config in configs() {
        let world = World::with(config);
        world.says(200, &[FRESH]);
        for (method, field) in [
            ("GET", "upgrade: websocket"),
            ("CONNECT", "a: b"),
            ("OPTIONS", "a: b"),
            ("TRACE", "a: b"),
        ] {
            for _ in 0..2 {
                let got = world.send(method, "/", &[field]).await;
                assert!(!got.headers.contains_key("age"), "{method} {field}");
            }
        }
        world.says(200, &[FRESH, "content-type: text/event-stream; charset=utf-8"]);
        for _ in 0..2 {
            assert!(!world.get("/events", &[]).await.headers.contains_key("age"));
        }
        let switching = World::with(CacheConfig::new(HttpCachePolicy::rfc9111()));
        switching.says(101, &[FRESH]).get("/", &[]).await;
        assert_eq!(switching.cache.stats().entries, 0);
        assert_eq!(world.cache.stats().entries, 0);
    }
}

#[tokio::test]
async fn encoded_content_is_never_decoded() {
    let world = World::rfc9111();
    world.says(200, &[FRESH, "content-encoding: gzip"]);
    for _ in 0..2 {
        let got = world.get("/", &[]).await;
        // No gzip at all: whoever tried to decode it would fail.
        assert_eq!(
            (&*got.body, got.field("content-encoding").as_deref()),
            ("1", Some("gzip"))
        );
    }
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn a_flood_of_targets_does_not_wash_out_what_is_in_use() {
    use cache_core::Cache;
    use tower::ServiceExt;
    use tower_layer::Layer;

    let cache = Cache::builder("flood").memory_entries(200).build().unwrap();
    let inner = tower::service_fn(|_: Request<Body>| {
        let response = Response::builder().header("cache-control", "max-age=60");
        std::future::ready(Ok::<_, std::convert::Infallible>(
            response.body(Body::from("x")).unwrap(),
        ))
    });
    let service = cache_tower::CacheLayer::new(cache).layer(inner);
    let ask = async |path: String| {
        let response = service.clone().oneshot(request("GET", &path, &[])).await.unwrap();
        response.headers().contains_key("age")
    };
    let (mut hits, mut asked) = (0, 0);
    for n in 0..3_000 {
        ask(format!("/flood/{n}")).await;
        if n % 2 == 0 {
            asked += 1;
            hits += usize::from(ask(format!("/hot/{}", n / 2 % 20)).await);
        }
    }
    assert!(hits * 10 > asked * 8, "{hits} of {asked}");
}

/// Nothing takes more than its length.
#[test]
fn hostile_fields_are_read_in_linear_time() {
    let sixteen = 16 << 10;
    let fill = |unit: &str| unit.repeat(sixteen / unit.len());
    let units = [
        ",",
        "\"",
        "\\",
        "a=\"",
        "max-age=1,",
        "(",
        ";a=",
        " \t",
        "private=\"a,",
        "W/\"",
        "%4",
        "a;q=0.1,",
    ];
    let names = [
        "cache-control",
        "cdn-cache-control",
        "vary",
        "expires",
        "age",
        "cache-groups",
        "no-vary-search",
        "content-range",
        "etag",
        "date",
    ];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut policy = HttpCachePolicy::rfc9111();
        policy.no_vary_search = true;
        let world = World::with(CacheConfig::new(policy));
        let took = Stopwatch::start();
        let mut tried = 0;
        for unit in units {
            for name in names {
                let value = fill(unit);
                world.says(200, &[FRESH, &format!("{name}: {value}")]);
                let asking = format!("if-none-match: {value}");
                world.get(&format!("/{tried}"), &[&asking]).await;
                let asking = [
                    format!("accept-language: {value}"),
                    format!("range: bytes={value}"),
                ];
                world.get(&format!("/{tried}"), &[&asking[0], &asking[1]]).await;
                tried += 1;
            }
        }
        // Far above what they take, far below what anything quadratic would.
        let each = took.elapsed() / tried;
        assert!(each.as_millis() < 250, "{each:?} for 16 KiB");
    });
}
