//! Each mode of the proxy does what it says.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use support::proxy::Connection;
use support::resp::{RespClient, Value, encode};
use support::{Accepting, Fault, FaultProxy, RedisServer, Stopwatch, wait_until_blocking};

#[test]
fn bytes_pass_and_are_counted() {
    let (server, proxy) = server_behind_proxy();
    let mut client = connect(&proxy);
    client.command(&["SET", "k", "v"]).unwrap();
    assert_eq!(client.command(&["GET", "k"]).unwrap().text(), "v");
    let counts = proxy.counts();
    let sent = encode(&["SET", "k", "v"]).len() + encode(&["GET", "k"]).len();
    assert_eq!(
        (counts.request_bytes, counts.reply_bytes),
        (sent as u64, "+OK\r\n$1\r\nv\r\n".len() as u64)
    );
    assert_eq!((counts.accepted, counts.open, counts.round_trips), (1, 1, 2));
    assert_eq!(server.client_connections(), 1);
    drop(client);
    wait_until_blocking(PATIENCE, "the end arrives", || {
        proxy.counts().open == 0 && server.client_connections() == 0
    });
    assert_eq!(proxy.counts().round_trips, 2, "closed connections stay counted");
}

#[test]
fn a_pipeline_is_one_round_trip() {
    let (_server, proxy) = server_behind_proxy();
    let mut client = connect(&proxy);
    let batch: Vec<u8> = (0..100)
        .flat_map(|number| encode(&["ECHO", &number.to_string()]))
        .collect();
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.write_all(&batch).unwrap();
    let mut replies = vec![0; "$1\r\n0\r\n".len() * 10 + "$2\r\n10\r\n".len() * 90];
    stream.read_exact(&mut replies).unwrap();
    assert_eq!(
        proxy.connections().iter().map(Connection::round_trips).max(),
        Some(1)
    );
    client.command(&["PING"]).unwrap();
    assert_eq!(proxy.counts().round_trips, 2);
}

#[test]
fn a_delay_is_added_to_every_round_trip_and_does_not_add_up_in_a_pipeline() {
    let (_server, proxy) = server_behind_proxy();
    let mut client = connect(&proxy);
    client.command(&["PING"]).unwrap();
    let delay = Duration::from_millis(200);
    proxy.set(Fault::DelayReplies(delay));
    let stopwatch = Stopwatch::start();
    client.command(&["PING"]).unwrap();
    assert_late_once(stopwatch.elapsed(), delay);
    let stopwatch = Stopwatch::start();
    for _ in 0..10 {
        client.send(&["PING"]).unwrap();
    }
    for _ in 0..10 {
        assert_eq!(client.read().unwrap().text(), "PONG");
    }
    assert_late_once(stopwatch.elapsed(), delay);
}

#[test]
fn one_connection_is_black_holed_while_the_others_live_and_gets_everything_later() {
    let (server, proxy) = server_behind_proxy();
    let (mut subscription, mut data) = (connect(&proxy), connect(&proxy));
    subscription.command(&["SUBSCRIBE", "news"]).unwrap();
    data.command(&["PING"]).unwrap();
    let hole = proxy.connection_that_sent("SUBSCRIBE");
    hole.set(Fault::BlackHole);
    server.command(&["PUBLISH", "news", "lost?"]);
    assert!(is_silent(&mut subscription));
    assert_eq!(data.command(&["PING"]).unwrap().text(), "PONG");
    assert_eq!(
        connect(&proxy).command(&["PING"]).unwrap().text(),
        "PONG",
        "new connections are fine"
    );
    hole.set(Fault::Pass);
    assert_eq!(subscription.read().unwrap().items()[2].text(), "lost?");
}

#[test]
fn a_black_hole_lets_no_request_through() {
    let (server, proxy) = server_behind_proxy();
    let mut client = connect(&proxy);
    client.command(&["PING"]).unwrap();
    proxy.set_existing(Fault::BlackHole);
    client.send(&["INCR", "n"]).unwrap();
    assert!(is_silent(&mut client));
    assert_eq!(server.command(&["GET", "n"]), Value::Null);
    assert_eq!(proxy.counts().open, 1);
}

#[test]
fn withheld_replies_mean_that_the_request_was_carried_out() {
    let (server, proxy) = server_behind_proxy();
    let mut client = connect(&proxy);
    proxy.set(Fault::WithholdReplies);
    client.send(&["INCR", "n"]).unwrap();
    wait_until_blocking(PATIENCE, "the server counts", || {
        server.command(&["GET", "n"]).text() == "1"
    });
    assert!(is_silent(&mut client));
    proxy.heal();
    assert_eq!(client.read().unwrap(), Value::Integer(1));
}

#[test]
fn a_tarpit_accepts_and_never_answers_and_old_connections_go_on() {
    let (server, proxy) = server_behind_proxy();
    let mut old = connect(&proxy);
    old.command(&["PING"]).unwrap();
    proxy.accept(Accepting::Tarpit);
    let mut new = connect(&proxy);
    new.send(&["PING"]).unwrap();
    assert!(is_silent(&mut new));
    assert!(proxy.connection_that_sent("PING").is_open());
    assert_eq!(old.command(&["PING"]).unwrap().text(), "PONG");
    assert_eq!((proxy.counts().accepted, server.client_connections()), (2, 1));
    drop(new);
    wait_until_blocking(PATIENCE, "the tarpit lets go of who leaves", || {
        proxy.counts().open == 1
    });
}

#[test]
fn connections_are_refused_and_accepted_again() {
    let (_server, proxy) = server_behind_proxy();
    let mut old = connect(&proxy);
    for _ in 0..3 {
        proxy.accept(Accepting::Refuse);
        let refused = TcpStream::connect(proxy.address()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        proxy.accept(Accepting::Relay);
        assert_eq!(connect(&proxy).command(&["PING"]).unwrap().text(), "PONG");
    }
    assert_eq!(old.command(&["PING"]).unwrap().text(), "PONG");
}

#[test]
fn a_connection_is_reset_and_a_new_one_may_be_too() {
    let (_server, proxy) = server_behind_proxy();
    let mut client = connect(&proxy);
    client.command(&["PING"]).unwrap();
    proxy.reset_all();
    assert_eq!(client.read().unwrap_err().kind(), ErrorKind::ConnectionReset);
    proxy.accept(Accepting::Reset);
    let end = TcpStream::connect(proxy.address()).and_then(|mut stream| stream.read(&mut [0]));
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    wait_until_blocking(PATIENCE, "nothing is left open", || proxy.counts().open == 0);
}

#[test]
fn a_closed_connection_ends_without_reset() {
    let (server, proxy) = server_behind_proxy();
    let mut client = connect(&proxy);
    client.command(&["PING"]).unwrap();
    proxy.close_all();
    assert_eq!(client.read().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    wait_until_blocking(PATIENCE, "the server notices", || {
        server.client_connections() == 0
    });
}

#[test]
fn a_half_closed_connection_still_carries_requests() {
    let (server, proxy) = server_behind_proxy();
    let mut client = connect(&proxy);
    client.command(&["PING"]).unwrap();
    proxy.connection_that_sent("PING").half_close();
    assert_eq!(client.read().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    client.send(&["SET", "k", "v"]).unwrap();
    wait_until_blocking(PATIENCE, "the request arrives", || {
        server.command(&["GET", "k"]).text() == "v"
    });
    drop(client);
    wait_until_blocking(PATIENCE, "the connection ends", || proxy.counts().open == 0);
}

#[test]
fn replies_are_cut_after_so_many_bytes() {
    let (server, proxy) = server_behind_proxy();
    server.command(&["SET", "k", "0123456789"]);
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    proxy.set(Fault::CutRepliesAfter(8));
    stream.write_all(&encode(&["GET", "k"])).unwrap();
    let mut received = Vec::new();
    let _reset_or_end = stream.read_to_end(&mut received);
    assert_eq!(received, b"$10\r\n012");
}

#[test]
fn requests_are_cut_after_so_many_bytes() {
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = FaultProxy::start(backend.local_addr().unwrap());
    proxy.set(Fault::CutRequestsAfter(5));
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    let (mut server, _) = backend.accept().unwrap();
    stream.write_all(b"0123456789").unwrap();
    let mut received = Vec::new();
    let _reset_or_end = server.read_to_end(&mut received);
    assert_eq!(received, b"01234");
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn slices_arrive_whole_and_in_many_pieces() {
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = FaultProxy::start(backend.local_addr().unwrap());
    proxy.set(Fault::Slice);
    let mut client = TcpStream::connect(proxy.address()).unwrap();
    let (mut server, _) = backend.accept().unwrap();
    let message: Vec<u8> = (0..10_000_u32).map(|number| number as u8).collect();
    client.write_all(&message).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    let mut largest = 0;
    loop {
        let length = server.read(&mut buffer).unwrap();
        if length == 0 {
            break;
        }
        largest = largest.max(length);
        received.extend_from_slice(&buffer[..length]);
    }
    assert_eq!(received, message);
    assert!(largest < message.len(), "all pieces came at once");
}

#[test]
fn ten_thousand_operations_survive_slicing() {
    let (_server, proxy) = server_behind_proxy();
    proxy.set(Fault::Slice);
    let mut client = connect(&proxy);
    for chunk in 0..100 {
        for number in 0..100 {
            client.send(&["ECHO", &format!("{chunk}/{number}")]).unwrap();
        }
        for number in 0..100 {
            assert_eq!(client.read().unwrap().text(), format!("{chunk}/{number}"));
        }
    }
}

#[test]
fn bandwidth_is_limited_until_it_is_not() {
    let (server, proxy) = server_behind_proxy();
    server.command(&["SET", "large", &"x".repeat(50_000)]);
    let mut client = connect(&proxy);
    proxy.set(Fault::Bandwidth(100_000));
    let stopwatch = Stopwatch::start();
    assert_eq!(client.command(&["GET", "large"]).unwrap().text().len(), 50_000);
    let slow = stopwatch.elapsed();
    assert!(
        slow >= Duration::from_millis(450) && slow < Duration::from_secs(3),
        "{slow:?}"
    );
    proxy.set(Fault::Bandwidth(1_000));
    client.send(&["GET", "large"]).unwrap();
    assert!(is_silent_after_some(&proxy));
    proxy.heal();
    assert_eq!(
        client.read().unwrap().text().len(),
        50_000,
        "a change is noticed half way"
    );
}

#[test]
fn injected_bytes_and_doubled_replies_confuse_the_client() {
    let (_server, proxy) = server_behind_proxy();
    let mut client = connect(&proxy);
    client.command(&["PING"]).unwrap();
    proxy.connection_that_sent("PING").inject(b"+SURPRISE\r\n");
    assert_eq!(client.read().unwrap().text(), "SURPRISE");
    proxy.set(Fault::DuplicateReplies);
    assert_eq!(client.command(&["ECHO", "1"]).unwrap().text(), "1");
    assert_eq!(
        client.command(&["ECHO", "2"]).unwrap().text(),
        "1",
        "the first reply again"
    );
}

#[test]
fn a_server_of_another_kind_answers_anything_with_its_own_bytes() {
    let (server, proxy) = server_behind_proxy();
    proxy.accept(Accepting::Answer(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()));
    let mut client = connect(&proxy);
    assert_eq!(
        client.command(&["PING"]).unwrap_err().kind(),
        ErrorKind::InvalidData
    );
    assert_eq!(server.client_connections(), 0);
}

#[test]
fn a_swapped_backend_serves_new_connections_only() {
    let (first, proxy) = server_behind_proxy();
    let second = RedisServer::start();
    first.command(&["SET", "me", "first"]);
    second.command(&["SET", "me", "second"]);
    let mut old = connect(&proxy);
    assert_eq!(old.command(&["GET", "me"]).unwrap().text(), "first");
    proxy.swap_backend(second.address());
    assert_eq!(old.command(&["GET", "me"]).unwrap().text(), "first");
    assert_eq!(connect(&proxy).command(&["GET", "me"]).unwrap().text(), "second");
}

#[test]
fn a_dead_backend_is_a_reset() {
    let (server, proxy) = server_behind_proxy();
    server.kill();
    // The reset may come before the client has noticed that it is connected.
    let answer =
        RespClient::connect(proxy.address(), PATIENCE).and_then(|mut client| client.command(&["PING"]));
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::ConnectionReset);
    server.restart();
    assert_eq!(connect(&proxy).command(&["PING"]).unwrap().text(), "PONG");
}

#[test]
fn a_dropped_proxy_closes_everything() {
    let (server, proxy) = server_behind_proxy();
    let mut client = connect(&proxy);
    client.command(&["PING"]).unwrap();
    let address = proxy.address();
    drop(proxy);
    assert!(client.command(&["PING"]).is_err());
    assert!(TcpStream::connect(address).is_err());
    wait_until_blocking(PATIENCE, "the server notices", || {
        server.client_connections() == 0
    });
}

fn server_behind_proxy() -> (RedisServer, FaultProxy) {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.address());
    (server, proxy)
}

fn connect(proxy: &FaultProxy) -> RespClient {
    RespClient::connect(proxy.address(), Duration::from_millis(500)).unwrap()
}

fn is_silent(client: &mut RespClient) -> bool {
    client
        .read()
        .is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Some of the reply has left the server, and the client cannot have all of it.
fn is_silent_after_some(proxy: &FaultProxy) -> bool {
    let before = proxy.counts().reply_bytes;
    wait_until_blocking(PATIENCE, "the server has answered", || {
        proxy.counts().reply_bytes > before
    });
    true
}

/// Late by one delay, not by several; the rest is for a busy machine.
#[track_caller]
fn assert_late_once(elapsed: Duration, delay: Duration) {
    assert!(elapsed >= delay && elapsed < delay * 4, "{elapsed:?}");
}

const PATIENCE: Duration = Duration::from_secs(5);
