//! The dashboard, in a real browser.

mod payloads;
mod pictures;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use cache_core::time::{minutes, seconds};
use cache_core::warm::Warmer;
use cache_core::{Cache, CacheKey, EntryOptions, Outcome, Redis, TagSet};
use cache_tower::CacheLayer;
use cache_tower::admin::{self, AdminConfig, Grant, Scopes};
use serde_json::{Value, json};
use support::{Browser, RedisServer, wait_until};
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tower::ServiceExt;

const TOKEN: &str = "token-of-the-operator";
const READER: &str = "token-of-the-reader";
const WRITER: &str = "token-of-the-writer";

/// An application with a dashboard, and a browser that looks at it.
struct World {
    caches: Vec<Cache>,
    address: SocketAddr,
    browser: Browser,
}

impl World {
    async fn with(caches: Vec<Cache>) -> Self {
        Self::with_config(caches, |config| config).await
    }

    async fn with_config(caches: Vec<Cache>, adjust: impl FnOnce(AdminConfig) -> AdminConfig) -> Self {
        let all = Scopes::READ | Scopes::WRITE | Scopes::CLEAR | Scopes::VALUE;
        let config = AdminConfig::bearer_with(TOKEN, Grant::new("operator", all)).unwrap();
        let config = config
            .and_bearer(READER, Grant::new("reader", Scopes::READ))
            .unwrap();
        let config = config
            .and_bearer(WRITER, Grant::new("writer", Scopes::WRITE))
            .unwrap();
        let admin = admin::router(adjust(config.reveal::<String>("user"))).with(caches.clone());
        let app: Router = Router::new().nest("/admin/cache", admin);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self {
            caches,
            address,
            browser: Browser::start(),
        }
    }

    async fn in_memory() -> Self {
        Self::with(vec![
            Cache::builder("shop").memory_bytes(8 << 20).build().unwrap(),
        ])
        .await
    }

    async fn on(server: &RedisServer) -> Self {
        let redis = Redis::from_url(&server.url()).unwrap();
        let cache = Cache::builder("shop")
            .redis(redis)
            .disconnected_cap(seconds(1))
            .build()
            .unwrap();
        Self::with(vec![cache]).await
    }

    fn cache(&self) -> &Cache {
        &self.caches[0]
    }

    fn open(&self) {
        self.browser.open(&format!("http://{}/admin/cache", self.address));
    }

    fn sign_in(&self, token: &str) {
        self.open();
        self.browser.type_into("#token", &format!("{token}{ENTER}"));
        self.browser
            .wait("signed in", "return !document.getElementById('app').hidden");
    }

    /// Signs in and waits for readings.
    fn watch(&self) {
        self.sign_in(TOKEN);
        self.after_a_reading();
    }

    /// Waits until the page has seen what was so a moment ago.
    fn after_a_reading(&self) {
        let seen = self.readings();
        let condition = format!(
            "return Number(document.documentElement.dataset.readings || 0) >= {}",
            seen + 2
        );
        self.browser.wait("two readings more", &condition);
    }

    fn readings(&self) -> i64 {
        let seen = self.browser.script(
            "return Number(document.documentElement.dataset.readings || 0)",
            json!([]),
        );
        seen.as_i64().unwrap()
    }

    async fn load(&self, n: u64, tag: &str) -> Outcome {
        load(self.cache(), n, tag).await
    }

    fn assert_no_complaints(&self) {
        let complaints = self.browser.complaints();
        let ours: Vec<_> = complaints
            .iter()
            // The first answer is a 401, which is what asks for the token; a browser notes that.
            .filter(|line| !line.contains("401 (Unauthorized)") && !line.contains("favicon"))
            .collect();
        assert!(ours.is_empty(), "{ours:#?}");
    }
}

async fn load(cache: &Cache, n: u64, tag: &str) -> Outcome {
    let key = CacheKey::build("user", n).unwrap();
    let options = EntryOptions::ttl(minutes(5)).tags(TagSet::new([tag]).unwrap());
    let loaded = cache.get_or_load(&key, options, |_| async { Ok::<_, &str>("Ada".to_owned()) });
    loaded.await.unwrap().outcome()
}

const ENTER: char = '\u{e007}';
const TAB: char = '\u{e004}';

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_refused_and_a_good_one_is_kept_for_the_tab_only() {
    let world = World::in_memory().await;
    let browser = &world.browser;
    world.open();
    assert!(browser.sees("#sign-in-form") && !browser.sees("#app"));
    browser.type_into("#token", &format!("a-token-of-somebody-else{ENTER}"));
    browser.wait(
        "refused",
        "return document.getElementById('sign-in-error').textContent.includes('not accepted')",
    );
    assert!(!browser.sees("#app"));

    world.watch();
    assert_eq!(browser.text("#who"), "operator: read, write, clear, value");
    assert_eq!(browser.text("#stream"), "Live");
    world.open();
    browser.wait("still signed in", "return !document.getElementById('app').hidden");
    let kept = "return [document.cookie, localStorage.length, location.href.includes('token')]";
    assert_eq!(browser.script(kept, json!([])), json!(["", 0, false]));

    browser.click("#sign-out");
    assert!(browser.sees("#sign-in-form"));
    world.open();
    assert!(browser.sees("#sign-in-form"), "forgotten");
    world.assert_no_complaints();
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_change_live_and_each_is_the_metric_of_its_name() {
    let server = RedisServer::start();
    let world = World::on(&server).await;
    let browser = &world.browser;
    world.watch();
    assert_eq!(browser.text("#hit-ratio"), "–", "no traffic is not zero");
    assert!(
        browser
            .text("#readings")
            .contains("No calls in the last five minutes")
    );
    let hits = r#"[data-metric="cache_hits_total"]"#;
    assert_eq!(browser.text(hits), "0");
    heard(world.cache()).await;
    let mut asked = 0;
    for round in 1..=3 {
        for n in 0..4 {
            world.load(n, "all").await;
            asked += 1;
        }
        let now = (asked - 4).to_string();
        browser.wait(
            "the hits of this round",
            &format!("return document.querySelector('{hits}').textContent === '{now}'"),
        );
        assert_eq!(round * 4, asked);
    }
    assert_ne!(browser.text("#hit-ratio"), "–");
    // Loads of which the last minute has a quantile to tell.
    for n in 10..16 {
        let key = CacheKey::build("user", n).unwrap();
        let slow = move |_| async move {
            tokio::time::sleep(Duration::from_millis(8 * n)).await;
            Ok::<_, &str>("Ada".to_owned())
        };
        world.cache().get_or_load(&key, minutes(5), slow).await.unwrap();
    }
    browser.click("#all summary");
    world.after_a_reading();
    compare(&world).await;
    world.assert_no_complaints();
}

async fn heard(cache: &Cache) {
    cache
        .get::<String>(&CacheKey::build("nothing", 0_u64).unwrap())
        .await;
    wait_until(seconds(10), "the log is heard", async || {
        cache.stats().shared.is_some_and(|shared| shared.log_heard)
    })
    .await;
}

/// Every figure on the page, by the metric that it names, against what `/metrics` says in the same second.
async fn compare(world: &World) {
    const FIGURES: &str = "
        const figures = [];
        for (const it of document.querySelectorAll('[data-metric]'))
            figures.push([it.dataset.metric, Number(it.dataset.value), it.textContent]);
        for (const it of document.querySelectorAll('[data-series]'))
            figures.push([it.dataset.series, Number(it.dataset.value), it.textContent]);
        const made = {};
        for (const id of ['hit-ratio', 'load-p50', 'load-p99', 'breaker', 'log'])
            made[id] = [document.getElementById(id).dataset.value, document.getElementById(id).textContent];
        return {figures, made};";
    // Both readings, again until no second began between them: what moves by itself moves in between otherwise.
    let script = format!(
        "const [path, token] = arguments;
         const read = () => {{ {FIGURES} }};
         const done = arguments[arguments.length - 1];
         return (async () => {{
            for (;;) {{
                const before = document.documentElement.dataset.readings;
                const text = await (await fetch(path, {{headers: {{authorization: 'Bearer ' + token}}}})).text();
                const seen = read();
                if (document.documentElement.dataset.readings === before) return {{text, ...seen}};
            }}
         }})();"
    );
    let both = world
        .browser
        .script(&script, json!(["/admin/cache/metrics", TOKEN]));
    let metrics = by_name(both["text"].as_str().unwrap());
    let figures = both["figures"].as_array().unwrap();
    assert!(figures.len() > 90, "{} figures", figures.len());
    for figure in figures {
        let name = figure[0].as_str().unwrap();
        let shown = figure[1].as_f64().unwrap();
        let told = metrics.get(name).unwrap_or_else(|| panic!("{name} is no metric"));
        // The operations of the shared tier and its lag go on between the two readings of one second.
        let moves = name.starts_with("cache_shared_seconds") || name == "cache_log_lag_seconds";
        let within = if moves { 5.0 } else { 0.0 };
        assert!(
            (shown - told).abs() <= within,
            "{name}: the page says {shown}, the metric {told}"
        );
        // And that number is what a person reads, apart from those that are written with a unit.
        let text = figure[2].as_str().unwrap().replace(',', "");
        match text.parse::<f64>() {
            Ok(read) => assert!((read - shown).abs() < 0.001, "{name}: {text} stands for {shown}"),
            Err(_) => assert!(text.contains(' '), "{name}: {text}"),
        }
    }
    assert!(
        world.readings() < 60,
        "the last minute is no longer all that there was"
    );
    compare_made(&both["made"], both["text"].as_str().unwrap(), &metrics);
}

/// Figures that are made of metrics, against the same made here: everything happened within the last minute.
fn compare_made(made: &Value, text: &str, metrics: &BTreeMap<String, f64>) {
    let number = |id: &str| made[id][0].as_str().unwrap().parse::<f64>().unwrap();
    let same = |id: &str, expected: f64| {
        let shown = number(id);
        assert!(
            (shown - expected).abs() < 1e-9,
            "{id}: the page says {shown}, the metrics {expected}"
        );
    };
    let (hits, misses) = (metrics["cache_hits_total"], metrics["cache_misses_total"]);
    same("hit-ratio", hits / (hits + misses));
    let percent = format!("{:.1} %", 100.0 * hits / (hits + misses));
    assert_eq!(made["hit-ratio"][1], percent.as_str());
    for (id, share) in [("load-p50", 0.5), ("load-p99", 0.99)] {
        same(id, quantile(text, "cache_load_seconds", share));
    }
    assert!(number("load-p99") > 0.05, "the slow loads show: {made}");
    let state = made["breaker"][0].as_str().unwrap();
    assert_eq!(metrics[&format!("cache_breaker_state{{state={state}}}")], 1.0);
    assert!(
        (number("log") - metrics["cache_log_lag_seconds"]).abs() < 5.0,
        "{made}"
    );
}

/// As `histogram_quantile` of Prometheus has it.
fn quantile(text: &str, name: &str, share: f64) -> f64 {
    let buckets = text.lines().filter_map(|line| {
        let (labels, below) = line.strip_prefix(&format!("{name}_bucket{{"))?.rsplit_once(' ')?;
        let bound = labels.split("le=\"").nth(1)?.trim_end_matches("\"}");
        Some((bound.parse::<f64>().unwrap(), below.parse::<f64>().unwrap()))
    });
    let buckets: Vec<(f64, f64)> = buckets.collect();
    let rank = share * buckets.last().unwrap().1;
    let at = buckets.iter().position(|(_, below)| *below >= rank).unwrap();
    let (lower, before) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
    let (bound, below) = buckets[at];
    lower + (bound - lower) * (rank - before) / (below - before)
}

/// Sums by name, and each series by its name without the cache's label, as the page calls them.
fn by_name(text: &str) -> BTreeMap<String, f64> {
    let mut metrics: BTreeMap<String, f64> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        let (name, labels) = series.split_once('{').unwrap();
        let name = name.strip_suffix("_count").unwrap_or(name);
        let labels = labels.trim_end_matches('}').replace('"', "");
        let labels: Vec<&str> = labels
            .split(',')
            .filter(|label| !label.starts_with("cache="))
            .collect();
        *metrics.entry(name.to_owned()).or_default() += value;
        if !labels.is_empty() {
            metrics.insert(format!("{name}{{{}}}", labels.join(",")), value);
        }
    }
    metrics
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_invalidated_by_keyboard_and_the_next_request_misses() {
    let world = World::in_memory().await;
    let browser = &world.browser;
    world.load(1, "user:1").await;
    assert!(world.load(1, "user:1").await.is_hit());
    world.watch();
    // From the list of ways to the field, the button, and back: nothing needs a mouse.
    browser.script("document.getElementById('by').focus()", json!([]));
    browser.press(&format!("{TAB}user:1{ENTER}"));
    browser.wait(
        "told so",
        "return document.querySelector('#invalidate .message').textContent === 'Invalidated tag user:1.'",
    );
    assert!(!world.load(1, "user:1").await.is_hit());
    browser.wait(
        "seen",
        "return document.querySelector('[data-metric=\"cache_misses_total\"]').textContent === '2'",
    );

    browser.type_into("#key", "user:1");
    browser.click("#with-value");
    browser.press(&ENTER.to_string());
    browser.wait(
        "found",
        "return document.querySelector('#found').textContent.includes('fresh')",
    );
    let found = browser.text("#found");
    assert!(
        found.contains("user:1") && found.contains("\"Ada\"") && found.contains("nothing there"),
        "{found}"
    );

    assert!(
        browser.script(
            "return document.querySelector('#clear button').disabled",
            json!([])
        ) == true
    );
    browser.type_into("#confirm", "shop");
    browser.click("#clear button");
    browser.wait(
        "cleared",
        "return document.querySelector('#clear .message').textContent === 'Cleared shop.'",
    );
    assert!(!world.load(1, "user:1").await.is_hit());
    focus_is_always_seen(browser);
    world.assert_no_complaints();
}

/// Walks through everything that takes the focus: it is on the page, named, and drawn around.
fn focus_is_always_seen(browser: &Browser) {
    browser.script(
        "window.scrollTo(0, 0); document.getElementById('cache').focus()",
        json!([]),
    );
    let mut seen = Vec::new();
    for _ in 0..24 {
        browser.press(&TAB.to_string());
        let focus = browser.script(
            "const it = document.activeElement;
             if (it === document.body) return null;
             const named = it.textContent.trim() || it.labels?.[0]?.textContent.trim() || it.getAttribute('aria-label');
             return [it.id || it.tagName, Boolean(named), getComputedStyle(it).outlineStyle];",
            json!([]),
        );
        let Value::Array(focus) = focus else { break };
        assert_eq!(
            (&focus[1], &focus[2]),
            (&json!(true), &json!("solid")),
            "{focus:?}"
        );
        seen.push(focus[0].as_str().unwrap().to_owned());
    }
    for expected in ["theme", "sign-out", "doctor", "by", "what", "key", "confirm"] {
        assert!(
            seen.iter().any(|id| id == expected),
            "{expected} is not among {seen:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_dies_and_returns_and_the_page_says_so() {
    let server = RedisServer::start();
    let world = World::on(&server).await;
    let browser = &world.browser;
    heard(world.cache()).await;
    world.load(1, "user:1").await;
    world.watch();
    assert_eq!(browser.text("#health-status"), "Healthy");
    assert_eq!(browser.text("#breaker"), "Connected");

    server.kill();
    let mut n = 10;
    wait_until(
        Duration::from_secs(30),
        "the page says that Redis is away",
        async || {
            n += 1;
            world.load(n, "user:1").await;
            browser.text("#health-status") == "Degraded" && browser.text("#breaker") != "Connected"
        },
    )
    .await;
    assert!(browser.text("#health-detail").contains("serves from memory"));
    assert_eq!(browser.text("#stream"), "Live", "the page itself goes on");
    browser.type_into("#what", &format!("user:1{ENTER}"));
    browser.wait(
        "pending",
        "return document.querySelector('#invalidate .message').textContent.includes('the others follow')",
    );
    let pending =
        "return document.querySelector('[data-metric=\"cache_pending_invalidations\"]').textContent";
    browser.wait("one is pending", &format!("{pending} === '1'"));

    server.restart();
    wait_until(
        Duration::from_secs(30),
        "the page says that Redis is back",
        async || {
            n += 1;
            world.load(n, "user:1").await;
            browser.text("#health-status") == "Healthy" && browser.text("#breaker") == "Connected"
        },
    )
    .await;
    browser.wait("none is pending", &format!("{pending} === '0'"));
    world.assert_no_complaints();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warmer_is_run_and_its_report_is_shown() {
    let cache = Cache::builder("shop").build().unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let opened = gate.clone();
    let warmer = Warmer::new("top-users", move |mut run| {
        let gate = opened.clone();
        async move {
            gate.acquire().await.map(SemaphorePermit::forget)?;
            let cache = run.cache().clone();
            let load = move |n| {
                let cache = cache.clone();
                async move { load(&cache, n, "all").await }
            };
            run.each(0..2, load.clone()).await;
            gate.acquire().await.map(SemaphorePermit::forget)?;
            Ok::<_, AcquireError>(run.each(2..3, load).await)
        }
    });
    cache.add_warmer(warmer.at_start(false)).unwrap();
    let world = World::with(vec![cache]).await;
    let browser = &world.browser;
    world.watch();
    assert!(browser.text("#warmers").contains("Not yet"));
    browser.click("#warmers button");
    browser.wait(
        "runs",
        "return document.querySelector('#warmers').textContent.includes('Running')",
    );
    assert!(
        browser.script(
            "return document.querySelector('#warmers button').disabled",
            json!([])
        ) == true
    );
    gate.add_permits(1);
    browser.wait(
        "progress",
        "return document.querySelector('#warmers').textContent.includes('Running, 100 %')",
    );
    gate.add_permits(1);
    browser.wait(
        "done",
        "return document.querySelector('#warmers').textContent.includes('Done in')",
    );
    assert!(
        browser
            .text("#warmers")
            .contains("Loaded: 3, Skipped: 0, Failed: 0"),
        "{}",
        browser.text("#warmers")
    );
    assert!(world.load(2, "all").await.is_hit());
    world.assert_no_complaints();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_may_not_do_is_said_and_not_offered() {
    let world = World::in_memory().await;
    let browser = &world.browser;
    let disabled = |form: &str| {
        browser.script(
            &format!("return document.querySelector('#{form} button').disabled"),
            json!([]),
        ) == true
    };
    world.sign_in(READER);
    world.after_a_reading();
    assert!(disabled("invalidate") && disabled("clear") && !disabled("lookup"));
    assert!(browser.text("#invalidate").contains("has not the scope write"));
    browser.click("#sign-out");
    world.sign_in(WRITER);
    assert!(browser.sees("#no-read") && !browser.sees("#readings"));
    assert!(!disabled("invalidate") && disabled("lookup") && disabled("clear"));
    world.assert_no_complaints();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_have_a_chart_where_there_is_an_http_layer() {
    let caches = ["shop", "pages"].map(|name| Cache::builder(name).build().unwrap());
    let page = || async { ([("cache-control", "max-age=60")], "page") };
    let app: Router = Router::new()
        .route("/page", get(page))
        .layer(CacheLayer::new(caches[1].clone()));
    let world = World::with(caches.into()).await;
    let browser = &world.browser;
    world.watch();
    assert!(!browser.sees("#http"));
    let choose = "const it = document.getElementById('cache');
         it.value = arguments[0]; it.dispatchEvent(new Event('change'))";
    browser.script(choose, json!(["pages"]));
    world.after_a_reading();
    assert!(browser.sees("#http"));
    assert!(
        browser
            .text("#http")
            .contains("No requests in the last five minutes")
    );
    let told = "return document.getElementById('chart-http').getAttribute('aria-label').startsWith('Now: ')";
    wait_until(Duration::from_secs(30), "requests are told of", async || {
        let request = http::Request::get("/page").header("host", "h");
        let request = request.body(axum::body::Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        browser.script(told, json!([])) == true
    })
    .await;
    let widths = "return [document.querySelector('#chart-http canvas').clientWidth, document.getElementById('http').clientWidth]";
    let widths: Vec<f64> = serde_json::from_value(browser.script(widths, json!([]))).unwrap();
    assert!(
        widths[0] > 0.9 * widths[1],
        "the chart is as wide as its place: {widths:?}"
    );
    browser.script(choose, json!(["shop"]));
    world.after_a_reading();
    assert!(!browser.sees("#http"));
    world.assert_no_complaints();
}

/// Nothing is cut off or has to be dragged into sight, and every button can be hit.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_fits_screens_of_every_width() {
    let server = RedisServer::start();
    let world = World::on(&server).await;
    let cache = world.cache();
    let name = "a-name-that-is-as-long-as-names-of-warmers-may-be-in-big-service";
    cache.add_warmer(Warmer::new(name, |_| async {})).unwrap();
    for n in 0..20 {
        world
            .load(n, &format!("{}{n}", "tag-of-some-length:".repeat(8)))
            .await;
    }
    let browser = &world.browser;
    world.watch();
    browser.click("#all summary");
    browser.script("document.getElementById('doctor').click()", json!([]));
    world.after_a_reading();
    for width in [320, 390, 720, 820, 1_100, 1_280, 1_920] {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        browser.devtools("Emulation.setDeviceMetricsOverride", size);
        world.after_a_reading();
        let wide = "return [...document.querySelectorAll('body *')]
             .filter((it) => it.checkVisibility() && it.getBoundingClientRect().right > innerWidth + 1 && !it.closest('.sr, .bars'))
             .map((it) => `${it.tagName}#${it.id}.${it.className}`)";
        assert_eq!(browser.script(wide, json!([])), json!([]), "{width}");
    }
    world.assert_no_complaints();
}
