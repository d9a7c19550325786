//! Loads aboard their caller: a hit in the shared tier starts no task.
//!
//! A load with an owning loader belongs in a task of its own, since it goes on without its caller. To find a value in
//! the shared tier takes no loader, though, and two hand-overs between tasks would be most of its cost. So such a load
//! begins *aboard*: the caller who leads it polls it from where it lies, its [`Berth`], for as long as it only looks.
//! If it finds the value, that was all. It goes *ashore*, into the task that it would have had from the beginning,
//!
//! * when anybody else wants its result: they wait for no poll of a stranger;
//! * before it takes the right to load, waits for another node, or calls its loader;
//! * when its caller is dropped, or is answered without it;
//! * when the cache closes.
//!
//! What that means:
//!
//! * **A dropped future.** Dropping the caller drops its [`Passage`], and the load goes ashore where it stands: what it
//!   asked for goes on, it is polled anew by its task, and it ends as if it had been there all along.
//! * **A caller that is not polled any more**, held in a `select!` or a stream that stalls, keeps its load from going on,
//!   and with it nobody: the first who joins takes it ashore, and other nodes are not concerned, since it holds no lease.
//!   Its question is answered, and the answer waits.
//! * **A caller that is leaked** leaks its load, until somebody joins it.
//! * **A panic** while it looks (the code that decodes a value may have one) ends the load and not its caller, as it
//!   would in a task.
//! * **Waking.** While its load is aboard, the caller waits for nothing else: a load that lands in its caller's hands wakes
//!   nobody, which would cost a thread its sleep. Who takes the load ashore wakes the caller, to wait like the others.
//! * **Tasks, spans and runtimes** are those of the beginning: whoever takes the load ashore, it runs on the runtime of the
//!   caller who led it, in that one's span, and [`close`](crate::Cache::close) waits for it from the start.

use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::cache::berth::Berth;
use crate::cache::flights::FlightContext;
use crate::cache::tasks::{Deferred, Tasks, Work};
use crate::sync::Arc;

/// Where the load of a flight may lie; of several flights, if one load lands them all.
pub(crate) type LoadBerth = Berth<Deferred>;

/// The way of a load aboard its caller; when this is dropped, it goes ashore.
pub(crate) struct Passage<'t> {
    tasks: &'t Tasks,
    /// `None` if it does not lie in one.
    berth: Option<Arc<LoadBerth>>,
}

impl<'t> Passage<'t> {
    /// Brings a load aboard; ashore at once if it has no berth, or somebody waits for it already. If no task can be started
    /// it is dropped, and its lead falls to whoever waits.
    pub(crate) fn begin(tasks: &'t Tasks, berth: Option<Arc<LoadBerth>>, load: Work) -> Self {
        let boarded = match (tasks.defer(load), &berth) {
            (Ok(load), Some(berth)) => berth.board(load),
            (Ok(load), None) => Err(load),
            (Err(_), _) => Ok(()),
        };
        if let Err(load) = boarded {
            tasks.start_deferred(load);
        }
        Self { tasks, berth }
    }

    /// Whether there is nothing more to be polled here.
    pub(crate) fn is_over(&self) -> bool {
        self.berth.as_ref().is_none_or(|berth| berth.is_left())
    }

    /// Polls the load until it has landed or is ashore. Woken when either happens.
    pub(crate) async fn sail(&self) {
        poll_fn(|context| self.poll(context)).await;
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let Some(berth) = &self.berth else {
            return Poll::Ready(());
        };
        let Some(mut load) = berth.take() else {
            return Poll::Ready(());
        };
        if load.poll(context).is_ready() {
            berth.done();
            return Poll::Ready(());
        }
        load.carried_by(context.waker());
        match berth.lay_back(load) {
            None => Poll::Pending,
            Some(load) => {
                self.tasks.start_deferred(load.by_its_carrier());
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        let load = self.berth.as_ref().and_then(|berth| berth.call());
        if let Some(load) = load {
            self.tasks.start_deferred(load.by_its_carrier());
        }
    }
}

impl FlightContext {
    /// Somebody joins: from now on the load runs in a task of its own, if it is one for a task.
    pub(crate) fn call_ashore(&self, tasks: &Tasks) {
        if let Some(load) = self.berth.call() {
            tasks.start_deferred(load);
        }
    }
}

/// For a load, before it does anything but look: goes on in a task of its own, if it is aboard.
pub(crate) async fn go_ashore(berth: Option<&LoadBerth>) {
    let Some(berth) = berth else { return };
    // Nobody needs to be woken: the one who polls it here hands it over, and its task polls it anew.
    poll_fn(|_| match berth.leave() {
        true => Poll::Pending,
        false => Poll::Ready(()),
    })
    .await;
}
