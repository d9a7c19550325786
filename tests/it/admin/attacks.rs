//! What browsers, strangers and careless clients can send.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use cache_core::time::seconds;
use cache_core::warm::Warmer;
use cache_core::{Cache, CacheKey, Redis};
use cache_tower::policy::HttpCachePolicy;
use cache_tower::{CacheConfig, CacheLayer, admin};
use http_body::Frame;
use serde_json::json;
use support::{Canary, LogCapture, wait_until};
use tokio::sync::{Semaphore, SemaphorePermit};
use tower::ServiceExt;

use super::world::{ALL, World, config, meant, operations, request};

#[tokio::test]
async fn what_a_foreign_page_can_send_changes_nothing() {
    let world = World::new();
    let key = CacheKey::build("user", 7_u64).unwrap();
    world.fill(&key, "user:7", "Ada").await;
    let order = r#"{"tag":"user:7"}"#;
    let path = "/caches/shop/invalidate";
    type Fields = &'static [(&'static str, &'static str)];
    let attacks: &[(Fields, u16)] = &[
        (&[], 415),
        (&[("content-type", "text/plain"), ("x-cache-admin", "1")], 415),
        (
            &[
                ("content-type", "application/x-www-form-urlencoded"),
                ("x-cache-admin", "1"),
            ],
            415,
        ),
        (
            &[
                ("content-type", "multipart/form-data; boundary=json"),
                ("x-cache-admin", "1"),
            ],
            415,
        ),
        (
            &[
                ("content-type", "text/plain; application/json"),
                ("x-cache-admin", "1"),
            ],
            415,
        ),
        (&[("content-type", "application/json")], 403),
        (
            &[
                ("content-type", "application/json"),
                ("x-cache-admin", "1"),
                ("sec-fetch-site", "cross-site"),
            ],
            403,
        ),
        (
            &[
                ("content-type", "application/json"),
                ("x-cache-admin", "1"),
                ("sec-fetch-site", "same-site"),
            ],
            403,
        ),
        (
            &[
                ("content-type", "application/json"),
                ("x-cache-admin", "1"),
                ("origin", "https://evil.example"),
            ],
            403,
        ),
        (
            &[
                ("content-type", "application/json"),
                ("x-cache-admin", "1"),
                ("origin", "null"),
            ],
            403,
        ),
        (
            &[
                ("content-type", "application/json"),
                ("x-cache-admin", "1"),
                ("origin", "https://admin.example.evil.example"),
            ],
            403,
        ),
    ];
    for (fields, status) in attacks {
        let mut request = request("POST", path, ALL);
        for (name, value) in *fields {
            request = request.header(*name, *value);
        }
        let got = world.send(request.body(Body::from(order)).unwrap()).await;
        assert_eq!(got.status, *status, "{fields:?}: {}", got.body);
        assert!(world.cache.contains(&key).await, "{fields:?}");
    }
    let own = meant("POST", path, ALL)
        .header("sec-fetch-site", "same-origin")
        .header("origin", "https://admin.example");
    assert_eq!(world.send(own.body(Body::from(order)).unwrap()).await.status, 200);
    assert!(!world.cache.contains(&key).await);
}

#[tokio::test]
async fn a_foreign_page_reads_nothing_either_and_no_answer_permits_it_to() {
    let world = World::new();
    let request = request("GET", "/metrics", ALL).header("sec-fetch-site", "cross-site");
    let got = world.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(got.code(), "cross_site");
    let own = world.get("/metrics", ALL).await;
    assert!(
        !own.headers
            .keys()
            .any(|name| name.as_str().starts_with("access-control-"))
    );
    assert!(!own.headers.contains_key("set-cookie"));
}

#[tokio::test]
async fn what_is_only_read_changes_nothing() {
    let world = World::new();
    let key = CacheKey::build("user", 7_u64).unwrap();
    world.fill(&key, "user:7", "Ada").await;
    let before = world.cache.stats();
    for (method, path, _) in operations(&world, ALL).await {
        if method == "GET" && path != "/events" {
            world.get(&path, ALL).await;
            // A query cannot make it an order.
            world
                .get(&format!("{path}?tag=user:7&confirm=shop&_method=POST"), ALL)
                .await;
        }
    }
    let body = r#"{"key":"user:7"}"#;
    assert_eq!(world.post("/caches/shop/lookup", ALL, body).await.status, 200);
    assert_eq!(world.cache.stats(), before);
}

#[tokio::test]
async fn everything_is_cleared_only_if_its_name_is_typed_and_once_a_second() {
    let log = LogCapture::start();
    let world = World::new();
    let key = CacheKey::build("user", 7_u64).unwrap();
    world.fill(&key, "user:7", "Ada").await;
    for wrong in [
        "{}",
        r#"{"confirm":""}"#,
        r#"{"confirm":"Shop"}"#,
        r#"{"confirm":true}"#,
        r#"{"confirm":"*"}"#,
    ] {
        assert_eq!(
            world.post("/caches/shop/clear", ALL, wrong).await.status,
            400,
            "{wrong}"
        );
    }
    assert!(world.cache.contains(&key).await);
    let order = r#"{"confirm":"shop"}"#;
    assert_eq!(world.post("/caches/shop/clear", ALL, order).await.status, 200);
    assert!(!world.cache.contains(&key).await);
    let again = world.post("/caches/shop/clear", ALL, order).await;
    assert_eq!((again.status.as_u16(), again.code().as_str()), (429, "too_fast"));
    world.clock.advance(seconds(1));
    assert_eq!(world.post("/caches/shop/clear", ALL, order).await.status, 200);
    assert_eq!(log.lines_with("cleared").len(), 2);
    log.assert_line(&["cache_admin", "cleared", "who=\"all\"", "cache=\"shop\""]);
    // Not by the other doors either.
    for star in [r#"{"tag":"*"}"#, r#"{"prefix":"*"}"#, r#"{"key":"*"}"#] {
        world.fill(&key, "user:7", "Ada").await;
        world.post("/caches/shop/invalidate", ALL, star).await;
        assert!(
            world.cache.contains(&key).await,
            "{star} is a name, not a pattern"
        );
    }
}

#[tokio::test]
async fn nothing_that_is_answered_may_be_kept_framed_or_guessed_at() {
    let world = World::new();
    let mut seen = 0;
    for (method, path, _) in operations(&world, ALL).await {
        for token in ["", ALL] {
            if path == "/events" && !token.is_empty() {
                continue;
            }
            let got = world
                .send(meant(&method, &path, token).body(Body::from("{}")).unwrap())
                .await;
            seen += 1;
            let fields = [
                ("cache-control", "no-store"),
                ("x-frame-options", "DENY"),
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "no-referrer"),
                ("cross-origin-resource-policy", "same-origin"),
            ];
            for (name, value) in fields {
                assert_eq!(got.headers[name], value, "{method} {path}");
            }
            let policy = got.headers["content-security-policy"].to_str().unwrap();
            assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
            assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
            world.clock.advance(seconds(60));
        }
    }
    assert!(seen > 20);
}

#[tokio::test]
async fn the_pages_scripts_have_a_nonce_that_nobody_can_foresee() {
    let world = World::new();
    let mut nonces = std::collections::BTreeSet::new();
    for token in ["", ALL, ALL] {
        let got = world.get("", token).await;
        assert_eq!(got.headers["content-type"], "text/html; charset=utf-8");
        let policy = got.headers["content-security-policy"].to_str().unwrap();
        let nonce = policy.split("script-src 'nonce-").nth(1).unwrap();
        let nonce = nonce.split('\'').next().unwrap().to_owned();
        assert_eq!(nonce.len(), 32);
        let elements = got.body.matches("<script").count() + got.body.matches("<style").count();
        assert_eq!(got.body.matches(&format!("nonce=\"{nonce}\"")).count(), elements);
        nonces.insert(nonce);
    }
    assert_eq!(nonces.len(), 3);
}

#[tokio::test]
async fn our_own_layer_does_not_store_it() {
    for policy in [HttpCachePolicy::safe(), HttpCachePolicy::rfc9111()] {
        let cache = Cache::builder("shop").build().unwrap();
        let app = Router::new()
            .nest("/admin", admin::router(config()).with(&cache))
            .layer(CacheLayer::with_config(cache.clone(), CacheConfig::new(policy)).unwrap());
        for path in ["/session", "/metrics", ""] {
            for _ in 0..2 {
                let request = request("GET", path, ALL).body(Body::empty()).unwrap();
                let response = app.clone().oneshot(request).await.unwrap();
                let status = response.headers()["cache-status"].to_str().unwrap().to_owned();
                assert!(
                    !status.contains("hit") && !status.contains("stored"),
                    "{path}: {status}"
                );
                axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            }
        }
        assert_eq!(cache.stats().entries, 0);
    }
}

#[tokio::test]
async fn what_stands_in_json_cannot_end_a_script() {
    let world = World::new();
    let nasty = "</script><img src=x onerror=alert(1)>&";
    let key = CacheKey::build("user", nasty).unwrap();
    world.fill(&key, nasty, "Ada").await;
    let order = serde_json::json!({"key": key.text()}).to_string();
    for got in [
        world.post("/caches/shop/lookup", ALL, order).await,
        world.get("/caches/shop/traffic", ALL).await,
        world
            .post("/caches/shop/invalidate", ALL, r#"{"</script>":1}"#)
            .await,
    ] {
        assert!(!got.body.contains(['<', '>', '&']), "{}", got.body);
    }
    let found = world.get("/caches/shop/traffic", ALL).await.json();
    assert_eq!(found["tags"][0]["name"], nasty, "escaped, not changed");
}

#[tokio::test]
async fn long_deep_and_strange_contents_are_refused_before_anything_is_built_of_them() {
    let world = World::new();
    let long = |bytes: usize| format!(r#"{{"tag":"{}"}}"#, "x".repeat(bytes));
    let deep = format!(r#"{{"tag":{}{}}}"#, "[".repeat(1_000), "]".repeat(1_000));
    for (body, status, code) in [
        (long(17 << 10), 413, "too_long"),
        (deep, 400, "too_deep"),
        (String::new(), 400, "invalid_json"),
        ("null".into(), 400, "invalid_json"),
        ("[]".into(), 400, "invalid_json"),
        (r#"{"tag":"a"} {"tag":"b"}"#.into(), 400, "invalid_json"),
        (r#"{"tag":"a","tag":"b"}"#.into(), 400, "invalid_json"),
        (r#"{"tag":1}"#.into(), 400, "invalid_json"),
        (r#"{"tags":["a"]}"#.into(), 400, "invalid_json"),
        ("{}".into(), 400, "one_target"),
        (r#"{"tag":"a","key":"b"}"#.into(), 400, "one_target"),
        (r#"{"tag":""}"#.into(), 400, "invalid"),
        (long(300), 400, "invalid"),
        (r#"{"key":""}"#.into(), 400, "invalid_key"),
        (
            r#"{"tag":"a","namespace":"other"}"#.into(),
            404,
            "unknown_namespace",
        ),
        (
            r#"{"tag":"a","namespace":"shop/none"}"#.into(),
            404,
            "unknown_namespace",
        ),
    ] {
        let shown: String = body.chars().take(60).collect();
        let got = world.post("/caches/shop/invalidate", ALL, body).await;
        assert_eq!(
            (got.status.as_u16(), got.code().as_str()),
            (status, code),
            "{shown}"
        );
    }
    assert_eq!(
        world.cache.known_namespace("shop/none").map(|_| ()),
        None,
        "asking makes none"
    );
}

#[tokio::test]
async fn a_warmer_is_started_by_its_name_only_and_once_at_a_time() {
    let log = LogCapture::start();
    let cache = Cache::builder("shop").build().unwrap();
    let (gate, runs) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (opened, counted) = (gate.clone(), runs.clone());
    let on_demand = |warmer: Warmer| cache.add_warmer(warmer.at_start(false)).unwrap();
    on_demand(Warmer::new("top", move |_| {
        let gate = opened.clone();
        counted.fetch_add(1, Ordering::SeqCst);
        async move { gate.acquire().await.map(SemaphorePermit::forget) }
    }));
    on_demand(Warmer::new("panics", |_| async {
        assert!(std::hint::black_box(false), "on purpose");
    }));
    on_demand(Warmer::new("hangs", |_| std::future::pending::<()>()).timeout(Duration::from_millis(1)));
    let world = World::over(cache, config());
    let run = async |path: &str, body: &str| {
        let got = world.post(path, ALL, body.to_owned()).await;
        (
            got.status.as_u16(),
            got.json()["code"].as_str().unwrap_or_default().to_owned(),
        )
    };
    for attack in ["http:%2F%2F169.254.169.254%2F", "..%2Fclear", "TOP", "*"] {
        assert_eq!(
            run(&format!("/caches/shop/warmers/{attack}/run"), "{}").await,
            (404, "unknown_warmer".into())
        );
    }
    let url = r#"{"url":"http://169.254.169.254/"}"#;
    assert_eq!(
        run("/caches/shop/warmers/top/run", url).await,
        (400, "invalid_json".into())
    );
    assert_eq!(run("/caches/shop/warmers/top/run", "{}").await.0, 202);
    for _ in 0..20 {
        assert_eq!(
            run("/caches/shop/warmers/top/run", "{}").await,
            (409, "running".into())
        );
    }
    let state = async |at: usize, field: &str| world.get("/warmers", ALL).await.json()[at][field].clone();
    assert_eq!(state(0, "running").await["loaded"], 0);
    gate.add_permits(1);
    wait_until(seconds(10), "it is over", async || {
        state(0, "running").await.is_null()
    })
    .await;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    let last = state(0, "last").await;
    assert_eq!(
        (&last["result"], &last["cause"]),
        (&json!("done"), &json!("demand"))
    );
    for (name, at, result) in [("panics", 1, "panicked"), ("hangs", 2, "timed_out")] {
        assert_eq!(
            run(&format!("/caches/shop/warmers/{name}/run"), "{}").await.0,
            202
        );
        wait_until(seconds(10), "it is over", async || {
            state(at, "running").await.is_null()
        })
        .await;
        assert_eq!(state(at, "last").await["result"], result, "{name}");
        assert_eq!(
            run(&format!("/caches/shop/warmers/{name}/run"), "{}").await.0,
            202,
            "and again"
        );
    }
    log.assert_line(&["cache_admin", "warming", "who=\"all\"", "top"]);
}

/// Sends bytes as long as it is asked.
struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 4_096])))))
    }
}

/// Says that there is more, and never sends it.
struct Stuck;

impl http_body::Body for Stuck {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn contents_without_an_end_are_given_up_by_length_and_by_time() {
    let world = World::new();
    let got = world
        .post("/caches/shop/invalidate", ALL, Body::new(Endless))
        .await;
    assert_eq!(got.code(), "too_long");
    let got = world.post("/caches/shop/invalidate", ALL, Body::new(Stuck)).await;
    assert_eq!((got.status.as_u16(), got.code().as_str()), (408, "too_slow"));
}

#[tokio::test]
async fn no_secret_no_address_and_no_version_stands_in_any_answer_or_log_line() {
    let log = LogCapture::start();
    let canary = Canary::new();
    let token = Canary::new();
    let url = format!("redis://user:{}@127.0.0.1:1/0", canary.secret());
    let cache = Cache::builder("shop")
        .redis(Redis::from_url(&url).unwrap())
        .build()
        .unwrap();
    let config = admin::AdminConfig::bearer_with(
        token.secret(),
        admin::Grant::new(
            "all",
            admin::Scopes::READ | admin::Scopes::WRITE | admin::Scopes::CLEAR,
        ),
    );
    let config = config.unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains(token.secret()) && shown.contains("all"));
    let world = World::over(cache, config);
    world
        .fill(&CacheKey::build("user", 7_u64).unwrap(), "user:7", "Ada")
        .await;
    let mut said = format!("{:?} {}", world.cache, log.text());
    for (method, path, _) in operations(&world, token.secret()).await {
        if path == "/events" {
            continue;
        }
        let got = world
            .send(
                meant(&method, &path, token.secret())
                    .body(Body::from(r#"{"tag":"a"}"#))
                    .unwrap(),
            )
            .await;
        if path.contains("health") || path == "/metrics" {
            for private in ["127.0.0.1", "user:7", "redis://", env!("CARGO_PKG_VERSION")] {
                assert!(!got.body.contains(private), "{path} says {private}: {}", got.body);
            }
        }
        said.push_str(&got.body);
        said.push_str(&format!("{:?}", got.headers));
    }
    said.push_str(&log.text());
    for secret in [canary, token] {
        secret.assert_absent("answers and log", &said);
    }
}
