//! Routes that change nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cache_core::config::PolicyConfig;
use cache_core::doctor::Diagnosis;
use cache_core::health::{Health, HealthStatus};
use cache_core::stats::Stats;
use cache_core::{Cache, CacheKey, Inspection};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::{Deserialize, Serialize};

use super::auth::{Grant, Scopes};
use super::body::{self, Json};
use super::names::Names;
use super::problem::Problem;
use super::{Admin, prometheus};

#[derive(Serialize)]
pub(super) struct Session {
    who: String,
    scopes: Vec<&'static str>,
    caches: Vec<String>,
}

pub(super) async fn session(
    State(admin): State<Arc<Admin>>,
    Extension(grant): Extension<Grant>,
) -> Json<Session> {
    Json(Session {
        who: grant.who().to_owned(),
        scopes: grant.scopes().names().collect(),
        caches: admin.caches.iter().map(|cache| cache.name().to_owned()).collect(),
    })
}

pub(super) async fn live() -> Json<serde_json::Value> {
    Json(serde_json::json!({"status": "live"}))
}

#[derive(Serialize)]
struct Healths {
    /// That of the cache that is worst off.
    status: HealthStatus,
    ready: bool,
    caches: Vec<Health>,
}

pub(super) async fn health(State(admin): State<Arc<Admin>>) -> Response {
    let caches: Vec<Health> = admin.caches.iter().map(Cache::health).collect();
    let worst = caches.iter().map(|health| health.status).max();
    let healths = Healths {
        status: worst.unwrap_or(HealthStatus::Healthy),
        ready: caches.iter().all(|health| health.ready),
        caches,
    };
    (code(healths.ready), Json(healths)).into_response()
}

pub(super) async fn health_of(
    State(admin): State<Arc<Admin>>,
    Names(cache): Names<String>,
) -> Result<Response, Problem> {
    let health = admin.cache(&cache)?.health();
    Ok((code(health.ready), Json(health)).into_response())
}

/// Degraded is not down: a node without Redis serves.
fn code(ready: bool) -> StatusCode {
    if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

pub(super) async fn doctor(
    State(admin): State<Arc<Admin>>,
    Names(cache): Names<String>,
) -> Result<Json<Diagnosis>, Problem> {
    Ok(Json(admin.cache(&cache)?.doctor().await))
}

#[derive(Serialize)]
pub(super) struct Policies {
    policies: BTreeMap<String, PolicyConfig>,
    /// Names without a policy, with the place of the first call that asked.
    missing: BTreeMap<String, String>,
}

pub(super) async fn policies(
    State(admin): State<Arc<Admin>>,
    Names(cache): Names<String>,
) -> Result<Json<Policies>, Problem> {
    let policies = admin.cache(&cache)?.policies();
    let shown = policies
        .all()
        .into_iter()
        .map(|(name, options)| (name, PolicyConfig::from(&options)));
    Ok(Json(Policies {
        policies: shown.collect(),
        missing: policies.missing(),
    }))
}

pub(super) async fn warmers(State(admin): State<Arc<Admin>>) -> Response {
    Json(admin.warmers()).into_response()
}

pub(super) async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let readings: Vec<(&str, Stats)> = admin
        .caches
        .iter()
        .map(|cache| (cache.name(), cache.stats()))
        .collect();
    let mut response = prometheus::text(&readings).into_response();
    let version = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, version);
    response
}

pub(super) async fn stats(
    State(admin): State<Arc<Admin>>,
    Names(cache): Names<String>,
) -> Result<Json<Stats>, Problem> {
    Ok(Json(admin.cache(&cache)?.stats()))
}

pub(super) async fn traffic(
    State(admin): State<Arc<Admin>>,
    Names(cache): Names<String>,
) -> Result<Json<cache_core::stats::Traffic>, Problem> {
    Ok(Json(admin.cache(&cache)?.traffic()))
}

/// What to look up.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lookup {
    key: String,
    namespace: Option<String>,
    #[serde(default)]
    value: bool,
}

#[derive(Serialize)]
pub(super) struct Found {
    key: String,
    namespace: String,
    #[serde(flatten)]
    inspection: Inspection,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<serde_json::Value>,
}

pub(super) async fn lookup(
    State(admin): State<Arc<Admin>>,
    Extension(grant): Extension<Grant>,
    Names(cache): Names<String>,
    body: Body,
) -> Result<Json<Found>, Problem> {
    let asked: Lookup = body::read(body).await?;
    let cache = within(admin.cache(&cache)?, asked.namespace.as_deref())?;
    let key = key(&asked.key)?;
    let value = if asked.value {
        value_of(&admin, &grant, &cache, &key).await?
    } else {
        None
    };
    let inspection = cache.inspect(&key).await;
    Ok(Json(Found {
        key: key.text().to_owned(),
        namespace: cache.namespace_text().to_owned(),
        inspection,
        value,
    }))
}

async fn value_of(
    admin: &Admin,
    grant: &Grant,
    cache: &Cache,
    key: &CacheKey,
) -> Result<Option<serde_json::Value>, Problem> {
    if !grant.scopes().contains(Scopes::VALUE) {
        return Err(Problem::forbidden(
            "missing_scope",
            "seeing values needs the scope value",
        ));
    }
    let Some(reveal) = admin.config.reveal.get(key.prefix()) else {
        let detail = "values of this prefix are not shown; `AdminConfig::reveal` names those that are";
        return Err(Problem::forbidden("not_revealed", detail));
    };
    tracing::info!(
        target: super::guard::AUDIT,
        who = ?grant.who(),
        cache = cache.name(),
        key = ?key.text(),
        "value seen"
    );
    Ok(reveal(cache.clone(), key.clone()).await)
}

/// The key as it stands in caches.
pub(super) fn key(text: &str) -> Result<CacheKey, Problem> {
    CacheKey::parse(text).map_err(|error| Problem::invalid("invalid_key", error.to_string()))
}

/// The part of the cache that is meant: itself, or a namespace that lies within it and exists already.
pub(super) fn within(cache: &Cache, namespace: Option<&str>) -> Result<Cache, Problem> {
    let Some(namespace) = namespace else {
        return Ok(cache.clone());
    };
    let own = cache.namespace_text();
    let inside = namespace
        .strip_prefix(own)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let known = if inside {
        cache.known_namespace(namespace)
    } else {
        None
    };
    known.ok_or_else(|| Problem::not_found("unknown_namespace", "this cache has no namespace of this name"))
}
