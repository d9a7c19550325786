//! The six endpoints of system C, and the statistics of system D.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use cache_core::Cache;
use cache_core::warm::WarmerHandle;
use cache_tower::admin::{Authenticator as _, Bearer, Scopes};
use serde::Deserialize;
use serde_json::json;

use super::{Api, Invalidate};

/// How the cache is, everybody may know. Changing something, and the statistics, need an operator's token.
pub fn router(cache: Cache, api: Api, operators: Bearer) -> Router {
    let operators = Arc::new(operators);
    Router::new()
        .route("/cache/invalidate", post(invalidate).with_state(api))
        .route("/cache/warming/trigger", post(warm))
        .route("/cache/statistics", get(statistics))
        .route_layer(middleware::from_fn_with_state(operators, authorise))
        .route("/health", get(health))
        .route("/cache/health", get(health))
        .route("/cache/metrics", get(metrics))
        .route("/cache/warming/metrics", get(warming))
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

/// How each warmer's last run went.
async fn warming(State(cache): State<Cache>) -> impl IntoResponse {
    let statuses: Vec<_> = cache.warmers().iter().map(WarmerHandle::status).collect();
    Json(json!({ "warmers": statuses }))
}

/// Which warmers to run: `{"warmer": "movers"}`, or `{}` for all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trigger {
    warmer: Option<String>,
}

async fn warm(State(cache): State<Cache>, Json(Trigger { warmer }): Json<Trigger>) -> impl IntoResponse {
    let wanted = |name: &str| warmer.as_ref().is_none_or(|warmer| warmer == name);
    let chosen: Vec<_> = cache
        .warmers()
        .into_iter()
        .filter(|warmer| wanted(warmer.name()))
        .collect();
    if chosen.is_empty() {
        return (
            StatusCode::NOT_FOUND,
            Json(json!({ "error": "there is no such warmer" })),
        );
    }
    // One that runs already is as good as started.
    let (started, running): (Vec<_>, Vec<_>) = chosen.iter().partition(|warmer| warmer.start().is_ok());
    let names = |warmers: Vec<&WarmerHandle>| -> Vec<String> {
        warmers
            .into_iter()
            .map(|warmer| warmer.name().to_owned())
            .collect()
    };
    (
        StatusCode::ACCEPTED,
        Json(json!({ "started": names(started), "running": names(running) })),
    )
}

/// Everything that is counted, and what Redis says about its memory.
async fn statistics(State(cache): State<Cache>) -> impl IntoResponse {
    let redis = match cache.server().await {
        Ok(server) => server.map(|server| {
            json!({
                "version": server.version,
                "used_memory": server.used_memory,
                "max_memory": server.max_memory,
                "eviction_policy": server.eviction_policy,
            })
        }),
        Err(error) => Some(json!({ "error": error.to_string() })),
    };
    Json(json!({ "cache": cache.stats(), "redis": redis }))
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
