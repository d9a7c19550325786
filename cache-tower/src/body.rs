//! [`CacheBody`]: the body of every response that leaves the layer.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::BoxError;
use crate::transfer::{End, Piece, Reader, Rest};

pin_project! {
    /// The body of a response from a [`CacheService`](crate::CacheService): from the store, on its way into the store,
    /// or the inner service's own (`B`), untouched.
    ///
    /// A body from the store is not copied. One that is on its way into the store is read independently of this reader:
    /// dropping it, or reading it slowly, does not keep it from being stored.
    pub struct CacheBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B> {
        Stored { bytes: Bytes },
        Arriving { reader: Reader, rest: Option<Rest<B>> },
        Rest { body: Pin<Box<B>> },
        Passing { #[pin] body: B },
        Done,
    }
}

impl<B> CacheBody<B> {
    /// A body that is there already.
    pub(crate) fn stored(bytes: Bytes) -> Self {
        Self {
            kind: Kind::Stored { bytes },
        }
    }

    pub(crate) fn empty() -> Self {
        Self::stored(Bytes::new())
    }

    /// A body that arrives now; `rest` is where it comes from when it turns out too long for the store.
    pub(crate) fn arriving(reader: Reader, rest: Option<Rest<B>>) -> Self {
        Self {
            kind: Kind::Arriving { reader, rest },
        }
    }

    /// The inner service's body.
    pub(crate) fn passing(body: B) -> Self {
        Self {
            kind: Kind::Passing { body },
        }
    }
}

impl<B> Body for CacheBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut kind = self.project().kind;
        loop {
            match kind.as_mut().project() {
                KindProjection::Stored { bytes } => {
                    let bytes = std::mem::take(bytes);
                    kind.set(Kind::Done);
                    return Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))));
                }
                KindProjection::Arriving { reader, rest } => match ready!(reader.poll_next(context)) {
                    Piece::Data(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Piece::Trailers(trailers) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                    Piece::End(End::Complete) => kind.set(Kind::Done),
                    Piece::End(End::Failed(message)) => {
                        kind.set(Kind::Done);
                        return Poll::Ready(Some(Err(BoxError::from(&*message))));
                    }
                    Piece::End(End::HandedOver) => match ready!(poll_rest(rest, context)) {
                        Some(body) => kind.set(Kind::Rest { body }),
                        None => {
                            kind.set(Kind::Done);
                            return Poll::Ready(Some(Err(ABANDONED.into())));
                        }
                    },
                },
                KindProjection::Rest { body } => return poll_inner(body.as_mut(), context),
                KindProjection::Passing { body } => return poll_inner(body, context),
                KindProjection::Done => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Stored { bytes } => bytes.is_empty(),
            Kind::Arriving { reader, .. } => reader.is_at_end(),
            Kind::Rest { body } => body.is_end_stream(),
            Kind::Passing { body } => body.is_end_stream(),
            Kind::Done => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Stored { bytes } => SizeHint::with_exact(bytes.len() as u64),
            Kind::Arriving { reader, .. } => reader
                .remaining()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
            Kind::Rest { body } => body.size_hint(),
            Kind::Passing { body } => body.size_hint(),
            Kind::Done => SizeHint::with_exact(0),
        }
    }
}

fn poll_rest<B>(rest: &mut Option<Rest<B>>, context: &mut Context<'_>) -> Poll<Option<Pin<Box<B>>>> {
    match rest {
        Some(rest) => Pin::new(rest).poll(context).map(Result::ok),
        None => Poll::Ready(None),
    }
}

fn poll_inner<B>(body: Pin<&mut B>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let frame = ready!(body.poll_frame(context));
    Poll::Ready(frame.map(|frame| match frame {
        Ok(frame) => Ok(frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))),
        Err(error) => Err(error.into()),
    }))
}

/// Only readers that were promised no more than what is stored meet this.
const ABANDONED: &str = "the response became too large to be shared";

impl<B> fmt::Debug for CacheBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.kind {
            Kind::Stored { .. } => "CacheBody::Stored",
            Kind::Arriving { .. } => "CacheBody::Arriving",
            Kind::Rest { .. } => "CacheBody::Rest",
            Kind::Passing { .. } => "CacheBody::Passing",
            Kind::Done => "CacheBody::Done",
        })
    }
}

impl<B> Default for CacheBody<B> {
    fn default() -> Self {
        Self::empty()
    }
}
