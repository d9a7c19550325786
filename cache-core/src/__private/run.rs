//! A miss on its way: the read-through path, and what each of its endings means for a function that knows nothing of
//! caches.
//!
//! * A value, or "no such value": the function's result.
//! * The function's own error: to its caller; to the waiters if it is `Clone`. Others run their own body, in single
//!   flight.
//! * The cache's error: through `From<cache_core::Error>`. Without it a panic resumes in the caller, and after
//!   anything else the body runs, or runs on, without the cache.

use std::fmt;
use std::time::Duration;

use tracing::Instrument as _;

use crate::__private::slot::{Failed, Slot};
use crate::__private::{BoxFuture, Errors, Miss, Ops, Output, Site};
use crate::cache::{LoadContext, Plan, Work};
use crate::error::{Error, LoadError};
use crate::key::CacheKey;
use crate::options::EntryOptions;
use crate::outcome::{MissReason, Outcome, OutcomeKind};
use crate::sync::Arc;

/// What remains to be said about a load once its value is there.
pub type After<'a, T> = Box<dyn FnOnce(&LoadContext<T>, &T) + Send + 'a>;

/// A result and how it was come by.
pub type Told<O> = (O, Outcome);

type WorkOf<'a, O, S> = Work<'a, <O as Output<S>>::Value, Failed<<O as Output<S>>::Error>>;

/// Lets the engine run the body in a slot.
type MakeWork<'a, O, S> = fn(Arc<Slot<'a, O, S>>) -> WorkOf<'a, O, S>;

impl<O: Output<S>, S: 'static> Miss<O, S> {
    /// Reads through with a body that owns what it uses: in a task of its own.
    pub fn owned(
        self,
        options: Result<EntryOptions, Error>,
        errors: Errors<O::Error>,
        body: BoxFuture<'static, O>,
        after: Option<After<'static, O::Value>>,
    ) -> BoxFuture<'static, Told<O>>
    where
        O: 'static,
    {
        let body = Box::pin(body.instrument(tracing::Span::current()));
        self.read_through(options, errors, body, after, |slot| {
            Work::Owned(Box::new(move |context| {
                Box::pin(async move { slot.load(context).await })
            }))
        })
    }

    /// Reads through with a body that borrows from its caller: inside the caller.
    pub fn borrowed<'a>(
        self,
        options: Result<EntryOptions, Error>,
        errors: Errors<O::Error>,
        body: BoxFuture<'a, O>,
        after: Option<After<'a, O::Value>>,
    ) -> BoxFuture<'a, Told<O>>
    where
        O: 'a,
    {
        self.read_through(options, errors, body, after, |slot| {
            Work::Borrowed(Box::new(move |context| {
                Box::pin(async move { slot.load(context).await })
            }))
        })
    }

    fn read_through<'a>(
        self,
        options: Result<EntryOptions, Error>,
        errors: Errors<O::Error>,
        body: BoxFuture<'a, O>,
        after: Option<After<'a, O::Value>>,
        work: MakeWork<'a, O, S>,
    ) -> BoxFuture<'a, Told<O>>
    where
        O: 'a,
    {
        let prepared = self.key.and_then(|key| Ok((key, options?)));
        let site = self.site;
        let (cache, ops, forced) = (self.cache, self.ops, self.forced);
        Box::pin(async move {
            let (key, options) = match prepared {
                Ok(prepared) => {
                    cache.policies().look_for(&prepared.1, || site.to_string());
                    prepared
                }
                Err(error) => return unprepared(site, error, errors, body).await,
            };
            let owner = Arc::new(());
            let call = Call {
                cache,
                ops,
                key,
                options: match errors.convert {
                    Some(_) => options,
                    // Nobody could be told about a timeout.
                    None => options.hard_timeout(Duration::MAX),
                },
                errors,
                forced,
                slot: Arc::new(Slot::new(body, after, &owner)),
                owner,
                work,
            };
            call.run().await
        })
    }
}

/// A call whose key or tags could not be made does without the cache; one whose key belongs to another function as
/// well is a mistake in the program, and says so if it can.
async fn unprepared<O: Output<S>, S>(
    site: &'static Site,
    error: Error,
    errors: Errors<O::Error>,
    body: BoxFuture<'_, O>,
) -> Told<O> {
    if site.is_in_conflict()
        && let Some(convert) = errors.convert
        && let Some(output) = O::join(Err(convert(error.clone())))
    {
        return (output, bypassed());
    }
    tracing::debug!(function = site.function(), %error, "a call runs without the cache");
    (body.await, bypassed())
}

/// One caller of a cached function.
struct Call<'a, O: Output<S>, S> {
    cache: crate::Cache,
    ops: Ops<O::Value>,
    key: CacheKey,
    options: EntryOptions,
    errors: Errors<O::Error>,
    forced: bool,
    slot: Arc<Slot<'a, O, S>>,
    owner: Arc<()>,
    work: MakeWork<'a, O, S>,
}

impl<O: Output<S>, S> fmt::Debug for Call<'_, O, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// What a caller does about an error.
enum Next<E> {
    /// Returns this one.
    Return(E),
    /// Asks again: its own load, or another's, may do better.
    Again,
    /// Runs its body without the cache.
    Alone(Option<Error>),
}

impl<O: Output<S>, S> Call<'_, O, S> {
    async fn run(self) -> Told<O> {
        let mut seen = None;
        loop {
            let error = match self.ask().await {
                Ok((value, outcome)) => match O::join(Ok(value)) {
                    Some(output) => return (output, outcome),
                    None => return self.alone(None).await,
                },
                Err(LoadError::Loader(failed)) => self.shared(failed, &mut seen),
                Err(LoadError::Cache(error)) => self.refused(error),
            };
            match error {
                Next::Again => {}
                Next::Return(error) => match O::join(Err(error)) {
                    Some(output) => return (output, loaded()),
                    None => return self.alone(None).await,
                },
                Next::Alone(error) => return self.alone(error).await,
            }
        }
    }

    async fn ask(&self) -> Result<(Option<O::Value>, Outcome), LoadError<Failed<O::Error>>> {
        let mut plan = Plan::read(self.ops.wire);
        if O::OPTIONAL {
            plan = plan.accepting_negatives();
        }
        if self.forced {
            plan = plan.forced();
        }
        let work = (self.work)(self.slot.clone());
        let answer = self
            .cache
            .read_through(&self.key, self.options.clone(), plan, work)
            .await?;
        let outcome = answer.outcome();
        Ok((answer.optional().map(|loaded| (self.ops.clone)(&loaded)), outcome))
    }

    /// An error of the function, its own or of another caller's load.
    fn shared(
        &self,
        failed: Arc<Failed<O::Error>>,
        seen: &mut Option<Arc<Failed<O::Error>>>,
    ) -> Next<O::Error> {
        let error = match self.errors.clone {
            Some(clone) => failed.with(clone),
            None if failed.is_of(&self.owner) || failed.is_orphaned() => failed.take(),
            None => None,
        };
        if let Some(error) = error {
            return Next::Return(error);
        }
        // The same failure twice is one that the cache remembers: asking again would not end.
        let remembered = seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &failed));
        match self.errors.convert {
            Some(convert) if remembered => Next::Return(convert(Error::recorded_failure())),
            None if remembered => Next::Alone(None),
            _ => {
                *seen = Some(failed);
                Next::Again
            }
        }
    }

    /// An error of the cache.
    fn refused(&self, error: Error) -> Next<O::Error> {
        match self.errors.convert {
            Some(convert) => Next::Return(convert(error)),
            None if error.is_panic() => match self.slot.panic() {
                Some(panic) => std::panic::resume_unwind(panic),
                None => std::panic::resume_unwind(Box::new(error.to_string())),
            },
            None => Next::Alone(Some(error)),
        }
    }

    async fn alone(&self, error: Option<Error>) -> Told<O> {
        if let Some(error) = &error {
            tracing::debug!(key = %self.key, %error, "a call goes on without the cache");
        }
        match self.slot.alone().await {
            Some(output) => (output, bypassed()),
            // The body ended and its result was lost: storing it panicked, in the value's own code.
            None => std::panic::resume_unwind(Box::new(error.map_or_else(
                || "the value of a cached function was lost".to_owned(),
                |error| error.to_string(),
            ))),
        }
    }
}

fn loaded() -> Outcome {
    Outcome::load(OutcomeKind::Loaded, MissReason::Absent)
}

/// The result of a body that runs without the cache.
pub fn bypassing<'a, O: Send + 'a>(body: BoxFuture<'a, O>) -> BoxFuture<'a, Told<O>> {
    Box::pin(async move { (body.await, bypassed()) })
}

fn bypassed() -> Outcome {
    Outcome::load(OutcomeKind::Loaded, MissReason::Bypassed)
}
