//! What a collector gets from the example `opentelemetry`.

#![allow(
    clippy::unwrap_used,
    reason = "a failed test is what a panic is for, also in helpers of tests"
)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::extract::{Json, Path, State};
use axum::routing::post;
use cache_core::Cache;
use serde_json::{Value, json};

/// What was posted, by the last part of the path: `metrics`, `traces`.
type Posted = Arc<Mutex<Vec<(String, Value)>>>;

/// A collector that keeps what it is sent.
async fn collector() -> (String, Posted) {
    let posted = Posted::default();
    let keep = async |State(posted): State<Posted>, Path(signal): Path<String>, Json(body): Json<Value>| {
        posted.lock().unwrap().push((signal, body));
        Json(json!({}))
    };
    let app = axum::Router::new()
        .route("/v1/{signal}", post(keep))
        .with_state(posted.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, posted)
}

fn all<'a>(bodies: &'a [&'a Value], path: [&str; 3]) -> Vec<&'a Value> {
    let list = |value: &'a Value, name: &str| value[name].as_array().into_iter().flatten();
    let mut found = Vec::new();
    for body in bodies {
        for resource in list(body, path[0]) {
            for scope in list(resource, path[1]) {
                found.extend(list(scope, path[2]));
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_every_metric_of_the_cache_and_a_span_per_load() {
    let (url, posted) = collector().await;
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_opentelemetry"))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "90 hits, 10 loads"
    );

    let posted = posted.lock().unwrap();
    let of = |signal: &str| -> Vec<&Value> {
        let sent = posted.iter().filter(|(known, _)| known == signal);
        sent.map(|(_, body)| body).collect()
    };
    let bodies = of("metrics");
    let metrics = all(
        &bodies[bodies.len() - 1..],
        ["resourceMetrics", "scopeMetrics", "metrics"],
    );
    let names: BTreeSet<&str> = metrics
        .iter()
        .filter_map(|metric| metric["name"].as_str())
        .collect();
    let samples = Cache::builder("any").build().unwrap().stats().samples();
    assert_eq!(names, samples.iter().map(|sample| sample.name).collect());

    let metric = |name: &str| metrics.iter().find(|metric| metric["name"] == name).unwrap();
    let hits = metric("cache_hits_total")["sum"]["dataPoints"]
        .as_array()
        .unwrap();
    let fresh = hits.iter().find(|point| {
        let labels = point["attributes"].to_string();
        labels.contains("\"memory\"") && labels.contains("\"fresh\"") && labels.contains("\"profiles\"")
    });
    assert_eq!(number(&fresh.unwrap()["asInt"]), 90, "{hits:#?}");
    assert_eq!(metric("cache_hits_total")["sum"]["isMonotonic"], true);
    let loads = &metric("cache_load_seconds")["histogram"]["dataPoints"][0];
    assert_eq!(number(&loads["count"]), 10, "{loads:#?}");
    assert!(metric("cache_entries")["gauge"]["dataPoints"][0]["asDouble"] == 10.0);
    assert!(
        metric("cache_entries")["description"]
            .as_str()
            .is_some_and(|help| help.contains("in-process"))
    );

    let bodies = of("traces");
    let spans = all(&bodies, ["resourceSpans", "scopeSpans", "spans"]);
    let loads: Vec<_> = spans.iter().filter(|span| span["name"] == "cache_load").collect();
    assert_eq!(loads.len(), 10, "{spans:#?}");
    let attributes = loads[0]["attributes"].to_string();
    assert!(
        attributes.contains("\"profile\"") && attributes.contains("\"miss\""),
        "{attributes}"
    );
}

/// In JSON, OTLP writes whole numbers as text.
fn number(value: &Value) -> u64 {
    let text = value.as_str().map(|text| text.parse().unwrap());
    text.or_else(|| value.as_u64()).unwrap()
}
