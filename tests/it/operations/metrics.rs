//! The documented metrics are those that are emitted, and their number does not grow with keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use cache_core::stats::{METRICS, SampleValue, SharedStats};
use cache_core::time::{minutes, seconds};
use cache_core::{Cache, CacheKey, EntryOptions, Redis, TagSet};
use cache_tower::CacheLayer;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use support::{RedisServer, wait_until};
use tower::ServiceExt;

/// A recorder that remembers.
#[derive(Clone, Default)]
struct Remembering(Arc<Mutex<BTreeMap<String, (&'static str, f64)>>>);

struct Series(Remembering, String);

impl Remembering {
    fn series(&self, key: &Key, kind: &'static str) -> Arc<Series> {
        let mut labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        labels.sort();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        self.0.lock().unwrap().entry(name.clone()).or_insert((kind, 0.0));
        Arc::new(Series(self.clone(), name))
    }

    /// The series of one cache.
    fn of(&self, cache: &str) -> BTreeMap<String, (&'static str, f64)> {
        let series = self.0.lock().unwrap().clone();
        let label = format!("cache={cache}");
        series
            .into_iter()
            .filter(|(name, _)| name.contains(&label))
            .collect()
    }
}

impl Series {
    fn change(&self, change: impl FnOnce(&mut f64)) {
        if let Some((_, value)) = self.0.0.lock().unwrap().get_mut(&self.1) {
            change(value);
        }
    }
}

impl CounterFn for Series {
    fn increment(&self, by: u64) {
        self.change(|value| *value += by as f64);
    }

    fn absolute(&self, to: u64) {
        self.change(|value| *value = to as f64);
    }
}

impl GaugeFn for Series {
    fn increment(&self, by: f64) {
        self.change(|value| *value += by);
    }

    fn decrement(&self, by: f64) {
        self.change(|value| *value -= by);
    }

    fn set(&self, to: f64) {
        self.change(|value| *value = to);
    }
}

impl HistogramFn for Series {
    /// How often is enough here.
    fn record(&self, _: f64) {
        self.change(|value| *value += 1.0);
    }
}

impl Recorder for Remembering {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key, "counter"))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.series(key, "gauge"))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key, "histogram"))
    }
}

/// One recorder for the process, as the facade has it; caches are told apart by name.
fn recorder() -> Remembering {
    static RECORDER: Mutex<Option<Remembering>> = Mutex::new(None);
    let mut installed = RECORDER.lock().unwrap();
    installed
        .get_or_insert_with(|| {
            let recorder = Remembering::default();
            metrics::set_global_recorder(recorder.clone()).expect("nobody else installs one");
            recorder
        })
        .clone()
}

fn key(n: usize) -> CacheKey {
    CacheKey::build("user", n as u64).unwrap()
}

async fn load(cache: &Cache, n: usize, answer: Result<u32, &'static str>) {
    let options = EntryOptions::ttl(minutes(5)).tags(TagSet::new([format!("tag:{n}")]).unwrap());
    let _ = cache
        .get_or_load(&key(n), options, move |_| async move { answer })
        .await;
}

async fn request(app: &Router, path: &str) {
    let request = http::Request::get(path)
        .header("host", "h")
        .body(Body::empty())
        .unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
}

/// Something of everything: hits, misses, failures, invalidations, HTTP, and Redis that dies and returns.
async fn live(cache: &Cache, server: &RedisServer) {
    let page = || async { ([("cache-control", "max-age=60")], "page") };
    let app = Router::new()
        .route("/{page}", get(page))
        .layer(CacheLayer::new(cache.clone()));
    wait_until(seconds(10), "the page is stored", async || {
        request(&app, "/a").await;
        let families = cache.stats().families;
        families
            .iter()
            .any(|requests| requests.counts.contains(&("hit", 1)))
    })
    .await;
    load(cache, 1, Ok(1)).await;
    load(cache, 1, Ok(1)).await;
    load(cache, 2, Err("down")).await;
    wait_until(seconds(10), "the log is heard", async || {
        cache.stats().shared.is_some_and(|shared| shared.log_heard)
    })
    .await;
    cache.invalidate_tag("tag:1").await.unwrap();
    cache.remove(&key(3)).await.unwrap();
    server.kill();
    for n in 10..30 {
        load(cache, n, Ok(1)).await;
    }
    let _ = cache.remove(&key(4)).await;
    server.restart();
    wait_until(
        seconds(10),
        "what was pending is delivered, and Redis trusted again",
        async || {
            // The breaker closes by calls that are answered.
            let _ = cache.get::<u32>(&key(99)).await;
            let stats = cache.stats();
            let well = |shared: SharedStats| shared.log_heard && shared.breaker == "closed";
            stats.counters.recovered > 0 && stats.shared.is_some_and(well)
        },
    )
    .await;
    cache.publish_metrics();
}

fn cache_on(server: &RedisServer, name: &str) -> Cache {
    let redis = Redis::from_url(&server.url()).unwrap();
    Cache::builder(name)
        .redis(redis)
        .disconnected_cap(seconds(1))
        .build()
        .unwrap()
}

#[tokio::test]
async fn what_is_documented_is_emitted_and_nothing_else() {
    let recorder = recorder();
    let server = RedisServer::start();
    let cache = cache_on(&server, "documented");
    live(&cache, &server).await;

    let emitted = recorder.of("documented");
    let mut names = BTreeMap::new();
    for (series, (kind, _)) in &emitted {
        let name = series.split('{').next().unwrap();
        names.insert(name.to_owned(), (*kind).to_owned());
    }
    let listed = METRICS
        .iter()
        .map(|metric| (metric.name.to_owned(), metric.kind.as_str().to_owned()));
    assert_eq!(names, listed.collect(), "emitted, and listed");

    let expected = table(&cache);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md")).unwrap();
    assert!(
        page.contains(&expected),
        "docs/metrics.md does not contain this table:\n{expected}"
    );
    // What the scenario did shows.
    for moved in [
        "cache_hits_total{cache=documented,kind=fresh,tier=memory}",
        "cache_misses_total{cache=documented,reason=absent}",
        "cache_miss_answers_total{cache=documented,kind=loaded}",
        "cache_loads_total{cache=documented,result=error}",
        "cache_load_seconds{cache=documented}",
        "cache_shared_seconds{cache=documented}",
        "cache_invalidations_total{by=group,cache=documented}",
        "cache_degraded_total{cache=documented}",
        "cache_locks_total{cache=documented,result=taken}",
        "cache_locks_total{cache=documented,result=without}",
        "cache_breaker_openings_total{cache=documented}",
        "cache_breaker_state{cache=documented,state=closed}",
        "cache_servers{cache=documented,state=connected}",
        "cache_reconnects_total{cache=documented,reason=closed}",
        "cache_log_gaps_total{cache=documented,reason=started}",
        "cache_log_heard{cache=documented}",
        "cache_notices_total{cache=documented}",
        "cache_recovered_total{cache=documented}",
        "cache_http_requests_total{cache=documented,outcome=hit}",
        "cache_http_requests_total{cache=documented,outcome=miss}",
    ] {
        let (_, value) = emitted
            .get(moved)
            .unwrap_or_else(|| panic!("{moved} is not among {emitted:#?}"));
        assert!(*value > 0.0, "{moved} is {value}");
    }
}

/// The table of the documentation, made from what there is.
fn table(cache: &Cache) -> String {
    let samples = cache.stats().samples();
    let mut rows = vec![
        "| metric | kind | labels beside `cache` | |".to_owned(),
        "|---|---|---|---|".to_owned(),
    ];
    for metric in METRICS {
        let of_metric = samples.iter().filter(|sample| sample.name == metric.name);
        let series: Vec<_> = of_metric.map(|sample| &sample.labels).collect();
        let labels = metric.labels.iter().map(|label| {
            let mut values: Vec<&str> = Vec::new();
            for value in series
                .iter()
                .flat_map(|labels| labels.iter())
                .filter(|(name, _)| name == label)
            {
                if !values.contains(&value.1) {
                    values.push(value.1);
                }
            }
            format!("`{label}`: `{}`", values.join("`, `"))
        });
        rows.push(format!(
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind.as_str(),
            labels.collect::<Vec<_>>().join("; "),
            metric.help
        ));
    }
    rows.join("\n") + "\n"
}

#[tokio::test]
async fn the_number_of_series_does_not_grow_with_keys_tags_and_namespaces() {
    let recorder = recorder();
    let server = RedisServer::start();
    let cache = cache_on(&server, "bounded");
    load(&cache, 0, Ok(1)).await;
    cache.publish_metrics();
    let before: BTreeSet<_> = recorder.of("bounded").into_keys().collect();
    for n in 1..300 {
        load(&cache, n, Ok(1)).await;
        load(&cache.namespace(&format!("tenant-{n}")).unwrap(), n, Err("down")).await;
        cache.invalidate_tag(format!("tag:{n}")).await.unwrap();
    }
    cache.publish_metrics();
    let after: BTreeSet<_> = recorder.of("bounded").into_keys().collect();
    assert_eq!(after, before);
    assert!(after.len() < 120, "{} series per cache", after.len());
}

#[tokio::test]
async fn the_statistics_are_the_numbers_that_recorders_are_told() {
    let recorder = recorder();
    let cache = Cache::builder("equal").build().unwrap();
    for n in [1, 1, 1, 2, 3] {
        load(&cache, n, Ok(1)).await;
    }
    load(&cache, 4, Err("down")).await;
    cache.publish_metrics();
    let told = recorder.of("equal");
    let samples = cache.stats().samples();
    for sample in &samples {
        let mut labels: Vec<_> = sample
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        labels.push("cache=equal".to_owned());
        labels.sort();
        let (_, value) = told[&format!("{}{{{}}}", sample.name, labels.join(","))];
        let expected = match &sample.value {
            SampleValue::Count(count) => *count as f64,
            SampleValue::Level(level) => *level,
            SampleValue::Times(times) => times.count() as f64,
            other => panic!("{other:?} is new"),
        };
        assert_eq!(value, expected, "{}", sample.name);
    }
    assert_eq!(told.len(), samples.len());
    let stats = cache.stats();
    assert_eq!((stats.counters.loaded, stats.load_times.count()), (3, 4));
}
