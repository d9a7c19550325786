//! Accepting connections, or not.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

use super::connection::{pretend, relay, reset_on_close};
use super::{Accepting, Connection, Order, Shared, Switch};

pub(super) struct Listener {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Accepting,
    /// None while connections are refused.
    socket: Option<TcpListener>,
}

impl Listener {
    pub(super) fn new(address: SocketAddr, shared: Arc<Shared>) -> Self {
        Self {
            address,
            shared,
            accepting: Accepting::Refuse,
            socket: None,
        }
    }

    /// Until the handle is dropped.
    pub(super) async fn run(mut self, mut switched: mpsc::UnboundedReceiver<Switch>) {
        loop {
            tokio::select! {
                biased;
                switch = switched.recv() => match switch {
                    Some(switch) => self.switch(switch).await,
                    None => return,
                },
                accepted = accept(self.socket.as_ref()) => match accepted {
                    Ok((client, address)) => self.welcome(client, address),
                    // No file descriptor is free, or the client has left; the next one is not better off at once.
                    Err(_) => tokio::time::sleep(RETRY).await,
                },
            }
        }
    }

    async fn switch(&mut self, switch: Switch) {
        self.welcome_those_before().await;
        self.accepting = switch.accepting;
        if self.accepting == Accepting::Refuse {
            self.socket = None;
        } else if self.socket.is_none() {
            self.socket = Some(listen(self.address).expect("the port is reserved for this proxy"));
        }
        // Fails when the test has panicked meanwhile, and then nobody needs to know.
        let _ = switch.done.send(());
    }

    /// Who has connected before a switch is not subject to it, although we may not have met them yet.
    async fn welcome_those_before(&self) {
        // Lets the runtime look at the sockets.
        tokio::task::yield_now().await;
        loop {
            tokio::select! {
                biased;
                Ok((client, address)) = accept(self.socket.as_ref()) => self.welcome(client, address),
                () = std::future::ready(()) => return,
            }
        }
    }

    fn welcome(&self, client: TcpStream, address: SocketAddr) {
        // Under the lock, so that `FaultProxy::set` finds the connection in the list or gives it the new fault.
        let mut connections = self.shared.connections();
        let (connection, orders) = Connection::new(address, *self.shared.fault_of_new());
        connections.push(connection.clone());
        drop(connections);
        let (accepting, backend) = (self.accepting.clone(), *self.shared.backend());
        // Owned by the runtime of this proxy, which ends with it.
        tokio::spawn(async move {
            serve(&connection, &accepting, &client, backend, orders).await;
            // First the count, then the end the client sees: a test that saw the end finds the count right.
            connection.closed();
        });
    }
}

async fn serve(
    connection: &Connection,
    accepting: &Accepting,
    client: &TcpStream,
    backend: SocketAddr,
    orders: mpsc::UnboundedReceiver<Order>,
) {
    // Small writes must leave at once: slices would be glued together.
    let _ = client.set_nodelay(true);
    match accepting {
        Accepting::Relay => match TcpStream::connect(backend).await {
            Ok(server) => {
                let _ = server.set_nodelay(true);
                relay(connection, client, &server, orders).await;
            }
            Err(_) => reset_on_close(client),
        },
        Accepting::Tarpit => pretend(connection, client, None, orders).await,
        Accepting::Answer(bytes) => pretend(connection, client, Some(bytes), orders).await,
        Accepting::Reset | Accepting::Refuse => reset_on_close(client),
    }
}

async fn accept(socket: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match socket {
        Some(socket) => socket.accept().await,
        None => std::future::pending().await,
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

const BACKLOG: u32 = 1024;
const RETRY: Duration = Duration::from_millis(10);
