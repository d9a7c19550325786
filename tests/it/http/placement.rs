//! Where the layer can stand: on routers, routes and bare services.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::extract::Path;
use axum::routing::get;
use axum::{Router, response::IntoResponse};
use bytes::Bytes;
use cache_core::Cache;
use cache_tower::{CacheLayer, CachePolicy};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{ServiceBuilder, ServiceExt};
use tower_layer::Layer;
use tower_service::Service;

fn layer() -> CacheLayer {
    CacheLayer::new(Cache::builder("app").build().unwrap())
}

fn counted() -> (
    Arc<AtomicUsize>,
    impl Fn() -> String + Clone + Send + Sync + 'static,
) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    (calls, move || {
        (counted.fetch_add(1, Ordering::SeqCst) + 1).to_string()
    })
}

fn fresh(body: String) -> impl IntoResponse {
    ([("cache-control", "max-age=60")], body)
}

async fn body(app: &Router, path: &str) -> String {
    let request = Request::get(path)
        .header("host", "h")
        .body(Body::empty())
        .unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn check(app: Router, calls: &AtomicUsize) {
    assert_eq!(body(&app, "/a").await, "1");
    assert_eq!(body(&app, "/a").await, "1");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

/// H7.1
#[tokio::test]
async fn it_stands_on_routers_routes_methods_and_fallbacks() {
    let (calls, next) = counted();
    check(
        Router::new()
            .route("/a", get(async move || fresh(next())))
            .layer(layer()),
        &calls,
    )
    .await;
    let (calls, next) = counted();
    check(
        Router::new()
            .route("/a", get(async move || fresh(next())))
            .route_layer(layer()),
        &calls,
    )
    .await;
    let (calls, next) = counted();
    check(
        Router::new().route("/a", get(async move || fresh(next())).layer(layer())),
        &calls,
    )
    .await;
    let (calls, next) = counted();
    check(
        Router::new().fallback(async move || fresh(next())).layer(layer()),
        &calls,
    )
    .await;
    let (calls, next) = counted();
    let app = Router::new().route("/a", get(async move || fresh(next())));
    check(Router::new().fallback_service(layer().layer(app)), &calls).await;
}

/// H3.1, H7.1
#[tokio::test]
async fn nested_routers_do_not_share_a_key() {
    let layer = layer();
    let part = |name: &'static str| {
        Router::new()
            .route(
                "/{id}",
                get(async move |Path(id): Path<String>| fresh(format!("{name} {id}"))),
            )
            .layer(layer.clone())
    };
    let app = Router::new()
        .nest("/users", part("user"))
        .nest("/groups", part("group"));
    for _ in 0..2 {
        assert_eq!(body(&app, "/users/1").await, "user 1");
        assert_eq!(body(&app, "/groups/1").await, "group 1");
    }
}

/// H7.2
#[tokio::test]
async fn a_handler_returns_its_policy_as_a_part_of_its_response() {
    let (calls, next) = counted();
    let handler = async move || {
        (
            CachePolicy::new().ttl(std::time::Duration::from_secs(5)).tag("t"),
            next(),
        )
    };
    check(Router::new().route("/a", get(handler)).layer(layer()), &calls).await;
}

/// H7.1
#[tokio::test]
async fn it_stands_around_a_bare_service_with_bodies_of_its_own() {
    /// A body that is neither `Sync` nor made of `Bytes`.
    struct Cellular(std::cell::Cell<Option<&'static [u8]>>);
    impl http_body::Body for Cellular {
        type Data = std::collections::VecDeque<u8>;
        type Error = std::io::Error;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
            let data = self
                .0
                .take()
                .map(|data| Ok(http_body::Frame::data(data.iter().copied().collect())));
            std::task::Poll::Ready(data)
        }
    }
    let (calls, next) = counted();
    let inner = tower::service_fn(move |_: Request<Full<Bytes>>| {
        next();
        let response = Response::builder().header("cache-control", "max-age=60");
        let body = Cellular(std::cell::Cell::new(Some(b"hello")));
        std::future::ready(Ok::<_, std::io::Error>(response.body(body).unwrap()))
    });
    let mut service = layer().layer(inner);
    for _ in 0..2 {
        let request = Request::get("http://h/").body(Full::default()).unwrap();
        let response = service.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

/// H7.1
#[tokio::test]
async fn readiness_reaches_the_instance_that_is_called() {
    let (calls, next) = counted();
    let inner = tower::service_fn(move |_: Request<Body>| {
        let response = Response::builder().header("cache-control", "no-store");
        std::future::ready(Ok::<_, Infallible>(response.body(Body::from(next())).unwrap()))
    });
    // A `ConcurrencyLimit` panics when an instance is called that was not polled ready.
    let service = ServiceBuilder::new()
        .layer(layer())
        .concurrency_limit(1)
        .service(inner);
    let buffered = ServiceBuilder::new().buffer(8).service(service);
    let requests = (0..20).map(|_| {
        let request = Request::get("http://h/").body(Body::empty()).unwrap();
        tokio::spawn(buffered.clone().oneshot(request))
    });
    for answer in requests.collect::<Vec<_>>() {
        let response = answer.await.unwrap().unwrap();
        response.into_body().collect().await.unwrap();
    }
    assert_eq!(calls.load(Ordering::SeqCst), 20);
}

/// H7.1
#[tokio::test]
async fn the_inner_services_errors_pass_as_they_are() {
    #[derive(Debug, PartialEq)]
    struct Own(u8);
    let inner = tower::service_fn(|_: Request<Body>| std::future::ready(Err::<Response<Body>, _>(Own(7))));
    let request = Request::get("http://h/").body(Body::empty()).unwrap();
    assert_eq!(layer().layer(inner).oneshot(request).await.unwrap_err(), Own(7));
}

/// H7.1, H1.8: the bodies and services of gRPC servers: boxed, not `Sync`, with trailers.
#[tokio::test]
async fn it_stands_around_boxed_services_whose_responses_end_in_trailers() {
    type Boxed = http_body_util::combinators::UnsyncBoxBody<Bytes, cache_tower::BoxError>;
    let (calls, next) = counted();
    let inner = tower::service_fn(move |request: Request<Boxed>| {
        next();
        async move {
            let content = request.into_body().collect().await?.to_bytes();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            let body = Full::new(content)
                .with_trailers(std::future::ready(Some(Ok(trailers))))
                .map_err(|never: Infallible| match never {})
                .boxed_unsync();
            let response = Response::builder().header("cache-control", "max-age=60");
            Ok::<_, cache_tower::BoxError>(response.body(Boxed::new(body)).unwrap())
        }
    });
    let inner = tower::util::BoxCloneService::new(inner);
    let service = tower::util::BoxCloneService::new(layer().layer(inner));
    for (method, content) in [("POST", "hello"), ("POST", "hello"), ("GET", ""), ("GET", "")] {
        let body = Full::new(Bytes::from_static(content.as_bytes()))
            .map_err(|never: Infallible| match never {})
            .boxed_unsync();
        let request = Request::builder()
            .method(method)
            .uri("http://h/service/Method")
            .body(body);
        let response = service.clone().oneshot(request.unwrap()).await.unwrap();
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(body.to_bytes(), content);
    }
    assert_eq!(
        calls.load(Ordering::SeqCst),
        4,
        "a response with trailers is not stored"
    );
}

/// H7.1
#[test]
fn futures_and_services_are_send() {
    fn is_send<T: Send>(_: T) {}
    fn is_clone_and_sync<T: Clone + Send + Sync + 'static>(_: &T) {}
    let inner = tower::service_fn(|_: Request<Body>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(Body::empty())))
    });
    let mut service = layer().layer(inner);
    is_clone_and_sync(&service);
    is_send(service.call(Request::new(Body::empty())));
}
