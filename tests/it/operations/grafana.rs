//! The dashboard for Grafana shows every metric, asks for none that does not exist, and is laid out as Grafana needs it.

use std::collections::{BTreeMap, BTreeSet};

use cache_core::stats::{METRICS, MetricKind};
use serde_json::Value;

fn dashboard() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/grafana/cache-toolkit.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn panels(dashboard: &Value) -> &Vec<Value> {
    dashboard["panels"].as_array().unwrap()
}

fn queries(dashboard: &Value) -> Vec<(&str, &str)> {
    let mut queries = Vec::new();
    for panel in panels(dashboard) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.push((panel["title"].as_str().unwrap(), target["expr"].as_str().unwrap()));
        }
    }
    queries
}

/// The names of series as Prometheus has them, with their labels beside `cache`.
fn series() -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut series = BTreeMap::new();
    for metric in METRICS {
        let labels: BTreeSet<_> = metric.labels.iter().copied().collect();
        if metric.kind == MetricKind::Histogram {
            for part in ["sum", "count"] {
                series.insert(format!("{}_{part}", metric.name), labels.clone());
            }
            let with_bound = labels.into_iter().chain(["le"]).collect();
            series.insert(format!("{}_bucket", metric.name), with_bound);
        } else {
            series.insert(metric.name.to_owned(), labels);
        }
    }
    series
}

/// The words of a query: names of series, functions, labels.
fn words(query: &str) -> impl Iterator<Item = &str> {
    query
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

#[test]
fn every_metric_is_in_a_panel_and_every_query_asks_for_what_there_is() {
    let (dashboard, series) = (dashboard(), series());
    let mut shown = BTreeSet::new();
    for (panel, query) in queries(&dashboard) {
        let named: Vec<_> = words(query).filter(|word| word.starts_with("cache_")).collect();
        assert!(!named.is_empty(), "{panel}: {query}");
        let mut labels: BTreeSet<&str> = ["cache", "instance", "job"].into();
        for name in named {
            let known = series.get(name);
            labels.extend(known.unwrap_or_else(|| panic!("{panel}: there is no `{name}`")));
            shown.insert(name.to_owned());
        }
        for group in query.split("by (").skip(1) {
            for label in words(group.split(')').next().unwrap()) {
                assert!(labels.contains(label), "{panel}: no label `{label}` in {query}");
            }
        }
        for selector in query.split('{').skip(1) {
            let selector = selector.split('}').next().unwrap();
            for matcher in selector.split(',') {
                let label = words(matcher).next().unwrap();
                assert!(labels.contains(label), "{panel}: no label `{label}` in {query}");
            }
        }
        assert_eq!(query.matches('(').count(), query.matches(')').count(), "{query}");
    }
    for target in panels(&dashboard)
        .iter()
        .flat_map(|panel| panel["targets"].as_array())
        .flatten()
    {
        let (query, legend) = (
            target["expr"].as_str().unwrap(),
            target["legendFormat"].as_str().unwrap(),
        );
        for label in legend.split("{{").skip(1) {
            let label = label.split("}}").next().unwrap();
            assert!(
                query.contains(label),
                "the legend `{legend}` names what {query} does not give"
            );
        }
    }
    for metric in METRICS {
        let is_shown = shown.iter().any(|name| {
            let rest = name.strip_prefix(metric.name);
            rest.is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
        });
        assert!(is_shown, "no panel shows `{}`", metric.name);
    }
}

/// What Grafana looks for when it imports a dashboard.
#[test]
fn it_has_the_shape_that_grafana_loads() {
    let dashboard = dashboard();
    assert_eq!(dashboard["id"], Value::Null, "Grafana gives it one");
    let uid = dashboard["uid"].as_str().unwrap();
    assert!(
        uid.len() <= 40 && uid.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
        "{uid}"
    );
    assert!(!dashboard["title"].as_str().unwrap().is_empty());
    assert!((36..=41).contains(&dashboard["schemaVersion"].as_u64().unwrap()));
    assert!(dashboard["time"]["from"].is_string() && dashboard["time"]["to"].is_string());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variable = |name: &str| {
        variables
            .iter()
            .find(|variable| variable["name"] == name)
            .unwrap()
    };
    assert_eq!(variable("datasource")["type"], "datasource");
    assert_eq!(variable("datasource")["query"], "prometheus");
    assert_eq!(variable("cache")["type"], "query");

    let panels = panels(&dashboard);
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "ids are unique");
    let mut taken: BTreeMap<(u64, u64), &str> = BTreeMap::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        let place = |name: &str| {
            panel["gridPos"][name]
                .as_u64()
                .unwrap_or_else(|| panic!("{title}: {name}"))
        };
        let (x, y, w, h) = (place("x"), place("y"), place("w"), place("h"));
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} is outside of the grid");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            if let Some(other) = taken.insert(cell, title) {
                panic!("{title} lies over {other}");
            }
        }
        match panel["type"].as_str().unwrap() {
            "row" => assert_eq!(w, 24),
            "timeseries" => {
                let targets = panel["targets"].as_array().unwrap();
                let names: BTreeSet<_> = targets
                    .iter()
                    .map(|target| target["refId"].as_str().unwrap())
                    .collect();
                assert!(!targets.is_empty() && names.len() == targets.len(), "{title}");
                for source in targets.iter().chain([panel]).map(|asks| &asks["datasource"]) {
                    assert_eq!(source["type"], "prometheus", "{title}");
                    assert_eq!(source["uid"], "${datasource}", "{title}");
                }
                assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}");
            }
            other => panic!("{title} is a `{other}`, which nobody checks here"),
        }
    }
}
