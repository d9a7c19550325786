//! What stands before every route, and what every answer carries.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap, HeaderName,
    HeaderValue, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::request::Parts;
use http::{Method, StatusCode};

use super::auth::{Grant, Scopes};
use super::config::peer;
use super::problem::Problem;
use super::{Admin, page};

/// Lets a request pass if it may, and seals the answer in either case.
pub(super) async fn guard(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let address = (admin.config.client_address)(&parts);
    let is_page = is_page(&parts);
    let mut response = match admit(&admin, &parts, address, is_page).await {
        Ok(Admitted::Public) => live(),
        Ok(Admitted::As(grant)) => {
            parts.extensions.insert(grant);
            next.run(Request::from_parts(parts, body)).await
        }
        // Who opens the dashboard in a browser cannot send a token yet: the answer is the form that asks for one.
        Err(problem) if is_page && problem.status == StatusCode::UNAUTHORIZED => {
            page::sign_in(&problem.into_response())
        }
        Err(problem) => {
            refused(&problem, &parts, address);
            problem.into_response()
        }
    };
    seal(response.headers_mut());
    response
}

/// Lets a request pass whose caller has `scopes`.
pub(super) async fn require(scopes: Scopes, request: Request, next: Next) -> Response {
    let grant = request.extensions().get::<Grant>();
    if grant.is_some_and(|grant| grant.scopes().contains(scopes)) {
        return next.run(request).await;
    }
    let names: Vec<_> = scopes.names().collect();
    let problem = Problem::forbidden(
        "missing_scope",
        format!("this needs the scope {}", names.join(", ")),
    );
    tracing::warn!(
        target: AUDIT,
        who = ?grant.map(Grant::who),
        path = ?request.uri().path(),
        missing = names.join(","),
        "refused"
    );
    problem.into_response()
}

enum Admitted {
    /// To the one route that is for everybody.
    Public,
    As(Grant),
}

async fn admit(
    admin: &Admin,
    parts: &Parts,
    address: Option<IpAddr>,
    is_page: bool,
) -> Result<Admitted, Problem> {
    check_host(admin, parts, peer(parts))?;
    if admin.config.public_liveness && parts.method == Method::GET && parts.uri.path() == "/live" {
        return Ok(Admitted::Public);
    }
    // A link from elsewhere may lead to the page, which holds nothing before its own script asks for it.
    if !is_page {
        check_origin(parts)?;
    }
    let grant = authenticate(admin, parts, address).await?;
    if !parts.method.is_safe() {
        check_intent(&parts.headers)?;
    }
    Ok(Admitted::As(grant))
}

async fn authenticate(admin: &Admin, parts: &Parts, address: Option<IpAddr>) -> Result<Grant, Problem> {
    if address.is_none() {
        admin.strangers.call_once(|| {
            tracing::warn!(
                target: AUDIT,
                "where requests come from is not known, so failed attempts are counted for all callers together, and names \
                 of this host are not checked; serve `into_make_service_with_connect_info::<SocketAddr>()`, or set \
                 `AdminConfig::client_address` and `AdminConfig::hosts`"
            );
        });
    }
    let now = admin.config.clock.now();
    let wait = admin.attempts.wait(address, now);
    let closed = |wait| {
        Problem::too_many(
            "too_many_attempts",
            "too many wrong tokens from this address",
            wait,
        )
    };
    // Where addresses are not known, all callers share one count: then it must not keep out who has a good token.
    if let (Some(wait), Some(_)) = (wait, address) {
        return Err(closed(wait));
    }
    if let Some(grant) = admin
        .config
        .authenticator
        .authenticator()
        .authenticate(parts)
        .await
    {
        return Ok(grant);
    }
    if parts.headers.contains_key(AUTHORIZATION) {
        admin.attempts.failed(address, now);
        tracing::warn!(target: AUDIT, ?address, "wrong token");
    }
    Err(wait.map_or_else(Problem::unauthenticated, closed))
}

/// Refuses names that this host is not called by: a foreign page may have given its own name our address.
fn check_host(admin: &Admin, parts: &Parts, peer: Option<IpAddr>) -> Result<(), Problem> {
    let host = host_of(parts);
    let known = |host: &str| match &admin.config.hosts {
        Some(hosts) => hosts.iter().any(|known| known == host),
        None => LOOPBACK_NAMES.contains(&host),
    };
    let here = peer.map(|address| address.to_canonical().is_loopback());
    let is_open = admin.config.authenticator.is_open();
    let any_will_do = admin.config.hosts.is_none() && !is_open && here != Some(true);
    match host {
        Some(host) if any_will_do || known(&host) => Ok(()),
        _ => Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "unknown_host",
            "this host is not called so; `AdminConfig::hosts` says what it is called",
        )),
    }
}

/// The name in `Host`, or of the target in HTTP/2, without port, in lower case.
fn host_of(parts: &Parts) -> Option<String> {
    let named = match parts.uri.authority() {
        Some(authority) => authority.clone(),
        None => {
            let mut fields = parts.headers.get_all(HOST).iter();
            let (field, None) = (fields.next()?, fields.next()) else {
                return None;
            };
            field.to_str().ok()?.parse().ok()?
        }
    };
    Some(named.host().to_ascii_lowercase())
}

/// Refuses what a browser sends on behalf of a foreign page.
fn check_origin(parts: &Parts) -> Result<(), Problem> {
    let foreign = || Problem::forbidden("cross_site", "requests from other sites are refused");
    let site = parts.headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    if !matches!(site, None | Some(b"same-origin" | b"none")) {
        return Err(foreign());
    }
    let Some(origin) = parts.headers.get(ORIGIN) else {
        return Ok(());
    };
    let authority = match parts.uri.authority() {
        Some(authority) => authority.as_str(),
        None => parts
            .headers
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default(),
    };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    match origin {
        Some((_, host)) if host.eq_ignore_ascii_case(authority) => Ok(()),
        _ => Err(foreign()),
    }
}

/// Refuses changes that a form could have sent: no form has this content type, or a header field of its own.
fn check_intent(headers: &HeaderMap) -> Result<(), Problem> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|field| field.to_str().ok());
    let media_type = content_type
        .and_then(|field| field.split(';').next())
        .unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            "send `Content-Type: application/json`",
        ));
    }
    if !headers.contains_key(INTENT) {
        return Err(Problem::forbidden(
            "missing_header",
            "send `X-Cache-Admin: 1` with what changes something",
        ));
    }
    Ok(())
}

/// No store, no frame, no guess; and no page but [ours](page), which has a policy of its own.
fn seal(headers: &mut HeaderMap) {
    let fixed = HeaderValue::from_static;
    headers.insert(CACHE_CONTROL, fixed("no-store"));
    headers.insert(X_FRAME_OPTIONS, fixed("DENY"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    headers.insert(REFERRER_POLICY, fixed("no-referrer"));
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, fixed("same-origin"));
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(fixed("default-src 'none'; frame-ancestors 'none'"));
}

fn refused(problem: &Problem, parts: &Parts, address: Option<IpAddr>) {
    // Escaped by `Debug`: a line of the log stays one line.
    let path = parts.uri.path();
    tracing::warn!(target: AUDIT, ?address, method = ?parts.method, ?path, code = problem.code, "refused");
}

fn live() -> Response {
    let mut response = r#"{"status":"live"}"#.into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn is_page(parts: &Parts) -> bool {
    parts.method == Method::GET && matches!(parts.uri.path(), "/" | "")
}

/// Where the audit log is.
pub(super) const AUDIT: &str = "cache_admin";

const INTENT: HeaderName = HeaderName::from_static("x-cache-admin");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const LOOPBACK_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
