//! Routes that change something. Each tells the audit log who did what.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cache_core::config::PolicyConfig;
use cache_core::{Cache, Error, ErrorKind};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Admin;
use super::auth::Grant;
use super::body::{self, Json};
use super::guard::AUDIT;
use super::names::Names;
use super::problem::Problem;
use super::read::{key, within};
use crate::tags::Purge;

/// What to invalidate: exactly one of the first five.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Invalidate {
    key: Option<String>,
    tag: Option<String>,
    prefix: Option<String>,
    uri: Option<String>,
    uri_prefix: Option<String>,
    namespace: Option<String>,
}

enum Target {
    Key(String),
    Tag(String),
    Prefix(String),
    Uri(String),
    UriPrefix(String),
}

impl Target {
    fn kind(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Tag(_) => "tag",
            Self::Prefix(_) => "prefix",
            Self::Uri(_) => "uri",
            Self::UriPrefix(_) => "uri_prefix",
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Key(text)
            | Self::Tag(text)
            | Self::Prefix(text)
            | Self::Uri(text)
            | Self::UriPrefix(text) => text,
        }
    }

    async fn invalidate(&self, cache: &Cache) -> Result<Done, Problem> {
        let purge = || Purge::new(cache.clone());
        Done::from(match self {
            Self::Key(text) => cache.remove(&key(text)?).await,
            Self::Tag(tag) => cache.invalidate_tag(tag).await,
            Self::Prefix(prefix) => cache.remove_prefix(prefix).await,
            Self::Uri(uri) => purge().uri(uri).await,
            Self::UriPrefix(prefix) => purge().prefix(prefix).await,
        })
    }
}

impl Invalidate {
    fn target(self) -> Result<(Target, Option<String>), Problem> {
        let named = [
            self.key.map(Target::Key),
            self.tag.map(Target::Tag),
            self.prefix.map(Target::Prefix),
            self.uri.map(Target::Uri),
            self.uri_prefix.map(Target::UriPrefix),
        ];
        let mut named = named.into_iter().flatten();
        match (named.next(), named.next()) {
            (Some(target), None) => Ok((target, self.namespace)),
            _ => Err(Problem::invalid(
                "one_target",
                "name exactly one of `key`, `tag`, `prefix`, `uri` and `uri_prefix`",
            )),
        }
    }
}

/// What became of it.
#[derive(Serialize)]
struct Done {
    /// `done`; `pending`: done on this node, and delivered to the others when the shared tier is back; `started`.
    status: &'static str,
}

impl Done {
    fn from(result: Result<(), Error>) -> Result<Self, Problem> {
        match result {
            Ok(()) => Ok(Self { status: "done" }),
            Err(error) if error.is_uncertain() => Ok(Self { status: "pending" }),
            Err(error) => Err(error.into()),
        }
    }
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        let code = match self.status {
            "done" => StatusCode::OK,
            _ => StatusCode::ACCEPTED,
        };
        (code, Json(self)).into_response()
    }
}

pub(super) async fn invalidate(
    State(admin): State<Arc<Admin>>,
    Extension(grant): Extension<Grant>,
    Names(cache): Names<String>,
    body: Body,
) -> Result<Response, Problem> {
    let (target, namespace) = body::read::<Invalidate>(body).await?.target()?;
    let cache = within(admin.cache(&cache)?, namespace.as_deref())?;
    let done = target.invalidate(&cache).await?;
    tracing::info!(
        target: AUDIT,
        who = ?grant.who(),
        cache = cache.name(),
        namespace = cache.namespace_text(),
        by = target.kind(),
        what = ?target.text(),
        status = done.status,
        "invalidated"
    );
    Ok(done.into_response())
}

/// What to clear. The name is typed once more, so that it is not another one's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Clear {
    confirm: String,
    namespace: Option<String>,
}

pub(super) async fn clear(
    State(admin): State<Arc<Admin>>,
    Extension(grant): Extension<Grant>,
    Names(cache): Names<String>,
    body: Body,
) -> Result<Response, Problem> {
    let asked: Clear = body::read(body).await?;
    let cache = within(admin.cache(&cache)?, asked.namespace.as_deref())?;
    if asked.confirm != cache.namespace_text() {
        let detail =
            "`confirm` must be the name of what is cleared: the cache, or the namespace if there is one";
        return Err(Problem::invalid("not_confirmed", detail));
    }
    admin
        .clearing
        .take(admin.config.clock.now())
        .map_err(|wait| Problem::too_many("too_fast", "everything can be cleared once a second", wait))?;
    let done = Done::from(cache.clear().await)?;
    tracing::info!(
        target: AUDIT,
        who = ?grant.who(),
        cache = cache.name(),
        namespace = cache.namespace_text(),
        status = done.status,
        "cleared"
    );
    Ok(done.into_response())
}

pub(super) async fn set_policy(
    State(admin): State<Arc<Admin>>,
    Extension(grant): Extension<Grant>,
    Names((cache, policy)): Names<(String, String)>,
    body: Body,
) -> Result<Response, Problem> {
    let asked: PolicyConfig = body::read(body).await?;
    let cache = admin.cache(&cache)?;
    cache.set_policy(policy.clone(), asked.options()?)?;
    tracing::info!(
        target: AUDIT,
        who = ?grant.who(),
        cache = cache.name(),
        policy = ?policy,
        options = ?asked,
        "policy set"
    );
    Ok(Done { status: "done" }.into_response())
}

/// There is nothing to say beyond the name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

pub(super) async fn warm(
    State(admin): State<Arc<Admin>>,
    Extension(grant): Extension<Grant>,
    Names((cache, name)): Names<(String, String)>,
    body: Body,
) -> Result<Response, Problem> {
    let Nothing {} = body::read(body).await?;
    let cache = admin.cache(&cache)?;
    let warmer = cache.warmer(&name);
    let warmer =
        warmer.ok_or_else(|| Problem::not_found("unknown_warmer", "the cache has no warmer of this name"))?;
    warmer.start().map_err(|error| match error.kind() {
        ErrorKind::Contended => Problem::new(StatusCode::CONFLICT, "running", error.to_string()),
        _ => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_started", error.to_string()),
    })?;
    tracing::info!(target: AUDIT, who = ?grant.who(), cache = cache.name(), warmer = name, "warming");
    Ok(Done { status: "started" }.into_response())
}
