//! Handlers and layers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Extension, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cache_core::Cache;
use cache_tower::{CacheLayer, CachePolicy};
use serde_json::json;
use tower::ServiceBuilder;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::trace::TraceLayer;

/// The edition of the news: each change is a new one.
type Edition = Arc<AtomicU64>;

/// Who asks; `None` is nobody in particular.
#[derive(Clone, Debug)]
struct User(Option<String>);

pub(crate) fn router(cache: Cache) -> Router {
    let layers = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(CorsLayer::permissive())
        .layer(CompressionLayer::new())
        .layer(middleware::from_fn(authenticate))
        .layer(CacheLayer::new(cache));
    Router::new()
        .route("/news", get(news).post(publish))
        .route("/me", get(me))
        .layer(layers)
        .with_state(Edition::default())
}

/// Outside the cache: a hit is authenticated like any other answer.
async fn authenticate(mut request: Request, next: Next) -> Response {
    let user = match request.headers().get(header::AUTHORIZATION) {
        None => None,
        Some(value) => match value.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")) {
            Some(name) => Some(name.to_owned()),
            None => return StatusCode::UNAUTHORIZED.into_response(),
        },
    };
    request.extensions_mut().insert(User(user));
    next.run(request).await
}

/// The same for everybody: the handler says so, and for how long.
async fn news(State(edition): State<Edition>) -> impl IntoResponse {
    let edition = edition.load(Ordering::Relaxed);
    let policy = CachePolicy::new().ttl(Duration::from_secs(10)).tag("news");
    (
        policy,
        Json(json!({ "edition": edition, "text": "news ".repeat(200) })),
    )
}

/// A successful POST invalidates its own URI: nothing else is to be done.
async fn publish(State(edition): State<Edition>) -> impl IntoResponse {
    let edition = edition.fetch_add(1, Ordering::Relaxed) + 1;
    Json(json!({ "edition": edition }))
}

/// One user's own. Nothing needs to be said: without a word about freshness nothing is stored, and a request with
/// `Authorization` keeps even a fresh response to itself.
async fn me(Extension(User(user)): Extension<User>) -> Response {
    match user {
        Some(name) => Json(json!({ "name": name })).into_response(),
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use tower::ServiceExt;

    use super::*;

    async fn ask(app: &Router, method: &str, path: &str, fields: &[(&str, &str)]) -> Response {
        let mut request = Request::builder().method(method).uri(path).header("host", "h");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        app.clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap()
    }

    async fn text(response: Response) -> String {
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn app() -> (Cache, Router) {
        let cache = Cache::builder("news").build().unwrap();
        (cache.clone(), router(cache))
    }

    #[tokio::test]
    async fn one_stored_copy_serves_every_encoding_and_every_origin() {
        let (cache, app) = app();
        for (encoding, origin) in [
            ("gzip", "http://a"),
            ("identity", "http://b"),
            ("gzip", "http://b"),
        ] {
            let fields = [("accept-encoding", encoding), ("origin", origin)];
            let response = ask(&app, "GET", "/news", &fields).await;
            let is_gzip = response.headers().get(header::CONTENT_ENCODING).is_some();
            assert_eq!(is_gzip, encoding == "gzip");
            assert!(
                response
                    .headers()
                    .contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)
            );
        }
        assert_eq!(cache.stats().entries, 1);
    }

    #[tokio::test]
    async fn publishing_makes_the_stored_news_invalid() {
        let (_, app) = app();
        assert!(
            text(ask(&app, "GET", "/news", &[]).await)
                .await
                .contains("\"edition\":0")
        );
        ask(&app, "POST", "/news", &[]).await;
        assert!(
            text(ask(&app, "GET", "/news", &[]).await)
                .await
                .contains("\"edition\":1")
        );
    }

    #[tokio::test]
    async fn users_get_their_own_and_hits_are_authenticated() {
        let (_, app) = app();
        for name in ["ann", "bob"] {
            let authorization = format!("Bearer {name}");
            let response = ask(&app, "GET", "/me", &[("authorization", &authorization)]).await;
            assert!(text(response).await.contains(name));
        }
        assert_eq!(
            ask(&app, "GET", "/me", &[]).await.status(),
            StatusCode::UNAUTHORIZED
        );
        ask(&app, "GET", "/news", &[]).await;
        let response = ask(&app, "GET", "/news", &[("authorization", "Basic x")]).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
}
