//! What the routes take.

use serde_json::{Map, Value, json};

pub(super) fn schemas() -> Map<String, Value> {
    let text = |what: &str| json!({"type": "string", "description": what});
    let namespace =
        text("A namespace within the cache, in full, such as `shop/tenant-7`. Default: the cache itself.");
    let schemas = json!({
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
                "tags": {"type": "array", "items": {"type": "string"}, "description": "Tags of every entry."},
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
    });
    super::object(schemas)
}
