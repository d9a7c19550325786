//! The reverse proxy as its users meet it: a process between raw clients and a raw origin.

#![allow(
    clippy::unwrap_used,
    reason = "a failed test is what a panic is for, also in helpers of tests"
)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use support::{Child, RedisServer, wait_until_blocking};

const PATIENCE: Duration = Duration::from_secs(20);
const FRESH: &str = "cache-control: max-age=60\r\n";

/// An origin that says what its handler writes, and keeps its connections open.
struct Origin {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Origin {
    /// The handler gets head and content of a request, and writes; an error closes the connection.
    fn start(handler: impl Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            requests: Arc::default(),
        };
        let (connections, requests) = (origin.connections.clone(), origin.requests.clone());
        let handler = Arc::new(handler);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                connections.fetch_add(1, Ordering::SeqCst);
                let (mut stream, requests, handler) = (stream.unwrap(), requests.clone(), handler.clone());
                std::thread::spawn(move || {
                    while let Some(request) = read_message(&mut stream) {
                        requests.lock().unwrap().push(request.clone());
                        if handler(&request, &mut stream).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        origin
    }

    /// An origin that always says the same, with the number of the request as its content.
    fn saying(fields: &'static str) -> Self {
        let count = AtomicUsize::new(0);
        Self::start(move |_, stream| {
            let number = (count.fetch_add(1, Ordering::SeqCst) + 1).to_string();
            answer(stream, fields, &number)
        })
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(stream: &mut TcpStream, fields: &str, content: &str) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 200 OK\r\n{fields}content-length: {}\r\n\r\n{content}",
        content.len()
    )
}

/// Head and content, by `Content-Length` or chunks; `None` at the end of the connection.
fn read_message(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut one = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read(&mut one).ok()? == 0 {
            return None;
        }
        bytes.push(one[0]);
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let has_content = !head.starts_with("HTTP/1.1 1") && !head.contains(" 204 ") && !head.contains(" 304 ");
    if let Some(length) = field(&head, "content-length").filter(|_| has_content) {
        let mut content = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut content).ok()?;
        bytes.extend(content);
    } else if field(&head, "transfer-encoding").is_some() {
        while !bytes.ends_with(b"0\r\n\r\n") {
            if stream.read(&mut one).ok()? == 0 {
                return None;
            }
            bytes.push(one[0]);
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn field<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let head = message.split("\r\n\r\n").next().unwrap();
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

struct Proxy {
    process: Child,
    address: SocketAddr,
}

impl Proxy {
    fn start(origin: SocketAddr, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reverse-proxy"));
        command
            .args(["--listen", "127.0.0.1:0", "--origin", &format!("http://{origin}")])
            .args(arguments)
            .env("NO_COLOR", "1");
        let process = Child::spawn(&mut command);
        let line = process.next_line(PATIENCE);
        let (_, after) = line.split_once("http://").unwrap();
        let address = after.split(' ').next().unwrap().parse().unwrap();
        Self { process, address }
    }

    fn before(origin: &Origin) -> Self {
        Self::start(origin.address, &[])
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// One exchange on a connection of its own.
    fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        read_message(&mut stream).unwrap()
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n"))
    }
}

fn status(response: &str) -> u16 {
    response.split(' ').nth(1).unwrap().parse().unwrap()
}

fn content(response: &str) -> &str {
    response.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn connections_to_the_origin_are_kept() {
    let origin = Origin::saying("");
    let proxy = Proxy::before(&origin);
    for n in 1..=20 {
        assert_eq!(content(&proxy.get("/")), n.to_string());
    }
    assert_eq!(origin.requests().len(), 20);
    assert!(origin.connections.load(Ordering::SeqCst) <= 2, "kept alive");
}

#[test]
fn what_belongs_to_a_connection_stays_there_and_each_hop_leaves_its_name() {
    let origin =
        Origin::saying("connection: x-mine, close-not\r\nx-mine: 1\r\nkeep-alive: 5\r\nvia: 1.1 far\r\n");
    let proxy = Proxy::before(&origin);
    let response = proxy.ask(
        "GET / HTTP/1.1\r\nhost: h\r\nconnection: x-secret, cache-control\r\nx-secret: 1\r\nte: trailers\r\n\
         keep-alive: 5\r\nproxy-connection: x\r\ncache-control: max-age=9\r\nx-forwarded-for: evil\r\n\
         x-forwarded-host: evil\r\nforwarded: for=evil\r\nx-kept: 1\r\n\r\n",
    );
    let seen = origin.requests().remove(0);
    for name in [
        "x-secret",
        "te",
        "keep-alive",
        "proxy-connection",
        "connection",
        "forwarded",
    ] {
        assert_eq!(field(&seen, name), None, "{name} reached the origin: {seen}");
    }
    for (name, value) in [
        ("x-kept", "1"),
        ("cache-control", "max-age=9"),
        ("via", "1.1 reverse-proxy"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "h"),
        ("x-forwarded-proto", "http"),
        ("host", "h"),
    ] {
        assert_eq!(field(&seen, name), Some(value), "{seen}");
    }
    for name in ["x-mine", "keep-alive", "connection"] {
        assert_eq!(
            field(&response, name),
            None,
            "{name} reached the client: {response}"
        );
    }
    let vias: Vec<_> = response.lines().filter(|line| line.starts_with("via")).collect();
    assert_eq!(vias, ["via: 1.1 far", "via: 1.1 reverse-proxy"], "RFC 9110 7.6.3");
}

#[test]
fn an_origin_that_fails_is_answered_for_from_the_store_where_that_is_allowed() {
    let count = AtomicUsize::new(0);
    let origin = Origin::start(move |request, stream| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        match request.split(' ').nth(1).unwrap() {
            "/hangs" => {
                // Until the other side gives up.
                let _ = stream.read(&mut [0]);
                Err(std::io::ErrorKind::TimedOut.into())
            }
            path if number >= 2 || path == "/breaks" => Err(std::io::ErrorKind::ConnectionReset.into()),
            "/strict" => answer(
                stream,
                "cache-control: max-age=0, must-revalidate\r\netag: \"a\"\r\n",
                "strict",
            ),
            _ => answer(stream, "cache-control: max-age=0\r\netag: \"a\"\r\n", "lenient"),
        }
    });
    let proxy = Proxy::start(origin.address, &["--origin-timeout", "1"]);
    assert_eq!(content(&proxy.get("/strict")), "strict");
    assert_eq!(content(&proxy.get("/lenient")), "lenient");
    let stale = proxy.get("/lenient");
    assert_eq!((status(&stale), content(&stale)), (200, "lenient"));
    assert!(
        field(&stale, "cache-status")
            .unwrap()
            .contains("detail=origin-unreachable")
    );
    for (path, expected) in [("/strict", 502), ("/breaks", 502), ("/hangs", 504)] {
        let failed = proxy.get(path);
        assert_eq!(status(&failed), expected, "{path}");
        assert_eq!(field(&failed, "cache-control"), Some("no-store"), "{path}");
        assert!(!failed.contains(&origin.address.to_string()), "{path}: {failed}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(status(&Proxy::start(nobody, &[]).get("/")), 502);
}

#[test]
fn sigterm_lets_responses_under_way_end_and_takes_no_more() {
    let (begun, go) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (own_begun, own_go) = (begun.clone(), go.clone());
    let origin = Origin::start(move |_, stream| {
        own_begun.wait();
        own_go.wait();
        answer(stream, FRESH, "whole")
    });
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    begun.wait();
    proxy.process.terminate();
    wait_until_blocking(PATIENCE, "nobody is let in any more", || {
        TcpStream::connect(proxy.address).is_err()
    });
    go.wait();
    assert_eq!(content(&read_message(&mut client).unwrap()), "whole");
    assert!(proxy.process.wait(PATIENCE).success());
}

#[test]
fn the_access_log_tells_the_outcome_of_each_request() {
    let origin = Origin::saying(FRESH);
    let proxy = Proxy::before(&origin);
    for expected in ["outcome=\"miss\"", "outcome=\"hit\""] {
        proxy.get("/logged?a=1");
        let line = proxy.process.next_line_with("", PATIENCE);
        for part in ["GET /logged?a=1", "status=200", expected] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
}

#[test]
fn requests_that_are_none_go_no_further() {
    let origin = Origin::saying(FRESH);
    let proxy = Proxy::before(&origin);
    let huge = format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    for (request, expected) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("CONNECT h:443 HTTP/1.1\r\nhost: h\r\n\r\n", 501),
        ("TRACE / HTTP/1.1\r\nhost: h\r\nmax-forwards: 1\r\n\r\n", 405),
        ("OPTIONS / HTTP/1.1\r\nhost: h\r\nmax-forwards: 0\r\n\r\n", 204),
        ("GET / HTTP/1.1\r\nhost: h\r\nx: \0\r\n\r\n", 400),
        (&*huge, 431),
    ] {
        let mut stream = proxy.connect();
        // The answer may come, and the connection end, before all is written.
        let _ = stream.write_all(request.as_bytes());
        let response = read_message(&mut stream).unwrap();
        assert_eq!(status(&response), expected, "{request:.60}");
    }
    assert_eq!(origin.requests().len(), 0);
    proxy.ask("OPTIONS / HTTP/1.1\r\nhost: h\r\nmax-forwards: 3\r\n\r\n");
    assert_eq!(
        field(&origin.requests()[0], "max-forwards"),
        Some("2"),
        "RFC 9110 7.6.2"
    );
    let absolute = proxy.ask("GET http://other/x HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(status(&absolute), 200);
    let seen = origin.requests().remove(1);
    assert!(seen.starts_with("GET /x "), "{seen}");
    assert_eq!(field(&seen, "host"), Some("other"), "RFC 9112 3.2.2");
}

#[test]
fn content_that_waits_to_be_asked_for_is_asked_for() {
    let origin = Origin::saying("");
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        .unwrap();
    assert!(read_message(&mut client).unwrap().starts_with("HTTP/1.1 100 "));
    client.write_all(b"hello").unwrap();
    assert_eq!(status(&read_message(&mut client).unwrap()), 200);
    let seen = origin.requests().remove(0);
    assert_eq!((content(&seen), field(&seen, "expect")), ("hello", None));
}

#[test]
fn an_upgrade_is_not_taken_up() {
    let origin = Origin::saying("");
    let proxy = Proxy::before(&origin);
    let response =
        proxy.ask("GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert_eq!(status(&response), 200, "RFC 9110 7.8: a server may ignore it");
    assert_eq!(field(&origin.requests()[0], "upgrade"), None);
}

#[test]
fn clients_of_http_1_0_get_what_they_understand() {
    let origin = Origin::start(|_, stream| {
        write!(
            stream,
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n{FRESH}\r\n\
             3\r\nabc\r\n0\r\n\r\n"
        )
    });
    let proxy = Proxy::before(&origin);
    for _ in 0..2 {
        let mut client = proxy.connect();
        client.write_all(b"GET / HTTP/1.0\r\nhost: h\r\n\r\n").unwrap();
        let mut response = String::new();
        client.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.0 200 "), "{response}");
        assert_eq!(field(&response, "transfer-encoding"), None);
        assert_eq!(content(&response), "abc", "to the end of the connection");
    }
    assert_eq!(field(&origin.requests()[0], "via"), Some("1.0 reverse-proxy"));
    assert_eq!(origin.requests().len(), 1);
}

/// H6.3
#[test]
fn interim_responses_reach_the_client_and_no_store() {
    let origin = Origin::start(|_, stream| {
        stream.write_all(
            b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\nlink: </b>\r\n\r\n",
        )?;
        answer(stream, FRESH, "final")
    });
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    for round in 0..2 {
        client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
        if round == 0 {
            assert_eq!(status(&read_message(&mut client).unwrap()), 102);
            let hints = read_message(&mut client).unwrap();
            assert_eq!(
                (status(&hints), hints.matches("link: ").count()),
                (103, 2),
                "{hints}"
            );
        }
        let response = read_message(&mut client).unwrap();
        assert_eq!((status(&response), content(&response)), (200, "final"));
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_body_that_breaks_off_is_not_stored_and_its_client_learns_of_it() {
    let count = AtomicUsize::new(0);
    let origin = Origin::start(move |_, stream| {
        if count.fetch_add(1, Ordering::SeqCst) > 0 {
            return answer(stream, FRESH, "whole");
        }
        write!(stream, "HTTP/1.1 200 OK\r\n{FRESH}content-length: 10\r\n\r\nhalf")?;
        stream.shutdown(Shutdown::Both)?;
        Err(std::io::ErrorKind::ConnectionReset.into())
    });
    let proxy = Proxy::before(&origin);
    let mut client = proxy.connect();
    client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    assert_eq!(
        read_message(&mut client),
        None,
        "the connection ends in the middle"
    );
    assert_eq!(content(&proxy.get("/")), "whole");
}

#[test]
fn proxies_on_one_redis_share_what_they_store() {
    let redis = RedisServer::start();
    let origin = Origin::saying("cache-control: max-age=60\r\nvary: accept\r\n");
    let proxies =
        [0, 1].map(|_| Proxy::start(origin.address, &["--redis", &redis.url(), "--memory", "16MiB"]));
    let ask = |proxy: &Proxy, path: &str| {
        let response = proxy.ask(&format!("GET {path} HTTP/1.1\r\nhost: h\r\naccept: a\r\n\r\n"));
        let from_store = field(&response, "cache-status").unwrap().contains("hit");
        (content(&response).to_owned(), from_store)
    };
    // A proxy that has just begun to hear of the others forgets once what it had.
    for proxy in &proxies {
        wait_until_blocking(PATIENCE, "it stores", || ask(proxy, "/warm-up").1);
    }
    let (first, _) = ask(&proxies[0], "/a");
    wait_until_blocking(PATIENCE, "the other one finds it", || {
        ask(&proxies[1], "/a") == (first.clone(), true)
    });
    let requests = origin
        .requests()
        .iter()
        .filter(|request| request.starts_with("GET /a "))
        .count();
    assert_eq!(requests, 1);
    redis.kill();
    for proxy in &proxies {
        for n in 0..20 {
            assert!(
                !ask(proxy, &format!("/{n}")).0.is_empty(),
                "Redis is no reason to fail"
            );
        }
    }
}
