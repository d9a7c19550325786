//! Many questions at a time over one stream: callers write into one buffer, one task sends what has gathered and hands
//! the answers out in order.
//!
//! The driver's own multiplexer does the same with a channel message, an allocation and several wake-ups per question,
//! and parses ten times slower; beside a hit that was most of its cost. Here a caller encodes its commands behind those
//! of the others, under a lock that is held for as long as that takes, and wakes the task only if it sleeps. A lone
//! question leaves at once. After several callers were answered together, the task lets whoever is ready to run do so once
//! before it sends: those callers are the ones who ask next, and their questions then travel in one packet.
//!
//! * **Cancellation.** Who stops waiting drops the receiving end. The question is sent all the same, its answer is read,
//!   counted and thrown away: otherwise all later answers would go to the wrong callers.
//! * **The end.** When the stream ends, breaks, or brings what is no answer, all who wait and all who come later learn so
//!   at once; also when the task is dropped with its runtime.
//! * **Bounds.** Callers are bounded by the link, and so is what they have written here; a buffer that was large once is
//!   given back.

mod incoming;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use redis::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use self::incoming::Incoming;
use super::resp::{self, Malformed};
use crate::shared::{Fault, FaultKind};
use crate::sync::{Mutex, lock};

/// Where questions are asked.
pub(super) struct Exchange {
    queue: Arc<Mutex<Queue>>,
}

/// What is to be sent, and who waits for it.
#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    askers: VecDeque<Asker>,
    /// The task, if it sleeps and has nothing to send.
    sleeping: Option<Waker>,
    end: Option<Fault>,
}

struct Asker {
    /// So many answers are still due.
    due: usize,
    answers: Vec<Value>,
    tell: oneshot::Sender<Result<Vec<Value>, Fault>>,
}

impl Exchange {
    /// The exchange over a stream, and the work behind it: to be driven until it ends, which is when the stream does.
    pub(super) fn over<S>(stream: S) -> (Self, impl Future<Output = ()> + Send + use<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let queue = Arc::<Mutex<Queue>>::default();
        let porter = Porter {
            stream,
            queue: queue.clone(),
            outgoing: Vec::new(),
            sent: 0,
            unflushed: false,
            askers: VecDeque::new(),
            incoming: Incoming::default(),
            company: false,
        };
        (Self { queue }, porter)
    }

    /// Asks what `write` appends, which the server answers with so many replies.
    ///
    /// # Cancellation
    ///
    /// What was written is carried out; nobody hears the answer.
    pub(super) async fn ask(
        &self,
        replies: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Vec<Value>, Fault> {
        if replies == 0 {
            return Ok(Vec::new());
        }
        let answer = self.put(replies, write)?;
        // Dropped without a word: the task is gone.
        answer.await.unwrap_or_else(|_| Err(broken()))
    }

    fn put(
        &self,
        replies: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<oneshot::Receiver<Result<Vec<Value>, Fault>>, Fault> {
        let (tell, answer) = oneshot::channel();
        let asker = Asker {
            due: replies,
            answers: Vec::with_capacity(replies),
            tell,
        };
        let sleeping = {
            let mut queue = lock(&self.queue);
            if let Some(end) = &queue.end {
                return Err(end.clone());
            }
            write(&mut queue.bytes);
            queue.askers.push_back(asker);
            queue.sleeping.take()
        };
        if let Some(porter) = sleeping {
            porter.wake();
        }
        Ok(answer)
    }
}

/// The work behind an exchange.
struct Porter<S> {
    stream: S,
    queue: Arc<Mutex<Queue>>,
    outgoing: Vec<u8>,
    sent: usize,
    unflushed: bool,
    /// Those whose questions are on their way, in that order.
    askers: VecDeque<Asker>,
    incoming: Incoming,
    /// Several were answered at once, and may be about to ask again.
    company: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Porter<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let porter = self.get_mut();
        let fault = match porter.carry(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(fault)) => fault,
        };
        porter.end(fault);
        Poll::Ready(())
    }
}

/// Never what it sounds like: carrying ends with a fault only.
type Endless = Result<std::convert::Infallible, Fault>;

impl<S: AsyncRead + AsyncWrite + Unpin> Porter<S> {
    fn carry(&mut self, context: &mut Context<'_>) -> Poll<Endless> {
        loop {
            // Reading first: the server may write only when somebody reads.
            let read = self.read(context)?;
            let written = self.write(context)?;
            if read.is_pending() && written.is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Sends what has gathered; pending when there is nothing more, or the socket takes no more.
    fn write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.sent == self.outgoing.len() && !self.take_questions(context) {
            if self.unflushed {
                ready!(Pin::new(&mut self.stream).poll_flush(context)).map_err(|error| of_io(&error))?;
                self.unflushed = false;
            }
            return Poll::Pending;
        }
        while self.sent < self.outgoing.len() {
            let rest = &self.outgoing[self.sent..];
            let count = ready!(Pin::new(&mut self.stream).poll_write(context, rest));
            match count.map_err(|error| of_io(&error))? {
                0 => return Poll::Ready(Err(broken())),
                count => self.sent += count,
            }
            self.unflushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes over what was asked meanwhile. If nothing was, the next one to ask wakes this task.
    fn take_questions(&mut self, context: &Context<'_>) -> bool {
        self.outgoing.clear();
        self.outgoing.shrink_to(KEPT);
        self.sent = 0;
        let mut queue = lock(&self.queue);
        if queue.bytes.is_empty() {
            match &mut queue.sleeping {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            return false;
        }
        queue.sleeping = None;
        if std::mem::take(&mut self.company) {
            // Whoever is about to ask does so first: one write for all of them instead of one for each.
            context.waker().wake_by_ref();
            return false;
        }
        std::mem::swap(&mut self.outgoing, &mut queue.bytes);
        self.askers.append(&mut queue.askers);
        true
    }

    /// Reads what has come and hands it out; pending when there is nothing more.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let mut buffer = ReadBuf::new(self.incoming.room());
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
        read.map_err(|error| of_io(&error))?;
        let count = buffer.filled().len();
        if count == 0 {
            return Poll::Ready(Err(broken()));
        }
        self.incoming.arrived(count);
        let waiting = self.askers.len();
        while let Some(frame) = self.incoming.frame().map_err(|Malformed| not_resp())? {
            hand_out(&mut self.askers, frame).map_err(|Malformed| not_resp())?;
        }
        self.company |= waiting - self.askers.len() > 1;
        Poll::Ready(Ok(()))
    }

    /// Tells all who wait and all who come.
    fn end(&mut self, fault: Fault) {
        let mut queue = lock(&self.queue);
        let fault = queue.end.get_or_insert(fault).clone();
        queue.sleeping = None;
        queue.bytes = Vec::new();
        let waiting = std::mem::take(&mut queue.askers);
        drop(queue);
        for asker in self.askers.drain(..).chain(waiting) {
            let _ = asker.tell.send(Err(fault.clone()));
        }
    }
}

impl<S> Drop for Porter<S> {
    fn drop(&mut self) {
        let mut queue = lock(&self.queue);
        queue.end.get_or_insert_with(broken);
        // They learn it from the dropped sender.
        queue.askers.clear();
    }
}

/// Gives a reply to the one who is next.
fn hand_out(askers: &mut VecDeque<Asker>, frame: &[u8]) -> Result<(), Malformed> {
    // What the server says unasked is nobody's answer.
    if frame.first() == Some(&b'>') {
        return Ok(());
    }
    let Some(next) = askers.front_mut() else {
        return Ok(());
    };
    next.answers.push(match next.tell.is_closed() {
        true => Value::Nil,
        false => resp::value(frame)?,
    });
    next.due -= 1;
    if next.due == 0
        && let Some(done) = askers.pop_front()
    {
        let _ = done.tell.send(Ok(done.answers));
    }
    Ok(())
}

fn of_io(_: &io::Error) -> Fault {
    broken()
}

fn broken() -> Fault {
    Fault::new(FaultKind::Disconnected, "the connection broke")
}

fn not_resp() -> Fault {
    Fault::new(FaultKind::Protocol, "the server's bytes are not RESP")
}

/// A larger buffer is given back once it is empty.
const KEPT: usize = 1 << 20;
