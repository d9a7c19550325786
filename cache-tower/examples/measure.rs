use axum::{Router, body::Body, routing::get};
use cache_core::Cache;
use cache_tower::*;
use http::Request;
use http_body::Body as _;
use std::time::Instant;
use tower::ServiceExt;
async fn handler() -> ([(&'static str, &'static str); 3], Vec<u8>) {
    (
        [
            ("content-type", "application/json"),
            ("cache-control", "max-age=600"),
            ("etag", "\"abc\""),
        ],
        vec![b'x'; 1024],
    )
}
async fn run(app: &Router, n: u32) -> f64 {
    let t = Instant::now();
    for _ in 0..n {
        let req = Request::get("/quotes/GOOG?x=1")
            .header("host", "example.com")
            .header("user-agent", "curl/8")
            .header("accept", "*/*")
            .body(Body::empty())
            .unwrap();
        let res = app.clone().oneshot(req).await.unwrap();
        let mut body = std::pin::pin!(res.into_body());
        while let Some(f) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            std::hint::black_box(f.unwrap());
        }
    }
    t.elapsed().as_nanos() as f64 / f64::from(n)
}
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let cache = Cache::builder("a").build().unwrap();
    let bare = Router::new().route("/quotes/{s}", get(handler));
    let inside = Router::new()
        .route("/quotes/{s}", get(handler))
        .layer(CacheLayer::new(cache.clone()));
    let outside =
        Router::new().fallback_service(tower_layer::Layer::layer(&CacheLayer::new(cache), bare.clone()));
    let mut r = vec![vec![]; 3];
    for _ in 0..9 {
        if std::env::var("ONLY").is_ok() {
            run(&inside, 300_000).await;
            continue;
        }
        for (i, a) in [&bare, &inside, &outside].iter().enumerate() {
            r[i].push(run(a, 30_000).await);
        }
    }
    if r[0].is_empty() {
        return;
    }
    for v in &mut r {
        v.sort_by(f64::total_cmp);
    }
    println!(
        "bare {:.0} inside {:.0} ({:.2}) outside-in-router {:.0} ({:.2})",
        r[0][4],
        r[1][4],
        r[1][4] / r[0][4],
        r[2][4],
        r[2][4] / r[0][4]
    );
}
