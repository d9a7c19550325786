//! Wake-ups: one connection that subscribes to the keys somebody waits for, while somebody does.
//!
//! One task owns the connection and the table of who waits for what; everybody else sends it messages. When the
//! connection breaks, all waiters are told that nothing more will come, and the next one makes a new connection.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::fault;
use super::layout;
use super::route::Route;
use crate::shared::{Ending, Fault, FaultKind, Wakeups};
use crate::sync::{Mutex, lock};

/// The door to the task.
#[derive(Debug)]
pub(super) struct Wake {
    route: Arc<Route>,
    closed: CancellationToken,
    task: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    wishes: mpsc::UnboundedSender<Wish>,
    handle: AbortOnDropHandle<()>,
}

#[derive(Debug)]
enum Wish {
    Subscribe {
        channel: String,
        endings: mpsc::Sender<Ending>,
        /// Answered when messages are sure to arrive.
        ready: oneshot::Sender<Result<u64, Fault>>,
    },
    Leave {
        channel: String,
        number: u64,
    },
}

/// Tells the task that one waiter has left.
#[derive(Debug)]
struct Leaving {
    wishes: mpsc::UnboundedSender<Wish>,
    channel: String,
    number: u64,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let _ = self.wishes.send(Wish::Leave {
            channel: std::mem::take(&mut self.channel),
            number: self.number,
        });
    }
}

impl Wake {
    pub(super) fn new(route: Arc<Route>, closed: CancellationToken) -> Self {
        Self {
            route,
            closed,
            task: Mutex::new(None),
        }
    }

    pub(super) async fn subscribe(&self, key: &str, within: Duration) -> Result<Wakeups, Fault> {
        layout::check(key)?;
        if self.closed.is_cancelled() {
            return Err(Fault::new(FaultKind::Closed, "the shared tier was closed"));
        }
        let wishes = self.wishes();
        let (endings_in, endings) = mpsc::channel(BACKLOG);
        let (ready_in, ready) = oneshot::channel();
        let wish = Wish::Subscribe {
            channel: key.to_owned(),
            endings: endings_in,
            ready: ready_in,
        };
        let lost = || Fault::new(FaultKind::Disconnected, "the subscription was lost");
        wishes.send(wish).map_err(|_| lost())?;
        let number = tokio::time::timeout(within, ready)
            .await
            .map_err(|_| fault::timeout("no subscription within the budget"))?
            .map_err(|_| lost())??;
        let leaving = Leaving {
            wishes,
            channel: key.to_owned(),
            number,
        };
        Ok(Wakeups::new(endings, leaving))
    }

    /// The task's mailbox; the task is started when it does not run.
    fn wishes(&self) -> mpsc::UnboundedSender<Wish> {
        let mut task = lock(&self.task);
        if let Some(running) = task.as_ref()
            && !running.handle.is_finished()
        {
            return running.wishes.clone();
        }
        let (wishes, inbox) = mpsc::unbounded_channel();
        let work = Switchboard::new(self.route.clone()).run(inbox);
        let closed = self.closed.clone();
        let handle = tokio::spawn(async move {
            let _ = closed.run_until_cancelled(work).await;
        });
        *task = Some(Running {
            wishes: wishes.clone(),
            handle: AbortOnDropHandle::new(handle),
        });
        wishes
    }
}

/// Who waits for what.
struct Switchboard {
    route: Arc<Route>,
    waiting: HashMap<String, Vec<(u64, mpsc::Sender<Ending>)>>,
    issued: u64,
}

impl Switchboard {
    fn new(route: Arc<Route>) -> Self {
        Self {
            route,
            waiting: HashMap::new(),
            issued: 0,
        }
    }

    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Wish>) {
        while let Some(wish) = inbox.recv().await {
            let Wish::Subscribe {
                channel,
                endings,
                ready,
            } = wish
            else {
                // Without a connection nobody is subscribed.
                continue;
            };
            match self.route.subscriber().await {
                Ok(connection) => {
                    let (sink, stream) = connection.split();
                    let first = Wish::Subscribe {
                        channel,
                        endings,
                        ready,
                    };
                    self.serve(sink, stream, first, &mut inbox).await;
                    // All senders go: whoever waits falls back to polling.
                    self.waiting.clear();
                }
                Err(fault) => {
                    let _ = ready.send(Err(fault));
                }
            }
        }
    }

    /// Until the connection breaks, or nobody has waited for a while.
    async fn serve(
        &mut self,
        mut sink: PubSubSink,
        stream: PubSubStream,
        first: Wish,
        inbox: &mut mpsc::UnboundedReceiver<Wish>,
    ) {
        let mut stream = pin!(stream);
        let mut next = Some(first);
        loop {
            if let Some(wish) = next.take()
                && !self.carry_out(&mut sink, wish).await
            {
                return;
            }
            tokio::select! {
                message = stream.next() => match message {
                    Some(message) => self.deliver(message.get_channel_name(), message.get_payload_bytes()),
                    None => return,
                },
                wish = inbox.recv() => match wish {
                    Some(wish) => next = Some(wish),
                    None => return,
                },
                () = tokio::time::sleep(SIGN_OF_LIFE) => {
                    if self.waiting.is_empty() || !is_alive(&mut sink).await {
                        return;
                    }
                }
            }
        }
    }

    /// `false` when the connection is of no use any more.
    async fn carry_out(&mut self, sink: &mut PubSubSink, wish: Wish) -> bool {
        match wish {
            Wish::Subscribe {
                channel,
                endings,
                ready,
            } => {
                if !self.waiting.contains_key(&channel) {
                    let subscribing = tokio::time::timeout(PATIENCE, sink.subscribe(&channel)).await;
                    if let Err(fault) = subscribed(subscribing) {
                        let usable = fault.kind() == FaultKind::NoPermission;
                        let _ = ready.send(Err(fault));
                        return usable;
                    }
                }
                self.issued += 1;
                let number = self.issued;
                self.waiting
                    .entry(channel.clone())
                    .or_default()
                    .push((number, endings));
                if ready.send(Ok(number)).is_err() {
                    return self.leave(sink, &channel, number).await;
                }
                true
            }
            Wish::Leave { channel, number } => self.leave(sink, &channel, number).await,
        }
    }

    async fn leave(&mut self, sink: &mut PubSubSink, channel: &str, number: u64) -> bool {
        let Some(waiters) = self.waiting.get_mut(channel) else {
            return true;
        };
        waiters.retain(|(waiter, _)| *waiter != number);
        if !waiters.is_empty() {
            return true;
        }
        self.waiting.remove(channel);
        let leaving = tokio::time::timeout(PATIENCE, sink.unsubscribe(channel)).await;
        subscribed(leaving).is_ok()
    }

    /// A waiter that does not empty its mailbox has been told often enough.
    fn deliver(&mut self, channel: &str, payload: &[u8]) {
        let Some(ending) = ending(payload) else {
            return;
        };
        for (_, waiter) in self.waiting.get(channel).into_iter().flatten() {
            let _ = waiter.try_send(ending.clone());
        }
    }
}

async fn is_alive(sink: &mut PubSubSink) -> bool {
    let ping = sink.ping::<redis::Value>();
    matches!(tokio::time::timeout(PATIENCE, ping).await, Ok(Ok(_)))
}

fn subscribed(outcome: Result<redis::RedisResult<()>, tokio::time::error::Elapsed>) -> Result<(), Fault> {
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(fault::of_driver(&error).into()),
        Err(_) => Err(fault::timeout("the subscription was not confirmed")),
    }
}

/// `d`, `r`, or `f` and a kind. Anything else is not for us.
fn ending(payload: &[u8]) -> Option<Ending> {
    match payload.split_first()? {
        (b'd', []) => Some(Ending::Done),
        (b'r', []) => Some(Ending::Released),
        (b'f', kind) => Some(Ending::Failed(String::from_utf8_lossy(kind).into_owned())),
        _ => None,
    }
}

/// Ends that may wait for one waiter; one is enough to wake it.
const BACKLOG: usize = 4;
const PATIENCE: Duration = Duration::from_secs(2);
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
