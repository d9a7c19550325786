//! Collapsing: one request to the origin for many clients, and never another's response.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use cache_tower::{CacheConfig, OutcomeKind};
use http::{Request, Response};
use tokio::sync::Semaphore;

use super::world::{World, header_map, settle};

/// An origin that answers when it is let, with the number of the call.
struct Gated {
    world: World,
    calls: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Gated {
    fn new(config: CacheConfig, fields: &'static [&'static str]) -> Self {
        let (calls, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (counted, waits) = (calls.clone(), gate.clone());
        let world = World::of(config, move |_: Request<Body>| {
            let (number, waits) = (counted.fetch_add(1, Ordering::SeqCst) + 1, waits.clone());
            async move {
                waits.acquire().await.unwrap().forget();
                let mut response = Response::new(Body::from(number.to_string()));
                *response.headers_mut() = header_map(fields.iter().copied());
                response
            }
        });
        Self { world, calls, gate }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn client(&self, fields: &'static [&'static str]) -> tokio::task::JoinHandle<super::world::Got> {
        let world = self.world.clone();
        tokio::spawn(async move { world.get("/", fields).await })
    }
}

/// H5.1
#[tokio::test]
async fn two_hundred_clients_make_one_request() {
    let origin = Gated::new(CacheConfig::default(), &["cache-control: max-age=60"]);
    let clients: Vec<_> = (0..200).map(|_| origin.client(&[])).collect();
    settle().await;
    assert_eq!(origin.calls(), 1);
    origin.gate.add_permits(1);
    let mut collapsed = 0;
    for client in clients {
        let got = client.await.unwrap();
        assert_eq!(got.body, "1");
        collapsed += usize::from(got.outcome.kind == OutcomeKind::Collapsed);
    }
    assert_eq!((origin.calls(), collapsed), (1, 199));
    assert_eq!(origin.world.layer.requests_in_flight(), 0);
}

/// H6.1: what the origin answered, where that is not what was sent (RFC 9211 §2.3).
#[tokio::test]
async fn a_shared_response_tells_the_status_that_came_from_the_origin() {
    let origin = Gated::new(
        CacheConfig::default(),
        &["cache-control: max-age=60", "etag: \"a\""],
    );
    let first = origin.client(&[]);
    settle().await;
    let (same, holder) = (origin.client(&[]), origin.client(&["if-none-match: \"a\""]));
    settle().await;
    origin.gate.add_permits(1);
    drop(first.await.unwrap());
    let (same, holder) = (same.await.unwrap(), holder.await.unwrap());
    let status = |got: &super::world::Got| got.field("cache-status").unwrap();
    assert_eq!((origin.calls(), same.status, holder.status), (1, 200, 304));
    assert_eq!(status(&same), "cache; fwd=uri-miss; ttl=60; collapsed");
    assert_eq!(
        status(&holder),
        "cache; fwd=uri-miss; fwd-status=200; ttl=60; collapsed"
    );
}

/// H5.1
#[tokio::test]
async fn clients_of_different_variants_share_only_their_own() {
    let origin = Gated::new(
        CacheConfig::default(),
        &["cache-control: max-age=60", "vary: accept"],
    );
    let a: Vec<_> = (0..20).map(|_| origin.client(&["accept: a"])).collect();
    settle().await;
    let b: Vec<_> = (0..20).map(|_| origin.client(&["accept: b"])).collect();
    settle().await;
    assert_eq!(origin.calls(), 1, "nobody knows yet that it varies");
    origin.gate.add_permits(100);
    for client in a {
        assert_eq!(client.await.unwrap().body, "1");
    }
    for client in b {
        assert_eq!(client.await.unwrap().body, "2");
    }
    assert_eq!(origin.calls(), 2);
}

/// H5.2, H1.7
#[tokio::test]
async fn what_may_not_be_shared_is_asked_for_by_each_at_once_and_remembered() {
    for fields in [
        &["cache-control: private, max-age=60"][..],
        &["cache-control: max-age=60", "set-cookie: a=b"],
        &["cache-control: max-age=60", "vary: *"],
        &["cache-control: no-store"],
        &[],
    ] {
        let fields: &'static [&'static str] = fields;
        let origin = Gated::new(CacheConfig::default(), fields);
        let clients: Vec<_> = (0..10).map(|_| origin.client(&[])).collect();
        settle().await;
        assert_eq!(origin.calls(), 1);
        origin.gate.add_permits(1);
        settle().await;
        assert_eq!(
            origin.calls(),
            10,
            "{fields:?}: the others go at once, not one after another"
        );
        origin.gate.add_permits(9);
        let mut bodies = Vec::new();
        for client in clients {
            bodies.push(client.await.unwrap().body);
        }
        bodies.sort();
        bodies.dedup();
        assert_eq!(bodies.len(), 10, "{fields:?}: each has its own");
        let later: Vec<_> = (0..5).map(|_| origin.client(&[])).collect();
        settle().await;
        assert_eq!(
            origin.calls(),
            15,
            "{fields:?}: nobody waits for what was not shareable"
        );
        origin.gate.add_permits(5);
        for client in later {
            let detail = client.await.unwrap().outcome.detail.unwrap();
            assert_ne!(
                detail, "unshareable",
                "{fields:?}: the reason of the response itself"
            );
        }
    }
}

/// H1.5, H5.2
#[tokio::test]
async fn requests_with_credentials_neither_lead_nor_wait() {
    let origin = Gated::new(CacheConfig::default(), &["cache-control: max-age=60"]);
    let clients: Vec<_> = [
        &["authorization: a"][..],
        &["cookie: a"],
        &["authorization: a"],
        &[],
    ]
    .into_iter()
    .map(|fields| origin.client(fields))
    .collect();
    settle().await;
    assert_eq!(origin.calls(), 4);
    origin.gate.add_permits(4);
    for (client, body) in clients.into_iter().zip(["1", "2", "3", "4"]) {
        assert_eq!(client.await.unwrap().body, body);
    }
}

/// H5.3
#[tokio::test]
async fn the_load_goes_on_when_its_client_leaves() {
    let origin = Gated::new(CacheConfig::default(), &["cache-control: max-age=60"]);
    let first = origin.client(&[]);
    settle().await;
    let second = origin.client(&[]);
    settle().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    origin.gate.add_permits(1);
    assert_eq!(second.await.unwrap().body, "1");
    assert_eq!(origin.client(&[]).await.unwrap().body, "1");
    assert_eq!(origin.calls(), 1);
}

/// H5.1
#[tokio::test(start_paused = true)]
async fn waiting_is_bounded() {
    let origin = Gated::new(CacheConfig::default(), &["cache-control: max-age=60"]);
    let first = origin.client(&[]);
    settle().await;
    let second = origin.client(&[]);
    settle().await;
    tokio::time::advance(Duration::from_secs(6)).await;
    settle().await;
    assert_eq!(origin.calls(), 2, "after five seconds it goes alone");
    origin.gate.add_permits(2);
    first.await.unwrap();
    let second = second.await.unwrap();
    assert_eq!(second.outcome.detail, Some("wait-timed-out"));
    // RFC 9211 §2.6: "if not, a new request had to be made".
    assert!(second.field("cache-status").unwrap().contains("; collapsed=?0"));
}

/// H5.1
#[tokio::test]
async fn waiters_are_bounded() {
    let config = CacheConfig {
        max_waiters: 3,
        ..CacheConfig::default()
    };
    let origin = Gated::new(config, &["cache-control: max-age=60"]);
    let clients: Vec<_> = (0..10).map(|_| origin.client(&[])).collect();
    settle().await;
    assert_eq!(origin.calls(), 7, "one leads, three wait");
    origin.gate.add_permits(10);
    for client in clients {
        client.await.unwrap();
    }
}

/// H4.6
#[tokio::test]
async fn a_request_after_an_invalidation_does_not_join_what_began_before() {
    let origin = Gated::new(CacheConfig::default(), &["cache-control: max-age=60"]);
    let before = origin.client(&[]);
    settle().await;
    cache_tower::Purge::new(origin.world.cache.clone())
        .uri("http://h/")
        .await
        .unwrap();
    let after = origin.client(&[]);
    settle().await;
    assert_eq!(origin.calls(), 2);
    origin.gate.add_permits(2);
    assert_eq!(
        (before.await.unwrap().body, after.await.unwrap().body),
        ("1".into(), "2".into())
    );
    assert_eq!(origin.client(&[]).await.unwrap().body, "2");
}

/// H5.1
#[tokio::test]
async fn a_panic_of_the_handler_reaches_its_own_client_and_frees_the_others() {
    let calls = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(Semaphore::new(0));
    let (counted, waits) = (calls.clone(), gate.clone());
    let world = World::of(CacheConfig::default(), move |_: Request<Body>| {
        let (number, waits) = (counted.fetch_add(1, Ordering::SeqCst) + 1, waits.clone());
        async move {
            waits.acquire().await.unwrap().forget();
            assert!(number > 1, "the first call breaks");
            Response::new(Body::from("well"))
        }
    });
    let client = |world: World| tokio::spawn(async move { world.get("/", &[]).await });
    let first = client(world.clone());
    settle().await;
    let second = client(world.clone());
    settle().await;
    gate.add_permits(2);
    assert!(first.await.unwrap_err().is_panic());
    assert_eq!(second.await.unwrap().body, "well");
    assert_eq!(world.layer.requests_in_flight(), 0);
}

/// H5.2
#[tokio::test]
async fn an_error_of_the_origin_is_not_remembered_as_unshareable() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let world = World::of(CacheConfig::default(), move |_| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            tokio::task::yield_now().await;
            let mut response = Response::new(Body::from("x"));
            *response.headers_mut() = header_map(["cache-control: max-age=60"]);
            if number == 0 {
                *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            }
            response
        }
    });
    assert_eq!(world.get("/", &[]).await.status, 503);
    let clients: Vec<_> = (0..10)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.get("/", &[]).await })
        })
        .collect();
    for client in clients {
        assert_eq!(client.await.unwrap().status, 200);
    }
    assert_eq!(
        calls.load(Ordering::SeqCst),
        2,
        "the next ones wait for one another again"
    );
}
