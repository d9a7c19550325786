//! What the routes answer.

use serde_json::{Map, Value, json};

pub(super) fn schemas() -> Map<String, Value> {
    let mut schemas = words();
    schemas.extend(of_health());
    schemas.extend(of_numbers());
    schemas.extend(of_entries());
    schemas.extend(of_warmers());
    schemas
}

fn words() -> Map<String, Value> {
    super::object(json!({
        "Problem": all(&json!({
            "status": {"type": "integer"},
            "code": {"type": "string", "description": "Stable, for programs."},
            "detail": {"type": "string", "description": "For people."},
        })),
        "Session": all(&json!({
            "who": {"type": "string", "description": "The caller, as the audit log calls them."},
            "scopes": list(&json!({"enum": ["read", "write", "clear", "value"]})),
            "caches": list(&json!({"type": "string"})),
        })),
        "Live": all(&json!({"status": {"const": "live"}})),
        "Done": all(&json!({"status": {
            "enum": ["done", "pending", "started"],
            "description": "`pending`: done on this node, and delivered to the others when the shared tier is back.",
        }})),
        "Policies": all(&json!({
            "policies": {"type": "object", "additionalProperties": of("Policy")},
            "missing": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "Names that calls asked for in vain, with the place of the first that did.",
            },
        })),
    }))
}

fn of_health() -> Map<String, Value> {
    let status = json!({"enum": ["healthy", "degraded", "down"]});
    super::object(json!({
        "Healths": all(&json!({
            "status": status,
            "ready": {"type": "boolean"},
            "caches": list(&of("Health")),
        })),
        "Health": all(&json!({
            "cache": {"type": "string"},
            "status": status,
            "live": {"type": "boolean"},
            "ready": {"type": "boolean", "description": "Take a node out of service for this alone."},
            "connection_healthy": {"type": "boolean"},
            "fallback_enabled": {"type": "boolean"},
            "metrics": all(&json!({
                "hit_rate": {"type": "number"},
                "error_rate": {"type": "number"},
                "total_operations": {"type": "integer"},
                "average_response_time_ms": {"type": "number"},
                "hits": {"type": "integer"},
                "misses": {"type": "integer"},
                "errors": {"type": "integer"},
            })),
            "dependencies": list(&all(&json!({
                "name": {"type": "string", "description": "`memory`, or what belongs to the shared tier."},
                "status": status,
                "detail": {"type": "string"},
            }))),
        })),
        "Diagnosis": all(&json!({
            "findings": list(&all(&json!({
                "code": {"type": "string", "description": "Stable, for alerts."},
                "severity": {"enum": ["notice", "warning", "severe"]},
                "what": {"type": "string"},
                "remedy": {"type": "string"},
            }))),
            "unchecked": list(&json!({"type": "string"})),
        })),
    }))
}

fn of_numbers() -> Map<String, Value> {
    let counts = json!({"type": "object", "additionalProperties": {"type": "integer"}});
    let busy = list(&all(&json!({
        "namespace": {"type": "string"},
        "name": {"type": "string"},
        "share": {"type": "number", "minimum": 0, "maximum": 1},
    })));
    super::object(json!({
        "Stats": all(&json!({
            "counters": counts,
            "entries": {"type": "integer"},
            "weight": {"type": "integer"},
            "capacity": {"type": "integer"},
            "weighed_in": {"enum": ["bytes", "entries"]},
            "evictions": {"type": "integer"},
            "loads_running": {"type": "integer"},
            "waiters": {"type": "integer"},
            "load_times": of("Times"),
            "shared": {"oneOf": [of("SharedStats"), {"type": "null"}]},
            "families": list(&all(&json!({
                "name": {"type": "string"}, "label": {"type": "string"}, "counts": counts,
            }))),
        })),
        "SharedStats": all(&json!({
            "operation_times": of("Times"),
            "errors": counts,
            "breaker": {"enum": ["closed", "half_open", "open", "forced_open"]},
            "breaker_openings": {"type": "integer"},
            "servers": {"type": "integer"},
            "servers_connected": {"type": "integer"},
            "in_flight": {"type": "integer"},
            "reconnects": counts,
            "log_heard": {"type": "boolean"},
            "log_lag_seconds": {"type": ["number", "null"]},
            "log_gaps": counts,
            "decode_errors": counts,
            "pending_invalidations": {"type": "integer"},
        })),
        "Times": all(&json!({
            "count": {"type": "integer"},
            "sum_seconds": {"type": "number"},
            "p50_seconds": {"type": ["number", "null"], "description": "An upper bound; null if there is none."},
            "p99_seconds": {"type": ["number", "null"], "description": "An upper bound; null if there is none."},
        })),
        "Traffic": all(&json!({"prefixes": busy, "tags": busy})),
    }))
}

fn of_entries() -> Map<String, Value> {
    let tier = json!({"oneOf": [of("Entry"), {"type": "null"}]});
    let mut found = all(&json!({
        "key": {"type": "string"},
        "namespace": {"type": "string"},
        "memory": tier,
        "shared": tier,
        "shared_error": {"type": ["string", "null"], "description": "Why the shared tier did not answer."},
    }));
    found["properties"]["value"] =
        json!({"description": "Of any type; there only if it was asked for and found."});
    super::object(json!({
        "Found": found,
        "Entry": all(&json!({
            "state": {"enum": ["fresh", "stale", "expired", "invalidated", "tombstone", "unreadable"]},
            "negative": {"type": "boolean", "description": "It says that there is no such value."},
            "age_seconds": {"type": "number"},
            "fresh_for_seconds": {"type": "number"},
            "kept_for_seconds": {"type": "number"},
            "load_seconds": {"type": "number"},
            "weight": {"type": "integer"},
            "tags": list(&json!({"type": "string"})),
        })),
    }))
}

fn of_warmers() -> Map<String, Value> {
    super::object(json!({
        "Warmer": all(&json!({
            "name": {"type": "string"},
            "cache": {"type": "string"},
            "enabled": {"type": "boolean"},
            "every_seconds": {"type": ["number", "null"]},
            "running": {"oneOf": [of("WarmReport"), {"type": "null"}]},
            "last": {"oneOf": [of("WarmerRun"), {"type": "null"}]},
        })),
        "WarmerRun": all(&json!({
            "cause": {"enum": ["start", "interval", "demand"]},
            "result": {"enum": ["done", "failed", "timed_out", "panicked", "dropped", "elsewhere"]},
            "duration_seconds": {"type": "number"},
            "report": of("WarmReport"),
            "error": {"type": ["string", "null"]},
        })),
        "WarmReport": all(&json!({
            "loaded": {"type": "integer"},
            "skipped": {"type": "integer"},
            "failed": {"type": "integer"},
            "left": {"type": "integer"},
            "expected": {"type": ["integer", "null"]},
            "stopped": {"enum": ["memory_full", "closing", null]},
        })),
    }))
}

/// An object of which every property is always there.
fn all(properties: &Value) -> Value {
    let names: Vec<&String> = properties.as_object().into_iter().flat_map(Map::keys).collect();
    json!({"type": "object", "required": names, "properties": properties})
}

fn list(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

fn of(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}
