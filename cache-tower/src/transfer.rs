//! A body on its way: read once from the origin, by many readers and into the store.
//!
//! The [`Transfer`] holds the chunks that have arrived. Readers take them at their own pace; the pump does not wait for
//! them, so a slow client slows neither the store nor the others. What is held is bounded by the store's limit: beyond it
//! the rest of the body is handed over to the client that caused it, with the backpressure it always had.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::sync::oneshot;

use crate::BoxError;

/// The part of a body that has arrived, and how it ended.
#[derive(Debug, Default)]
pub(crate) struct Transfer {
    state: Mutex<State>,
    readers: AtomicU64,
    /// The length that the response announced.
    announced: Option<u64>,
}

#[derive(Default)]
struct State {
    chunks: Vec<Bytes>,
    length: u64,
    trailers: Option<HeaderMap>,
    end: Option<End>,
    wakers: HashMap<u64, Waker>,
}

/// How a transfer ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// All has arrived.
    Complete,
    /// The origin's body failed, or its length was not the announced one.
    Failed(Arc<str>),
    /// It is longer than the store's limit: the rest goes to the first reader alone.
    HandedOver,
}

impl Transfer {
    pub(crate) fn new(announced: Option<u64>) -> Self {
        Self {
            announced,
            ..Self::default()
        }
    }

    /// A transfer that has ended already.
    pub(crate) fn complete(body: Bytes) -> Self {
        let transfer = Self::new(Some(body.len() as u64));
        transfer.push(body);
        transfer.finish(End::Complete);
        transfer
    }

    /// Another reader, from the first byte on.
    pub(crate) fn reader(self: &Arc<Self>) -> Reader {
        Reader {
            id: self.readers.fetch_add(1, Ordering::Relaxed),
            transfer: self.clone(),
            next: 0,
            read: 0,
        }
    }

    /// How much has arrived.
    pub(crate) fn length(&self) -> u64 {
        self.state().length
    }

    fn push(&self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        let mut state = self.state();
        state.length += chunk.len() as u64;
        state.chunks.push(chunk);
        state.wake();
    }

    fn finish(&self, end: End) {
        let mut state = self.state();
        state.end = Some(end);
        state.wake();
    }

    /// The whole body, when it is complete and free of trailers. One chunk is not copied.
    pub(crate) fn body(&self) -> Option<Bytes> {
        let state = self.state();
        match (&state.end, &state.trailers, &*state.chunks) {
            (Some(End::Complete), None, []) => Some(Bytes::new()),
            (Some(End::Complete), None, [only]) => Some(only.clone()),
            (Some(End::Complete), None, chunks) => {
                let mut body = BytesMut::with_capacity(usize::try_from(state.length).ok()?);
                chunks.iter().for_each(|chunk| body.extend_from_slice(chunk));
                Some(body.freeze())
            }
            _ => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics with the lock held; if it did, the chunks would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&mut self) {
        self.wakers.drain().for_each(|(_, waker)| waker.wake());
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("length", &self.length)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// Reads a [`Transfer`] from the beginning.
#[derive(Debug)]
pub(crate) struct Reader {
    transfer: Arc<Transfer>,
    id: u64,
    next: usize,
    read: u64,
}

/// What a reader gets.
#[derive(Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    End(End),
}

impl Reader {
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Piece> {
        let mut state = self.transfer.state();
        if let Some(chunk) = state.chunks.get(self.next) {
            self.next += 1;
            self.read += chunk.len() as u64;
            return Poll::Ready(Piece::Data(chunk.clone()));
        }
        let Some(end) = state.end.clone() else {
            state.wakers.insert(self.id, context.waker().clone());
            return Poll::Pending;
        };
        // Trailers count as one more chunk.
        let trailers = state.trailers.clone().filter(|_| self.next == state.chunks.len());
        drop(state);
        self.next = self.next.saturating_add(1);
        Poll::Ready(trailers.map_or(Piece::End(end), Piece::Trailers))
    }

    /// How many bytes are still to come, if that is certain.
    pub(crate) fn remaining(&self) -> Option<u64> {
        let state = self.transfer.state();
        let length = match state.end {
            Some(End::Complete) => Some(state.length),
            _ => self.transfer.announced,
        };
        length.map(|length| length.saturating_sub(self.read))
    }

    pub(crate) fn is_at_end(&self) -> bool {
        let state = self.transfer.state();
        matches!(state.end, Some(End::Complete))
            && state.trailers.is_none()
            && self.next >= state.chunks.len()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.transfer.state().wakers.remove(&self.id);
    }
}

/// Fills a [`Transfer`] from the origin's body.
pub(crate) struct Pump<B> {
    body: Pin<Box<B>>,
    transfer: Arc<Transfer>,
    limit: u64,
}

/// Where the rest of a body goes when it is longer than the limit.
pub(crate) type Rest<B> = oneshot::Receiver<Pin<Box<B>>>;

impl<B> Pump<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    pub(crate) fn new(body: B, transfer: Arc<Transfer>, limit: u64) -> Self {
        Self {
            body: Box::pin(body),
            transfer,
            limit,
        }
    }

    /// Takes what is there without waiting. Whether the transfer has ended.
    pub(crate) async fn run_ahead(&mut self) -> Option<End> {
        poll_fn(|context| {
            Poll::Ready(match self.poll(context) {
                Poll::Ready(end) => Some(end),
                Poll::Pending => None,
            })
        })
        .await
    }

    /// Reads to the end or to the limit.
    pub(crate) async fn run(&mut self) -> End {
        poll_fn(|context| self.poll(context)).await
    }

    /// The rest of the body.
    pub(crate) fn into_rest(self) -> Pin<Box<B>> {
        self.body
    }

    /// Gives the transfer up: the rest goes to its first reader alone.
    pub(crate) fn hand_over(&self) {
        self.transfer.finish(End::HandedOver);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        loop {
            let frame = match self.body.as_mut().poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(frame) => frame,
            };
            if let Some(end) = self.take(frame.map(|frame| frame.map_err(Into::into))) {
                return Poll::Ready(end);
            }
            if self.transfer.length() > self.limit {
                self.hand_over();
                return Poll::Ready(End::HandedOver);
            }
        }
    }

    fn take(&self, frame: Option<Result<Frame<B::Data>, BoxError>>) -> Option<End> {
        let end = match frame {
            Some(Ok(frame)) => {
                self.take_frame(frame);
                return None;
            }
            Some(Err(error)) => End::Failed(error.to_string().into()),
            None => self.at_end(),
        };
        self.transfer.finish(end.clone());
        Some(end)
    }

    fn take_frame(&self, frame: Frame<B::Data>) {
        match frame.into_data() {
            Ok(mut data) => self.transfer.push(data.copy_to_bytes(data.remaining())),
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    self.transfer.state().trailers = Some(trailers);
                }
            }
        }
    }

    fn at_end(&self) -> End {
        let length = self.transfer.length();
        match self.transfer.announced {
            Some(announced) if announced != length => End::Failed(
                format!("the body has {length} bytes instead of the announced {announced}").into(),
            ),
            _ => End::Complete,
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    fn noop() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    #[track_caller]
    fn data(reader: &mut Reader) -> String {
        match reader.poll_next(&mut noop()) {
            Poll::Ready(Piece::Data(data)) => String::from_utf8(data.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn channel() -> (
        tokio::sync::mpsc::UnboundedSender<&'static str>,
        impl Body<Data = Bytes, Error = BoxError>,
    ) {
        let (send, mut receive) = tokio::sync::mpsc::unbounded_channel::<&'static str>();
        (
            send,
            Polled(move |context: &mut Context<'_>| receive.poll_recv(context)),
        )
    }

    /// A body from a poll function; `!` breaks it.
    struct Polled<F>(F);

    impl<F: FnMut(&mut Context<'_>) -> Poll<Option<&'static str>> + Unpin> Body for Polled<F> {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            let frame = |text: &'static str| match text {
                "!" => Err("broken".into()),
                text => Ok(Frame::data(Bytes::from_static(text.as_bytes()))),
            };
            (self.0)(context).map(|text| text.map(frame))
        }
    }

    #[tokio::test]
    async fn readers_go_at_their_own_pace_and_see_the_same() {
        let transfer = Arc::new(Transfer::new(None));
        let (send, body) = channel();
        let mut pump = Pump::new(body, transfer.clone(), 100);
        let (mut early, mut late) = (transfer.reader(), transfer.reader());
        assert!(early.poll_next(&mut noop()).is_pending());
        send.send("ab").unwrap();
        assert!(pump.run_ahead().await.is_none());
        assert_eq!(data(&mut early), "ab");
        send.send("c").unwrap();
        drop(send);
        assert!(matches!(pump.run().await, End::Complete));
        assert_eq!(data(&mut early), "c");
        assert_eq!((data(&mut late), data(&mut late)), ("ab".into(), "c".into()));
        assert!(matches!(
            late.poll_next(&mut noop()),
            Poll::Ready(Piece::End(End::Complete))
        ));
        assert_eq!(transfer.body().unwrap(), "abc");
        assert_eq!(early.remaining(), Some(0));
    }

    #[tokio::test]
    async fn a_failed_short_or_long_body_is_never_complete() {
        for (announced, chunks, words) in [
            (None, &["a", "!"][..], "broken"),
            (Some(3), &["ab"], "2 bytes instead of the announced 3"),
            (Some(1), &["ab"], "2 bytes instead of the announced 1"),
        ] {
            let transfer = Arc::new(Transfer::new(announced));
            let (send, body) = channel();
            chunks.iter().for_each(|chunk| send.send(chunk).unwrap());
            drop(send);
            match Pump::new(body, transfer.clone(), 100).run().await {
                End::Failed(message) => assert!(message.contains(words), "{message}"),
                other => panic!("{other:?}"),
            }
            assert!(transfer.body().is_none());
        }
    }

    #[tokio::test]
    async fn beyond_the_limit_the_rest_is_handed_over() {
        let transfer = Arc::new(Transfer::new(None));
        let (send, body) = channel();
        ["abc", "def", "gh"]
            .iter()
            .for_each(|chunk| send.send(chunk).unwrap());
        drop(send);
        let mut pump = Pump::new(body, transfer.clone(), 5);
        let mut reader = transfer.reader();
        assert!(matches!(pump.run().await, End::HandedOver));
        assert_eq!(
            (data(&mut reader), data(&mut reader)),
            ("abc".into(), "def".into())
        );
        assert!(matches!(
            reader.poll_next(&mut noop()),
            Poll::Ready(Piece::End(End::HandedOver))
        ));
        assert_eq!(pump.into_rest().collect().await.unwrap().to_bytes(), "gh");
        assert!(transfer.body().is_none());
    }

    #[tokio::test]
    async fn trailers_reach_readers_and_nothing_with_them_is_stored() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x", "1".parse().unwrap());
        let body =
            Full::new(Bytes::from_static(b"a")).with_trailers(std::future::ready(Some(Ok(trailers.clone()))));
        let transfer = Arc::new(Transfer::new(None));
        assert!(matches!(
            Pump::new(body, transfer.clone(), 100).run().await,
            End::Complete
        ));
        let mut reader = transfer.reader();
        assert_eq!(data(&mut reader), "a");
        assert!(
            matches!(reader.poll_next(&mut noop()), Poll::Ready(Piece::Trailers(got)) if got == trailers)
        );
        assert!(matches!(
            reader.poll_next(&mut noop()),
            Poll::Ready(Piece::End(End::Complete))
        ));
        assert!(transfer.body().is_none());
    }

    #[tokio::test]
    async fn a_reader_that_leaves_is_forgotten() {
        let transfer = Arc::new(Transfer::new(None));
        let mut reader = transfer.reader();
        assert!(reader.poll_next(&mut noop()).is_pending());
        assert_eq!(transfer.state().wakers.len(), 1);
        drop(reader);
        assert!(transfer.state().wakers.is_empty());
    }
}
