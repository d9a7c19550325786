//! Who gets in, and how far.

use std::net::SocketAddr;
use std::pin::Pin;

use axum::body::Body;
use cache_core::time::seconds;
use cache_tower::admin::{AdminConfig, Authenticator, Grant, Scopes};
use http::StatusCode;
use http::request::Parts;
use support::LogCapture;

use super::world::{ALL, CLEARER, READER, WRITER, World, config, meant, operations, request};

#[tokio::test]
async fn without_a_token_every_route_is_401_whether_it_exists_or_not() {
    let world = World::new();
    let mut routes = operations(&world, ALL).await;
    routes.push(("GET".into(), "/no/such/route".into(), Vec::new()));
    routes.push(("DELETE".into(), "/metrics".into(), Vec::new()));
    for (method, path, _) in routes {
        for token in ["", "a-token-of-somebody-else"] {
            let body = Body::from("{}");
            let got = world.send(meant(&method, &path, token).body(body).unwrap()).await;
            assert_eq!(got.status, 401, "{method} {path} {token:?}");
            assert_eq!(got.headers["www-authenticate"], "Bearer");
            assert!(
                !got.body.contains("shop"),
                "{method} {path} names a cache: {}",
                got.body
            );
            world.clock.advance(seconds(60));
        }
    }
}

#[tokio::test]
async fn every_described_operation_exists_and_needs_the_scopes_it_says() {
    let world = World::new();
    let tokens = [(READER, "read"), (WRITER, "write"), (CLEARER, "clear")];
    for (method, path, scopes) in operations(&world, ALL).await {
        for (token, scope) in tokens {
            let body = if path == "/events" {
                Body::empty()
            } else {
                Body::from("{}")
            };
            let response = meant(&method, &path, token).body(body).unwrap();
            let response = tower::ServiceExt::oneshot(world.app.clone(), response)
                .await
                .unwrap();
            let status = response.status();
            assert!(status != 405, "{method} {path} is not served");
            let permitted = scopes.iter().all(|needed| needed == scope);
            assert_eq!(
                status != StatusCode::FORBIDDEN,
                permitted,
                "{method} {path} needs {scopes:?}, {scope} got {status}"
            );
        }
    }
    assert_eq!(world.get("/no/such/route", ALL).await.status, 404);
    assert_eq!(world.get("/caches/shop/clear", ALL).await.status, 405);
    assert_eq!(
        world.get("/caches/other/stats", ALL).await.code(),
        "unknown_cache"
    );
}

/// Changes and wrong tokens are told beside their own tests.
#[tokio::test]
async fn what_is_refused_is_told_to_the_audit_log_without_the_token() {
    let log = LogCapture::start();
    let world = World::new();
    let clear = world.post("/caches/shop/clear", READER, "{}").await;
    assert_eq!(clear.code(), "missing_scope");
    log.assert_line(&[
        "cache_admin",
        "refused",
        "reader",
        "/caches/shop/clear",
        "missing=\"clear\"",
    ]);
    let foreign = meant("POST", "/caches/shop/clear", CLEARER).header("sec-fetch-site", "cross-site");
    let foreign = world.send(foreign.body(Body::from("{}")).unwrap()).await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
    log.assert_line(&["cache_admin", "refused", "POST", &foreign.code()]);
    for token in [READER, CLEARER] {
        assert!(!log.text().contains(token));
    }
}

#[tokio::test]
async fn ten_wrong_tokens_in_a_minute_close_the_door_to_their_address() {
    let log = LogCapture::start();
    let mut world = World::new();
    world.peer = Some(SocketAddr::from(([192, 0, 2, 7], 4711)));
    for _ in 0..10 {
        assert_eq!(world.get("/session", "canary-wrong-token").await.status, 401);
    }
    let refused = world.get("/session", ALL).await;
    assert_eq!(refused.status, 429, "also with a good token");
    assert_eq!(refused.headers["retry-after"], "60");
    world.peer = Some(SocketAddr::from(([192, 0, 2, 8], 4711)));
    assert_eq!(world.get("/session", ALL).await.status, 200, "another address");
    world.peer = Some(SocketAddr::from(([192, 0, 2, 7], 4712)));
    world.clock.advance(seconds(60));
    assert_eq!(world.get("/session", ALL).await.status, 200, "a minute later");
    assert_eq!(log.lines_with("wrong token").len(), 10);
    log.assert_line(&["wrong token", "192.0.2.7"]);
    assert!(!log.text().contains("canary-wrong-token"));
}

#[tokio::test]
async fn where_addresses_are_not_known_nobody_can_lock_the_others_out() {
    let log = LogCapture::start();
    let world = World::new();
    for _ in 0..10 {
        assert_eq!(world.get("/session", "wrong").await.status, 401);
    }
    assert_eq!(world.get("/session", "wrong").await.status, 429);
    assert_eq!(world.get("/session", ALL).await.status, 200);
    assert_eq!(
        world.get("/session", "").await.status,
        429,
        "no token is no attempt, and no way in either"
    );
    // Said once, with the remedy.
    assert_eq!(log.lines_with("into_make_service_with_connect_info").len(), 1);
}

#[tokio::test]
async fn behind_a_proxy_callers_are_told_apart_by_what_the_proxy_says() {
    let config = config().client_address(|request| {
        let field = request.headers.get("x-real-ip")?;
        field.to_str().ok()?.parse().ok()
    });
    let mut world = World::with(config);
    world.peer = Some(SocketAddr::from(([10, 0, 0, 1], 4711)));
    let ask = async |address: &str, token: &str| {
        let request = request("GET", "/session", token).header("x-real-ip", address);
        world.send(request.body(Body::empty()).unwrap()).await.status
    };
    for _ in 0..10 {
        assert_eq!(ask("192.0.2.7", "wrong").await, 401);
    }
    assert_eq!(ask("192.0.2.7", ALL).await, 429);
    assert_eq!(ask("192.0.2.8", ALL).await, 200);
}

#[tokio::test]
async fn opening_the_page_without_a_token_is_no_attempt() {
    let mut world = World::new();
    world.peer = Some(SocketAddr::from(([192, 0, 2, 7], 4711)));
    for _ in 0..20 {
        assert_eq!(world.get("", "").await.status, 401);
    }
    assert_eq!(world.get("/session", ALL).await.status, 200);
}

#[tokio::test]
async fn from_this_machine_only_loopback_names_are_taken_unless_others_are_named() {
    #[track_caller]
    fn expect(status: StatusCode, taken: bool, host: &str) {
        let expected = if taken { 200 } else { 421 };
        assert_eq!(status, expected, "{host}");
    }
    let ask = async |world: &World, host: &str| {
        let request = request("GET", "/session", ALL);
        let mut request = request.body(Body::empty()).unwrap();
        request.headers_mut().insert("host", host.parse().unwrap());
        world.send(request).await.status
    };
    let here = Some(SocketAddr::from(([127, 0, 0, 1], 4711)));
    let there = Some(SocketAddr::from(([192, 0, 2, 7], 4711)));
    let mut world = World::new();
    world.peer = here;
    for (host, taken) in [
        ("localhost", true),
        ("LocalHost:8080", true),
        ("127.0.0.1:8080", true),
        ("[::1]:8080", true),
        ("evil.example", false),
        ("localhost.evil.example", false),
        ("127.0.0.1.evil.example", false),
        ("localhost@evil.example", false),
        ("", false),
    ] {
        expect(ask(&world, host).await, taken, host);
    }
    world.peer = there;
    expect(ask(&world, "admin.example").await, true, "from elsewhere");

    let mut world = World::with(config().hosts(["Admin.Example"]));
    for peer in [here, there, None] {
        world.peer = peer;
        expect(ask(&world, "admin.example:443").await, true, "named");
        expect(ask(&world, "localhost").await, false, "not named");
    }
}

#[tokio::test]
async fn an_open_router_has_a_name_that_says_so_and_takes_loopback_names_only() {
    let world = World::with(AdminConfig::insecure_open_to_everyone());
    let mut request = request("GET", "/session", "").body(Body::empty()).unwrap();
    request.headers_mut().insert("host", "localhost".parse().unwrap());
    let got = world.send(request).await;
    assert_eq!(
        (got.status.as_u16(), got.json()["who"].as_str()),
        (200, Some("anybody"))
    );
    assert_eq!(
        world.get("/session", "").await.status,
        421,
        "a name that a page could have made up"
    );
}

#[tokio::test]
async fn the_users_own_authenticator_decides_alone() {
    struct Badge;
    impl Authenticator for Badge {
        fn authenticate<'a>(
            &'a self,
            request: &'a Parts,
        ) -> Pin<Box<dyn Future<Output = Option<Grant>> + Send + 'a>> {
            let badge = request
                .headers
                .get("x-badge")
                .and_then(|badge| badge.to_str().ok());
            Box::pin(async move { badge.map(|badge| Grant::new(badge, Scopes::READ)) })
        }
    }
    let world = World::with(AdminConfig::authenticator(Badge));
    let with_badge = request("GET", "/session", "").header("x-badge", "Ada");
    let got = world.send(with_badge.body(Body::empty()).unwrap()).await;
    assert_eq!(got.json()["who"], "Ada");
    assert_eq!(got.json()["scopes"], serde_json::json!(["read"]));
    assert_eq!(world.get("/session", ALL).await.status, 401);
}

#[tokio::test]
async fn liveness_is_public_only_if_that_is_wanted_and_says_one_word() {
    let world = World::new();
    assert_eq!(world.get("/live", "").await.status, 401);
    let world = World::with(config().public_liveness());
    let got = world.get("/live", "").await;
    assert_eq!(
        (got.status.as_u16(), got.body.as_str()),
        (200, r#"{"status":"live"}"#)
    );
    assert_eq!(world.get("/health", "").await.status, 401);
    assert_eq!(world.get("/metrics", "").await.status, 401);
}

/// Not a proof: a difference of this size on one machine would be seen from the network, a smaller one might not.
#[test]
fn a_guess_that_is_nearly_right_takes_as_long_as_one_that_is_all_wrong() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let world = World::new();
    let near = format!("{}x", &ALL[..ALL.len() - 1]);
    let far = "x".repeat(ALL.len());
    let took = |token: &str| {
        let watch = support::Stopwatch::start();
        runtime.block_on(async {
            for _ in 0..20 {
                world.get("/session", token).await;
                world.clock.advance(seconds(60));
            }
        });
        watch.elapsed()
    };
    // The fastest of many: what another process took away from a slower one says nothing.
    let rounds: Vec<_> = (0..31).map(|_| (took(&near), took(&far))).collect();
    let near = rounds.iter().map(|(near, _)| *near).min().unwrap();
    let far = rounds.iter().map(|(_, far)| *far).min().unwrap();
    let ratio = near.as_secs_f64() / far.as_secs_f64();
    assert!((0.5..2.0).contains(&ratio), "{ratio}");
}
