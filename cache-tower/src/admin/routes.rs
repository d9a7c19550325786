//! Every route, once: the router and its description are both made from this table.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, get, post, put};
use http::StatusCode;

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
    /// The name of the schema of the answer; with `[]` behind it, of the items of a list.
    pub(super) schema: Option<&'static str>,
    /// The statuses of answers, refusals apart.
    pub(super) answers: &'static [(StatusCode, &'static str)],
    /// Refusals beyond those that follow from path and content.
    pub(super) refusals: &'static [(StatusCode, &'static str)],
    handler: fn() -> MethodRouter<Arc<Admin>>,
}

macro_rules! routes {
    ($($method:ident $path:literal $handler:expr, $scopes:ident, $takes:expr, $gives:expr, $answers:ident, $refusals:expr,
        $summary:literal;)+) => {
        pub(super) const ROUTES: &[Route] = &[$(Route {
            method: stringify!($method),
            path: $path,
            scopes: Scopes::$scopes,
            summary: $summary,
            takes: $takes,
            gives: $gives.0,
            schema: $gives.1,
            answers: $answers,
            refusals: $refusals,
            handler: || $method($handler),
        },)+];
    };
}

routes! {
    get "/" page::show, NONE, None, HTML, OK, &[],
        "The dashboard; without a token its sign-in form, as a 401.";
    get "/openapi.json" openapi::show, NONE, None, ANY_JSON, OK, &[],
        "This description.";
    get "/session" read::session, NONE, None, json("Session"), OK, &[],
        "Who the token is, what it may do, and which caches there are.";
    get "/live" read::live, READ, None, json("Live"), OK, &[],
        "Whether the process works.";
    get "/health" read::health, READ, None, json("Healths"), HEALTH, &[],
        "How the caches are, and what they depend on; 503 if one cannot serve.";
    get "/metrics" read::metrics, READ, None, TEXT, OK, &[],
        "All metrics of all caches, as Prometheus reads them.";
    get "/events" stream::events, READ, None, EVENTS, OK, FULL,
        "A reading of everything, once a second: each event is JSON, made for the dashboard, and may change with it.";
    get "/warmers" read::warmers, READ, None, json("Warmer[]"), OK, &[],
        "The warmers of all caches: how far the run under way is, and how the last one went.";
    get "/caches/{cache}/stats" read::stats, READ, None, json("Stats"), OK, &[],
        "The statistics of a cache.";
    get "/caches/{cache}/health" read::health_of, READ, None, json("Health"), HEALTH, &[],
        "How a cache is; 503 if it cannot serve.";
    get "/caches/{cache}/doctor" read::doctor, READ, None, json("Diagnosis"), OK, &[],
        "What is set in a way that will hurt, each with its remedy. Asks the server.";
    get "/caches/{cache}/policies" read::policies, READ, None, json("Policies"), OK, &[],
        "The policies of a cache by name, and the names that calls asked for in vain.";
    put "/caches/{cache}/policies/{policy}" act::set_policy, WRITE, Some("Policy"), json("Done"), OK, &[],
        "Adds a policy or replaces it as a whole, for what is stored from now on on this node.";
    get "/caches/{cache}/traffic" read::traffic, READ, None, json("Traffic"), OK, &[],
        "Which prefixes and tags are in use most.";
    post "/caches/{cache}/warmers/{warmer}/run" act::warm, WRITE, Some("Nothing"), json("Done"), STARTED, UNDER_WAY,
        "Starts a run of a warmer on this node, in the background; 409 if one is under way here.";
    post "/caches/{cache}/lookup" read::lookup, READ, Some("Lookup"), json("Found"), OK, &[],
        "What is known about a key. A POST, so that keys do not stand in access logs. The value needs the scope `value`.";
    post "/caches/{cache}/invalidate" act::invalidate, WRITE, Some("Invalidate"), json("Done"), DONE, &[],
        "Invalidates a key, a tag, a prefix, or stored responses by URI.";
    post "/caches/{cache}/clear" act::clear, CLEAR, Some("Clear"), json("Done"), DONE, &[],
        "Invalidates everything in a cache or one of its namespaces; at most once a second.";
}

type Given = (&'static str, Option<&'static str>);
type Described = &'static [(StatusCode, &'static str)];

const fn json(schema: &'static str) -> Given {
    ("application/json", Some(schema))
}

const ANY_JSON: Given = ("application/json", None);
const HTML: Given = ("text/html", None);
const TEXT: Given = ("text/plain", None);
const EVENTS: Given = ("text/event-stream", None);

const OK: Described = &[(StatusCode::OK, "So it is.")];
const HEALTH: Described = &[
    (StatusCode::OK, "It serves, perhaps with less."),
    (StatusCode::SERVICE_UNAVAILABLE, "It cannot serve."),
];
const DONE: Described = &[
    (StatusCode::OK, "Done, everywhere."),
    (
        StatusCode::ACCEPTED,
        "Done on this node, and delivered to the others when the shared tier is back.",
    ),
];
const STARTED: Described = &[(StatusCode::ACCEPTED, "It runs.")];
const UNDER_WAY: Described = &[(StatusCode::CONFLICT, "A run is under way on this node.")];
const FULL: Described = &[(
    StatusCode::SERVICE_UNAVAILABLE,
    "As many dashboards are open as are served.",
)];

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
            let status = StatusCode::METHOD_NOT_ALLOWED;
            Problem::new(
                status,
                "method_not_allowed",
                "`openapi.json` lists the routes and their methods",
            )
        })
        .layer(from_fn_with_state(admin.clone(), guard::guard))
        .with_state(admin)
}
