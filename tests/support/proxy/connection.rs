//! One accepted connection: its switches and its counts.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::fault::{Direction, Fault};
use super::pump::{Pump, write_all};

/// A handle to one connection; it stays valid after the connection has ended.
#[derive(Debug, Clone)]
pub struct Connection {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    client: SocketAddr,
    fault: watch::Sender<Fault>,
    orders: mpsc::UnboundedSender<Order>,
    open: AtomicBool,
    request_bytes: AtomicU64,
    reply_bytes: AtomicU64,
    round_trips: AtomicU64,
    unanswered: AtomicBool,
    first_requests: Mutex<Vec<u8>>,
}

/// What a test tells an open connection to do once.
#[derive(Debug)]
pub(super) enum Order {
    Close,
    Reset,
    HalfClose,
    Inject(Vec<u8>),
}

impl Connection {
    pub(super) fn new(client: SocketAddr, fault: Fault) -> (Self, mpsc::UnboundedReceiver<Order>) {
        let (orders, ordered) = mpsc::unbounded_channel();
        let state = State {
            client,
            fault: watch::Sender::new(fault),
            orders,
            open: AtomicBool::new(true),
            request_bytes: AtomicU64::new(0),
            reply_bytes: AtomicU64::new(0),
            round_trips: AtomicU64::new(0),
            unanswered: AtomicBool::new(false),
            first_requests: Mutex::default(),
        };
        (
            Self {
                state: Arc::new(state),
            },
            ordered,
        )
    }

    /// What happens to its bytes from now on.
    pub fn set(&self, fault: Fault) {
        self.state.fault.send_replace(fault);
    }

    /// FIN to both sides.
    pub fn close(&self) {
        self.order(Order::Close);
    }

    /// RST to the client.
    pub fn reset(&self) {
        self.order(Order::Reset);
    }

    /// The client reads the end of the stream, while what it sends still arrives.
    pub fn half_close(&self) {
        self.set(Fault::WithholdReplies);
        self.order(Order::HalfClose);
    }

    /// Sends bytes to the client as if the server had.
    pub fn inject(&self, bytes: &[u8]) {
        self.order(Order::Inject(bytes.to_vec()));
    }

    /// The client's address.
    pub fn client(&self) -> SocketAddr {
        self.state.client
    }

    /// Whether it is still relayed.
    pub fn is_open(&self) -> bool {
        self.state.open.load(Ordering::Acquire)
    }

    /// Whether `text` is in the first 4 KiB that the client sent.
    pub fn has_sent(&self, text: &str) -> bool {
        let sent = self
            .state
            .first_requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&sent).contains(text)
    }

    /// Bytes from the client.
    pub fn request_bytes(&self) -> u64 {
        self.state.request_bytes.load(Ordering::Acquire)
    }

    /// Bytes from the server.
    pub fn reply_bytes(&self) -> u64 {
        self.state.reply_bytes.load(Ordering::Acquire)
    }

    /// Bursts of requests.
    pub fn round_trips(&self) -> u64 {
        self.state.round_trips.load(Ordering::Acquire)
    }

    pub(super) fn faults(&self) -> watch::Receiver<Fault> {
        self.state.fault.subscribe()
    }

    pub(super) fn closed(&self) {
        self.state.open.store(false, Ordering::Release);
    }

    /// Counts bytes that have arrived at the proxy.
    pub(super) fn count(&self, direction: Direction, bytes: &[u8]) {
        let state = &self.state;
        match direction {
            Direction::Requests => {
                state
                    .request_bytes
                    .fetch_add(bytes.len() as u64, Ordering::AcqRel);
                if !state.unanswered.swap(true, Ordering::AcqRel) {
                    state.round_trips.fetch_add(1, Ordering::AcqRel);
                }
                self.remember(bytes);
            }
            Direction::Replies => {
                state.reply_bytes.fetch_add(bytes.len() as u64, Ordering::AcqRel);
                state.unanswered.store(false, Ordering::Release);
            }
        }
    }

    fn remember(&self, bytes: &[u8]) {
        let mut first = self
            .state
            .first_requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let room = REMEMBERED - first.len();
        first.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn order(&self, order: Order) {
        // A connection that has ended is past all orders.
        let _ = self.state.orders.send(order);
    }
}

/// Relays until both sides have ended, one fails, or an order ends it.
pub(super) async fn relay(
    connection: &Connection,
    client: &TcpStream,
    server: &TcpStream,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let requests = Pump::new(Direction::Requests, client, server, connection).run();
    let replies = Pump::new(Direction::Replies, server, client, connection).run();
    tokio::pin!(requests, replies);
    let (mut requests_ended, mut replies_ended) = (false, false);
    while !(requests_ended && replies_ended) {
        tokio::select! {
            biased;
            Some(order) = orders.recv() => match obey(order, client).await {
                ControlFlow::Continue(ended) => replies_ended |= ended,
                ControlFlow::Break(()) => return,
            },
            ended = &mut requests, if !requests_ended => match ended {
                Ok(()) => requests_ended = true,
                Err(_) => return,
            },
            ended = &mut replies, if !replies_ended => match ended {
                Ok(()) => replies_ended = true,
                Err(_) => return,
            },
        }
    }
}

/// Reads and gives no answer, or always the same one.
pub(super) async fn pretend(
    connection: &Connection,
    client: &TcpStream,
    answer: Option<&[u8]>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let answering = async {
        let mut buffer = [0; 4096];
        loop {
            client.readable().await?;
            match client.try_read(&mut buffer) {
                Ok(0) => return Ok::<_, io::Error>(()),
                Ok(length) => connection.count(Direction::Requests, &buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            if let Some(answer) = answer {
                connection.count(Direction::Replies, answer);
                write_all(client, answer).await?;
            }
        }
    };
    tokio::pin!(answering);
    loop {
        tokio::select! {
            biased;
            Some(order) = orders.recv() => if obey(order, client).await.is_break() { return },
            _ = &mut answering => return,
        }
    }
}

/// `Break` ends the connection, `Continue(true)` only the direction towards the client.
async fn obey(order: Order, client: &TcpStream) -> ControlFlow<(), bool> {
    // What fails here fails because the client has left.
    match order {
        Order::Close => return ControlFlow::Break(()),
        Order::Reset => {
            reset_on_close(client);
            return ControlFlow::Break(());
        }
        Order::HalfClose => {
            let _ = SockRef::from(client).shutdown(Shutdown::Write);
            return ControlFlow::Continue(true);
        }
        Order::Inject(bytes) => {
            let _ = write_all(client, &bytes).await;
        }
    }
    ControlFlow::Continue(false)
}

/// Closing this socket sends RST, not FIN.
pub(super) fn reset_on_close(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

const REMEMBERED: usize = 4096;
