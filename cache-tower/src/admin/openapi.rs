//! The description of the API, OpenAPI 3.1, made from the table of routes.

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
            "schemas": schemas(),
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
    let problem = |what: &str| {
        let schema = json!({"$ref": "#/components/schemas/Problem"});
        json!({"description": what, "content": {"application/problem+json": {"schema": schema}}})
    };
    let mut operation = json!({
        "summary": route.summary,
        "parameters": parameters,
        "x-scopes": scopes,
        "responses": {
            "200": {"description": "Done.", "content": {route.gives: {}}},
            "401": problem("No token of this router."),
            "403": problem("The token has not the scope, or the request comes from another site."),
            "429": problem("Too many wrong tokens, or too fast; `Retry-After` tells how long to wait."),
        },
    });
    if let Some(schema) = route.takes {
        let schema = json!({"$ref": format!("#/components/schemas/{schema}")});
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    operation
}

fn schemas() -> Value {
    let text = |what: &str| json!({"type": "string", "description": what});
    let namespace =
        text("A namespace within the cache, in full, such as `shop/tenant-7`. Default: the cache itself.");
    json!({
        "Problem": {
            "type": "object",
            "required": ["status", "code", "detail"],
            "properties": {
                "status": {"type": "integer"},
                "code": text("Stable, for programs."),
                "detail": text("For people."),
            },
        },
        "Lookup": {
            "type": "object",
            "required": ["key"],
            "additionalProperties": false,
            "properties": {
                "key": text("The key as it stands in the cache, without the namespace."),
                "namespace": namespace,
                "value": {"type": "boolean", "default": false, "description": "Show the value, too."},
            },
        },
        "Invalidate": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "key": text("A key."), "tag": text("A tag."), "prefix": text("A prefix of keys."),
                "uri": text("A URI of stored responses."),
                "uri_prefix": text("The beginning of such URIs: a host, or a path with all below it."),
                "namespace": namespace,
            },
            "oneOf": [
                {"required": ["key"]}, {"required": ["tag"]}, {"required": ["prefix"]},
                {"required": ["uri"]}, {"required": ["uri_prefix"]},
            ],
        },
        "Nothing": {"type": "object", "additionalProperties": false},
        "Policy": {
            "type": "object",
            "additionalProperties": false,
            "description": "As in the configuration: what is left out comes from the cache's defaults.",
            "properties": {
                "ttl": text("How long values are fresh, such as `5m`."),
                "stale_for": text("How long they may stand in after that."),
                "hard_ttl": text("The same from the other end."),
                "jitter": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
                "negative_ttl": text("How long \"no such value\" is kept."),
                "error_ttl": text("How long a failure is kept."),
                "soft_timeout": text("How long to wait if a stale value is at hand."),
                "hard_timeout": text("How long to wait at most."),
                "throttle": text("How long after a failed load the next is due."),
                "eager": text("`off`, `after 0.8` or `xfetch`."),
                "fail_safe": {"type": "boolean"},
                "background_completion": {"type": "boolean"},
                "abort_when_abandoned": {"type": "boolean"},
                "distributed": {"type": "boolean"},
                "codec": {"enum": ["json", "msgpack", "postcard"]},
                "tags": {"type": "array", "items": {"type": "string"}},
            },
        },
        "Clear": {
            "type": "object",
            "required": ["confirm"],
            "additionalProperties": false,
            "properties": {
                "confirm": text("The name of what is cleared: the cache, or the namespace if there is one."),
                "namespace": namespace,
            },
        },
    })
}
