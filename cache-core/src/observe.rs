//! [`Observer`]: told of every call that ends, with the same words as logs and metrics.

use std::fmt;
use std::panic::AssertUnwindSafe;

use crate::error::ErrorKind;
use crate::key::KeyRef;
use crate::outcome::{MissReason, Outcome};

/// Hears of every call of a cache that ends; see [`CacheBuilder::observer`](crate::CacheBuilder::observer).
///
/// What counts as a call is told in [`stats`](crate::stats): each is counted once, and observed once. It is told in the
/// task of the call, before its caller has the answer; calls that run at the same time are told at the same time. Keep it
/// short. A panic in it is caught and logged.
///
/// ```
/// use cache_core::observe::{Event, Observer};
/// use cache_core::{Cache, CacheKey, time::minutes};
///
/// #[derive(Debug)]
/// struct Printer;
///
/// impl Observer for Printer {
///     fn ended(&self, event: &Event<'_>) {
///         // The rest of a key may be somebody's data.
///         println!("{} {} {}", event.namespace, event.key.prefix(), event.end);
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = Cache::builder("shop").observer(Printer).build()?;
/// let key = CacheKey::build("price", 7)?;
/// cache.set(&key, 100, minutes(1)).await?;
/// cache.get::<i32>(&key).await; // shop price fresh tier=memory age=1.2µs
/// # Ok(()) }
/// ```
pub trait Observer: Send + Sync + fmt::Debug + 'static {
    /// A call has ended.
    fn ended(&self, event: &Event<'_>);
}

/// A call that has ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The namespace of the handle through which the call came, the cache's name first.
    pub namespace: &'a str,
    /// The key.
    pub key: KeyRef<'a>,
    /// What it came to.
    pub end: End,
}

/// How a call can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// It got an answer.
    Answered(Outcome),
    /// It was a lookup without a loader, and nothing was found.
    NotFound(MissReason),
    /// It ended in an error: the loader's own if there is no kind.
    Failed(Option<ErrorKind>, MissReason),
    /// Its caller left before there was an answer.
    Abandoned(MissReason),
}

impl End {
    /// How the answer was come by, if there was one.
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Answered(outcome) => Some(*outcome),
            Self::NotFound(_) | Self::Failed(..) | Self::Abandoned(_) => None,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(outcome) => outcome.fmt(f),
            Self::NotFound(reason) => write!(f, "not_found reason={}", reason.as_str()),
            Self::Failed(kind, reason) => {
                let kind = kind.map_or("loader_error", ErrorKind::as_str);
                write!(f, "failed kind={kind} reason={}", reason.as_str())
            }
            Self::Abandoned(reason) => write!(f, "abandoned reason={}", reason.as_str()),
        }
    }
}

/// Tells `observer`; its panic is its own.
#[cold]
pub(crate) fn tell(observer: &dyn Observer, event: &Event<'_>) {
    if std::panic::catch_unwind(AssertUnwindSafe(|| observer.ended(event))).is_err() {
        tracing::warn!(namespace = event.namespace, "an observer panicked");
    }
}
