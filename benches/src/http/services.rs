//! The services that are compared: one router, bare and behind each cache, set up as its documentation begins.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use cache_core::Cache;
use cache_tower::{CacheLayer, CacheService};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use tower::util::{MapErrLayer, MapResponseLayer};
use tower::{Layer, Service};

use super::Case;
use super::prepared::{Prepared, PreparedLayer};
use crate::measure::Contender;

pub(crate) const BARE: &str = "bare handler";
pub(crate) const INSIDE: &str = "inside the router";
pub(crate) const OUTSIDE: &str = "around the router";
/// What no cache can undercut.
pub(crate) const COPY_INSIDE: &str = "a copy, inside the router";
pub(crate) const COPY_OUTSIDE: &str = "a copy, around the router";
const AXUM_RESPONSE_CACHE: &str = "axum-response-cache";
const TOWER_HTTP_CACHE: &str = "tower-http-cache";
#[cfg(feature = "peers")]
const HITBOX: &str = "hitbox-tower";
#[cfg(feature = "peers")]
const HTTP_CACHE: &str = "http-cache-tower-server";

pub(crate) const NAMES: &[&str] = &[
    BARE,
    INSIDE,
    OUTSIDE,
    COPY_INSIDE,
    COPY_OUTSIDE,
    AXUM_RESPONSE_CACHE,
    TOWER_HTTP_CACHE,
    #[cfg(feature = "peers")]
    HITBOX,
    #[cfg(feature = "peers")]
    HTTP_CACHE,
];

/// Calls the service in this thread, and reads the body to its end.
pub(crate) fn contender(name: &'static str, case: Case) -> Contender<'static> {
    match name {
        OUTSIDE => calling(name, case, outside()),
        COPY_OUTSIDE => calling(name, case, copy_outside()),
        _ => calling(name, case, router(name)),
    }
}

fn calling<S, B>(name: &'static str, case: Case, service: S) -> Contender<'static>
where
    S: Service<Request, Response = http::Response<B>, Error = Infallible> + Clone + Send + 'static,
    B: http_body::Body + Unpin + Send + 'static,
{
    // A server makes one for each request out of what it has parsed; here the making is part of the measurement, for
    // everybody.
    Contender::new(name, move |n| {
        let mut service = service.clone();
        async move {
            std::future::poll_fn(|context| service.poll_ready(context))
                .await
                .unwrap_or_else(|never| match never {});
            let response = service
                .call(request(case, n))
                .await
                .unwrap_or_else(|never| match never {});
            let mut body = response.into_body();
            let mut length = 0;
            while let Some(Ok(frame)) = body.frame().await {
                length += frame.data_ref().map_or(0, bytes::Buf::remaining);
            }
            length
        }
    })
}

fn request(case: Case, n: usize) -> Request {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = match case {
        Case::Miss => case.path(n).try_into().expect("the path is valid"),
        _ => http::Uri::from_static(fixed_path(case)),
    };
    let fields = request.headers_mut();
    fields.insert(http::header::HOST, HeaderValue::from_static("bench"));
    if case == Case::NotModified {
        fields.insert(IF_NONE_MATCH, TAG);
    }
    request
}

fn fixed_path(case: Case) -> &'static str {
    match case {
        Case::Large => "/large",
        Case::Validated => "/validated",
        Case::Small | Case::NotModified | Case::Miss => "/small",
    }
}

/// Ours outside the router: a hit is answered before routing.
pub(super) fn outside() -> CacheService<Router> {
    our_layer().layer(handlers().with_state(()))
}

/// The same place in front of the router, for one prepared response.
pub(super) fn copy_outside() -> Prepared<Router> {
    PreparedLayer::new().layer(handlers().with_state(()))
}

/// Everything but [`OUTSIDE`] and [`COPY_OUTSIDE`], which are no routers. With its state, as `axum::serve` prepares a router before the first
/// request: without, each request builds its handler's service and its layers anew.
pub(super) fn router(name: &str) -> Router {
    layered(name, handlers()).with_state(())
}

fn layered(name: &str, router: Router) -> Router {
    match name {
        BARE => router,
        INSIDE => router.layer(our_layer()),
        COPY_INSIDE => router.layer(PreparedLayer::new()),
        AXUM_RESPONSE_CACHE => router.layer(axum_response_cache::CacheLayer::with_lifespan(LIFETIME)),
        TOWER_HTTP_CACHE => {
            let backend = tower_http_cache::prelude::InMemoryBackend::new(10_000);
            let layer = tower_http_cache::prelude::CacheLayer::builder(backend)
                .ttl(LIFETIME)
                .max_body_size(Some(256 << 10))
                .build();
            let shareable = MapResponseLayer::new(|response: Response| response.map(Shareable::new));
            router.layer((MapErrLayer::new(never_fails), layer, shareable))
        }
        #[cfg(feature = "peers")]
        HITBOX => {
            use hitbox::policy::PolicyConfig;
            use hitbox_http::extractors::{Method, path::PathExtractor};
            use hitbox_http::predicates::{NeutralRequestPredicate, NeutralResponsePredicate};
            let config = hitbox::Config::builder()
                .request_predicate(NeutralRequestPredicate::new())
                .response_predicate(NeutralResponsePredicate::new())
                .extractor(Method::new().path("/{path}*"))
                .policy(PolicyConfig::builder().ttl(LIFETIME).build())
                .build();
            let layer = hitbox_tower::Cache::builder()
                .backend(hitbox_moka::MokaBackend::builder().max_entries(10_000).build())
                .config(config)
                .build();
            router.layer(layer)
        }
        #[cfg(feature = "peers")]
        HTTP_CACHE => {
            let manager = http_cache::MokaManager::new(http_cache::MokaCache::new(10_000));
            let layer = http_cache_tower_server::ServerCacheLayer::new(manager);
            router.layer((MapErrLayer::new(never_fails), layer))
        }
        other => panic!("there is no service `{other}`"),
    }
}

fn our_layer() -> CacheLayer {
    CacheLayer::new(
        Cache::builder("http")
            .memory_bytes(64 << 20)
            .build()
            .expect("the settings are valid"),
    )
}

fn handlers() -> Router {
    Router::new()
        .route("/small", get(|| async { stored(&SMALL, FRESH) }))
        .route("/large", get(|| async { stored(&LARGE, FRESH) }))
        .route(
            "/miss/{n}",
            get(|_: Path<String>| async { stored(&SMALL, FRESH) }),
        )
        .route("/validated", get(validated))
}

async fn validated(fields: HeaderMap) -> Response {
    if fields.get(IF_NONE_MATCH) == Some(&TAG) {
        return (
            StatusCode::NOT_MODIFIED,
            [(ETAG, TAG), (CACHE_CONTROL, ALWAYS_VALIDATE)],
        )
            .into_response();
    }
    stored(&SMALL, ALWAYS_VALIDATE)
}

fn stored(body: &'static [u8], freshness: HeaderValue) -> Response {
    let fields: [(HeaderName, HeaderValue); 3] = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, freshness),
        (ETAG, TAG),
    ];
    (fields, Bytes::from_static(body)).into_response()
}

/// A handler that cannot fail, behind a layer that could.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands the error over")]
fn never_fails(error: axum::BoxError) -> Infallible {
    panic!("{error}")
}

/// A body for a layer that insists on `Sync`, which axum's is not. It is never shared, so the lock is never taken.
struct Shareable(Mutex<Body>);

impl Shareable {
    fn new(body: Body) -> Self {
        Self(Mutex::new(body))
    }

    fn inner(&mut self) -> &mut Body {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl http_body::Body for Shareable {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        Pin::new(self.inner()).poll_frame(context)
    }
}

pub(super) static SMALL: [u8; 1_024] = [b'x'; 1_024];
static LARGE: [u8; 50 * 1_024] = [b'x'; 50 * 1_024];
pub(super) const FRESH: HeaderValue = HeaderValue::from_static("public, max-age=3600");
const ALWAYS_VALIDATE: HeaderValue = HeaderValue::from_static("no-cache");
pub(super) const TAG: HeaderValue = HeaderValue::from_static("\"v1\"");
const LIFETIME: Duration = Duration::from_secs(3_600);
