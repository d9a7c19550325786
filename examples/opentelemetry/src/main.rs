//! Metrics and spans of a cache in OpenTelemetry, sent to a collector by OTLP over HTTP.
//!
//! ```text
//! docker run -p 4318:4318 otel/opentelemetry-collector:latest
//! cargo run --release --bin opentelemetry
//! ```
//!
//! * **Metrics**: the cache tells the `metrics` facade, and [`recorder`] passes that on to an OpenTelemetry meter.
//! * **Spans**: the cache's `tracing` spans, `cache_load` for each load, go through `tracing-opentelemetry`.
//!
//! Where to send is said by the variables that OpenTelemetry has for it: `OTEL_EXPORTER_OTLP_ENDPOINT`,
//! `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_METRIC_EXPORT_INTERVAL`, `OTEL_RESOURCE_ATTRIBUTES`.

mod recorder;

use std::time::Duration;

use cache_core::time::{minutes, seconds};
use cache_core::{Cache, CacheKey};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{MetricExporter, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

type Failure = Box<dyn std::error::Error + Send + Sync>;

// The exporters have threads of their own, and a client that must not be built within a runtime.
fn main() -> Result<(), Failure> {
    let telemetry = Telemetry::start()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let worked = runtime.block_on(work());
    // What was measured last is sent now; the next interval may never come.
    telemetry.stop()?;
    worked
}

/// A service that looks up profiles.
async fn work() -> Result<(), Failure> {
    let cache = Cache::builder("profiles").build()?;
    for n in 0..100_u32 {
        let key = CacheKey::build("profile", n % 10)?;
        let load = move |_| async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok::<_, std::io::Error>(format!("user {n}"))
        };
        cache.get_or_load(&key, minutes(5), load).await?;
    }
    println!(
        "{} hits, {} loads",
        cache.stats().counters.hits(),
        cache.stats().counters.loads_ok
    );
    // Told once a second by itself; at the end at once.
    cache.publish_metrics();
    cache.close(seconds(5)).await?;
    Ok(())
}

struct Telemetry {
    meters: SdkMeterProvider,
    tracers: SdkTracerProvider,
}

impl Telemetry {
    fn start() -> Result<Self, Failure> {
        let resource = Resource::builder().with_service_name("profiles").build();
        let exporter = MetricExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpJson)
            .build()?;
        let meters = SdkMeterProvider::builder()
            .with_reader(PeriodicReader::builder(exporter).build())
            .with_resource(resource.clone())
            .build();
        metrics::set_global_recorder(recorder::Bridge::new(meters.meter("cache")))?;

        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpJson)
            .build()?;
        let tracers = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        let spans = tracing_opentelemetry::layer().with_tracer(tracers.tracer("cache"));
        // Of the exporter's own client no spans, or each export would make the next.
        let ours = Targets::new()
            .with_target("cache_core", tracing::Level::DEBUG)
            .with_target("cache_tower", tracing::Level::DEBUG)
            .with_target("opentelemetry", tracing::Level::INFO);
        tracing_subscriber::registry().with(ours).with(spans).try_init()?;
        Ok(Self { meters, tracers })
    }

    fn stop(self) -> Result<(), Failure> {
        let (metrics, spans) = (self.meters.shutdown(), self.tracers.shutdown());
        metrics?;
        Ok(spans?)
    }
}
