//! An application with an admin router under `/admin`, and callers with tokens of all kinds.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use cache_core::testing::ManualClock;
use cache_core::time::minutes;
use cache_core::{Cache, CacheKey, EntryOptions, TagSet};
use cache_tower::admin::{self, AdminConfig, Grant, Scopes};
use http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt;

use super::described::assert_described;

pub(crate) const ALL: &str = "token-that-may-do-everything";
pub(crate) const READER: &str = "token-that-may-only-read";
pub(crate) const WRITER: &str = "token-that-may-only-write";
pub(crate) const CLEARER: &str = "token-that-may-only-clear";

pub(crate) struct World {
    pub(crate) cache: Cache,
    pub(crate) clock: ManualClock,
    pub(crate) app: Router,
    pub(crate) peer: Option<SocketAddr>,
}

pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

pub(crate) fn config() -> AdminConfig {
    let all = Scopes::READ | Scopes::WRITE | Scopes::CLEAR | Scopes::VALUE;
    let config = AdminConfig::bearer_with(ALL, Grant::new("all", all)).unwrap();
    let config = config
        .and_bearer(READER, Grant::new("reader", Scopes::READ))
        .unwrap();
    let config = config
        .and_bearer(WRITER, Grant::new("writer", Scopes::WRITE))
        .unwrap();
    config
        .and_bearer(CLEARER, Grant::new("clearer", Scopes::CLEAR))
        .unwrap()
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(config())
    }

    pub(crate) fn with(config: AdminConfig) -> Self {
        let cache = Cache::builder("shop").memory_bytes(8 << 20).build().unwrap();
        Self::over(cache, config)
    }

    pub(crate) fn over(cache: Cache, config: AdminConfig) -> Self {
        let clock = ManualClock::new();
        let admin = admin::router(config.clock(clock.clone())).with(&cache);
        Self {
            cache,
            clock,
            app: Router::new().nest("/admin", admin),
            peer: None,
        }
    }

    /// Sends a request; what is answered must be as it is described.
    pub(crate) async fn send(&self, mut request: Request<Body>) -> Got {
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 4 << 20).await.unwrap();
        let got = Got {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(bytes.to_vec()).unwrap(),
        };
        assert_described(&method, path.trim_start_matches("/admin"), &got).await;
        got
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Got {
        self.send(request("GET", path, token).body(Body::empty()).unwrap())
            .await
    }

    /// As a program does it that means it.
    pub(crate) async fn post(&self, path: &str, token: &str, body: impl Into<Body>) -> Got {
        self.send(meant("POST", path, token).body(body.into()).unwrap())
            .await
    }

    pub(crate) async fn fill(&self, key: &CacheKey, tag: &str, value: &str) {
        let options = EntryOptions::ttl(minutes(5)).stale_for(minutes(5));
        let options = options.tags(TagSet::new([tag]).unwrap());
        let value = value.to_owned();
        let load = self
            .cache
            .get_or_load(key, options, |_| async move { Ok::<_, &str>(value) });
        load.await.unwrap();
    }
}

/// A request to the router with a token.
pub(crate) fn request(method: &str, path: &str, token: &str) -> http::request::Builder {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/admin{path}"))
        .header("host", "admin.example");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request
}

/// One that changes something.
pub(crate) fn meant(method: &str, path: &str, token: &str) -> http::request::Builder {
    request(method, path, token)
        .header("content-type", "application/json")
        .header("x-cache-admin", "1")
}

/// Every operation of the description: method, path with its parameters filled in, scopes.
pub(crate) async fn operations(world: &World, token: &str) -> Vec<(String, String, Vec<String>)> {
    let description = world.get("/openapi.json", token).await.json();
    assert_eq!(description, *super::described::description().await);
    let mut operations = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        let path = path
            .replace("{cache}", "shop")
            .replace("{policy}", "p")
            .replace("{warmer}", "w");
        let path = if path == "/" { String::new() } else { path };
        for (method, operation) in methods.as_object().unwrap() {
            let scopes = operation["x-scopes"].as_array().unwrap();
            let scopes = scopes.iter().map(|scope| scope.as_str().unwrap().to_owned());
            operations.push((method.to_uppercase(), path.clone(), scopes.collect()));
        }
    }
    assert!(operations.len() > 10, "{operations:?}");
    operations
}
