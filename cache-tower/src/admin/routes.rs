//! Every route, once: the router and its description are both made from this table.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, get, post, put};

use super::auth::Scopes;
use super::problem::Problem;
use super::{Admin, act, guard, openapi, page, read, stream};

/// A route, and what its description says.
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// What a caller needs.
    pub(super) scopes: Scopes,
    pub(super) summary: &'static str,
    /// The name of the schema of what is sent.
    pub(super) takes: Option<&'static str>,
    /// The media type of the answer.
    pub(super) gives: &'static str,
    handler: fn() -> MethodRouter<Arc<Admin>>,
}

const JSON: &str = "application/json";

macro_rules! routes {
    ($($method:ident $path:literal $handler:expr, $scopes:expr, $takes:expr, $gives:expr, $summary:literal;)+) => {
        pub(super) const ROUTES: &[Route] = &[$(Route {
            method: stringify!($method),
            path: $path,
            scopes: $scopes,
            summary: $summary,
            takes: $takes,
            gives: $gives,
            handler: || $method($handler),
        },)+];
    };
}

routes! {
    get "/" page::show, Scopes::NONE, None, "text/html", "The dashboard; without a token its sign-in form, as a 401.";
    get "/openapi.json" openapi::show, Scopes::NONE, None, JSON, "This description.";
    get "/session" read::session, Scopes::NONE, None, JSON, "Who the token is, what it may do, and which caches there are.";
    get "/live" read::live, Scopes::READ, None, JSON, "Whether the process works.";
    get "/health" read::health, Scopes::READ, None, JSON, "How the caches are, and what they depend on; 503 if one cannot serve.";
    get "/metrics" read::metrics, Scopes::READ, None, "text/plain", "All metrics of all caches, as Prometheus reads them.";
    get "/events" stream::events, Scopes::READ, None, "text/event-stream", "A reading of everything, once a second.";
    get "/warmers" read::warmers, Scopes::READ, None, JSON, "The warmers of all caches: how far the run under way is, and how the last one went.";
    get "/caches/{cache}/stats" read::stats, Scopes::READ, None, JSON, "The statistics of a cache.";
    get "/caches/{cache}/health" read::health_of, Scopes::READ, None, JSON, "How a cache is; 503 if it cannot serve.";
    get "/caches/{cache}/doctor" read::doctor, Scopes::READ, None, JSON,
        "What is set in a way that will hurt, each with its remedy. Asks the server.";
    get "/caches/{cache}/policies" read::policies, Scopes::READ, None, JSON,
        "The policies of a cache by name, and the names that calls asked for in vain.";
    put "/caches/{cache}/policies/{policy}" act::set_policy, Scopes::WRITE, Some("Policy"), JSON,
        "Adds a policy or replaces it as a whole, for what is stored from now on on this node.";
    get "/caches/{cache}/traffic" read::traffic, Scopes::READ, None, JSON, "Which prefixes and tags are in use most.";
    post "/caches/{cache}/warmers/{warmer}/run" act::warm, Scopes::WRITE, Some("Nothing"), JSON,
        "Starts a run of a warmer on this node, in the background; 409 if one is under way here.";
    post "/caches/{cache}/lookup" read::lookup, Scopes::READ, Some("Lookup"), JSON,
        "What is known about a key. A POST, so that keys do not stand in access logs. The value needs the scope `value`.";
    post "/caches/{cache}/invalidate" act::invalidate, Scopes::WRITE, Some("Invalidate"), JSON,
        "Invalidates a key, a tag, a prefix, or stored responses by URI.";
    post "/caches/{cache}/clear" act::clear, Scopes::CLEAR, Some("Clear"), JSON,
        "Invalidates everything in a cache or one of its namespaces; at most once a second.";
}

pub(super) fn router<S>(admin: Arc<Admin>) -> Router<S> {
    let mut router = Router::new();
    for route in ROUTES {
        let scopes = route.scopes;
        let required = from_fn(move |request, next| guard::require(scopes, request, next));
        router = router.route(route.path, (route.handler)().route_layer(required));
    }
    router
        .fallback(async || Problem::not_found("no_such_route", "`openapi.json` lists the routes"))
        .method_not_allowed_fallback(async || {
            let status = http::StatusCode::METHOD_NOT_ALLOWED;
            Problem::new(
                status,
                "method_not_allowed",
                "`openapi.json` lists the routes and their methods",
            )
        })
        .layer(from_fn_with_state(admin.clone(), guard::guard))
        .with_state(admin)
}
