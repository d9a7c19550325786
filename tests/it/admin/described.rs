//! Holds answers against the description of the API: its statuses, its media types, and its schemas.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use cache_core::Cache;
use cache_core::config::PolicyConfig;
use cache_tower::admin;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tower::ServiceExt;

use super::world::{ALL, Got, config, request};

/// Fails if this answer is not one that the description knows. Paths that it does not have are not its business.
pub(crate) async fn assert_described(method: &str, path: &str, got: &Got) {
    let description = description().await;
    let Some(operation) = operation_at(description, method, path) else {
        assert!(
            [401, 403, 404, 405, 421, 429].contains(&got.status.as_u16()),
            "{method} {path}: {}",
            got.status
        );
        return;
    };
    let response = &operation["responses"][got.status.as_str()];
    assert!(
        response.is_object(),
        "{method} {path}: {} is not described: {}",
        got.status,
        got.body
    );
    let media_type = got.headers["content-type"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let content = &response["content"][media_type];
    assert!(
        content.is_object(),
        "{method} {path}: {} is not described as {media_type}",
        got.status
    );
    if media_type.ends_with("json") {
        let wrong = Schemas(description).wrong(&content["schema"], &got.json(), "");
        assert_eq!(wrong, None, "{method} {path}, {}: {}", got.status, got.body);
    }
}

pub(crate) async fn description() -> &'static Value {
    static DESCRIPTION: OnceCell<Value> = OnceCell::const_new();
    let make = || async {
        let cache = Cache::builder("any").build().unwrap();
        let app: Router = Router::new().nest("/admin", admin::router(config()).with(cache));
        let mut asked = request("GET", "/openapi.json", ALL).body(Body::empty()).unwrap();
        let peer = SocketAddr::from(([192, 0, 2, 1], 4711));
        asked.extensions_mut().insert(ConnectInfo(peer));
        let response = app.oneshot(asked).await.unwrap();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    DESCRIPTION.get_or_init(make).await
}

/// The operation that this request is for.
fn operation_at<'d>(description: &'d Value, method: &str, path: &str) -> Option<&'d Value> {
    let asked: Vec<&str> = path
        .split('?')
        .next()?
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    let paths = description["paths"].as_object()?;
    let (_, operations) = paths.iter().find(|(template, _)| {
        let parts: Vec<&str> = template.split('/').filter(|part| !part.is_empty()).collect();
        let same = |(part, asked): (&&str, &&str)| part.starts_with('{') || part == asked;
        parts.len() == asked.len() && parts.iter().zip(&asked).all(same)
    })?;
    operations.get(method.to_lowercase())
}

/// As much of JSON Schema as the description uses; whatever else it says is a failure, and so is what it leaves out.
struct Schemas<'d>(&'d Value);

impl Schemas<'_> {
    /// What is wrong with a value, with its place; `None` if nothing is.
    fn wrong(&self, schema: &Value, value: &Value, at: &str) -> Option<String> {
        let Some(rules) = schema.as_object() else {
            return Some(format!("{at}: no schema"));
        };
        rules.iter().find_map(|(rule, says)| {
            let holds = match rule.as_str() {
                "description" | "default" => true,
                "$ref" => {
                    let name = says.as_str()?.strip_prefix("#/components/schemas/")?;
                    return self.wrong(&self.0["components"]["schemas"][name], value, at);
                }
                "type" => match says {
                    Value::Array(types) => types.iter().any(|of| is_of(of, value)),
                    of => is_of(of, value),
                },
                "enum" => says.as_array()?.contains(value),
                "const" => says == value,
                "minimum" => value.as_f64() >= says.as_f64(),
                "maximum" => value.as_f64() <= says.as_f64(),
                "exclusiveMaximum" => value.as_f64() < says.as_f64(),
                "required" => says
                    .as_array()?
                    .iter()
                    .all(|name| value.get(name.as_str().unwrap()).is_some()),
                "oneOf" => {
                    let fits = |of: &&Value| self.wrong(of, value, at).is_none();
                    says.as_array()?.iter().filter(fits).count() == 1
                }
                "items" => {
                    let items = value.as_array()?.iter().enumerate();
                    return items
                        .filter_map(|(n, item)| self.wrong(says, item, &format!("{at}/{n}")))
                        .next();
                }
                "properties" | "additionalProperties" => return self.wrong_property(rules, value, at),
                other => return Some(format!("{at}: nobody checks `{other}` here")),
            };
            (!holds).then(|| format!("{at}: {value} is not {rule} {says}"))
        })
    }

    fn wrong_property(
        &self,
        rules: &serde_json::Map<String, Value>,
        value: &Value,
        at: &str,
    ) -> Option<String> {
        value.as_object()?.iter().find_map(|(name, value)| {
            let at = format!("{at}/{name}");
            let own = rules
                .get("properties")
                .and_then(|properties| properties.get(name));
            match own.or(rules.get("additionalProperties")) {
                Some(schema) if schema.is_object() => self.wrong(schema, value, &at),
                _ => Some(format!("{at}: the schema says nothing of it")),
            }
        })
    }
}

fn is_of(kind: &Value, value: &Value) -> bool {
    match kind.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => false,
    }
}

/// Every schema is there that something refers to, and every parameter of a path is described.
#[tokio::test]
async fn the_description_is_whole() {
    let description = description().await;
    assert_eq!(description["openapi"], "3.1.0");
    let text = description.to_string();
    let schemas = description["components"]["schemas"].as_object().unwrap();
    for name in schemas.keys() {
        let reference = format!("\"#/components/schemas/{name}\"");
        assert!(text.contains(&reference), "nothing refers to {name}");
    }
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "there is no schema {name}");
    }
    let mut ids = std::collections::BTreeSet::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(
                ids.insert(operation["operationId"].as_str().unwrap()),
                "{method} {path}"
            );
            assert!(!operation["summary"].as_str().unwrap().is_empty());
            let described = operation["parameters"].as_array().unwrap();
            for part in path.split('/').filter(|part| part.starts_with('{')) {
                let name = part.trim_matches(['{', '}']);
                let is_it = |it: &Value| it["name"] == name && it["in"] == "path" && it["required"] == true;
                assert!(described.iter().any(is_it), "{path}: {name}");
            }
        }
    }
}

#[test]
fn an_answer_that_differs_from_its_schema_is_noticed() {
    let description = json!({"components": {"schemas": {"It": {
        "type": "object", "required": ["n"],
        "properties": {"n": {"type": "integer"}, "s": {"oneOf": [{"enum": ["a"]}, {"type": "null"}]}},
    }}}});
    let it = json!({"$ref": "#/components/schemas/It"});
    let list = json!({"type": "array", "items": it});
    let wrong = |value: Value| Schemas(&description).wrong(&list, &value, "");
    assert_eq!(wrong(json!([{"n": 1, "s": "a"}, {"n": 2, "s": null}])), None);
    for (value, place) in [
        (json!({"n": 1}), ""),
        (json!([{"n": 1.5}]), "/0/n"),
        (json!([{"n": 1}, {}]), "/1"),
        (json!([{"n": 1, "s": "b"}]), "/0/s"),
        (json!([{"n": 1, "more": 1}]), "/0/more"),
    ] {
        let told = wrong(value.clone()).unwrap_or_else(|| panic!("{value} passes"));
        assert!(told.starts_with(&format!("{place}:")), "{value}: {told}");
    }
}

/// The schema of policies is written by hand beside the configuration's own fields.
#[tokio::test]
async fn policies_are_described_with_every_field_that_they_have() {
    let refused = serde_json::from_value::<PolicyConfig>(json!({"nonsense": 1}))
        .unwrap_err()
        .to_string();
    let (_, fields) = refused.split_once("expected one of ").unwrap();
    let fields: Vec<&str> = fields.split('`').skip(1).step_by(2).collect();
    let described = &description().await["components"]["schemas"]["Policy"]["properties"];
    let mut described: Vec<&str> = described
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let mut fields = fields;
    fields.sort_unstable();
    described.sort_unstable();
    assert_eq!(described, fields);
    assert!(fields.len() > 10);
}
