//! Bodies on their way: to the client at once, into the store at the end, or not at all.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use bytes::Bytes;
use cache_tower::CacheConfig;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};

use super::world::{Got, World, header_map, settle};

/// An origin whose bodies are written by the test.
struct Written {
    world: World,
    bodies: Arc<Mutex<Vec<Sender<Bytes, std::io::Error>>>>,
}

impl Written {
    fn new(config: CacheConfig, fields: &'static [&'static str]) -> Self {
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let writers = bodies.clone();
        let world = World::of(config, move |_: Request<Body>| {
            let (sender, channel) = Channel::new(64);
            writers.lock().unwrap().push(sender);
            let mut response = Response::new(Body::new(channel));
            *response.headers_mut() = header_map(fields.iter().copied());
            std::future::ready(response)
        });
        Self { world, bodies }
    }

    fn calls(&self) -> usize {
        self.bodies.lock().unwrap().len()
    }

    async fn write(&self, text: &'static str) {
        let mut body = self.bodies.lock().unwrap().pop().unwrap();
        body.send_data(Bytes::from_static(text.as_bytes())).await.unwrap();
        self.bodies.lock().unwrap().push(body);
    }

    fn end(&self) {
        drop(self.bodies.lock().unwrap().pop());
    }

    fn abort(&self) {
        let body = self.bodies.lock().unwrap().pop().unwrap();
        body.abort(std::io::Error::other("the origin died"));
    }
}

async fn next(response: &mut Response<cache_tower::CacheBody<Body>>) -> String {
    let frame = response.body_mut().frame().await.unwrap().unwrap();
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}

const FRESH: &[&str] = &["cache-control: max-age=60"];
const FRESH_6: &[&str] = &["cache-control: max-age=60", "content-length: 6"];

fn small() -> CacheConfig {
    CacheConfig {
        body_limit: 8,
        ..CacheConfig::default()
    }
}

/// H5.4
#[tokio::test]
async fn a_miss_streams_and_is_stored_at_its_end() {
    let origin = Written::new(CacheConfig::default(), FRESH);
    let mut response = origin.world.start("GET", "/", &[]).await;
    origin.write("abc").await;
    assert_eq!(next(&mut response).await, "abc", "before the rest has come");
    assert_eq!(origin.world.cache.stats().entries, 0);
    origin.write("def").await;
    origin.end();
    assert_eq!(next(&mut response).await, "def");
    assert!(response.body_mut().frame().await.is_none());
    settle().await;
    let got = origin.world.get("/", &[]).await;
    assert_eq!((&*got.body, got.field("age").is_some()), ("abcdef", true));
}

/// H5.3
#[tokio::test]
async fn a_client_that_does_not_read_or_leaves_does_not_keep_it_from_being_stored() {
    for leaves in [false, true] {
        let origin = Written::new(CacheConfig::default(), FRESH);
        let response = origin.world.start("GET", "/", &[]).await;
        origin.write("abc").await;
        let held = if leaves {
            drop(response);
            None
        } else {
            Some(response)
        };
        origin.write("def").await;
        origin.end();
        settle().await;
        assert_eq!(origin.world.get("/", &[]).await.body, "abcdef");
        if let Some(response) = held {
            assert_eq!(Got::of(response).await.body, "abcdef");
        }
    }
}

/// H5.4
#[tokio::test]
async fn followers_stream_with_a_body_of_known_length_and_wait_for_others() {
    let origin = Written::new(CacheConfig::default(), FRESH_6);
    let first = origin.world.start("GET", "/", &[]).await;
    origin.write("abc").await;
    let mut second = origin.world.start("GET", "/", &[]).await;
    assert_eq!(
        next(&mut second).await,
        "abc",
        "from the beginning, before the end"
    );
    origin.write("def").await;
    origin.end();
    assert_eq!(next(&mut second).await, "def");
    assert_eq!(Got::of(first).await.body, "abcdef");
    assert_eq!(origin.world.get("/", &[]).await.body, "abcdef");

    let origin = Written::new(CacheConfig::default(), FRESH);
    let first = origin.world.start("GET", "/", &[]).await;
    let world = origin.world.clone();
    let second = tokio::spawn(async move { world.get("/", &[]).await.body });
    settle().await;
    assert_eq!((origin.calls(), second.is_finished()), (1, false));
    origin.write("abc").await;
    origin.end();
    assert_eq!(second.await.unwrap(), "abc");
    assert_eq!(Got::of(first).await.body, "abc");
}

/// H5.4
#[tokio::test]
async fn beyond_the_limit_a_body_streams_through_and_waiters_go_alone() {
    let origin = Written::new(small(), FRESH);
    let mut first = origin.world.start("GET", "/", &[]).await;
    let world = origin.world.clone();
    let second = tokio::spawn(async move { world.start("GET", "/", &[]).await });
    settle().await;
    assert_eq!(origin.calls(), 1);
    origin.write("abcdef").await;
    origin.write("ghijkl").await;
    settle().await;
    assert_eq!(origin.calls(), 2, "the waiter asks for its own");
    drop(second.await.unwrap());
    origin.end();
    assert_eq!(next(&mut first).await, "abcdef");
    assert_eq!(next(&mut first).await, "ghijkl");
    origin.write("mno").await;
    assert_eq!(next(&mut first).await, "mno");
    origin.end();
    assert!(first.body_mut().frame().await.is_none());
    assert_eq!(origin.world.cache.stats().entries, 0);
}

/// H1.8
#[tokio::test]
async fn a_body_announced_as_too_large_is_not_touched() {
    let origin = Written::new(small(), &["cache-control: max-age=60", "content-length: 9"]);
    let mut response = origin.world.start("GET", "/", &[]).await;
    assert_eq!(
        response
            .extensions()
            .get::<cache_tower::CacheOutcome>()
            .unwrap()
            .detail,
        Some("body-too-large")
    );
    origin.write("abcdefghi").await;
    origin.end();
    assert_eq!(next(&mut response).await, "abcdefghi");
    settle().await;
    assert_eq!(origin.world.cache.stats().entries, 0);
}

/// H1.8
#[tokio::test]
async fn a_body_that_breaks_or_is_short_is_not_stored_and_its_readers_learn_of_it() {
    for breaks in [true, false] {
        let origin = Written::new(CacheConfig::default(), FRESH_6);
        let first = origin.world.start("GET", "/", &[]).await;
        origin.write("abc").await;
        let second = origin.world.start("GET", "/", &[]).await;
        if breaks {
            origin.abort();
        } else {
            origin.end();
        }
        for response in [first, second] {
            let error = response.into_body().collect().await.unwrap_err();
            let expected = if breaks { "died" } else { "3 bytes instead" };
            assert!(error.to_string().contains(expected), "{error}");
        }
        settle().await;
        assert_eq!(origin.world.cache.stats().entries, 0);
        assert_eq!(origin.world.layer.requests_in_flight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_handed_to_its_client_after_a_while() {
    let origin = Written::new(CacheConfig::default(), FRESH);
    let mut response = origin.world.start("GET", "/", &[]).await;
    origin.write("abc").await;
    assert_eq!(next(&mut response).await, "abc");
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    settle().await;
    origin.write("def").await;
    assert_eq!(next(&mut response).await, "def");
    origin.end();
    assert!(response.body_mut().frame().await.is_none());
    assert_eq!(origin.world.cache.stats().entries, 0);
}

/// H5.5
#[tokio::test]
async fn a_hit_shares_the_stored_bytes() {
    let body = "x".repeat(100_000);
    let world = World::of(CacheConfig::default(), move |_| {
        let mut response = Response::new(Body::from(body.clone()));
        *response.headers_mut() = header_map(FRESH.iter().copied());
        std::future::ready(response)
    });
    world.get("/", &[]).await;
    let mut places = Vec::new();
    for _ in 0..2 {
        let mut response = world.start("GET", "/", &[]).await;
        let data = response
            .body_mut()
            .frame()
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap();
        assert_eq!(data.len(), 100_000);
        places.push(data.as_ptr());
    }
    assert_eq!(places[0], places[1], "no copy");
}
