//! The body of one call, kept where both the load and the caller can reach it.
//!
//! The engine polls the body as its loader. Where the engine gives up, because the body exceeds a limit, its runtime
//! goes away or the call waits for itself, the caller polls on at the same place: a function that cannot report a
//! cache's failure does not get one.

use std::any::Any;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::Weak;
use std::task::{Context, Poll};

use crate::__private::{After, BoxFuture, Output};
use crate::cache::LoadContext;
use crate::sync::{Arc, Mutex, lock};

/// The error of a body, and whose body it was.
pub(crate) struct Failed<E> {
    error: Mutex<Option<E>>,
    owner: Weak<()>,
}

impl<E> Failed<E> {
    pub(crate) fn is_of(&self, owner: &Arc<()>) -> bool {
        std::ptr::eq(self.owner.as_ptr(), Arc::as_ptr(owner))
    }

    pub(crate) fn is_orphaned(&self) -> bool {
        self.owner.strong_count() == 0
    }

    pub(crate) fn take(&self) -> Option<E> {
        lock(&self.error).take()
    }

    pub(crate) fn with(&self, clone: fn(&E) -> E) -> Option<E> {
        lock(&self.error).as_ref().map(clone)
    }
}

pub(crate) type Panic = Box<dyn Any + Send>;

/// The body, whoever runs it, and what became of it.
pub(crate) struct Slot<'a, O: Output<S>, S> {
    body: Mutex<Option<BoxFuture<'a, O>>>,
    after: Mutex<Option<After<'a, O::Value>>>,
    panic: Mutex<Option<Panic>>,
    owner: Weak<()>,
}

impl<'a, O: Output<S>, S> Slot<'a, O, S> {
    pub(crate) fn new(body: BoxFuture<'a, O>, after: Option<After<'a, O::Value>>, owner: &Arc<()>) -> Self {
        Self {
            body: Mutex::new(Some(body)),
            after: Mutex::new(after),
            panic: Mutex::new(None),
            owner: Arc::downgrade(owner),
        }
    }

    /// The body as a load.
    pub(crate) async fn load(
        &self,
        context: LoadContext<O::Value>,
    ) -> Result<Option<O::Value>, Failed<O::Error>> {
        let result = poll_fn(|cx| self.poll_caught(cx)).await.split();
        if let (Ok(Some(value)), Some(after)) = (&result, lock(&self.after).take()) {
            after(&context, value);
        }
        result.map_err(|error| Failed {
            error: Mutex::new(Some(error)),
            owner: self.owner.clone(),
        })
    }

    /// The body for its caller alone, from where it stands; `None` if nothing is left of it.
    pub(crate) async fn alone(&self) -> Option<O> {
        let mut body = lock(&self.body).take()?;
        Some(body.as_mut().await)
    }

    pub(crate) fn panic(&self) -> Option<Panic> {
        lock(&self.panic).take()
    }

    /// The body is taken out while it is polled, so that no lock is held meanwhile, and not put back once it ended.
    fn poll_caught(&self, cx: &mut Context<'_>) -> Poll<O> {
        let Some(mut body) = lock(&self.body).take() else {
            return Poll::Pending;
        };
        // A body that panicked is dropped, so a state broken by it is never seen.
        match std::panic::catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(cx))) {
            Ok(Poll::Ready(output)) => Poll::Ready(output),
            Ok(Poll::Pending) => {
                *lock(&self.body) = Some(body);
                Poll::Pending
            }
            Err(panic) => {
                let message = message_of(&*panic);
                *lock(&self.panic) = Some(panic);
                std::panic::resume_unwind(Box::new(message))
            }
        }
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with a payload that is not text")
        .to_owned()
}
