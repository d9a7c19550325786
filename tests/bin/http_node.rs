//! One node with an HTTP cache as a process of its own, for tests that start several and kill some.
//!
//! `http-node URL`, then orders line by line on standard input, each answered on standard output:
//!
//! | order | answers |
//! |---|---|
//! | `ready` | `ready` once this node hears the log |
//! | `get PATH COUNT` | `run PATH` from each run of the handler, then `got ANSWERS of DIFFERENT` |
//!
//! The handler takes 300 ms, and for `/slow` one second; each of its answers is another one.

#![allow(clippy::unwrap_used, reason = "the tests read what it panics with")]

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::IntoResponse;
use cache_core::{Cache, Redis};
use cache_tower::CacheLayer;
use support::hears;
use tokio::io::{AsyncBufReadExt, BufReader};
use tower::ServiceExt;

#[tokio::main]
async fn main() {
    let url = std::env::args().nth(1).unwrap();
    // A loaded machine is no reason to do without the shared tier.
    let redis = Redis::from_url(&url).unwrap();
    let cache = Cache::builder("http")
        .redis(redis.operation_timeout(Duration::from_secs(5)).unwrap())
        .build()
        .unwrap();
    let app = Router::new()
        .fallback(answer)
        .layer(CacheLayer::new(cache.clone()));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        let (cache, app) = (cache.clone(), app.clone());
        tokio::spawn(async move {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["ready"] => ready(&cache).await,
                ["get", path, count] => get(&app, path, count.parse().unwrap()).await,
                _ => panic!("not an order: {line}"),
            }
        });
    }
}

async fn answer(request: Request) -> impl IntoResponse {
    let path = request.uri().path();
    println!("run {path}");
    let takes = if path == "/slow" { 1_000 } else { 300 };
    tokio::time::sleep(Duration::from_millis(takes)).await;
    let own = format!("{} {}", std::process::id(), rand::random::<u64>());
    ([("cache-control", "max-age=60")], own)
}

async fn ready(cache: &Cache) {
    hears(cache).await;
    println!("ready");
}

async fn get(app: &Router, path: &str, count: usize) {
    let calls: Vec<_> = (0..count)
        .map(|_| {
            let request = Request::get(path)
                .header("host", "h")
                .body(Body::empty())
                .unwrap();
            tokio::spawn(app.clone().oneshot(request))
        })
        .collect();
    let mut bodies = BTreeSet::new();
    let mut answers = 0;
    for call in calls {
        let response = call.await.unwrap().unwrap();
        assert!(response.status().is_success());
        bodies.insert(to_bytes(response.into_body(), 1 << 20).await.unwrap());
        answers += 1;
    }
    println!("got {answers} of {}", bodies.len());
}
