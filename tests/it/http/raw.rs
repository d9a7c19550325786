//! Bytes that no well-behaved client sends, at a real server: what they get is stored for nobody.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::wire::serve;
use super::world::header_map;

/// Everything that comes back until the server ends the connection, or has nothing more to say.
async fn send(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // Who is refused early may find the connection closed.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let ended = tokio::time::timeout(Duration::from_secs(10), read).await;
    assert!(
        ended.is_ok(),
        "{:?} is not answered",
        String::from_utf8_lossy(bytes)
    );
    String::from_utf8_lossy(&answer).into_owned()
}

/// Repeats in its body what a handler sees of a request, and calls it fresh.
async fn reflecting(request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let content = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let text = format!(
        "{} {} {:?} {}",
        head.method,
        head.uri,
        head.headers,
        String::from_utf8_lossy(&content)
    );
    let mut response = Response::new(Body::from(text));
    *response.headers_mut() = header_map(["cache-control: max-age=60"]);
    response
}

const VICTIM: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";

/// H3.1
#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_or_ambiguous_on_the_wire_is_stored_for_nobody() {
    let close = "connection: close\r\n";
    for (attack, refused) in [
        // Whose response would it be?
        (format!("GET / HTTP/1.1\r\nx: evil\r\n{close}\r\n"), false),
        ("GET / HTTP/1.0\r\nx: evil\r\n\r\n".to_owned(), false),
        (
            format!("GET / HTTP/1.1\r\nhost: h\r\nhost: evil\r\n{close}\r\n"),
            false,
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: evil\r\nhost: h\r\n{close}\r\n"),
            false,
        ),
        (format!("GET / HTTP/1.1\r\nhost: h, evil\r\n{close}\r\n"), false),
        (
            format!("GET http://evil/ HTTP/1.1\r\nhost: h\r\n{close}\r\n"),
            false,
        ),
        // What is its end?
        (
            format!("GET / HTTP/1.1\r\nhost: h\r\n{close}content-length: 4\r\n\r\nevil"),
            false,
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nhost: h\r\n{close}transfer-encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"
            ),
            false,
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nhost: h\r\n{close}content-length: 4\r\ncontent-length: 5\r\n\r\nevil1"
            ),
            true,
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: h\r\n{close}transfer-encoding: evil, x\r\n\r\n"),
            true,
        ),
        // What does it ask for?
        (
            format!("get / HTTP/1.1\r\nhost: h\r\nx: evil\r\n{close}\r\n"),
            false,
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: h\r\nx-http-method-override: evil\r\n{close}\r\n"),
            false,
        ),
        // Octets that no field may have.
        (
            format!("GET / HTTP/1.1\r\nhost: h\r\nx: evil\u{7}\r\n{close}\r\n"),
            true,
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: h\r\nx: evil\u{0}\r\n{close}\r\n"),
            true,
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: h\r\nx: a\r\n evil\r\n{close}\r\n"),
            true,
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: h\r\nx : evil\r\n{close}\r\n"),
            true,
        ),
        (
            format!("GET /\u{1} HTTP/1.1\r\nhost: h\r\nx: evil\r\n{close}\r\n"),
            true,
        ),
    ] {
        let (address, cache) = serve(reflecting).await;
        let answer = send(address, attack.as_bytes()).await;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert_eq!(status == "400", refused, "{attack:?}: {answer}");
        assert!(
            refused || answer.contains("evil"),
            "it must reach the handler: {attack:?}: {answer}"
        );
        assert_eq!(cache.stats().entries, 0, "{attack:?}: {answer}");
        for _ in 0..2 {
            let victim = send(address, VICTIM).await;
            assert!(
                victim.starts_with("HTTP/1.1 200") && !victim.contains("evil"),
                "{attack:?}: {victim}"
            );
        }
        assert_eq!(cache.stats().entries, 1, "a well-formed one is stored");
    }
}
