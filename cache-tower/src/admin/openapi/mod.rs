//! The description of the API, OpenAPI 3.1, made from the table of routes. The tests hold every answer against it.

mod given;
mod taken;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::body::Json;
use super::routes::{ROUTES, Route};

pub(super) async fn show() -> Json<Value> {
    Json(description())
}

fn description() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation(route);
    }
    let mut schemas = taken::schemas();
    schemas.extend(given::schemas());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Cache administration",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Statistics, health, lookup and invalidation of the caches of one process.",
        },
        "servers": [{"url": "."}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas,
        },
    })
}

fn operation(route: &Route) -> Value {
    let scopes: Vec<_> = route.scopes.names().collect();
    let parameters = route.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
    });
    let mut parameters: Vec<Value> = parameters.collect();
    if route.method != "get" {
        parameters.push(json!({
            "name": "X-Cache-Admin", "in": "header", "required": true, "schema": {"const": "1"},
            "description": "Says that the request is meant: no form and no foreign page can send it.",
        }));
    }
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "parameters": parameters,
        "x-scopes": scopes,
        "responses": responses(route),
    });
    if let Some(schema) = route.takes {
        let schema = json!({"$ref": format!("#/components/schemas/{schema}")});
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    operation
}

/// Everything that a route may answer, by status.
fn responses(route: &Route) -> Value {
    let mut responses = Map::new();
    let mut add = |status: &StatusCode, what: &str, media_type: &str, schema: Value| {
        let content = json!({"description": what, "content": {media_type: {"schema": schema}}});
        responses.insert(status.as_str().to_owned(), content);
    };
    for (status, what) in route.answers {
        add(status, what, route.gives, schema_of(route));
    }
    let problem = || json!({"$ref": "#/components/schemas/Problem"});
    for (status, what) in PROBLEMS_OF_ALL.iter().chain(route.problems()) {
        add(status, what, "application/problem+json", problem());
    }
    if route.path == "/" {
        let form = json!({"schema": {"type": "string", "description": "The sign-in form."}});
        responses["401"]["content"]["text/html"] = form;
    }
    Value::Object(responses)
}

/// `get_caches_stats`: the method, and the words of the path that are not parameters.
fn operation_id(route: &Route) -> String {
    let words = route
        .path
        .split(['/', '.'])
        .filter(|word| !word.is_empty() && !word.starts_with('{'));
    let words: Vec<&str> = std::iter::once(route.method).chain(words).collect();
    if words.len() == 1 {
        "get_dashboard".to_owned()
    } else {
        words.join("_")
    }
}

fn schema_of(route: &Route) -> Value {
    match route.schema {
        Some(list) if list.ends_with("[]") => {
            json!({"type": "array", "items": {"$ref": format!("#/components/schemas/{}", list.trim_end_matches("[]"))}})
        }
        Some(name) => json!({"$ref": format!("#/components/schemas/{name}")}),
        None if route.gives == "application/json" => json!({"type": "object"}),
        None => json!({"type": "string"}),
    }
}

impl Route {
    /// Refusals that only some routes know.
    fn problems(&self) -> impl Iterator<Item = &'static (StatusCode, &'static str)> {
        let of_body = if self.takes.is_some() {
            PROBLEMS_OF_BODIES
        } else {
            &[]
        };
        let of_name = if self.path.contains('{') {
            PROBLEMS_OF_NAMES
        } else {
            &[]
        };
        of_body.iter().chain(of_name).chain(self.refusals)
    }
}

type Described = (StatusCode, &'static str);

const PROBLEMS_OF_ALL: &[Described] = &[
    (StatusCode::UNAUTHORIZED, "No token of this router."),
    (
        StatusCode::FORBIDDEN,
        "The token has not the scope, or the request comes from another site.",
    ),
    (StatusCode::MISDIRECTED_REQUEST, "This host is not called so."),
    (
        StatusCode::TOO_MANY_REQUESTS,
        "Too many wrong tokens, or too fast; `Retry-After` tells how long to wait.",
    ),
];
const PROBLEMS_OF_BODIES: &[Described] = &[
    (
        StatusCode::BAD_REQUEST,
        "The content says nothing that can be done; the detail says why.",
    ),
    (
        StatusCode::REQUEST_TIMEOUT,
        "The content took longer than 5 seconds.",
    ),
    (StatusCode::PAYLOAD_TOO_LARGE, "The content has more than 16 KiB."),
    (
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "The content is not called `application/json`.",
    ),
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "The cache could not do it: it is closing, for instance.",
    ),
];
const PROBLEMS_OF_NAMES: &[Described] = &[(StatusCode::NOT_FOUND, "There is nothing of this name.")];

/// What was written as an object in JSON.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
