//! Interim responses (RFC 9110 §15.2): forwarded by writing their heads to the connection.
//!
//! hyper's server sends final responses only. The connection's stream is wrapped: what is queued here is written before
//! hyper's own next bytes, and the task of the connection is woken to do so at once. Only the request that is being
//! answered may queue, and only until its response is there: an interim response that comes later, because its request
//! goes on for others, is dropped. So are those for HTTP/1.0, which has none.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use http::{Request, StatusCode};
use hyper::rt::{Read, ReadBufCursor, Write};

/// What one connection has to say before its next response.
#[derive(Debug, Default)]
pub(crate) struct Interim {
    queue: Mutex<Queue>,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    /// The exchange that may queue.
    open: Option<u64>,
    /// The connection's task.
    waker: Option<Waker>,
}

/// One request on the connection; dropping it closes the queue.
#[derive(Debug)]
pub(crate) struct Exchange {
    interim: Arc<Interim>,
    id: u64,
}

/// Queues interim responses to one request. Travels with the request to the origin.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    interim: Arc<Interim>,
    id: u64,
}

impl Interim {
    /// Opens the queue for a request, unless its version has no interim responses.
    pub(crate) fn begin(self: &Arc<Self>, has_interim: bool) -> Exchange {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.queue().open = has_interim.then_some(id);
        Exchange {
            interim: self.clone(),
            id,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exchange {
    pub(crate) fn sender(&self) -> Sender {
        Sender {
            interim: self.interim.clone(),
            id: self.id,
        }
    }

    /// Runs the exchange in the connection's task, which is remembered for waking.
    pub(crate) async fn run<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|context| {
            self.interim.queue().waker = Some(context.waker().clone());
            work.as_mut().poll(context)
        })
        .await
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut queue = self.interim.queue();
        if queue.open == Some(self.id) {
            queue.open = None;
        }
    }
}

impl Sender {
    fn send(&self, head: &[u8]) {
        let mut queue = self.interim.queue();
        if queue.open != Some(self.id) || queue.bytes.len() + head.len() > LIMIT {
            return;
        }
        queue.bytes.extend_from_slice(head);
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// More than this in interim responses is nobody's honest hint.
const LIMIT: usize = 64 << 10;

/// Forwards the interim responses to a request that goes to the origin.
pub(crate) fn forward<B>(request: &mut Request<B>) {
    let Some(sender) = request.extensions().get::<Sender>().cloned() else {
        return;
    };
    hyper::ext::on_informational(request, move |response| {
        // hyper answers `Expect: 100-continue` by itself, and switching protocols is not for a cache.
        if !matches!(
            response.status(),
            StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS
        ) {
            sender.send(&head(response.status(), response.headers()));
        }
    });
}

fn head(status: StatusCode, fields: &http::HeaderMap) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or("Interim");
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
    for (name, value) in fields {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// A connection that writes what is queued before anything else.
#[derive(Debug)]
pub(crate) struct WithInterim<S> {
    stream: S,
    interim: Arc<Interim>,
    /// Taken from the queue and not yet written.
    writing: Vec<u8>,
}

impl<S: Write + Unpin> WithInterim<S> {
    pub(crate) fn new(stream: S, interim: Arc<Interim>) -> Self {
        Self {
            stream,
            interim,
            writing: Vec::new(),
        }
    }

    /// Writes the queue. Not in the middle of hyper's bytes: a response's head is written only after its exchange has
    /// closed the queue, and nothing of the response before was left when its successor opened it.
    fn poll_queue(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.writing.is_empty() {
            self.writing = std::mem::take(&mut self.interim.queue().bytes);
        }
        while !self.writing.is_empty() {
            let written = std::task::ready!(Pin::new(&mut self.stream).poll_write(context, &self.writing))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.writing.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Read + Unpin> Read for WithInterim<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: Write + Unpin> Write for WithInterim<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_queue(context))?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_queue(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_queue(context))?;
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_request_that_is_being_answered_may_queue() {
        let interim = Arc::new(Interim::default());
        let first = interim.begin(true);
        let late = first.sender();
        late.send(b"a");
        drop(first);
        late.send(b"b");
        let second = interim.begin(true);
        late.send(b"c");
        second.sender().send(b"d");
        assert_eq!(interim.queue().bytes, b"ad");
        drop(second);
        let old = interim.begin(false);
        old.sender().send(b"e");
        assert_eq!(interim.queue().bytes, b"ad", "HTTP/1.0 has no interim responses");
    }

    #[test]
    fn a_head_is_written_as_it_was_received() {
        let mut fields = http::HeaderMap::new();
        fields.append("link", "</a>".parse().unwrap());
        fields.append("link", "</b>".parse().unwrap());
        let expected: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nlink: </b>\r\n\r\n";
        assert_eq!(head(StatusCode::from_u16(103).unwrap(), &fields), expected);
    }
}
