//! Other layers around the cache, in the right order and in the wrong one: what is safe and what it costs.

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, http::StatusCode};
use cache_core::Cache;
use cache_tower::CacheLayer;
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

struct App {
    cache: Cache,
    router: Router,
}

impl App {
    /// The handler's response is fresh and large enough to be compressed.
    fn new(layers: impl FnOnce(Router, CacheLayer) -> Router) -> Self {
        let cache = Cache::builder("app").build().unwrap();
        let handler = async || ([("cache-control", "max-age=60")], "text ".repeat(100));
        let router = Router::new().route("/", get(handler));
        Self {
            router: layers(router, CacheLayer::new(cache.clone())),
            cache,
        }
    }

    async fn get(&self, fields: &[(&str, &str)]) -> Response {
        let mut request = Request::get("/").header("host", "h");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Response::from_parts(parts, Body::from(body.collect().await.unwrap().to_bytes()))
    }
}

fn field<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

/// H7.3
#[tokio::test]
async fn compression_may_stand_on_either_side_and_costs_copies_inside() {
    let outside = App::new(|router, cache| router.layer(cache).layer(CompressionLayer::new()));
    let inside = App::new(|router, cache| router.layer(CompressionLayer::new()).layer(cache));
    for (app, entries) in [(outside, 1), (inside, 3)] {
        for _ in 0..2 {
            for encoding in ["gzip", "identity"] {
                let response = app.get(&[("accept-encoding", encoding)]).await;
                let got = field(&response, "content-encoding").unwrap_or("identity");
                assert_eq!(got, encoding);
            }
        }
        // Inside: one variant per encoding, and their index.
        assert_eq!(app.cache.stats().entries, entries);
    }
}

/// H7.3
#[tokio::test]
async fn cors_may_stand_on_either_side_as_long_as_it_varies() {
    let mirror = || CorsLayer::new().allow_origin(AllowOrigin::mirror_request());
    let outside = App::new(|router, cache| router.layer(cache).layer(mirror()));
    let inside = App::new(|router, cache| router.layer(mirror()).layer(cache));
    for app in [outside, inside] {
        for _ in 0..2 {
            for origin in ["http://a", "http://b"] {
                let response = app.get(&[("origin", origin)]).await;
                assert_eq!(field(&response, "access-control-allow-origin"), Some(origin));
            }
        }
    }
}

/// H7.3
#[tokio::test]
async fn authentication_belongs_outside_and_inside_a_hit_skips_it_for_requests_without_credentials_only() {
    async fn authenticate(request: Request, next: Next) -> Response {
        if request.headers().contains_key("authorization") {
            next.run(request).await
        } else {
            StatusCode::UNAUTHORIZED.into_response()
        }
    }
    let auth = || middleware::from_fn(authenticate);
    let outside = App::new(|router, cache| router.layer(cache).layer(auth()));
    let inside = App::new(|router, cache| router.layer(auth()).layer(cache));
    for app in [outside, inside] {
        assert_eq!(app.get(&[("authorization", "a")]).await.status(), StatusCode::OK);
        // What a user with credentials got is not stored, so that even inside nobody without them gets it.
        assert_eq!(app.get(&[]).await.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(app.cache.stats().entries, 0);
    }
}
