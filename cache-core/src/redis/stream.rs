//! The bytes below the protocol: resolve, connect, set the socket up, note when bytes arrive.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::config::{Address, Settings};
use super::fault;
use crate::shared::{Fault, FaultKind};
use crate::sync::{Mutex, lock};
use crate::time::{Clock, SystemClock, Timestamp};

/// A connected stream, TLS included, that notes when bytes arrive.
pub(super) struct Stream {
    inner: Pin<Box<dyn Duplex>>,
    activity: Arc<Activity>,
}

pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Sync {}

impl<S: AsyncRead + AsyncWrite + Send + Sync> Duplex for S {}

/// When bytes last arrived, and what the first ones were.
#[derive(Debug)]
pub(super) struct Activity {
    last: AtomicU64,
    /// Whether the server turned us away before it was asked anything, which the driver takes for the end.
    turned_away: AtomicBool,
    begun: AtomicBool,
}

impl Activity {
    fn new() -> Self {
        Self {
            last: AtomicU64::new(SystemClock.now().as_nanos()),
            turned_away: AtomicBool::new(false),
            begun: AtomicBool::new(false),
        }
    }

    fn note(&self, bytes: &[u8]) {
        self.last
            .store(SystemClock.coarse().as_nanos(), Ordering::Relaxed);
        if !self.begun.load(Ordering::Relaxed) {
            self.begun.store(true, Ordering::Relaxed);
            self.turned_away
                .store(bytes.starts_with(TOO_MANY), Ordering::Relaxed);
        }
    }

    pub(super) fn last(&self) -> Timestamp {
        Timestamp::from_nanos(self.last.load(Ordering::Relaxed))
    }

    /// The reason behind a failed greeting, where the first bytes tell it.
    pub(super) fn explain(&self, fault: Fault) -> Fault {
        if self.turned_away.load(Ordering::Relaxed) {
            return Fault::new(FaultKind::MaxClients, "the server has too many clients");
        }
        fault
    }
}

/// How far an attempt to connect has got.
#[derive(Debug)]
pub(super) struct Progress(AtomicU8);

#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum Step {
    Connecting,
    Tls,
    Greeting,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self(AtomicU8::new(Step::Connecting as u8))
    }

    fn reached(&self, step: Step) {
        self.0.store(step as u8, Ordering::Relaxed);
    }

    /// Why an attempt that was given up did not succeed.
    pub(super) fn fault(&self, address: &Address, within: Duration) -> Fault {
        let (kind, what) = match self.0.load(Ordering::Relaxed) {
            0 => (FaultKind::Connect, "connection"),
            1 => (FaultKind::Tls, "TLS handshake"),
            _ => (FaultKind::Handshake, "greeting"),
        };
        Fault::new(kind, format!("{address}: no {what} within {within:?}"))
    }
}

impl Stream {
    /// Resolves anew and connects; each address of a name gets its share of the time.
    /// `progress` tells how far it got when it is given up.
    pub(super) async fn connect(
        address: &Address,
        settings: &Settings,
        progress: &Progress,
    ) -> Result<Self, Fault> {
        let inner: Pin<Box<dyn Duplex>> = match address {
            Address::Tcp { host, port } => {
                let stream = connect_tcp(host, *port, settings.connect_timeout).await?;
                match &settings.tls {
                    Some(tls) => {
                        progress.reached(Step::Tls);
                        tls.wrap(host, stream).await?
                    }
                    None => Box::pin(stream),
                }
            }
            #[cfg(unix)]
            Address::Unix(path) => Box::pin(
                UnixStream::connect(path)
                    .await
                    .map_err(|error| fault::of_io(&address.to_string(), &error))?,
            ),
            #[cfg(not(unix))]
            Address::Unix(_) => {
                return Err(Fault::new(FaultKind::Connect, "unix sockets need a unix system"));
            }
        };
        progress.reached(Step::Greeting);
        Ok(Self {
            inner,
            activity: Arc::new(Activity::new()),
        })
    }

    pub(super) fn activity(&self) -> Arc<Activity> {
        self.activity.clone()
    }
}

async fn connect_tcp(host: &str, port: u16, within: Duration) -> Result<TcpStream, Fault> {
    let endpoint = format!("{host}:{port}");
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| fault::of_io(&endpoint, &error))?
        .collect();
    let share = within / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = Fault::new(FaultKind::Connect, format!("{endpoint}: the name has no address"));
    for address in addresses {
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                set_up(&stream).map_err(|error| fault::of_io(&endpoint, &error))?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = fault::of_io(&endpoint, &error),
            Err(_) => last = Fault::new(FaultKind::Connect, format!("{endpoint}: no answer")),
        }
    }
    Err(last)
}

/// A peer that is gone without a word is noticed by the kernel as well, also on a connection that only listens.
fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER);
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple", windows))]
    let keepalive = keepalive.with_interval(KEEPALIVE_EVERY);
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    let keepalive = keepalive.with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(())
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = self.inner.as_mut().poll_read(cx, buffer);
        if let Some(arrived @ [_, ..]) = buffer.filled().get(before..) {
            self.activity.note(arrived);
        }
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.inner.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_shutdown(cx)
    }
}

/// A stream that is lent, and asked back once the borrower has gone.
#[derive(Clone)]
pub(super) struct Loan(Arc<Mutex<Option<Stream>>>);

impl Loan {
    pub(super) fn of(stream: Stream) -> Self {
        Self(Arc::new(Mutex::new(Some(stream))))
    }

    pub(super) fn back(self) -> Option<Stream> {
        lock(&self.0).take()
    }

    fn with<R>(&self, act: impl FnOnce(Pin<&mut Stream>) -> Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        match &mut *lock(&self.0) {
            Some(stream) => act(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncRead for Loan {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Loan {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_shutdown(cx))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("activity", &self.activity)
            .finish_non_exhaustive()
    }
}

const TOO_MANY: &[u8] = b"-ERR max number of clients";
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(1);
/// As long as the watchdog's bound.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNACKNOWLEDGED: Duration = Duration::from_secs(3);
