//! A bad network: a TCP proxy between clients and a server whose behaviour is switched while it runs.
//!
//! Two switches: [`FaultProxy::accept`] says what happens to *new* connections, [`FaultProxy::set`] and
//! [`Connection::set`] what happens to the bytes of *accepted* ones. What a client sends after a switch has
//! returned is subject to it.
//!
//! ```no_run
//! use support::{Fault, FaultProxy, RedisServer};
//!
//! let server = RedisServer::start();
//! let proxy = FaultProxy::start(server.address());
//! let url = server.url_via(proxy.address());
//! // … the client connects to `url` and subscribes; then only its subscription dies silently:
//! proxy.connection_that_sent("XREAD").set(Fault::BlackHole);
//! ```

mod connection;
mod fault;
mod listener;
mod pump;

pub use connection::Connection;
pub use fault::{Accepting, Fault};

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as blocking};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::ports::Port;
use crate::wait::wait_until_blocking;
use connection::Order;
use listener::Listener;

/// A running proxy; drop closes all its connections.
///
/// It has a thread and a runtime of its own: it works while the test blocks, and a paused clock of the test
/// does not concern it.
#[derive(Debug)]
pub struct FaultProxy {
    switch: mpsc::UnboundedSender<Switch>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    port: Port,
}

/// What the proxy has seen, closed connections included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections accepted, whatever happened to them then.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// Bytes from clients.
    pub request_bytes: u64,
    /// Bytes from the server.
    pub reply_bytes: u64,
    /// Bursts of requests, each followed by replies: what a client waited for.
    pub round_trips: u64,
}

impl FaultProxy {
    /// Listens on a free port and relays to `backend`.
    pub fn start(backend: SocketAddr) -> Self {
        let port = Port::reserve();
        let shared = Arc::new(Shared::new(backend));
        let (switch, switched) = mpsc::unbounded_channel();
        let listener = Listener::new((Ipv4Addr::LOCALHOST, port.number()).into(), Arc::clone(&shared));
        let thread = std::thread::spawn(move || run(listener, switched));
        let proxy = Self {
            switch,
            shared,
            thread: Some(thread),
            port,
        };
        // Returns when the listener is bound.
        proxy.accept(Accepting::Relay);
        proxy
    }

    /// The address for clients.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port.number()).into()
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// What happens to new connections from now on.
    pub fn accept(&self, accepting: Accepting) {
        let (done, is_done) = blocking::channel();
        let told = self.switch.send(Switch { accepting, done });
        assert!(
            told.is_ok() && is_done.recv().is_ok(),
            "the proxy's thread has ended"
        );
    }

    /// What happens to the bytes of all connections, existing and new.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault_of_new() = fault;
        self.set_existing(fault);
    }

    /// What happens to the bytes of the connections that exist; new ones keep what was set before.
    pub fn set_existing(&self, fault: Fault) {
        self.open_connections()
            .iter()
            .for_each(|connection| connection.set(fault));
    }

    /// Everything as on a good network: new connections and all bytes.
    pub fn heal(&self) {
        self.accept(Accepting::Relay);
        self.set(Fault::Pass);
    }

    /// New connections go there, as after a change in DNS.
    pub fn swap_backend(&self, backend: SocketAddr) {
        *self.shared.backend() = backend;
    }

    /// All connections so far, in the order in which they were accepted.
    pub fn connections(&self) -> Vec<Connection> {
        self.shared.connections().clone()
    }

    /// Those that are open.
    pub fn open_connections(&self) -> Vec<Connection> {
        self.connections()
            .into_iter()
            .filter(Connection::is_open)
            .collect()
    }

    /// The open connection whose client has sent `text` (in the first 4 KiB); waits for it.
    ///
    /// # Panics
    /// When no client sends it within ten seconds.
    pub fn connection_that_sent(&self, text: &str) -> Connection {
        let find = || {
            self.open_connections()
                .into_iter()
                .find(|connection| connection.has_sent(text))
        };
        wait_until_blocking(PATIENCE, &format!("a client sends {text:?}"), || find().is_some());
        find().unwrap_or_else(|| panic!("the client which sent {text:?} has left at once"))
    }

    /// FIN to all clients and servers.
    pub fn close_all(&self) {
        self.open_connections().iter().for_each(Connection::close);
    }

    /// RST to all clients.
    pub fn reset_all(&self) {
        self.open_connections().iter().for_each(Connection::reset);
    }

    /// What it has seen so far.
    pub fn counts(&self) -> Counts {
        let connections = self.connections();
        let sum = |count: fn(&Connection) -> u64| connections.iter().map(count).sum();
        Counts {
            accepted: connections.len() as u64,
            open: connections
                .iter()
                .filter(|connection| connection.is_open())
                .count() as u64,
            request_bytes: sum(Connection::request_bytes),
            reply_bytes: sum(Connection::reply_bytes),
            round_trips: sum(Connection::round_trips),
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // The closed channel ends the thread; its runtime drops all sockets.
        let (switch, _) = mpsc::unbounded_channel();
        drop(std::mem::replace(&mut self.switch, switch));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the handle and the proxy's thread share.
#[derive(Debug)]
struct Shared {
    backend: Mutex<SocketAddr>,
    fault_of_new: Mutex<Fault>,
    connections: Mutex<Vec<Connection>>,
}

/// A change in what happens to new connections, confirmed when it has taken effect.
#[derive(Debug)]
struct Switch {
    accepting: Accepting,
    done: blocking::Sender<()>,
}

impl Shared {
    fn new(backend: SocketAddr) -> Self {
        Self {
            backend: Mutex::new(backend),
            fault_of_new: Mutex::new(Fault::Pass),
            connections: Mutex::default(),
        }
    }

    fn backend(&self) -> MutexGuard<'_, SocketAddr> {
        self.backend.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault_of_new(&self) -> MutexGuard<'_, Fault> {
        self.fault_of_new.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(listener: Listener, switched: mpsc::UnboundedReceiver<Switch>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs only a few file descriptors");
    runtime.block_on(listener.run(switched));
}

const PATIENCE: Duration = Duration::from_secs(10);
