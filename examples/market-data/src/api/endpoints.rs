//! The six endpoints of system C.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use cache_core::Cache;
use cache_tower::admin::{Authenticator as _, Bearer, Scopes};
use serde_json::json;

use super::{Api, Invalidate};

/// `GET` tells to everybody how the cache is; `POST` changes it, and needs an operator's token.
pub fn router(cache: Cache, api: Api, operators: Bearer) -> Router {
    let operators = Arc::new(operators);
    Router::new()
        .route("/cache/invalidate", post(invalidate).with_state(api))
        .route_layer(middleware::from_fn_with_state(operators, authorise))
        .route("/health", get(health))
        .route("/cache/health", get(health))
        .route("/cache/metrics", get(metrics))
        .with_state(cache)
        .layer(middleware::map_response(never_stored))
}

/// Degraded is not down: without Redis the service serves on.
async fn health(State(cache): State<Cache>) -> impl IntoResponse {
    let health = cache.health();
    let status = if health.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(health))
}

async fn metrics(State(cache): State<Cache>) -> impl IntoResponse {
    Json(cache.health().metrics)
}

async fn invalidate(State(api): State<Api>, Json(what): Json<Invalidate>) -> impl IntoResponse {
    match api.invalidate(&what).await {
        Ok(()) => (
            StatusCode::OK,
            Json(json!({ "status": "done", "invalidated": what })),
        ),
        Err(error) if error.is_uncertain() => (
            StatusCode::ACCEPTED,
            Json(json!({ "status": "pending", "invalidated": what })),
        ),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            Json(json!({ "error": error.to_string() })),
        ),
    }
}

/// Lets those through who may write.
pub async fn authorise(State(operators): State<Arc<Bearer>>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    match operators.authenticate(&head).await {
        Some(grant) if grant.scopes().contains(Scopes::WRITE) => {
            next.run(Request::from_parts(head, body)).await
        }
        Some(_) => StatusCode::FORBIDDEN.into_response(),
        None => (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response(),
    }
}

async fn never_stored(response: Response) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-store")], response)
}
