//! Over real connections: HTTP/1.1 and HTTP/2 at one server, and a thousand readers of one body.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use cache_core::Cache;
use cache_tower::{CacheLayer, CacheService};
use http::{Request, Response, Version};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::wait_until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tower::util::BoxCloneSyncService;
use tower_layer::Layer;

use super::memory::resident;
use super::world::{Inner, header_map};

/// A server on a free port that speaks both versions, with the cache around `handler`.
pub(super) async fn serve<F, R>(handler: F) -> (SocketAddr, Cache)
where
    F: Fn(Request<Body>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let cache = Cache::builder("wire").build().unwrap();
    let inner = tower::service_fn(move |request| {
        let answer = handler(request);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let service: CacheService<Inner> = CacheLayer::new(cache.clone()).layer(BoxCloneSyncService::new(inner));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().fallback_service(service);
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, cache)
}

/// What a client of either version got: body, age, and what `Cache-Status` says.
async fn get(
    address: SocketAddr,
    version: Version,
    uri: &str,
    host: Option<&str>,
) -> (String, Option<String>, String) {
    let mut request = Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
    if let Some(host) = host {
        request.headers_mut().insert("host", host.parse().unwrap());
    }
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let response = if version == Version::HTTP_2 {
        let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
            .await
            .unwrap();
        tokio::spawn(connection);
        client.send_request(request).await.unwrap()
    } else {
        let (mut client, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        client.send_request(request).await.unwrap()
    };
    assert_eq!(response.version(), version);
    let field = |name: &str| {
        let value = response.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let (age, status) = (field("age"), field("cache-status").unwrap_or_default());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (String::from_utf8(body.to_vec()).unwrap(), age, status)
}

/// H3.1
#[tokio::test(flavor = "multi_thread")]
async fn both_versions_share_what_has_one_target_and_nothing_else() {
    let runs = Arc::new(AtomicUsize::new(0));
    let (address, _cache) = serve(move |request: Request<Body>| {
        let run = runs.fetch_add(1, Ordering::SeqCst);
        let host = request.headers().get("host");
        let text = format!("{run} {} {host:?}", request.uri());
        let mut response = Response::new(Body::from(text));
        *response.headers_mut() = header_map(["cache-control: max-age=60"]);
        std::future::ready(response)
    })
    .await;

    let (first, age, _) = get(address, Version::HTTP_11, "/", Some("h")).await;
    assert_eq!(age, None);
    for (version, uri, host, is_same) in [
        (Version::HTTP_2, "http://h/", None, true),
        (Version::HTTP_2, "http://H:80/", None, true),
        (Version::HTTP_2, "http://h/", Some("h"), true),
        (Version::HTTP_2, "http://h/", Some("H:80"), true),
        (Version::HTTP_11, "http://h/", Some("h"), true),
        (Version::HTTP_2, "https://h/", None, false),
        (Version::HTTP_2, "http://other/", None, false),
        (Version::HTTP_2, "http://h:443/", None, false),
    ] {
        let (body, age, status) = get(address, version, uri, host).await;
        let got = format!("{version:?} {uri} {host:?}: {body} {status}");
        assert_eq!((body == first, age.is_some()), (is_same, is_same), "{got}");
    }
    // Which of the two a handler believes is anybody's guess, so neither is a key.
    for (uri, host) in [
        ("http://h/", "other"),
        ("http://other/", "h"),
        ("https://h/", "h:80"),
    ] {
        let (body, age, status) = get(address, Version::HTTP_2, uri, Some(host)).await;
        assert_eq!(
            (body != first, age, status.contains("detail=host-mismatch")),
            (true, None, true),
            "{uri} {host}: {body} {status}"
        );
    }
    // And what they got reached nobody.
    let (body, ..) = get(address, Version::HTTP_2, "http://h/", None).await;
    assert_eq!(body, first);
    let (body, ..) = get(address, Version::HTTP_2, "http://other/", None).await;
    assert!(body.contains("None"), "{body}");
}

/// H5.3, H5.5
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_slow_readers_share_one_body_and_delay_nobody() {
    const READERS: usize = 1_000;
    const HALF: usize = 128 << 10;
    let (mut write, origin) = Channel::<Bytes, std::io::Error>::new(2);
    let origin = std::sync::Mutex::new(Some(origin));
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let handler = move |_: Request<Body>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let body = origin.lock().unwrap().take().expect("one request is enough");
        let mut response = Response::new(Body::new(body));
        *response.headers_mut() = header_map(["cache-control: max-age=60", "content-length: 262144"]);
        std::future::ready(response)
    };
    let handler = Arc::new(handler);
    let (address, cache) = serve(move |request| handler(request)).await;
    write.send_data(Bytes::from(vec![b'a'; HALF])).await.unwrap();

    let before = resident();
    let mut readers = Vec::with_capacity(READERS);
    for _ in 0..READERS {
        let socket = TcpSocket::new_v4().unwrap();
        // Else the kernel would take the whole body in.
        socket.set_recv_buffer_size(16_384).unwrap();
        let mut reader = socket.connect(address).await.unwrap();
        reader
            .write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        readers.push(reader);
    }
    for reader in &mut readers {
        // The beginning has come before the end has, and then they stop reading.
        assert_eq!(reader.read_u8().await.unwrap(), b'H');
    }
    assert_eq!((runs.load(Ordering::SeqCst), cache.stats().entries), (1, 0));
    write.send_data(Bytes::from(vec![b'b'; HALF])).await.unwrap();
    drop(write);
    wait_until(PATIENCE, "it is stored while nobody reads", async || {
        cache.stats().entries > 0
    })
    .await;
    let grown = resident().saturating_sub(before);
    assert!(
        grown < 128 << 20,
        "{READERS} readers of 256 KiB made the process grow by {grown} bytes"
    );

    let reading = readers.into_iter().map(|mut reader| {
        tokio::spawn(async move {
            let mut text = Vec::new();
            reader.read_to_end(&mut text).await.unwrap();
            let end = text.split_off(text.len() - 2 * HALF);
            assert!(String::from_utf8(text).unwrap().contains("200 OK"));
            (
                end[..HALF].iter().all(|byte| *byte == b'a'),
                end[HALF..].iter().all(|byte| *byte == b'b'),
            )
        })
    });
    for reader in reading {
        assert_eq!(reader.await.unwrap(), (true, true));
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

const PATIENCE: Duration = Duration::from_secs(30);
