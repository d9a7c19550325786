//! A reading of everything once a second, as server-sent events: what the dashboard lives on.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cache_core::Cache;
use cache_core::health::Health;
use cache_core::stats::{SampleValue, Traffic};
use cache_core::warm::WarmerStatus;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body::Frame;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Admin;
use super::body::text_of;
use super::problem::Problem;

pub(super) async fn events(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    let Ok(permit) = admin.streams.clone().try_acquire_owned() else {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_many_streams",
            "as many dashboards are open as this router serves; close one",
        ));
    };
    let mut every = interval(PERIOD);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let events = Events {
        admin,
        every,
        left: EVENTS,
        _permit: permit,
    };
    let mut response = Body::new(events).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // A proxy that collects answers would show the first second after an hour.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// One event per second, for an hour: then the client asks again, and shows its token again.
struct Events {
    admin: Arc<Admin>,
    every: Interval,
    left: u32,
    _permit: OwnedSemaphorePermit,
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        ready!(self.every.poll_tick(context));
        self.left -= 1;
        let event = format!("data: {}\n\n", text_of(&Reading::of(&self.admin)));
        Poll::Ready(Some(Ok(Frame::data(event.into()))))
    }
}

/// What is so at one instant.
#[derive(Serialize)]
struct Reading<'a> {
    caches: Vec<CacheReading<'a>>,
    warmers: Vec<WarmerStatus>,
}

#[derive(Serialize)]
struct CacheReading<'a> {
    name: &'a str,
    /// By series, as Prometheus has them, without the label of the cache.
    series: BTreeMap<String, Value>,
    weighed_in: &'static str,
    health: Health,
    traffic: Traffic,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Value {
    Count(u64),
    Level(f64),
    Times {
        count: u64,
        sum: f64,
        /// Bound in seconds, and how many took at most so long.
        buckets: Vec<(f64, u64)>,
    },
}

impl<'a> Reading<'a> {
    fn of(admin: &'a Admin) -> Self {
        Self {
            caches: admin.caches.iter().map(CacheReading::of).collect(),
            warmers: admin.warmers(),
        }
    }
}

impl<'a> CacheReading<'a> {
    fn of(cache: &'a Cache) -> Self {
        let stats = cache.stats();
        let samples = stats.samples();
        let series = samples
            .iter()
            .filter_map(|sample| Some((series_name(sample.name, &sample.labels), value(&sample.value)?)));
        Self {
            name: cache.name(),
            series: series.collect(),
            weighed_in: stats.weighed_in,
            health: cache.health(),
            traffic: cache.traffic(),
        }
    }
}

fn value(value: &SampleValue) -> Option<Value> {
    match value {
        SampleValue::Count(count) => Some(Value::Count(*count)),
        SampleValue::Level(level) if level.is_nan() => None,
        SampleValue::Level(level) => Some(Value::Level(*level)),
        SampleValue::Times(times) => Some(Value::Times {
            count: times.count(),
            sum: times.sum().as_secs_f64(),
            buckets: times
                .buckets()
                .map(|(bound, below)| (bound.as_secs_f64(), below))
                .collect(),
        }),
        _ => None,
    }
}

/// `cache_hits_total{tier=memory,kind=fresh}`
fn series_name(name: &str, labels: &[(&str, &str)]) -> String {
    let mut text = name.to_owned();
    for (at, (label, value)) in labels.iter().enumerate() {
        let before = if at == 0 { '{' } else { ',' };
        // Writing to a string cannot fail.
        let _ = write!(text, "{before}{label}={value}");
    }
    if !labels.is_empty() {
        text.push('}');
    }
    text
}

const PERIOD: Duration = Duration::from_secs(1);
const EVENTS: u32 = 3_600;
