//! A client that costs little: it writes one request per connection and looks only for the end of the response.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Case;
use crate::measure::now;

pub(super) struct Client {
    connections: Vec<Connection>,
    next: usize,
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr, count: usize) -> Self {
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            let stream = TcpStream::connect(address).await.expect("the server listens");
            stream.set_nodelay(true).expect("a new connection has options");
            connections.push(Connection {
                stream,
                buffer: vec![0; 128 << 10],
            });
        }
        Self { connections, next: 0 }
    }

    /// Asks on all connections for about `time`; how many answers came, and in what time.
    pub(super) async fn ask(&mut self, case: Case, time: Duration) -> (u64, Duration) {
        let start = now();
        let count = self.connections.len();
        let mut tasks = JoinSet::new();
        for (at, mut connection) in self.connections.drain(..).enumerate() {
            let first = self.next + at;
            tasks.spawn(async move {
                let mut asked = 0;
                while start.elapsed() < time {
                    connection.exchange(&request(case, first + asked * count)).await;
                    asked += 1;
                }
                (connection, asked)
            });
        }
        let mut all = 0;
        for (connection, asked) in tasks.join_all().await {
            self.connections.push(connection);
            all += asked;
            self.next = self.next.max(asked * count + self.next);
        }
        (all as u64, start.elapsed())
    }
}

impl Connection {
    async fn exchange(&mut self, request: &str) {
        self.stream
            .write_all(request.as_bytes())
            .await
            .expect("the server runs");
        let mut filled = 0;
        loop {
            let read = self
                .stream
                .read(&mut self.buffer[filled..])
                .await
                .expect("the server runs");
            assert!(read > 0, "the server keeps connections open");
            filled += read;
            if is_complete(&self.buffer[..filled]) {
                return;
            }
        }
    }
}

fn is_complete(response: &[u8]) -> bool {
    let Some(head) = response.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let (head, body) = response.split_at(head + 4);
    if head.starts_with(b"HTTP/1.1 304") {
        return true;
    }
    assert!(
        head.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(head)
    );
    match field(head, b"content-length:") {
        Some(length) => body.len() >= length,
        None => body.ends_with(b"0\r\n\r\n"),
    }
}

/// The number in a field; names are found in any case.
fn field(head: &[u8], name: &[u8]) -> Option<usize> {
    let line = head
        .split(|byte| *byte == b'\n')
        .find(|line| line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name))?;
    std::str::from_utf8(&line[name.len()..]).ok()?.trim().parse().ok()
}

fn request(case: Case, n: usize) -> String {
    let condition = match case {
        Case::NotModified => "if-none-match: \"v1\"\r\n",
        _ => "",
    };
    format!("GET {} HTTP/1.1\r\nhost: bench\r\n{condition}\r\n", case.path(n))
}
