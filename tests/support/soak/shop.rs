//! An HTTP service with a cached function and cached responses, as a process of its own.
//!
//! `soak shop URL` prints `listening PORT`, and answers until its input ends:
//!
//! | request | answer |
//! |---|---|
//! | `GET /item/N` | `item N`, by a cached load of 5 ms |
//! | `GET /page/N` | `page N`, by a handler of 5 ms behind the HTTP cache |
//! | `GET /shares` | `yes` if Redis takes a value now, else `no` |
//! | `GET /loader` | the 99th percentile of the loads so far, in microseconds; then their number, and that of the runtime's tasks |

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::get;
use cache_core::time::seconds;
use cache_core::{Cache, EntryOptions, Redis, Stored};
use cache_tower::CacheLayer;
use tokio::io::AsyncReadExt;

use super::fleet::key;
use super::histogram::Histogram;
use super::resources::tasks;
use crate::clock::Stopwatch;
use crate::hearing::hears;

#[derive(Clone)]
struct Shop {
    cache: Cache,
    loads: Arc<Histogram>,
}

/// Serves until its input ends.
///
/// # Panics
/// When it cannot listen or does not reach Redis at first.
pub async fn serve(url: &str) {
    let redis = Redis::from_url(url).unwrap();
    let cache = Cache::builder("shop").redis(redis).build().unwrap();
    hears(&cache).await;
    let shop = Shop {
        cache: cache.clone(),
        loads: Arc::default(),
    };
    let pages = Router::new()
        .route("/page/{n}", get(page))
        .layer(CacheLayer::new(cache));
    let app = Router::new()
        .route("/item/{n}", get(item))
        .route("/shares", get(shares))
        .route("/loader", get(loader))
        .merge(pages)
        .with_state(shop);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    println!("listening {}", listener.local_addr().unwrap().port());
    let closed = async {
        let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    };
    tokio::select! {
        served = axum::serve(listener, app) => served.unwrap(),
        () = closed => {}
    }
}

async fn item(State(shop): State<Shop>, Path(n): Path<u64>) -> Result<String, String> {
    let loads = shop.loads.clone();
    let options = EntryOptions::ttl(FRESH).stale_for(seconds(0));
    let key = key(n);
    let item = shop.cache.get_or_load(&key, options, move |_| async move {
        Ok::<_, std::io::Error>(load("item", n, &loads).await)
    });
    item.await
        .map(|item| item.to_string())
        .map_err(|error| error.to_string())
}

async fn page(State(shop): State<Shop>, Path(n): Path<u64>) -> impl IntoResponse {
    let fresh = format!("max-age={}", FRESH.as_secs());
    ([("cache-control", fresh)], load("page", n, &shop.loads).await)
}

async fn load(what: &str, n: u64, loads: &Histogram) -> String {
    let began = Stopwatch::start();
    tokio::time::sleep(Duration::from_millis(5)).await;
    loads.note(began.elapsed());
    format!("{what} {n}")
}

async fn shares(State(shop): State<Shop>) -> &'static str {
    let probe = key(u64::MAX - u64::from(std::process::id()));
    match shop.cache.set(&probe, 1_u64, seconds(60)).await {
        Ok(Stored::Yes) => "yes",
        _ => "no",
    }
}

async fn loader(State(shop): State<Shop>) -> String {
    let p99 = shop.loads.at(0.99).as_micros();
    format!("{p99} {} {}", shop.loads.count(), tasks())
}

/// Short, so that Redis is asked often.
const FRESH: Duration = seconds(2);
