//! A client, a cache and an origin that says what it is told to.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use cache_core::testing::ManualClock;
use cache_core::{Cache, Redis};
use cache_tower::policy::HttpCachePolicy;
use cache_tower::{CacheBody, CacheConfig, CacheLayer, CacheOutcome, CacheService};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use support::RedisServer;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;
use tower_layer::Layer;

pub(crate) type Inner = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Everything around one cache.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) cache: Cache,
    pub(crate) clock: ManualClock,
    pub(crate) layer: CacheLayer,
    pub(crate) service: CacheService<Inner>,
    origin: Arc<Mutex<Origin>>,
}

struct Origin {
    status: u16,
    fields: Vec<String>,
    seen: Vec<Parts>,
}

/// A response as the client got it.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) outcome: CacheOutcome,
}

impl World {
    pub(crate) fn safe() -> Self {
        Self::with(CacheConfig::default())
    }

    pub(crate) fn rfc9111() -> Self {
        Self::with(CacheConfig::new(HttpCachePolicy::rfc9111()))
    }

    /// Bodies tell the number of the request that they answer: `1`, `2`, ..
    pub(crate) fn with(config: CacheConfig) -> Self {
        let origin = Arc::new(Mutex::new(Origin {
            status: 200,
            fields: Vec::new(),
            seen: Vec::new(),
        }));
        let answering = origin.clone();
        Self::around(config, origin, move |request: Request<Body>| {
            std::future::ready(answering.lock().unwrap().answer(request))
        })
    }

    /// A world whose origin is `handler`; `seen` stays empty.
    pub(crate) fn of<F, R>(config: CacheConfig, handler: F) -> Self
    where
        F: Fn(Request<Body>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        let unused = Origin {
            status: 200,
            fields: Vec::new(),
            seen: Vec::new(),
        };
        Self::around(config, Arc::new(Mutex::new(unused)), handler)
    }

    fn around<F, R>(config: CacheConfig, origin: Arc<Mutex<Origin>>, handler: F) -> Self
    where
        F: Fn(Request<Body>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        let clock = ManualClock::new();
        let cache = Cache::builder("http").clock(clock.clone()).build().unwrap();
        Self::in_cache(cache, clock, config, origin, handler)
    }

    /// One node of several: its own in-process tier, the Redis of all.
    pub(crate) fn node<F, R>(redis: &RedisServer, config: CacheConfig, handler: F) -> Self
    where
        F: Fn(Request<Body>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        let unused = Origin {
            status: 200,
            fields: Vec::new(),
            seen: Vec::new(),
        };
        let cache = Cache::builder("http")
            .memory_bytes(1 << 30)
            .redis(Redis::from_url(&redis.url()).unwrap())
            .build()
            .unwrap();
        Self::in_cache(
            cache,
            ManualClock::new(),
            config,
            Arc::new(Mutex::new(unused)),
            handler,
        )
    }

    fn in_cache<F, R>(
        cache: Cache,
        clock: ManualClock,
        config: CacheConfig,
        origin: Arc<Mutex<Origin>>,
        handler: F,
    ) -> Self
    where
        F: Fn(Request<Body>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        let layer = CacheLayer::with_config(cache.clone(), config).unwrap();
        let inner = tower::service_fn(move |request| {
            let answer = handler(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        Self {
            service: layer.layer(BoxCloneSyncService::new(inner)),
            cache,
            clock,
            layer,
            origin,
        }
    }

    /// What the origin says from now on.
    pub(crate) fn says(&self, status: u16, fields: &[&str]) -> &Self {
        let mut origin = self.origin.lock().unwrap();
        origin.status = status;
        origin.fields = fields.iter().map(ToString::to_string).collect();
        self
    }

    /// How many requests reached the origin.
    pub(crate) fn calls(&self) -> usize {
        self.origin.lock().unwrap().seen.len()
    }

    /// The fields of the last request that reached the origin.
    pub(crate) fn last_seen(&self) -> HeaderMap {
        self.origin.lock().unwrap().seen.last().unwrap().headers.clone()
    }

    pub(crate) fn wait(&self, seconds: u64) -> &Self {
        self.clock.advance(Duration::from_secs(seconds));
        self
    }

    pub(crate) async fn get(&self, path: &str, fields: &[&str]) -> Got {
        self.send("GET", path, fields).await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, fields: &[&str]) -> Got {
        Got::of(self.start(method, path, fields).await).await
    }

    /// The response with its body still to come.
    pub(crate) async fn start(&self, method: &str, path: &str, fields: &[&str]) -> Response<CacheBody<Body>> {
        let request = request(method, path, fields);
        self.service.clone().oneshot(request).await.unwrap()
    }
}

impl Origin {
    fn answer(&mut self, request: Request<Body>) -> Response<Body> {
        self.seen.push(request.into_parts().0);
        let status = StatusCode::from_u16(self.status).unwrap();
        let body = if status == StatusCode::NOT_MODIFIED {
            Body::empty()
        } else {
            Body::from(self.seen.len().to_string())
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = header_map(self.fields.iter().map(String::as_str));
        response
    }
}

impl Got {
    pub(crate) async fn of<B>(response: Response<CacheBody<B>>) -> Self
    where
        B: http_body::Body,
        B::Error: Into<cache_tower::BoxError>,
    {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8_lossy(&bytes).into_owned(),
            outcome: *parts.extensions.get::<CacheOutcome>().unwrap(),
        }
    }

    /// All lines of a field, joined.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let lines: Vec<_> = self
            .headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }
}

pub(crate) fn request(method: &str, path: &str, fields: &[&str]) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
    *request.uri_mut() = path.parse().unwrap();
    *request.headers_mut() = header_map(fields.iter().copied());
    if !request.headers().contains_key("host") {
        let host = request
            .uri()
            .authority()
            .map_or("h", |authority| authority.as_str())
            .to_owned();
        request.headers_mut().insert("host", host.parse().unwrap());
    }
    request
}

/// `name: value` lines.
pub(crate) fn header_map<'a>(lines: impl IntoIterator<Item = &'a str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        headers.append(name.parse::<HeaderName>().unwrap(), value.trim().parse().unwrap());
    }
    headers
}

/// Lets everything that can run now, run.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
